"""Episodes for offline learning: what policies did on training markets of a task, as datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from agents.algorithms.threads import one_thread
from agents.evaluation import baselines
from agents.evaluation.protocol.contenders import Contender, entry_of
from agents.evaluation.rollout import Decide, Seen, Sight, decided_by
from agents.markets.expert_market import ExpertMarket, markets_of, synthetic_markets
from agents.run_folders.new_outputs import require_new_folder, write_new_folder
from agents.settings import CONTINUOUS, PARTS, TradingSettings, vector_env
from cryptoenv.env.offline.dataset import write_dataset
from cryptoenv.env.offline.episode import Episode
from cryptoenv.env.offline.layout import DataLayout, Observations
from cryptoenv.env.offline.minari_form import require_minari
from cryptoenv.env.spec import DEFAULT_WINDOW
from cryptoenv.env.vector import CryptoTradeVectorEnv
from cryptoenv.files.package_version import PACKAGE_VERSION
from cryptoenv.files.typed_values import Range, require_ranges
from cryptoenv.progress import tqdm
from synthetic import task_seeds

ORACLE, RANDOM, MIXED = "oracle", "random", "mixed"
MIXTURE = (ORACLE, "default", RANDOM)  #: what "mixed" stands for
MOST_BYTES, MOST_ROWS = 2**27, 256  #: of the episodes that are rolled at once


@dataclass(frozen=True)
class RecordingPlan:
    """What is recorded.

    Attributes:
        task: of the markets. split: their seed family, "train" or "validation"; nothing is learned from others.
        markets, days: how many, and their tradable days.
        episodes: in all; policies take turns. episode_bars: steps of each.
        seed: of where episodes begin, and of what is drawn in them.
        observation: "window", "index" or "flat". window: bars per timeframe; the environment's default where None.
        continuous: actions are exposures; those of policies that choose positions are written as such.
        noise: probability that a step's action is drawn at random instead: data that only the best made shows nothing
            of what else there is.

    Raises:
        ValueError: a value that is not allowed.
    """

    task: str = "standard"
    split: Literal["train", "validation"] = "train"
    markets: int = 64
    days: int = 60
    episodes: int = 64
    episode_bars: int = 960
    seed: int = 0
    observation: Literal["window", "index", "flat"] = "window"
    window: tuple[int, ...] | None = None
    continuous: bool = False
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.split not in ("train", "validation"):
            raise ValueError(f"split={self.split!r} is not allowed: one learns from train, and validation")
        if self.observation not in ("window", "index", "flat"):
            raise ValueError(f"observation={self.observation!r} is unknown; choose one of window, index, flat")
        counts = ("markets", "days", "episodes", "episode_bars")
        require_ranges(self, dict.fromkeys(counts, Range(1)) | {"noise": Range(0.0, 1.0), "seed": Range(0)})

    def arguments(self, settings: TradingSettings) -> dict[str, Any]:
        """Those of `CryptoTrade-v0` that the episodes are of, as JSON has them."""
        window = self.window or DEFAULT_WINDOW[: len(settings.timeframes)]
        plain = {name: asdict(value) if name in PARTS else value for name, value in settings.env_arguments.items()}
        return plain | {
            "market": self.task, "split": self.split, "markets": self.markets, "days": self.days,
            "timeframes": list(settings.timeframes), "window": list(window), "episode_bars": self.episode_bars,
            "observation": "index" if self.observation == "index" else "window",
            "actions": CONTINUOUS if self.continuous else list(settings.positions),
        }  # fmt: skip


@dataclass(frozen=True)
class Behaviour:
    """A policy that is recorded.

    Attributes:
        name: what its episodes are said to be of.
        decide: makes its decisions on markets; draws from the generator.
        sight: what it sees, and whether it answers with exposures.
        contender: of policies that were made before; None for rules that trade as the others do.
    """

    name: str
    decide: Callable[[Sequence[ExpertMarket], TradingSettings, np.random.Generator], Decide]
    sight: Sight
    contender: Contender | None = None


def record_episodes(
    policies: Sequence[str], task: str, out: str | Path, *, form: str = "minari", trust: bool = False,
    progress: bool = True, **plan: Any,
) -> dict[str, Any]:  # fmt: skip
    """Let policies trade markets of a task, and write their episodes as a dataset for offline learning.

    Args:
        policies: "oracle" (the causal optimum), "random", "mixed" (the oracle, the shipped extractor's actions and
            chance), or whatever `cryptoenv bench run --agent` takes: a run's folder (a clone's too), "default", a zip,
            module:name.
        task: "easy", "standard" or "hard".
        out: new folder; of Minari its name is the dataset's, and ends in a version: oracle-v0.
        form: "minari" or "parquet".
        trust: whether a zip that holds pickles may be read.
        progress: show progress bars.
        plan: values of a `RecordingPlan`.

    Returns:
        What the dataset says of itself.

    Raises:
        FileExistsError: something stands at `out`. ValueError: no such policy, or policies that trade differently.
    """
    made, folder = RecordingPlan(task=task, **plan), Path(out)
    if form not in ("minari", "parquet"):
        raise ValueError(f"form={form!r} is unknown; choose minari or parquet")
    if form == "minari":
        require_minari(folder.name)
    require_new_folder(folder)
    recording = Recording.of(policies, made, trust=trust, progress=progress)
    bar = tqdm(recording.episodes(), desc="episodes", total=made.episodes, unit="episode", disable=not progress)
    about: dict[str, Any] = {}

    def fill(place: Path) -> None:
        with one_thread():
            about.update(write_dataset(place, recording.about, recording.layout, bar, form=form, name=folder.name))

    write_new_folder(folder, fill)
    return about


@dataclass(frozen=True)
class Recording:
    """Policies on markets, ready to be recorded.

    Attributes:
        plan: what is recorded. settings: how all of them trade. behaviours: K policies that take turns.
        labelled: the markets, per behaviour, with the features that it reads.
        layout: of what the episodes show.
    """

    plan: RecordingPlan
    settings: TradingSettings
    behaviours: tuple[Behaviour, ...]
    labelled: tuple[tuple[ExpertMarket, ...], ...]
    layout: DataLayout

    @classmethod
    def of(cls, policies: Sequence[str], plan: RecordingPlan, *, trust: bool, progress: bool) -> Recording:
        """Find the policies and make their markets.

        Raises:
            ValueError: none, no such policy, or policies that trade differently; episodes longer than the markets.
        """
        names = [one for name in policies for one in (MIXTURE if name == MIXED else (name,))]
        if not names:
            raise ValueError(f"name a policy: {ORACLE}, {RANDOM}, {MIXED}, a run's folder, ...")
        behaviours = tuple(_behaviour(name, plan, trust) for name in names)
        settings, plan = _agreed(behaviours, plan)
        made: dict[Any, tuple[ExpertMarket, ...]] = {}
        for one in behaviours:
            layout = one.contender.layout if one.contender else None
            if layout not in made:
                made[layout] = synthetic_markets(
                    plan.task, plan.split, plan.markets, plan.days, settings, layout=layout, progress=progress
                )
        labelled = tuple(made[one.contender.layout if one.contender else None] for one in behaviours)
        setup = CryptoTradeVectorEnv(1, **plan.arguments(settings)).setup
        return cls(plan, settings, behaviours, labelled, DataLayout.of(setup, flat=plan.observation == "flat"))

    @property
    def about(self) -> dict[str, Any]:
        """What the dataset says of itself, before its figures."""
        plan = asdict(self.plan)
        names = [one.name for one in self.behaviours]
        return plan | {
            "version": PACKAGE_VERSION, "policies": names, "costs": asdict(self.settings.costs),
            "environment": {"id": "CryptoTrade-v0", "arguments": self.plan.arguments(self.settings)},
            "market_seeds": list(task_seeds(self.plan.task, self.plan.split, self.plan.markets)),
            "description": f"{' + '.join(names)} on {self.plan.split} markets of the synthetic task {self.plan.task!r}"
                           + (f", {self.plan.noise:.0%} of the actions drawn at random" if self.plan.noise else ""),
        }  # fmt: skip

    def episodes(self) -> Iterator[Episode]:
        """All episodes in order: policies take turns, so that any first part of them is mixed alike."""
        rng = np.random.default_rng([self.plan.seed, 0])
        count = len(self.behaviours)
        market = rng.integers(self.plan.markets, size=self.plan.episodes)
        place = rng.random(self.plan.episodes)
        rows = self._rows_at_once()
        for first in range(0, self.plan.episodes, rows * count):
            part = np.arange(first, min(first + rows * count, self.plan.episodes))
            found: dict[int, Episode] = {}
            for k in range(count):
                mine = part[part % count == k]
                if len(mine):
                    drawn = np.random.default_rng([self.plan.seed, 1 + k, first])
                    made = self._rolled(k, market[mine], place[mine], drawn)
                    found |= dict(zip(mine.tolist(), made, strict=True))
            yield from (found[number] for number in part.tolist())

    def _env(self, rows: int) -> CryptoTradeVectorEnv:
        return CryptoTradeVectorEnv(
            rows, autoreset_mode=AutoresetMode.NEXT_STEP, **self.plan.arguments(self.settings)
        )

    def _rows_at_once(self) -> int:
        size = sum(part.size for part in self.layout.parts) * 4 * (self.plan.episode_bars + 1)
        return int(np.clip(MOST_BYTES // size, 1, MOST_ROWS))

    def _starts(
        self, env: CryptoTradeVectorEnv, market: NDArray[np.int64], place: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Bars (R,) that episodes begin at, after the warm-up of what is shown and of all that decide."""
        shown = env.setup.pool.markets
        first = np.array([max([m.first_decision(env.setup.window), *(own[i].first for own in self.labelled)])
                          for i, m in enumerate(shown)])  # fmt: skip
        room = np.array([len(m) - self.plan.episode_bars for m in shown]) - first
        if (room < 1).any():
            most = int(room.min()) + self.plan.episode_bars - 1
            raise ValueError(
                f"episodes of {self.plan.episode_bars} steps are longer than the {most} decisions of markets of "
                f"{self.plan.days} days: fewer steps, or more days"
            )
        return first[market] + (place * room[market]).astype(np.int64)

    def _rolled(
        self, k: int, market: NDArray[np.int64], place: NDArray[np.float64], rng: np.random.Generator
    ) -> list[Episode]:
        """R episodes of a policy, side by side: one env shows what is recorded, another what the policy looks at."""
        one, labelled, steps, rows = self.behaviours[k], self.labelled[k], self.plan.episode_bars, len(market)
        shown = self._env(rows)
        own = self.settings if one.contender is None else replace(one.contender.settings, continuous=False)
        looked = vector_env(
            markets_of(labelled), own, num_envs=rows, episode_bars=steps, autoreset_mode=AutoresetMode.NEXT_STEP,
            observation=one.sight.observation, continuous=self.plan.continuous,
        )  # fmt: skip
        start = self._starts(shown, market, place)
        options = {"market": market, "start": start, "exposure": np.zeros(rows)}
        seen, _ = shown.reset(seed=0, options=options)
        asked, _ = looked.reset(seed=0, options=options)
        decide = one.decide(labelled, self.settings, rng)
        record, going = _Record.empty(self.layout, rows, steps), np.ones(rows, np.bool_)
        record.show(0, self.layout.shown(seen))
        for s in range(steps):
            actions = self._noisy(self._as_written(decide(asked), one.sight.continuous), rng)
            seen, rewards, terminated, truncated, info = shown.step(actions)
            asked, _, _, _, other = looked.step(actions)
            if not np.array_equal(info["equity"][going], other["equity"][going]):
                raise RuntimeError(f"{one.name} trades on other markets or terms than are recorded (step {s})")
            record.add(s, actions, rewards, terminated, truncated)
            record.show(s + 1, self.layout.shown(seen))
            going &= ~terminated
            if not going.any():
                break
        shown.close()
        looked.close()
        return record.episodes(one.name, market, start)

    def _as_written(self, actions: NDArray[Any], exposures: bool) -> NDArray[Any]:
        """Actions as the dataset has them: numbers of positions, or exposures (R, 1) as fractions of the limit."""
        if exposures or not self.plan.continuous:
            return actions
        targets = np.asarray(self.settings.positions, np.float32) / np.float32(self.settings.limits.exposure)
        return targets[actions][:, None]

    def _noisy(self, actions: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        if self.plan.noise == 0.0:
            return actions
        drawn = rng.random(len(actions)) < self.plan.noise
        other = _random_actions(self.settings, self.plan.continuous, len(actions), rng)
        return np.where(drawn.reshape(-1, *[1] * (actions.ndim - 1)), other, actions)


@dataclass(frozen=True, eq=False)
class _Record:
    """R episodes of up to S steps while they are rolled."""

    seen: Observations
    actions: NDArray[Any]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]

    @classmethod
    def empty(cls, layout: DataLayout, rows: int, steps: int) -> _Record:
        seen = {part.name: np.empty((rows, steps + 1, *part.shape), part.dtype) for part in layout.parts}
        actions = np.empty((rows, steps), np.int64) if layout.targets else np.empty((rows, steps, 1), np.float32)
        return cls(seen, actions, np.empty((rows, steps)), *(np.zeros((rows, steps), np.bool_) for _ in range(2)))

    def show(self, step: int, seen: Observations) -> None:
        for name, array in self.seen.items():
            array[:, step] = seen[name]

    def add(self, step: int, actions: NDArray[Any], rewards: Any, terminated: Any, truncated: Any) -> None:
        self.actions[:, step], self.rewards[:, step] = actions, rewards
        self.terminated[:, step], self.truncated[:, step] = terminated, truncated

    def episodes(self, policy: str, market: NDArray[np.int64], start: NDArray[np.int64]) -> list[Episode]:
        """Each until its first end: what a row did after it is of another episode."""
        found = []
        for r in range(len(self.actions)):
            steps = int(np.argmax(self.terminated[r] | self.truncated[r])) + 1
            seen = {name: array[r, : steps + 1] for name, array in self.seen.items()}
            found.append(Episode(
                seen, self.actions[r, :steps], self.rewards[r, :steps], self.terminated[r, :steps],
                self.truncated[r, :steps], policy, int(market[r]), int(start[r]),
            ))  # fmt: skip
        return found


def _random_actions(settings: TradingSettings, continuous: bool, rows: int, rng: np.random.Generator) -> NDArray[Any]:
    if continuous:
        low = 0.0 if settings.instrument == "spot" else -1.0
        return rng.uniform(low, 1.0, size=(rows, 1)).astype(np.float32)
    return rng.integers(len(settings.positions), size=rows)


def _behaviour(name: str, plan: RecordingPlan, trust: bool) -> Behaviour:
    if name == ORACLE:
        return Behaviour(name, lambda markets, settings, rng: decided_by(baselines.oracle(markets, settings)), Sight())
    if name == RANDOM:
        return Behaviour(name, _by_chance(plan.continuous), Sight(continuous=plan.continuous))
    entry = entry_of(name, plan.task, 1, trust=trust, actions=CONTINUOUS if plan.continuous and ":" in name else None)
    contender = entry.contenders[0]
    return Behaviour(entry.name, lambda labelled, settings, rng: contender.decide(labelled), contender.sight, contender)


def _by_chance(continuous: bool) -> Callable[[Sequence[ExpertMarket], TradingSettings, np.random.Generator], Decide]:
    def decide(labelled: Sequence[ExpertMarket], settings: TradingSettings, rng: np.random.Generator) -> Decide:
        def draw(seen: Seen) -> NDArray[Any]:
            return _random_actions(settings, continuous, len(seen["account"]), rng)

        return draw

    return decide


def _agreed(behaviours: Sequence[Behaviour], plan: RecordingPlan) -> tuple[TradingSettings, RecordingPlan]:
    """How all of them trade, and the plan; exposures where one of them answers with exposures.

    Raises:
        ValueError: two that trade differently, with what differs.
    """
    own = [one for one in behaviours if one.contender is not None]
    settings = own[0].contender.settings if own and own[0].contender else TradingSettings()
    for one in own[1:]:
        assert one.contender is not None
        theirs, mine = one.contender.settings.env_arguments, settings.env_arguments
        theirs["positions"], mine["positions"] = one.contender.settings.positions, settings.positions
        differing = [name for name in mine if name != "window" and mine[name] != theirs[name]]
        if differing:
            name = differing[0]
            raise ValueError(f"{own[0].name} and {one.name} trade differently: {name} {mine[name]} and {theirs[name]}")
    if any(one.sight.continuous for one in own) and not plan.continuous:
        raise ValueError(f"{own[0].name} answers with exposures: say that the dataset holds them (--continuous)")
    return settings, plan
