"""The native vector environment: one jitted call steps N accounts."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from cryptoenv.env.episode import BAR, CLOCK_WIDTH, DRAWN, END, ENDED, EPISODE, MARKET, SEED, SEED_MASK
from cryptoenv.env.market_visits import any_ended
from cryptoenv.env.row_checks import check_rows
from cryptoenv.env.shared_rows import copy_windows_shared, step_shared
from cryptoenv.env.spec import EnvironmentSpec, checked_options, numbers_of
from cryptoenv.env.stepping_threads import granted_threads, helping
from cryptoenv.env.vector_rows import (
    AMOUNTS,
    EnvRows,
    Seen,
    begin_rows,
    copy_windows,
    empty_seen,
    mask_rows,
    see_serial,
    step_serial,
)
from cryptoenv.trading.account import ACCOUNT_WIDTH
from cryptoenv.trading.config import Costs
from cryptoenv.trading.rewards import batched_reward

RESET_OPTIONS = ("market", "start", "exposure", "reset_mask")
PARALLEL_ROWS = 512  #: from here on stepping pays for waking a helper
PARALLEL_CELLS = 262_144  #: window cells (N * W * F) from which copying does
Observation = dict[str, NDArray[Any]]


class CryptoTradeVectorEnv(VectorEnv[Observation, NDArray[Any], NDArray[Any]]):
    """N independent `CryptoTrade-v0` accounts, stepped together; see `CryptoTradeEnv` for what they do.

    Row `i` reset with `seed` equals a single env reset with `seed + i` (or `seed[i]`), later episodes included. Infos
    are dicts of (N,) arrays; `order_status` and `exit_kind` are int8. Gymnasium's masks `_key` are left out, which its
    wrappers take to mean that every row has every key; only final infos, which not all rows have, bring them.

    Args:
        num_envs: N. Through Gymnasium, these arguments stand beside the env's own, not in `vector_kwargs`:
            `gym.make_vec("CryptoTrade-v0", num_envs=1024, autoreset_mode="SameStep")`.
        market: as for `CryptoTradeEnv`; with `markets="stream"` every row has a market of its own (about 2.5 MB).
        autoreset_mode: NEXT_STEP (default), SAME_STEP or DISABLED, as Gymnasium defines them. With SAME_STEP the last
            observation and info of ended rows are in `info["final_obs"]` ((N,) object array of dicts) and
            `info["final_info"]` (dict of (N,) arrays), valid where the bool arrays `info["_final_obs"]` are True.
        copy: False reuses the arrays of the last call's results (faster; keep none of them).
        stagger: True spreads the ends of episodes: where a reset begins all rows, row `i` has the first `1 - i / N` of
            the steps of its episode and is truncated then. The episode is the one that a single env reset with
            `seed + i` begins, cut short; all later ones are that env's, whole, and rows go on ending at different
            times. A reset of some rows (`reset_mask`) cuts nothing.
        render_mode: None.
        **arguments: as for `CryptoTradeEnv`.

    Raises:
        ValueError, TypeError: an argument that is not allowed, with what is.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # type: ignore[misc]

    def __init__(
        self,
        num_envs: int = 1,
        market: Any = None,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        copy: bool = True,
        stagger: bool = False,
        render_mode: str | None = None,
        **arguments: Any,
    ) -> None:
        if arguments.pop("max_episode_steps", None) is not None:
            raise TypeError("max_episode_steps is not for this env: pass episode_bars=, the steps of an episode")
        if isinstance(num_envs, bool) or not isinstance(num_envs, (int, np.integer)) or num_envs < 1:
            raise ValueError(f"num_envs={num_envs!r} must be a whole number >= 1")
        if render_mode is not None:
            raise ValueError(f"render_mode={render_mode!r} is unknown to the vector env; use a single env to render")
        self.num_envs = int(num_envs)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}  # type: ignore[misc]
        self.setup = EnvironmentSpec(market, **arguments)
        self.setup.serve(self.num_envs)
        self.pool = self.setup.pool
        self.single_observation_space = self.setup.observation_space
        self.single_action_space = self.setup.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        for name, value in (("copy", copy), ("stagger", stagger)):
            if not isinstance(value, (bool, np.bool_)):
                raise TypeError(f"{name}={value!r} must be True or False")
        self.staggers = bool(stagger)  #: whether a reset of all rows cuts their first episodes to different lengths
        self.copies = bool(copy)  #: whether results are in fresh memory
        self._reused: Seen | None = None
        self._windows: Observation = {}  # of the last call, with copy=False
        n = self.num_envs
        self._rows = EnvRows(
            np.zeros((n, ACCOUNT_WIDTH), dtype=np.float64),
            np.zeros((n, CLOCK_WIDTH), dtype=np.int64),
            np.zeros(n, dtype=np.float64),
        )
        function = self.setup.reward_function
        self._custom_reward = None if function is None else batched_reward(function)
        self._started, self._cut_short = False, False
        self._threads = granted_threads()

    def reset(  # type: ignore[override]
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode in every row (or where `options["reset_mask"]` is True).

        Args:
            seed: row `i` gets `seed + i`, or `seed[i]` of a list.
            options: `market`, `start`, `exposure` (a number for all rows or (N,)), `reset_mask` ((N,) bool).

        Returns:
            Observations and infos of all rows.

        Raises:
            ValueError, TypeError: an unknown option, or one out of range, with the row.
        """
        given = checked_options(options, RESET_OPTIONS)
        mask = self._checked_mask(given.pop("reset_mask", None))
        markets, starts, exposures = self._checked_starts(given)
        self._cut_short = False
        self._seed_rows(seed, mask)
        beginning, clocks = np.flatnonzero(mask), self._rows.clocks
        markets[beginning] = self.setup.visits.prepare(clocks, beginning, markets[beginning])
        begin_rows(mask, self._rows, self.setup.world, self.setup.episode_rules, markets, starts, exposures)
        if self.staggers and mask.all():
            steps = clocks[:, END] - clocks[:, BAR]
            clocks[:, END] -= steps * np.arange(self.num_envs) // self.num_envs
        self._started = True
        seen = self._seen()
        return self._observation(seen, self.copies), self._info(seen)

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Step every row; see the class for what happens to rows that have ended.

        Args:
            actions: (N,) int indices into `actions`, or (N, 1) floats with `actions="continuous"`.

        Returns:
            Observations, rewards (N,) float64, terminated (N,) bool, truncated (N,) bool, infos.

        Raises:
            ValueError: an action that is NaN or out of range, with its row. RuntimeError: not reset yet, or, with
                DISABLED, a row that has ended and was not reset.
        """
        if not self._started:
            raise RuntimeError("no episode was begun: call reset() before step()")
        rows, next_step = self._rows, self.autoreset_mode == AutoresetMode.NEXT_STEP
        self._set_targets(actions)
        if self._cut_short:  # an exception came between the last step and the new episodes of rows that it ended
            self._begin_next(rows.clocks[:, ENDED] == 1)
        if self.autoreset_mode == AutoresetMode.DISABLED and (rows.clocks[:, ENDED] == 1).any():
            row = int(np.argmax(rows.clocks[:, ENDED] == 1))
            raise RuntimeError(f"row {row} has ended: reset it with options={{'reset_mask': mask}} before stepping")
        if next_step and not self.setup.visits.settled and any_ended(rows.clocks):
            self.setup.visits.prepare(rows.clocks, np.flatnonzero(rows.clocks[:, ENDED]), later=1)
        restarted = rows.clocks[:, ENDED] == 1 if next_step and self._custom_reward is not None else None
        self._cut_short = self.autoreset_mode == AutoresetMode.SAME_STEP
        seen = self._memory()
        board = helping(self._threads) if self.num_envs >= PARALLEL_ROWS else None
        if board is None:
            step_serial(rows, self.setup.world, self.setup.episode_rules, next_step, seen)
        else:
            step_shared(rows, self.setup.world, self.setup.episode_rules, next_step, seen, board)
        if self._custom_reward is not None:
            self._reward_by_function(seen.rewards, restarted)
        rewards, terminated, truncated = seen.rewards, seen.terminated, seen.truncated
        final: dict[str, Any] = {}
        if self.autoreset_mode == AutoresetMode.SAME_STEP and (ended := terminated | truncated).any():
            final = self._final(ended, seen)
            self._begin_next(ended)
            seen = self._seen()
        self._cut_short = False
        return self._observation(seen, self.copies), rewards, terminated, truncated, {**self._info(seen), **final}

    def _begin_next(self, ended: NDArray[np.bool_]) -> None:
        """Begin the next episode of the rows where `ended` (N,) is True."""
        rows, beginning = self._rows, np.flatnonzero(ended)
        drawn, flat = np.full(self.num_envs, DRAWN), np.zeros(self.num_envs)
        markets = drawn.copy()
        markets[beginning] = self.setup.visits.prepare(rows.clocks, beginning, later=1)
        rows.clocks[ended, EPISODE] += 1
        begin_rows(ended, rows, self.setup.world, self.setup.episode_rules, markets, drawn, flat)

    def _reward_by_function(self, rewards: NDArray[np.float64], restarted: NDArray[np.bool_] | None) -> None:
        """Overwrite the rows' rewards with the callable's, 0 where a row has just begun anew."""
        assert self._custom_reward is not None
        rows = self._rows
        self._custom_reward(rows.accounts, rewards)
        if restarted is not None:
            rewards[restarted] = 0.0
        finite = np.isfinite(rewards)
        if not finite.all():
            row = int(np.argmin(finite))
            raise ValueError(
                f"the reward callable returned {rewards[row]} in row {row} at bar {int(rows.clocks[row, BAR])}; "
                "it must return a finite number"
            )

    def _final(self, ended: NDArray[np.bool_], seen: Seen) -> dict[str, Any]:
        """What SAME_STEP adds to the infos: last observation (one dict per ended row) and last info of ended rows."""
        last, observations = self._observation(seen, True), np.full(self.num_envs, None, dtype=object)
        info = {name: values.copy() for name, values in self._info(seen).items()}
        for i in np.flatnonzero(ended):
            observations[i] = {name: values[i].copy() for name, values in last.items()}
        return {
            "final_obs": observations,
            "_final_obs": ended,
            "final_info": info | {f"_{name}": ended.copy() for name in info},
            "_final_info": ended.copy(),
        }

    def action_masks(self) -> NDArray[np.bool_]:
        """(N, A) bool: which actions would be accepted now.

        Raises:
            AttributeError: continuous actions have no mask.
        """
        if self.setup.targets is None:
            raise AttributeError("continuous actions have no mask; pass a tuple of actions")
        mask = np.ones((self.num_envs, len(self.setup.targets)), dtype=np.bool_)
        if self.setup.masks_actions:
            mask_rows(self._rows, self.setup.world, self.setup.targets, mask)
        return mask

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """The state of all rows, as copies: after `load_state_dict` the env goes on as it would from here.

        Arrays `accounts` (N, ACCOUNT_WIDTH) float64, `clocks` (N, CLOCK_WIDTH) int64 (seeds and episode numbers among
        them) and `targets` (N,) float64; of a stream also `markets` (N,) int64, the numbers of the rows' markets.

        Raises:
            RuntimeError: not reset yet.
        """
        if not self._started:
            raise RuntimeError("no episode was begun: call reset() before state_dict()")
        state = {name: value.copy() for name, value in self._rows._asdict().items()}
        if self.setup.stream is not None:
            state["markets"] = self.setup.visits.numbers(self._rows.clocks[:, MARKET])
        return state

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        """Put all rows where `state_dict` found them; the env must be made with the same markets and arguments.

        Raises:
            ValueError: an array is missing, has another shape or dtype, or holds what no episode on these markets can
                (the row and the column are named); the env is left as it was.
        """
        own: dict[str, NDArray[Any]] = self._rows._asdict()
        if self.setup.stream is not None:
            own = own | {"markets": np.zeros(self.num_envs, dtype=np.int64)}
        for name, mine in own.items():
            given = state.get(name)
            if not isinstance(given, np.ndarray) or given.shape != mine.shape or given.dtype != mine.dtype:
                found = f"{given.dtype} {given.shape}" if isinstance(given, np.ndarray) else type(given).__name__
                raise ValueError(f"state[{name!r}] must be {mine.dtype} of shape {mine.shape}, got {found}")
        numbers = state["clocks"][:, MARKET] if self.setup.stream is None else state["markets"]
        markets = check_rows(EnvRows(**{name: state[name] for name in self._rows._fields}), numbers, self.setup)
        self.setup.visits.put_back(numbers, markets)
        for name, mine in self._rows._asdict().items():
            mine[:] = state[name]
        self._started = True

    def set_costs(self, costs: Costs) -> None:
        """Charge other costs from the next step on, in episodes that are under way too; a curriculum raises them."""
        self.setup.set_costs(costs)

    def _seed_rows(self, seed: int | list[int | None] | None, mask: NDArray[np.bool_]) -> None:
        """Give every masked row its seed, or the number of its next episode."""
        clocks = self._rows.clocks
        if seed is None and self._started:
            clocks[mask, EPISODE] += 1
            return
        if isinstance(seed, (list, tuple, np.ndarray)):
            self._check_seeds(seed)
            for i in np.flatnonzero(mask):
                row_seed = seed[i]
                if row_seed is not None:
                    clocks[i, SEED], clocks[i, EPISODE] = int(row_seed) & SEED_MASK, 0
                elif self._started:
                    clocks[i, EPISODE] += 1
                else:
                    clocks[i, SEED], clocks[i, EPISODE] = self.np_random.integers(SEED_MASK), 0
            return
        super().reset(seed=seed)
        first = int(self.np_random_seed or 0) & SEED_MASK  # the sum with a row number fits into int64
        clocks[mask, SEED] = ((first + np.arange(self.num_envs)) & SEED_MASK)[mask]
        clocks[mask, EPISODE] = 0

    def _check_seeds(self, seeds: Sequence[Any] | NDArray[Any]) -> None:
        """Raise ValueError unless every row has a seed >= 0 or None."""
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed has {len(seeds)} entries; pass one for each of the {self.num_envs} rows")
        for i, seed in enumerate(seeds):
            whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
            if seed is not None and not (whole and seed >= 0):
                raise ValueError(f"seed[{i}]={seed!r} of row {i} must be a whole number >= 0, or None")

    def _checked_mask(self, mask: Any) -> NDArray[np.bool_]:
        if mask is None:
            return np.ones(self.num_envs, dtype=np.bool_)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise TypeError(f"options['reset_mask'] must be a bool array of shape ({self.num_envs},), got {mask!r}")
        if not mask.any():
            raise ValueError("options['reset_mask'] selects no row; set at least one to True")
        if not self._started and not mask.all():
            raise ValueError("the first reset must be of all rows: leave options['reset_mask'] out")
        return mask

    def _checked_starts(
        self, given: dict[str, Any]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Per row: market, start (DRAWN where not given) and exposure, each (N,)."""
        n = self.num_envs
        markets, starts = np.full(n, DRAWN, dtype=np.int64), np.full(n, DRAWN, dtype=np.int64)
        exposures = np.zeros(n, dtype=np.float64)
        for key, value in given.items():
            if np.ndim(value) > 1 or (np.ndim(value) == 1 and len(value) != n):
                raise ValueError(f"options[{key!r}] must be one number or {n} of them, got shape {np.shape(value)}")
        for i in range(n if given else 0):
            row = {key: value[i] if np.ndim(value) == 1 else value for key, value in given.items()}
            try:
                markets[i], starts[i] = self.setup.checked_start(row)
                exposures[i] = self.setup.checked_exposure(row.get("exposure", 0.0))
            except (ValueError, TypeError) as error:
                raise type(error)(f"row {i}: {error}") from error
        return markets, starts, exposures

    def _set_targets(self, actions: NDArray[Any]) -> None:
        """Write the target exposures of `actions` into the rows."""
        values = numbers_of(actions, "actions")
        if self.setup.targets is None:
            if values.shape not in {(self.num_envs, 1), (self.num_envs,)}:
                raise ValueError(f"actions must have shape ({self.num_envs}, 1), got {values.shape}")
            if values.dtype.kind not in "fiu":
                raise ValueError(f"actions must be numbers of shape ({self.num_envs}, 1), got {values.dtype}")
            values = values.reshape(self.num_envs).astype(np.float64)
            low = self.setup.lowest_action
            allowed = (values >= low) & (values <= 1.0)
            if not allowed.all():
                row = int(np.argmin(allowed))
                raise ValueError(f"action {values[row]} of row {row} is not allowed: pass numbers in [{low}, 1.0]")
            np.multiply(values, self.setup.limit, out=self._rows.targets)
            return
        if values.shape != (self.num_envs,) or values.dtype.kind not in "iu":
            raise ValueError(
                f"actions must be whole numbers of shape ({self.num_envs},), got {values.dtype} {values.shape}"
            )
        if values.min() < 0 or values.max() >= len(self.setup.targets):
            row = int(np.argmax((values < 0) | (values >= len(self.setup.targets))))
            raise ValueError(
                f"action {values[row]} of row {row} is not allowed: pass whole numbers from 0 to "
                f"{len(self.setup.targets) - 1}"
            )
        np.take(self.setup.targets, values, out=self._rows.targets)

    def _memory(self) -> Seen:
        """Memory for what the rows show: fresh, or with `copy=False` that of the last call."""
        if self._reused is None or self.copies:
            self._reused = empty_seen(self.num_envs)
        return self._reused

    def _seen(self) -> Seen:
        """What the rows show now."""
        seen = self._memory()
        see_serial(self._rows, seen, self.setup.limit)
        return seen

    def _observation(self, seen: Seen, fresh: bool) -> Observation:
        """Observations of all rows; with `fresh` windows are in new memory."""
        if self.setup.observation == "index":
            return {"index": seen.where, "account": seen.account}
        windows = self._windows
        if fresh or not windows:
            spaces = self.single_observation_space.spaces  # type: ignore[attr-defined]
            windows = {
                name: np.empty((self.num_envs, *spaces[name].shape), dtype=np.float32) for name in self.pool.timeframes
            }
        if not fresh:
            self._windows = windows
        table, clocks = self.setup.world.table, self._rows.clocks
        for k, window in enumerate(windows.values()):
            board = helping(self._threads) if window.size >= PARALLEL_CELLS else None
            if board is None:
                copy_windows(table, clocks, k, window)
            else:
                copy_windows_shared(table, clocks, k, window, board)
        return {**windows, "account": seen.account}

    def _info(self, seen: Seen) -> dict[str, Any]:
        info: dict[str, Any] = dict(zip(AMOUNTS, seen.amounts, strict=True))
        markets, info["bar"] = seen.clock
        info["market"] = self.setup.visits.numbers(markets)
        info["order_status"], info["exit_kind"] = seen.kinds
        info["ruined"] = seen.ruined
        if self.setup.targets is not None:
            info["action_mask"] = self.action_masks()
        return info
