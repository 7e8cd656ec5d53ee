"""What vector envs whose rows step together share: how rows end and begin anew, rewards by a callable, states."""

from abc import abstractmethod
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from cryptoenv.env.episode import BAR, END, ENDED, EPISODE
from cryptoenv.env.market_visits import any_ended
from cryptoenv.env.row_arguments import checked_mask
from cryptoenv.env.saved_state import copies
from cryptoenv.env.seeds import seed_rows
from cryptoenv.env.spec import checked_options
from cryptoenv.env.stepping_threads import granted_threads
from cryptoenv.files.typed_values import whole
from cryptoenv.trading.config import Costs
from cryptoenv.trading.rewards import batched_reward

Observation = dict[str, NDArray[Any]]
Seeds = int | list[int | None] | np.random.SeedSequence | None
State = TypeVar("State")


class LockstepVectorEnv(VectorEnv[Observation, NDArray[Any], NDArray[Any]], Generic[State]):
    """N rows that one jitted call steps. `_rows.clocks` (N, CLOCK_WIDTH) says where each stands in its episode.

    Attributes:
        setup: what the arguments come to, as of the single env.
        staggers: whether a reset of all rows cuts their first episodes to different lengths.
        copies: whether results stay as they are.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # type: ignore[misc]
    reset_options: ClassVar[tuple[str, ...]]
    setup: Any
    _rows: Any

    def _take_arguments(
        self, num_envs: int, autoreset_mode: AutoresetMode | str, copy: bool, stagger: bool, render_mode: str | None,
        max_episode_steps: None,
    ) -> None:  # fmt: skip
        """Those that no single env has.

        Raises:
            ValueError, TypeError: one that is not allowed.
        """
        if max_episode_steps is not None:
            raise TypeError("max_episode_steps is not for this env: pass episode_bars=, the steps of an episode")
        if render_mode is not None:
            raise ValueError(f"render_mode={render_mode!r} is unknown to the vector env; use a single env to render")
        for name, value in (("copy", copy), ("stagger", stagger)):
            if not isinstance(value, (bool, np.bool_)):
                raise TypeError(f"{name}={value!r} must be True or False")
        self.num_envs = whole("num_envs", num_envs)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}  # type: ignore[misc]
        self.staggers, self.copies = bool(stagger), bool(copy)
        self._windows: Observation = {}  # of the last call, with copy=False
        self._started, self._cut_short = False, False
        self._threads = granted_threads()

    def _take_setup(self, setup: Any) -> None:
        self.setup = setup
        self.single_observation_space, self.single_action_space = setup.observation_space, setup.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        function = setup.reward_function
        self._custom_reward = None if function is None else batched_reward(function)

    @property
    @abstractmethod
    def _visits(self) -> Any:
        """Has the markets ready that episodes begin on: `settled`, `prepare`."""

    @abstractmethod
    def _begin(self, mask: NDArray[np.bool_], starts: Any) -> None:
        """Begin the episode numbered in its clock in the rows where `mask` is True."""

    @abstractmethod
    def _starts(self, options: dict[str, Any]) -> Any:
        """Where options ask the rows to begin; the first field says the markets, (N,)."""

    @abstractmethod
    def _take_actions(self, actions: NDArray[Any]) -> None:
        """Write the rows' targets."""

    @abstractmethod
    def _advance(self, next_step: bool) -> Any:
        """Step all rows; what they show then."""

    @abstractmethod
    def _see(self) -> Any:
        """What the rows show now."""

    @abstractmethod
    def _observation(self, seen: Any, fresh: bool) -> Observation:
        """Observations of all rows; with `fresh` windows are in memory that nobody else uses."""

    @abstractmethod
    def _info(self, seen: Any) -> dict[str, Any]:
        """Infos of all rows."""

    @abstractmethod
    def _accounts(self) -> NDArray[np.float64]:
        """(N, ACCOUNT_WIDTH), for a reward callable."""

    @abstractmethod
    def _taken(self) -> State:
        """Where all rows stand."""

    @abstractmethod
    def _put(self, state: State) -> None:
        """Put all rows where a state was taken, or leave them."""

    def reset(  # type: ignore[override]
        self, *, seed: Seeds = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode in every row (or where `options["reset_mask"]` is True).

        Args:
            seed: row `i` gets `seed + i`, or `seed[i]` of a list. Seeds 0 and 1 of 1,024 rows so share 1,023 of their
                episodes: for runs that are to be independent pass `cryptoenv.spread_seeds(seed, N)`, or a
                `numpy.random.SeedSequence`, which is spread so.
            options: `market`, `start` and what is held from the start (`exposure`, or `weights` (A,) of a portfolio):
                one for all rows, or N of them; `reset_mask` ((N,) bool).

        Returns:
            Observations and infos of all rows.

        Raises:
            ValueError, TypeError: an unknown option, or one out of range, with the row.
        """
        given = checked_options(options, self.reset_options)
        mask = checked_mask(given.pop("reset_mask", None), self.num_envs)
        if not self._started and not mask.all():
            raise ValueError("the first reset must be of all rows: leave options['reset_mask'] out")
        starts = self._starts(given)
        self._cut_short = False
        clocks = self._rows.clocks
        seed_rows(self, clocks, seed, mask, self._started, self.setup.drawn_from)
        self._prepare(mask, starts, later=0)
        self._begin(mask, starts)
        if self.staggers and mask.all():
            steps = clocks[:, END] - clocks[:, BAR]
            clocks[:, END] -= steps * np.arange(self.num_envs) // self.num_envs
        self._started = True
        return self._shown()

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Step every row; see the class for what happens to rows that have ended.

        Args:
            actions: a row of them for each env, as the class says.

        Returns:
            Observations, rewards (N,) float64, terminated (N,) bool, truncated (N,) bool, infos.

        Raises:
            ValueError: an action that is NaN or out of range, with its row. RuntimeError: not reset yet, or, with
                DISABLED, a row that has ended and was not reset.
        """
        if not self._started:
            raise RuntimeError("no episode was begun: call reset() before step()")
        clocks, next_step = self._rows.clocks, self.autoreset_mode == AutoresetMode.NEXT_STEP
        self._take_actions(actions)
        if self._cut_short:  # an exception came between the last step and the new episodes of rows that it ended
            self._begin_next(clocks[:, ENDED] == 1)
        if self.autoreset_mode == AutoresetMode.DISABLED and any_ended(clocks):
            row = int(np.argmax(clocks[:, ENDED] == 1))
            raise RuntimeError(f"row {row} has ended: reset it with options={{'reset_mask': mask}} before stepping")
        if next_step and not self._visits.settled and any_ended(clocks):
            self._visits.prepare(clocks, np.flatnonzero(clocks[:, ENDED]), later=1)
        restarted = clocks[:, ENDED] == 1 if next_step and self._custom_reward is not None else None
        self._cut_short = self.autoreset_mode == AutoresetMode.SAME_STEP
        seen = self._advance(next_step)
        if self._custom_reward is not None:
            self._reward_by_function(seen.rewards, restarted)
        rewards, terminated, truncated = seen.rewards, seen.terminated, seen.truncated
        final: dict[str, Any] = {}
        if self.autoreset_mode == AutoresetMode.SAME_STEP and (ended := terminated | truncated).any():
            final = self._final(ended, seen)
            self._begin_next(ended)
            seen = self._see()
        self._cut_short = False
        return self._observation(seen, self.copies), rewards, terminated, truncated, {**self._info(seen), **final}

    def _shown(self) -> tuple[Observation, dict[str, Any]]:
        seen = self._see()
        return self._observation(seen, self.copies), self._info(seen)

    def _prepare(self, mask: NDArray[np.bool_], starts: Any, later: int) -> None:
        """Have the markets ready of the rows where `mask` is True; `later`: see `Visits.prepare`."""
        beginning, markets = np.flatnonzero(mask), starts[0]
        markets[beginning] = self._visits.prepare(self._rows.clocks, beginning, markets[beginning], later)

    def _begin_next(self, ended: NDArray[np.bool_]) -> None:
        """Begin the next episode of the rows where `ended` (N,) is True."""
        starts = self._starts({})
        self._prepare(ended, starts, later=1)
        self._rows.clocks[ended, EPISODE] += 1
        self._begin(ended, starts)

    def _reward_by_function(self, rewards: NDArray[np.float64], restarted: NDArray[np.bool_] | None) -> None:
        """Overwrite the rows' rewards with the callable's, 0 where a row has just begun anew."""
        assert self._custom_reward is not None
        self._custom_reward(self._accounts(), rewards)
        if restarted is not None:
            rewards[restarted] = 0.0
        finite = np.isfinite(rewards)
        if not finite.all():
            row = int(np.argmin(finite))
            raise ValueError(
                f"the reward callable returned {rewards[row]} in row {row} at bar {int(self._rows.clocks[row, BAR])}; "
                "it must return a finite number"
            )

    def _final(self, ended: NDArray[np.bool_], seen: Any) -> dict[str, Any]:
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

    def get_state(self) -> State:
        """Where all N rows stand; `set_state` goes on from there, bit for bit, in this env or another.

        Raises:
            RuntimeError: no episode was begun.
        """
        if not self._started:
            raise RuntimeError("no episode was begun: call reset() before get_state()")
        return self._taken()

    def set_state(self, state: State) -> tuple[Observation, dict[str, Any]]:
        """Put all rows where a state was taken; later episodes are those that would have come then.

        Args:
            state: of N rows (`state[[0] * N]` repeats one), from envs on the same markets, single or vector, made with
                the same arguments (other costs or another reward are allowed, and hold from here on).

        Returns:
            Observations and infos of that moment.

        Raises:
            StateError: of another market or version, or of another number of rows; the env is left as it was.
        """
        self._put(state)
        self._started, self._cut_short = True, self.autoreset_mode == AutoresetMode.SAME_STEP  # of rows that had ended
        return self._shown()

    def branch(self, n: int) -> tuple[Self, ...]:
        """`n` vector envs that go on from here, each by itself: what one does changes neither the others nor this one.

        Raises:
            RuntimeError: no episode was begun. ValueError: `n` below 1.
        """
        self.get_state()  # refuses what has no state
        return copies(self, n)

    def set_costs(self, costs: Costs) -> None:
        """Charge other costs from the next step on, in episodes that are under way too; a curriculum raises them."""
        self.setup.set_costs(costs)
