"""Whatever can trade, as contenders: one policy per training seed, and how it looks at a market."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agents.evaluation import baselines
from agents.evaluation.extractor_trader import ExtractorTrader
from agents.evaluation.judging import Judged, agent_of, settings_for
from agents.evaluation.rollout import Decide, Sight, decided_by
from agents.evaluation.tables import baseline_policies
from agents.markets.expert_market import ExpertMarket, synthetic_markets
from agents.policies.trading_policy import TradingPolicy
from agents.run_folders.run_folder import load_runs
from agents.settings import TradingChoice, TradingSettings
from pretrain import Extractor, MarketLayout
from pretrain.loading import holds

BASELINES = ("flat", "buy and hold", "random", "EMA cross (tuned)", "filter oracle")  #: as tables name them
TUNING_MARKETS, TUNING_DAYS = 16, 60  #: of validation, that an extractor's hysteresis and the cross are tuned on
KINDS = (
    "a run's folder or one of several seeds, an extractor's artifact or 'default', a .zip of Stable-Baselines3 (with "
    f"--trust), module:name of a policy or of a function (seed) that makes one, or one of {', '.join(BASELINES)}"
)


@dataclass(frozen=True)
class Contender:
    """A policy that is to be judged.

    Attributes:
        seed: of its training; 0 where there was none.
        decide: makes its decisions on judged markets.
        settings: what it looks at, and its positions.
        sight: what the env shows it, and whether its actions are exposures.
        layout: of the markets that it reads; None where any will do.
    """

    seed: int
    decide: Callable[[Sequence[ExpertMarket]], Decide]
    settings: TradingSettings
    sight: Sight
    layout: MarketLayout | None = None


@dataclass(frozen=True)
class Entry:
    """What `--agent` names: contenders, and what they are called.

    `trained`: whether seeds make a difference, so that several are wanted.
    """

    name: str
    kind: str
    trained: bool
    contenders: tuple[Contender, ...]

    def __post_init__(self) -> None:
        first = self.contenders[0]
        for one in self.contenders[1:]:
            if one.settings.positions != first.settings.positions or one.sight.continuous != first.sight.continuous:
                raise ValueError(f"seeds {first.seed} and {one.seed} of {self.name} have different actions")


def entry_of(agent: str, task: str, seeds: int, *, trust: bool = False, observation: str | None = None,
             actions: tuple[float, ...] | str | None = None) -> Entry:  # fmt: skip
    """What an `--agent` stands for.

    Args:
        agent: as `KINDS` says.
        task: that it is judged on; for what has to be tuned on its validation markets.
        seeds: how many of them.
        trust: whether a file that may run code when read may be read.
        observation, actions: as of `agents.score`, of policies that do not say so themselves.

    Raises:
        ValueError: of no kind, or fewer seeds than asked for. FileNotFoundError, ImportError: it is not there.
    """
    if agent in BASELINES:
        return _baseline(agent, task, seeds)
    if agent == "default" or holds(agent, "cryptoenv-extractor"):
        return _extractor(agent, task)
    path = Path(agent)
    if path.is_dir():
        return _runs(path, seeds)
    if path.suffix == ".zip":
        return _zip(path, trust, observation, actions)
    if ":" in agent:
        return _imported(agent, seeds, observation, actions)
    raise ValueError(f"--agent {agent!r} is of no known kind; allowed: {KINDS}")


def _of_policy(policy: Any, seed: int, observation: str | None, actions: tuple[float, ...] | str | None) -> Contender:
    settings = settings_for(agent_of(policy), "task", None, actions)
    judged = Judged.of(policy, observation, actions, settings, batched=True)
    if judged.agent is None:
        judged.view.check(policy, synthetic_markets("easy", "validation", 1, 1, settings, progress=False)[0].market)
    maker = judged.maker("easy")
    layout = None if maker is None else maker.layout
    return Contender(seed, judged.decider, settings, judged.view.sight, layout)


def _runs(folder: Path, seeds: int) -> Entry:
    runs = load_runs(folder)
    if len(runs) < seeds:
        raise ValueError(f"{folder} holds {len(runs)} trained agents and --seeds asks for {seeds}")
    found = [_of_policy(run, seed, None, None) for seed, run in enumerate(runs[:seeds])]
    return Entry(folder.name, f"run, {runs[0].agent.algorithm}", True, tuple(found))


def _extractor(agent: str, task: str) -> Entry:
    extractor = Extractor.load(agent)
    shape = extractor.config
    settings = TradingChoice().settings(shape.timeframes, shape.window, shape.positions)
    validation = synthetic_markets(
        task, "validation", TUNING_MARKETS, TUNING_DAYS, settings, layout=extractor.layout, progress=False
    )
    trader = ExtractorTrader(extractor, settings).tuned(validation)
    found = Contender(0, lambda labelled: decided_by(trader.on(labelled)), settings, Sight(), extractor.layout)
    name = "the shipped extractor's own actions" if agent == "default" else f"{Path(agent).name}'s own actions"
    return Entry(name, "extractor", False, (found,))


def _baseline(agent: str, task: str, seeds: int) -> Entry:
    settings = TradingSettings()
    rule = baselines.CrossRule(8, 32, 0.5, True)
    if agent == "EMA cross (tuned)":
        tuning = synthetic_markets(task, "validation", TUNING_MARKETS, TUNING_DAYS, settings, progress=False)
        rule = baselines.tuned_cross(tuning, settings)

    def decide(seed: int, labelled: Sequence[ExpertMarket]) -> Decide:
        policies: dict[str, TradingPolicy] = baseline_policies(labelled, settings, rule, seed)
        return decided_by(policies[agent])

    drawn = agent == "random"
    found = [Contender(seed, partial(decide, seed), settings, Sight()) for seed in range(seeds if drawn else 1)]
    return Entry(agent, "baseline", drawn, tuple(found))


def _zip(path: Path, trust: bool, observation: str | None, actions: tuple[float, ...] | str | None) -> Entry:
    if not trust:
        raise ValueError(f"{path} holds pickles, which can run any code when read: pass --trust if you know its makers")
    policy, name = _sb3_model(path)
    return Entry(path.stem, f"Stable-Baselines3, {name}", False, (_of_policy(policy, 0, observation, actions),))


def _sb3_model(path: Path) -> tuple[Any, str]:
    """The model in a zip, of the first algorithm that can read it, and the algorithm's name."""
    import sb3_contrib
    import stable_baselines3

    tried: list[Any] = [getattr(stable_baselines3, name) for name in ("PPO", "A2C", "DQN", "SAC", "TD3")]
    tried += [getattr(sb3_contrib, name) for name in ("RecurrentPPO", "QRDQN", "TQC", "MaskablePPO", "TRPO", "ARS")]
    failures = []
    for algorithm in tried:
        try:
            return algorithm.load(path, device="cpu"), algorithm.__name__
        except Exception as error:  # each algorithm fails in a way of its own on another's file
            failures.append(f"{algorithm.__name__}: {error}")
    raise ValueError(f"{path} is no model of {', '.join(one.__name__ for one in tried)}; {failures[0]}")


def _imported(agent: str, seeds: int, observation: str | None, actions: tuple[float, ...] | str | None) -> Entry:
    module, _, name = agent.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise ValueError(f"--agent {agent}: there is no module {module!r} here or installed") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"--agent {agent}: {module!r} has no {part!r}")
        found = getattr(found, part)
    if _takes_seed(found):
        policies = [(seed, found(seed)) for seed in range(seeds)]
    else:
        policies = [(0, found)]
    contenders = tuple(_of_policy(policy, seed, observation, actions) for seed, policy in policies)
    return Entry(name, "python", len(policies) > 1 or _takes_seed(found), contenders)


def _takes_seed(found: Any) -> bool:
    """Whether it makes a policy from a seed: its one parameter without default is called so."""
    if not callable(found) or hasattr(found, "predict"):
        return False
    try:
        wanted = [one for one in inspect.signature(found).parameters.values() if one.default is one.empty]
    except (TypeError, ValueError):
        return False
    return [one.name for one in wanted] == ["seed"]
