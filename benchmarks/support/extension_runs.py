"""What `benchmarks.extensions` measures: each part with one seed, against the plain agent of that seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.algorithms.registry import ALGORITHMS, new_config
from agents.cloning.behaviour_cloning import CloningConfig
from agents.evaluation import baselines
from agents.evaluation.composed_tuning import CAUTIONS, tune_caution, tune_ensemble
from agents.evaluation.crowd_rollout import roll_crowd
from agents.evaluation.hysteresis import tune_margin
from agents.evaluation.rollout import Rollout, RolloutRows, roll, whole_markets
from agents.evaluation.tables import net_figures
from agents.markets.embedded import EmbeddedMarkets, TrainingMarkets
from agents.markets.expert_market import synthetic_markets
from agents.policies.agent import Agent
from agents.policies.composed.ensemble import EnsembleAgent
from agents.policies.composed.per_market import PerMarketPolicy
from agents.policies.heads import copy_of
from agents.policies.trading_policy import TradingPolicy
from agents.seeds import spread_seed
from agents.settings import TradingSettings
from agents.training.config import AgentTrainingConfig
from agents.training.learning_loop import improve
from agents.training.limits_training import LimitsConfig, fit_limits
from agents.training.meta_learning import AdaptationConfig, ReptileConfig, adapted, lesson_of, reptile
from agents.training.pipeline import cloned
from agents.training.selection import Schedule
from cryptoenv.bars.price_columns import CLOSE, VOLUME
from pretrain import Extractor
from pretrain.data.teachers import bar_labels

TASK, DAYS = "standard", 60
MARKETS = {"train": 96, "validation": 24, "test": 48}
CLONING = CloningConfig(samples=200_000, epochs=4)  #: 3 CPU s; as good as the default of 9 on these markets
PLAIN = "plain agent (clone)"
MEMBERS = 5
QUANTILE_STEPS = 60_000  #: env steps of QR-DQN from the clone
ADAPTED_ON = (0, 192, 672, 2688)  #: bars of 15m: nothing, two days, one week, four
RATES = (3e-4, 1e-3)  #: of adaptation
CLONING_OF_BARS = CloningConfig(samples=200_000, epochs=2, learning_rate=3e-4)  #: as recipes clone labels of bars
COPIES = (1, 2, 4, 8)
SIZES = (0.01, 0.1)  #: equity of a copy, as a share of what a market's median bar trades
IMPACT = 1.0  #: of order one, as Toth et al. 2011 find


@dataclass(frozen=True)
class Stage:
    """The extractor that ships, the settings that follow from it, and embedded markets by seed family."""

    extractor: Extractor
    settings: TradingSettings
    parts: dict[str, EmbeddedMarkets]

    @property
    def training(self) -> TrainingMarkets:
        """Markets to learn on and to choose by."""
        return TrainingMarkets(self.parts["train"], self.parts["validation"])

    @property
    def test(self) -> EmbeddedMarkets:
        """Markets to be judged on."""
        return self.parts["test"]


@lru_cache(maxsize=2)
def stage(task: str = TASK) -> Stage:
    """Made once per process; embeddings are kept on disk."""
    extractor = Extractor.load("default")
    settings = AgentTrainingConfig().settings_for(extractor)
    parts = {
        family: EmbeddedMarkets.of(
            extractor, synthetic_markets(task, family, count, DAYS, settings, progress=False), progress=False
        )
        for family, count in MARKETS.items()
    }  # fmt: skip
    return Stage(extractor, settings, parts)


def clone_of(seed: int, member: int = 0) -> Agent:
    """The plain agent of a seed, and with `member` another one of the same seed's ensemble."""
    at, own = stage(), spread_seed(seed, f"member {member}")
    return cloned(at.extractor, at.training, at.settings, CLONING, seed=own, progress=False)


def optimum(part: str) -> NDArray[np.float64]:
    """(M,) expected log-returns of the filter oracle on the bars of the test markets that a part is judged on."""
    at = stage()
    labelled = at.test.labelled
    oracle = baselines.oracle(labelled, at.settings)
    return (after(oracle, at.test) if part == "meta" else rolled(oracle)).expected(labelled)


def rolled(policy: TradingPolicy) -> Rollout:
    """What a policy does on the whole of the test markets."""
    at = stage()
    return roll(policy, at.test.labelled, whole_markets(at.test.labelled), at.settings)


def found(rollout: Rollout, **told: Any) -> dict[str, Any]:
    """Plain values of a rollout on the test markets: earned (expected) and realised per market, and net figures."""
    at, markets = stage(), len(stage().test.labelled)
    earned, realised = (
        values.reshape(markets, -1).mean(axis=1)  # of several copies on a market, the mean
        for values in (rollout.expected(at.test.labelled), rollout.realised)
    )
    figures = net_figures(rollout, at.settings)
    return {"earned": earned.tolist(), "realised": realised.tolist(), **figures, **told}


def uncertainty(seed: int) -> dict[str, dict[str, Any]]:
    """An ensemble of clones: its mean alone, and with position sizes by agreement."""
    at = stage()
    members = tuple(clone_of(seed, member) for member in range(MEMBERS))
    test, validation = at.test, at.parts["validation"]
    rows = {PLAIN: found(rolled(members[0].on(test.labelled, test.table)), margin=members[0].margin)}
    tuned = tune_ensemble(EnsembleAgent(members), validation.labelled, validation.table)
    cases = {
        f"ensemble of {MEMBERS}: the mean decides": tuned.changed(caution=0.0),
        f"ensemble of {MEMBERS}: size by agreement, caution tuned": tuned,
        **{f"ensemble of {MEMBERS}: size by agreement, caution {c:g}": tuned.changed(caution=c) for c in CAUTIONS[2:4]},
    }
    for name, ensemble in cases.items():
        rollout = rolled(ensemble.on(test.labelled, test.table))
        rows[name] = found(rollout, margin=ensemble.margin, caution=ensemble.caution)
    return rows


def quantiles(seed: int) -> dict[str, dict[str, Any]]:
    """QR-DQN from the clone: as it stands, and with position sizes by the spread of its quantiles."""
    at = stage()
    clone, test, validation = clone_of(seed), at.test, at.parts["validation"]
    config = replace(new_config("qrdqn"), steps=QUANTILE_STEPS)
    entry = ALGORITHMS["qrdqn"]
    learner = getattr(import_module(entry.module), entry.builder)(
        clone, at.training.train, config, seed=spread_seed(seed, "learning")
    )
    schedule = Schedule(QUANTILE_STEPS, QUANTILE_STEPS // 2)
    kept = improve(learner, clone, ("qrdqn", entry.head), validation, schedule, progress=False).agent
    # the weights that did best on validation markets may be those it began with, which say nothing of spread
    agent = tune_margin(replace(kept, policy=copy_of(learner.policy)), validation.labelled)
    rows = {PLAIN: found(rolled(clone.on(test.labelled, test.table)), margin=clone.margin)}
    rollout = rolled(agent.on(test.labelled, test.table))
    rows["QR-DQN from the clone, last weights"] = found(rollout, margin=agent.margin)
    sized = tune_caution(EnsembleAgent((agent,), margin=agent.margin), validation.labelled, validation.table)
    for name, one in (("caution tuned", sized), ("caution 0.5", sized.changed(caution=0.5))):
        rollout = rolled(one.on(test.labelled, test.table))
        rows[f"the same, size by spread of quantiles, {name}"] = found(rollout, margin=one.margin, caution=one.caution)
    return rows


def crowd(seed: int) -> dict[str, dict[str, Any]]:
    """Copies of the clone that share the markets they trade; each pays for the impact of all."""
    at = stage()
    clone, labelled = clone_of(seed), at.test.labelled
    policy = clone.on(labelled, at.test.table)
    rows = {PLAIN: found(rolled(policy), margin=clone.margin)}
    settings = replace(at.settings, costs=replace(at.settings.costs, impact=IMPACT))
    traded = [float(np.median(t.market.prices[:, VOLUME] * t.market.prices[:, CLOSE])) for t in labelled]
    for size in SIZES:
        for copies in COPIES:
            ran = roll_crowd(policy, labelled, settings, copies, size * np.asarray(traded))
            names = [f"{n} together, each {size:.0%} of a median bar's volume" for n in (COPIES[0], copies)]
            told = {"slippage": float(ran.slippage.mean()), "copies": copies, "size": size}
            rows[names[1]] = found(ran.rollout, **told, **({"against": names[0]} if copies > COPIES[0] else {}))
    return rows


def limits(seed: int) -> dict[str, dict[str, Any]]:
    """A slow policy that sets limits for the clone when a 4h bar, or a day, closes; also without its margin."""
    at = stage()
    clone, test = clone_of(seed), at.test
    rows = {PLAIN: found(rolled(clone.on(test.labelled, test.table)), margin=clone.margin)}
    for timeframe in ("4h", "1d"):
        limiter = fit_limits(clone, at.training, LimitsConfig(timeframe=timeframe), seed=spread_seed(seed, timeframe))
        for name, one in (("margin tuned", limiter), ("no margin", limiter.with_margin(0.0))):
            policy = one.on(test.labelled, test.table)
            rollout = rolled(policy)
            inside = np.concatenate([
                policy.in_force(np.column_stack([np.full(t.steps, m), np.arange(t.first, t.first + t.steps)]))
                for m, t in enumerate(test.labelled)
            ])  # fmt: skip
            told = {"slow_margin": min(one.margin, 1e9), "limited": float((inside != 0).mean())}
            rows[f"limits every {timeframe}, {name}"] = found(rollout, **told)
    return rows


def meta(seed: int) -> dict[str, dict[str, Any]]:
    """Adaptation to test markets of "standard" in N of their bars, of agents that learned from "easy" and "hard" alone.

    Everything is judged on the same bars, those after the most that is adapted on. Labels are of bars, without truth;
    the rate of adaptation, the same for both, is that by which plain fine-tuning earns most on validation markets of
    "easy" and "hard".
    """
    at = stage()
    train, validation = (elsewhere(family) for family in ("train", "validation"))
    began = cloned(
        at.extractor, TrainingMarkets(train, validation), at.settings, CLONING_OF_BARS,
        seed=spread_seed(seed, "elsewhere"), progress=False,
    )  # fmt: skip
    earned = []
    for rate in RATES:
        agents = adapted_to(began, validation, ReptileConfig().bars, rate, seed)
        rollout = after(PerMarketPolicy(agents, validation.table), validation)
        earned.append(float(rollout.expected(validation.labelled).sum()))
    rate = RATES[int(np.argmax(earned))]
    config = ReptileConfig(adaptation=AdaptationConfig(learning_rate=rate))
    learned = reptile(began, train, config, seed=spread_seed(seed, "reptile"), progress=False)
    learned = tune_margin(learned, validation.labelled)
    plain = clone_of(seed)
    rows = {PLAIN: found(after(plain.on(at.test.labelled, at.test.table), at.test), margin=plain.margin)}
    for kind, beginning in (("fine-tuned", began), ("Reptile", learned)):
        for bars in ADAPTED_ON:
            agents = adapted_to(beginning, at.test, bars, rate, seed)
            rollout = after(PerMarketPolicy(agents, at.test.table), at.test)
            against = {"against": f"fine-tuned on {bars} bars"} if kind == "Reptile" else {}
            rows[f"{kind} on {bars} bars"] = found(rollout, bars=bars, rate=rate, margin=beginning.margin, **against)
    return rows


@lru_cache(maxsize=2)
def elsewhere(family: str) -> EmbeddedMarkets:
    """Markets of "easy" and "hard", half of each, with labels that need no truth."""
    at, labelled = stage(), []
    for task in ("easy", "hard"):
        made = synthetic_markets(task, family, MARKETS[family] // 2, DAYS, at.settings, progress=False)
        for one in made:
            labels, kind = bar_labels("horizon", one.market.bars, at.settings.turnover_cost, at.settings.positions)
            labelled.append(replace(one, labels=labels, label_kind=kind))
    return EmbeddedMarkets.of(at.extractor, labelled, progress=False)


def adapted_to(agent: Agent, markets: EmbeddedMarkets, bars: int, rate: float, seed: int) -> list[Agent]:
    """The agent after the first `bars` decidable bars of each market."""
    if bars == 0:
        return [agent] * len(markets.labelled)
    found, rng = [], np.random.default_rng(spread_seed(seed, "adapting"))
    for number, one in enumerate(markets.labelled):
        lesson = lesson_of(
            one.market.bars, int(markets.table.offsets[number]), one.first, one.first + bars, agent.settings
        )
        found.append(adapted(agent, markets.table, lesson, AdaptationConfig(learning_rate=rate), rng))
    return found


def after(policy: TradingPolicy, markets: EmbeddedMarkets) -> Rollout:
    """What a policy does on each market after the most that is adapted on."""
    whole = whole_markets(markets.labelled)
    rows = RolloutRows(whole.market, whole.start + max(ADAPTED_ON), whole.steps - max(ADAPTED_ON))
    return roll(policy, markets.labelled, rows, stage().settings)


PARTS: dict[str, Callable[[int], dict[str, dict[str, Any]]]] = {
    "crowd": crowd,
    "uncertainty": uncertainty,
    "quantiles": quantiles,
    "limits": limits,
    "meta": meta,
}
