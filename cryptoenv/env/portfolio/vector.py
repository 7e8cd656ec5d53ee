"""The native vector environment of portfolios: one jitted call steps N accounts. Shapes: `N` envs, `A` assets."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from cryptoenv.env.episode import CLOCK_WIDTH, DRAWN, ENDED, EPISODE, SEED, SEED_MASK
from cryptoenv.env.market_visits import any_ended
from cryptoenv.env.portfolio.episode import (
    ACCOUNT_FIELDS,
    ACCOUNT_SHOWN,
    ASSET_FIELDS,
    ASSET_SHOWN,
    PortfolioRows,
    PortfolioSeen,
    begin_row,
    copy_portfolio_windows,
    see_portfolios,
    step_portfolios,
)
from cryptoenv.env.portfolio.spec import PortfolioArgument, PortfolioSpec
from cryptoenv.env.row_arguments import check_seeds, checked_mask
from cryptoenv.env.seeds import drawn_seeds
from cryptoenv.env.spec import checked_options
from cryptoenv.files.typed_values import whole
from cryptoenv.trading.account import ACCOUNT_WIDTH
from cryptoenv.trading.config import Costs, Instrument, PortfolioLimits, RiskLimits, Sizing, VenueRules
from cryptoenv.trading.portfolio_account import POSITION_WIDTH, SLATE_WIDTH
from cryptoenv.trading.rewards import RewardFunction, batched_reward

RESET_OPTIONS = ("market", "start", "weights", "reset_mask")
Observation = dict[str, NDArray[Any]]


def empty_portfolios(n: int, assets: int) -> PortfolioRows:
    """Fresh memory for the state of `n` environments of `assets` assets."""
    return PortfolioRows(
        np.zeros((n, ACCOUNT_WIDTH)),
        np.zeros((n, assets, POSITION_WIDTH)),
        np.zeros((n, CLOCK_WIDTH), dtype=np.int64),
        np.zeros((n, assets)),
        np.zeros((assets, SLATE_WIDTH)),
    )


def portfolio_memory(n: int, assets: int) -> PortfolioSeen:
    """Fresh memory for what `n` environments of `assets` assets show."""
    return PortfolioSeen(
        np.empty(n),
        np.zeros(n, dtype=np.bool_),
        np.zeros(n, dtype=np.bool_),
        np.empty((n, assets, len(ASSET_FIELDS)), dtype=np.float32),
        np.empty((n, len(ACCOUNT_FIELDS)), dtype=np.float32),
        np.empty((n, 2), dtype=np.int64),
        np.empty((n, len(ACCOUNT_SHOWN))),
        np.empty((n, assets, len(ASSET_SHOWN))),
        np.empty((2, n, assets), dtype=np.int8),
        np.empty((n, assets), dtype=np.bool_),
    )


def observed(setup: PortfolioSpec, rows: PortfolioRows, seen: PortfolioSeen) -> Observation:
    """Observations of all N rows, in fresh memory."""
    own: Observation = {"assets": seen.assets, "account": seen.account}
    if setup.observation == "index":
        return {"index": seen.places, **own}
    windows: Observation = {}
    for k, name in enumerate(setup.timeframes):
        windows[name] = np.empty((len(rows.accounts), *setup.observation_space[name].shape), dtype=np.float32)  # type: ignore[misc]
        copy_portfolio_windows(rows, setup.world.table, k, windows[name])
    return {**windows, **own}


def told(rows: PortfolioRows, seen: PortfolioSeen, ruined: NDArray[np.bool_]) -> dict[str, Any]:
    """Infos of all N rows, by what they show and `ruined`, (N,)."""
    info: dict[str, Any] = {name: seen.shown[:, c] for c, name in enumerate(ACCOUNT_SHOWN)}
    info.update({name: seen.held[:, :, c] for c, name in enumerate(ASSET_SHOWN)})
    info["market"], info["bar"] = seen.places[:, 0], seen.places[:, 1]
    info["order_status"], info["exit_kind"] = seen.kinds
    info["tradable"], info["ruined"] = seen.tradable, ruined
    return info


class CryptoPortfolioVectorEnv(VectorEnv[Observation, NDArray[Any], NDArray[Any]]):
    """N independent `CryptoPortfolio-v0` accounts, stepped together; see `CryptoPortfolioEnv` for what they do.

    Row `i` reset with `seed` equals a single env reset with `seed + i` (or `seed[i]`), later episodes included. Infos
    are dicts of (N,) and (N, A) arrays, in fresh memory every call. NEXT_STEP (default), SAME_STEP and DISABLED as
    Gymnasium defines them; arguments beside `num_envs` and `autoreset_mode` are those of `CryptoPortfolioEnv`.

    Raises:
        ValueError, TypeError: an argument that is not allowed, with what is.

    Example:
        >>> import gymnasium as gym
        >>> import numpy as np
        >>> import cryptoenv
        >>> envs = gym.make_vec("CryptoPortfolio-v0", num_envs=3, observation="index", portfolios=1, days=5)
        >>> observations, infos = envs.reset(seed=0)
        >>> observations, rewards, terminated, truncated, infos = envs.step(np.full((3, 4), 0.25))
        >>> observations["assets"].shape, infos["exposures"].shape
        ((3, 4, 5), (3, 4))
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # type: ignore[misc]

    def __init__(
        self,
        num_envs: int = 1,
        market: PortfolioArgument = None,
        *,
        split: str = "train",
        timeframes: Sequence[str] | None = None,
        window: Sequence[int] | None = None,
        instrument: Instrument = "perpetual",
        actions: str = "weights",
        observation: str = "window",
        reward: str | dict[str, float] | RewardFunction = "log_return",
        costs: Costs | None = None,
        limits: RiskLimits | None = None,
        portfolio_limits: PortfolioLimits | None = None,
        rules: VenueRules | None = None,
        sizing: Sizing | None = None,
        reward_adaptation: float = 0.01,
        initial_cash: float = 10_000.0,
        episode_bars: int = 2880,
        random_start: bool = True,
        all_listed: bool = True,
        portfolios: int | None = None,
        days: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        if render_mode is not None:
            raise ValueError(f"render_mode={render_mode!r} is unknown to the vector env; use a single env to render")
        self.num_envs = whole("num_envs", num_envs)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}  # type: ignore[misc]
        self.setup = PortfolioSpec(
            market, split=split, timeframes=timeframes, window=window, instrument=instrument, actions=actions,
            observation=observation, reward=reward, costs=costs, limits=limits, portfolio_limits=portfolio_limits,
            rules=rules, sizing=sizing, reward_adaptation=reward_adaptation, initial_cash=initial_cash,
            episode_bars=episode_bars, random_start=random_start, all_listed=all_listed, portfolios=portfolios,
            days=days,
        )  # fmt: skip
        self.single_observation_space, self.single_action_space = self.setup.observation_space, self.setup.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        function = self.setup.reward_function
        self._custom_reward = None if function is None else batched_reward(function)
        self._rows = empty_portfolios(self.num_envs, len(self.setup.names))
        self._started = False

    def reset(  # type: ignore[override]
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode in every row (or where `options["reset_mask"]` is True).

        Args:
            seed: row `i` gets `seed + i`, or `seed[i]`; a `numpy.random.SeedSequence` is spread over the rows.
            options: `market`, `start`, `weights` ((A,), held from the start), for all rows that begin; `reset_mask`.

        Raises:
            ValueError, TypeError: an unknown option, or one out of range.
        """
        given = checked_options(options, RESET_OPTIONS)
        mask = checked_mask(given.pop("reset_mask", None), self.num_envs)
        if not self._started and not mask.all():
            raise ValueError("the first reset must be of all rows: leave options['reset_mask'] out")
        market, start = self.setup.checked_start(given)
        weights = self.setup.checked_weights(given.get("weights", np.zeros(len(self.setup.names))))
        self._seed_rows(seed, mask)
        self._begin(np.flatnonzero(mask), market, start, weights)
        self._started = True
        return self._shown()

    def _begin(self, beginning: NDArray[np.int64], market: int, start: int, weights: NDArray[np.float64]) -> None:
        setup, rows = self.setup, self._rows
        setup.prepare(rows.clocks, beginning, np.full(len(beginning), market), later=0)
        for i in beginning.tolist():
            begin_row(i, rows, setup.world, setup.episode_rules, market, start, weights)

    def _seed_rows(self, seed: Any, mask: NDArray[np.bool_]) -> None:
        """Give every masked row its seed, or the number of its next episode."""
        clocks = self._rows.clocks
        if seed is None and self._started:
            clocks[mask, EPISODE] += 1
            return
        if isinstance(seed, np.random.SeedSequence):
            seed = list(drawn_seeds(seed, self.num_envs))
        if isinstance(seed, (list, tuple, np.ndarray)):
            check_seeds(seed, self.num_envs)
        else:
            super().reset(seed=seed)
            first = int(self.np_random_seed or 0) & SEED_MASK
            seed = [(first + i) & SEED_MASK for i in range(self.num_envs)]
        for i in np.flatnonzero(mask):
            if seed[i] is not None:
                clocks[i, SEED], clocks[i, EPISODE] = int(seed[i]) & SEED_MASK, 0
            elif self._started:
                clocks[i, EPISODE] += 1
            else:
                clocks[i, SEED], clocks[i, EPISODE] = self.np_random.integers(SEED_MASK), 0

    def _shown(self) -> tuple[Observation, dict[str, Any]]:
        seen = portfolio_memory(self.num_envs, len(self.setup.names))
        see_portfolios(self._rows, self.setup.world, self.setup.gross, seen)
        return observed(self.setup, self._rows, seen), told(self._rows, seen, seen.terminated)

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Step every row.

        Args:
            actions: (N, A) weights, or (N, A + 1) with `actions="simplex"`.

        Returns:
            Observations, rewards (N,) float64, terminated (N,) bool, truncated (N,) bool, infos.

        Raises:
            ValueError: an action that is NaN or out of range, with its row. RuntimeError: not reset yet, or, with
                DISABLED, a row that has ended and was not reset.
        """
        if not self._started:
            raise RuntimeError("no episode was begun: call reset() before step()")
        setup, rows, next_step = self.setup, self._rows, self.autoreset_mode == AutoresetMode.NEXT_STEP
        setup.write_targets(actions, rows.targets, "actions")
        ended = rows.clocks[:, ENDED] == 1 if not next_step or any_ended(rows.clocks) else None
        if ended is not None and ended.any():
            if self.autoreset_mode == AutoresetMode.DISABLED:
                row = int(np.argmax(ended))
                raise RuntimeError(f"row {row} has ended: reset it with options={{'reset_mask': mask}} before stepping")
            if next_step:
                beginning = np.flatnonzero(ended)
                setup.prepare(rows.clocks, beginning, np.full(len(beginning), DRAWN), later=1)
            else:  # an exception came between the last step and the new episodes of rows that it ended
                self._begin_next(ended)
        seen = portfolio_memory(self.num_envs, len(setup.names))
        step_portfolios(rows, setup.world, setup.episode_rules, next_step, setup.gross, seen)
        if self._custom_reward is not None:
            self._custom_reward(rows.accounts, seen.rewards)
            if next_step and ended is not None:
                seen.rewards[ended] = 0.0
            if not np.isfinite(seen.rewards).all():
                row = int(np.argmin(np.isfinite(seen.rewards)))
                raise ValueError(f"the reward callable returned {seen.rewards[row]} in row {row}; it must be finite")
        observation, info = observed(setup, rows, seen), told(rows, seen, seen.terminated)
        over = seen.terminated | seen.truncated
        if self.autoreset_mode == AutoresetMode.SAME_STEP and over.any():
            final_observation, final_info = observation, info
            self._begin_next(over)
            observation, info = self._shown()
            info |= self._final(over, final_observation, final_info)
        return observation, seen.rewards, seen.terminated, seen.truncated, info

    def _begin_next(self, ended: NDArray[np.bool_]) -> None:
        self._rows.clocks[ended, EPISODE] += 1
        self._begin(np.flatnonzero(ended), DRAWN, DRAWN, np.zeros(len(self.setup.names)))

    def _final(self, ended: NDArray[np.bool_], last: Observation, info: dict[str, Any]) -> dict[str, Any]:
        """What SAME_STEP adds to the infos."""
        observations = np.full(self.num_envs, None, dtype=object)
        for i in np.flatnonzero(ended):
            observations[i] = {name: values[i].copy() for name, values in last.items()}
        kept = {name: values.copy() for name, values in info.items()}
        return {
            "final_obs": observations,
            "_final_obs": ended,
            "final_info": kept | {f"_{name}": ended.copy() for name in kept},
            "_final_info": ended.copy(),
        }
