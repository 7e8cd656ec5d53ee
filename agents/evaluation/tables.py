"""Evaluate methods on unseen markets: shares of the optimum on synthetic ones, plain net figures on real ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.algorithms.threads import one_thread
from agents.evaluation import baselines
from agents.evaluation.charges import charged_in_words as charged_in_words  # where it was before
from agents.evaluation.charges import with_impact
from agents.evaluation.composed_tuning import ensemble_lines
from agents.evaluation.rollout import Rollout, roll, rows_by_length, whole_markets
from agents.evaluation.scoring import Estimate, mean, score
from agents.markets.embedded import embed
from agents.markets.expert_market import ExpertMarket, split_market, synthetic_market, synthetic_markets
from agents.markets.own_markets import MarketSource, maker_for, own_markets, task_named
from agents.policies.agent import Agent
from agents.policies.trading_policy import TradingPolicy
from agents.run_folders.run_folder import Run, learned_until
from agents.run_folders.run_origin import CLONE_NAME, agent_name, kept_clone, own_inputs, own_market
from agents.settings import TradingSettings
from cryptoenv.analysis.performance import performance
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.progress import tqdm
from pretrain import MarketLayout
from pretrain.fitting.market_inputs import FRACTIONS, MarketInputs, MarketMaker
from synthetic import family_of

DEFAULT_TASK = "standard"  #: what is judged on where a run does not say what it was trained on
ORACLE = "filter oracle"
FLAT = "flat"
YEAR_MS = 365 * 24 * 3600 * 1000
DEFAULT_SPLIT = "validation"  #: "test" is asked for by name
PARTS = ("validation", "test")  #: of one's own markets, in time, that agents may be judged on
EVALUATED = ("validation", "test", "demo")  #: seed families that agents may be judged on
NO_SHARE = Estimate(math.nan, math.nan, math.nan)  #: of an optimum that lost


def baseline_policies(
    labelled: Sequence[ExpertMarket], settings: TradingSettings, rule: baselines.CrossRule, seed: int
) -> dict[str, TradingPolicy]:
    """The methods every agent is compared with, on these markets."""
    found: dict[str, TradingPolicy] = {
        FLAT: baselines.constant(labelled, settings, 0.0),
        "buy and hold": baselines.constant(labelled, settings, 1.0),
        "random": baselines.random(settings, seed),
        "EMA cross (tuned)": rule.policy(labelled, settings),
    }
    if all(t.truth is not None for t in labelled):
        found[ORACLE] = baselines.oracle(labelled, settings)
    return found


def agent_policies(agents: Mapping[str, Agent], labelled: Sequence[ExpertMarket]) -> dict[str, TradingPolicy]:
    """The agents' decisions on these markets; markets are embedded once per extractor."""
    tables = {agent.extractor.hash: agent.extractor for agent in agents.values()}
    embedded = {key: embed(extractor, labelled) for key, extractor in tables.items()}
    return {name: agent.on(labelled, embedded[agent.extractor.hash]) for name, agent in agents.items()}


def rollouts_of_each(
    policies: Mapping[str, TradingPolicy], labelled: Sequence[ExpertMarket], settings: TradingSettings
) -> dict[str, list[Rollout]]:
    """As `rollouts`, of markets of any lengths: one rollout for those of each length."""
    groups = rows_by_length(labelled)
    bar = tqdm(policies.items(), desc="evaluating", unit="method")
    return {name: [roll(policy, labelled, rows, settings) for rows in groups] for name, policy in bar}


def rollouts(
    policies: Mapping[str, TradingPolicy],
    labelled: Sequence[ExpertMarket],
    settings: TradingSettings,
    *,
    progress: bool = True,
) -> dict[str, Rollout]:
    """Run every method over the whole of every market, from flat, through the env."""
    rows = whole_markets(labelled)
    bar = tqdm(policies.items(), desc="evaluating", unit="method", disable=not progress)
    return {name: roll(policy, labelled, rows, settings) for name, policy in bar}


def score_table(
    found: Mapping[str, Rollout], labelled: Sequence[ExpertMarket], settings: TradingSettings, *, seed: int = 0
) -> pd.DataFrame:
    """One line per method on synthetic markets; `seed` draws the bootstrap.

    Columns: `score` (expected), `realised_score`, each with `_low` and `_high` (95% bootstrap over markets), then the
    plain figures of `net_figures`. The realised score is NaN where the optimum happened to lose on these markets: few
    and short ones.

    Raises:
        ValueError: no filter oracle among the methods, or one that is not expected to earn anything.
    """
    if ORACLE not in found:
        raise ValueError(f"scores need the method {ORACLE!r} among {sorted(found)}")
    optimum = {"score": found[ORACLE].expected(labelled), "realised_score": found[ORACLE].realised}
    lines = {}
    for name, rollout in found.items():
        earned = {"score": rollout.expected(labelled), "realised_score": rollout.realised}
        line: dict[str, float] = {}
        for column, values in earned.items():
            lost = column == "realised_score" and not optimum[column].sum() > 0.0
            line |= _columns(column, NO_SHARE if lost else score(values, optimum[column], seed=seed))
        lines[name] = line | net_figures(rollout, settings)
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("method")


def plain_table(found: Mapping[str, Rollout | Sequence[Rollout]], settings: TradingSettings) -> pd.DataFrame:
    """One line per method on real bars: net log-return per day with a bootstrap interval over weeks, and the rest.

    Of several rollouts of a method, weeks are pooled, and the other figures are averages over rows.
    """
    lines = {}
    for name, given in found.items():
        each = [given] if isinstance(given, Rollout) else list(given)
        estimate = mean(np.concatenate([_weekly(rollout, settings) for rollout in each]) / 7.0)
        figures = pd.DataFrame([net_figures(rollout, settings) for rollout in each])
        rows = np.array([len(rollout.rows.market) for rollout in each], dtype=np.float64)
        averages = {column: float(np.average(figures[column], weights=rows)) for column in figures}
        lines[name] = _columns("daily_log_return", estimate) | averages
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("method")


def net_figures(rollout: Rollout, settings: TradingSettings) -> dict[str, float]:
    """Averages over rows: net log-return (total and per day), Sharpe, drawdown, turnover and exposure.

    `log_return` is the net log-return of a whole row, `return_per_day` its share of a day, `sharpe` annualised,
    `max_drawdown` a fraction, `turnover_per_day` in units of equity, `mean_exposure` the mean absolute exposure.
    """
    bars_per_year = YEAR_MS / timeframe_ms(settings.timeframes[0])
    per_row = [performance(rollout.equity[:, n], bars_per_year) for n in range(rollout.equity.shape[1])]
    days = rollout.rows.steps * timeframe_ms(settings.timeframes[0]) / (24 * 3600 * 1000)
    return {
        "log_return": float(rollout.realised.mean()),
        "return_per_day": float(rollout.realised.mean() / days),
        "sharpe": _mean_of(per_row, "sharpe"),
        "max_drawdown": _mean_of(per_row, "max_drawdown"),
        "turnover_per_day": float(rollout.turnover.sum(axis=0).mean() / days),
        "mean_exposure": float(np.abs(rollout.exposure).mean()),
    }


def _mean_of(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    """Mean over rows, where a figure that does not exist (the Sharpe ratio of a flat line) counts as 0."""
    return float(np.nan_to_num([row[name] for row in rows]).mean())


def _columns(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _weekly(rollout: Rollout, settings: TradingSettings) -> NDArray[np.float64]:
    """Net log-returns of the weeks of a rollout, all rows pooled: (weeks,). Less than a week counts as one."""
    week = 7 * 24 * 3600 * 1000 // timeframe_ms(settings.timeframes[0])
    logs = np.log(rollout.equity)
    marks = logs[::week] if len(logs) > week else logs[[0, -1]]
    return np.diff(marks, axis=0).ravel()


def evaluate(
    run: Run,
    *,
    market: MarketSource | None = None,
    split: str = DEFAULT_SPLIT,
    markets: int = 32,
    days: int = 60,
    inputs: MarketInputs | None = None,
) -> pd.DataFrame:
    """Score a run's agent and clone beside the baselines on unseen markets.

    Args:
        run: a trained run.
        market: name of a synthetic task, or one or several markets of your own, as `agents.train` takes them. None is
            what the run was trained on.
        split: "validation" to choose by, "test" for final figures: the seed family of a task's markets, or the part in
            time of your own.
        markets: how many, of a task.
        days: tradable days of each, of a task.
        inputs: the reference market, exogenous columns and split fractions of your own bars; those that the run was
            trained with where nothing is said. Funding rates are the run's own on its own bars alone.

    Returns:
        The table of `score_table`, on markets of one's own that of `plain_table`. The moving-average cross is tuned on
        validation markets.

    Raises:
        ValueError: an unknown task or split; bars that end before what the run learned from.
    """
    own = own_market(run) or DEFAULT_TASK if market is None else market
    return evaluate_runs([run], market=own, split=split, markets=markets, days=days, inputs=inputs)


@one_thread()
def evaluate_runs(
    runs: Sequence[Run],
    *,
    market: MarketSource,
    split: str = DEFAULT_SPLIT,
    markets: int = 32,
    days: int = 60,
    seeds: Sequence[int] = (),
    inputs: MarketInputs | None = None,
    together: bool = False,
) -> pd.DataFrame:
    """As `evaluate`, for runs of the same settings (agents' seeds, say); with several, each has a line of its own.

    `seeds`: of the markets, in place of the first `markets` of `split`; none that anything learns from. `together`:
    also what the runs' agents decide as an ensemble, on a task.
    """
    task = task_named(market)
    if task is None:
        if together:
            raise ValueError("an ensemble is tuned on validation markets of a task: name one, or use EnsembleAgent")
        return evaluate_on_bars(runs, market, split=split, inputs=inputs)
    layout = run_maker(runs[0], inputs).layout
    if inputs is not None:
        inputs.require_own(f"{task} is a task")
    for seed in seeds:
        if family_of(seed) not in (None, *EVALUATED):
            raise ValueError(f"seed {seed} is of the family {family_of(seed)!r}, which teaches: judge on {EVALUATED}")
    settings = runs[0].agent.settings
    labelled, rule = judging_markets(task, split, markets, days, settings, seeds=seeds, layout=layout)
    policies = judged_policies(named_agents(runs), labelled, settings, rule)
    if together:
        policies |= ensemble_lines([run.agent for run in runs], task, labelled, days=days, layout=layout)
    return score_table(rollouts(policies, labelled, settings), labelled, settings)


def judged_policies(
    agents: Mapping[str, Agent],
    labelled: Sequence[ExpertMarket],
    settings: TradingSettings,
    rule: baselines.CrossRule,
    seed: int = 0,
) -> dict[str, TradingPolicy]:
    """The lines of every table, in their order: agents, then what they are compared with."""
    return agent_policies(agents, labelled) | baseline_policies(labelled, settings, rule, seed)


def require_judged(split: str) -> None:
    """Check that a seed family teaches nothing.

    Raises:
        ValueError: it does, or there is no such family.
    """
    if split not in EVALUATED:
        raise ValueError(f"split={split!r} is not allowed: agents are judged on {EVALUATED}, which teach nothing")


def judging_markets(
    market: str,
    split: str,
    markets: int,
    days: int,
    settings: TradingSettings,
    *,
    seeds: Sequence[int] = (),
    layout: MarketLayout | None = None,
) -> tuple[tuple[ExpertMarket, ...], baselines.CrossRule]:
    """Markets to judge on (the first of `split`, or those of `seeds`), and the rule tuned on validation markets.

    Raises:
        ValueError: a task or split that is not allowed.
    """
    require_judged(split)
    if seeds:
        labelled = tuple(synthetic_market(market, seed, days, settings, layout=layout) for seed in seeds)
    else:
        labelled = synthetic_markets(market, split, markets, days, settings, layout=layout)
    return labelled, baselines.tuned_cross(synthetic_markets(market, "validation", 8, days, settings), settings)


@one_thread()
def evaluate_on_bars(
    runs: Sequence[Run], source: MarketSource, *, split: str = DEFAULT_SPLIT, inputs: MarketInputs | None = None
) -> pd.DataFrame:
    """The table of `plain_table` on a part of one's own markets, with the runs' costs and market impact.

    Of that part only what lies after every bar that a run learned from (for "test": or chose by) is looked at,
    whatever file those bars came from.

    Args:
        runs: of the same settings.
        source: markets of one's own.
        split: "validation" or "test", parts of each market in time.
        inputs: as of `evaluate`.

    Raises:
        ValueError: an unknown split; the bars end before that.
    """
    require_part(split)
    settings = with_impact(runs[0].agent.settings)
    learned = learned_before(runs, split)
    unseen, rule = judging_parts(source, split, settings, learned, maker=run_maker(runs[0], inputs, source))
    return plain_table(
        rollouts_of_each(judged_policies(named_agents(runs), unseen, settings, rule), unseen, settings), settings
    )


def run_maker(run: Run, inputs: MarketInputs | None = None, market: MarketSource | None = None) -> MarketMaker:
    """What makes the markets that a run reads: with its extractor's features, and `inputs` over its own.

    Args:
        run: whose.
        inputs: what counts before what it was trained with.
        market: what is looked at; the run's own funding rates are of its own markets alone.

    Raises:
        ArtifactError: `inputs` contradict the extractor.
    """
    own = own_inputs(run, market)
    return maker_for(run.agent.extractor, own if inputs is None else inputs.over(own), f"the run {run.folder}")


def learned_before(runs: Sequence[Run], split: str) -> list[pd.Timestamp]:
    """Open times of the last bars that runs learned from (for "test": or chose by)."""
    return [until for run in runs if (until := learned_until(run, selection=split == "test")) is not None]


def judging_parts(
    source: MarketSource,
    split: str,
    settings: TradingSettings,
    learned: Sequence[pd.Timestamp] = (),
    *,
    maker: MarketMaker | None = None,
) -> tuple[list[ExpertMarket], baselines.CrossRule]:
    """That part of each of one's own markets, what lies after all of `learned`, and the rule tuned on validation parts.

    Raises:
        ValueError: an unknown split; bars that end before that.
    """
    require_part(split)
    fractions = maker.inputs.fractions if maker is not None else FRACTIONS
    parts = [split_market(market, settings, fractions) for market in own_markets(source, settings, maker)]
    unseen = [_after(part.test if split == "test" else part.validation, learned, split) for part in parts]
    return unseen, baselines.tuned_cross([part.validation for part in parts], settings)


def require_part(split: str) -> None:
    """Check that a part of one's own markets may be judged on.

    Raises:
        ValueError: it may not, or there is no such part.
    """
    if split not in PARTS:
        raise ValueError(f"split={split!r} is not allowed: markets of your own are judged on {PARTS}, parts in time")


def _after(part: ExpertMarket, learned: Sequence[pd.Timestamp], split: str) -> ExpertMarket:
    """The market, with decisions that come after all moments in `learned` alone."""
    if not learned:
        return part
    index = part.market.bars.index
    first = max(part.first, int(index.searchsorted(max(learned), side="right")) - 1)
    if first >= len(index) - 1:
        name = part.market.name or "the market"
        raise ValueError(
            f"{split} of {name} ends at {index[-1]}, and the agent has learned from bars until {max(learned)}: judge "
            "on later bars" + ("" if split == "test" else ", or look at the test part with --split test")
        )
    return replace(part, first=first)


def named_agents(runs: Sequence[Run]) -> dict[str, Agent]:
    """Agents and clones of runs by the names they have in tables."""
    found: dict[str, Agent] = {}
    for run in runs:
        found |= agent_rows(run, is_clone=kept_clone(run), suffix="" if len(runs) == 1 else f" ({run.folder.name})")
    return found


def agent_rows(run: Run, *, is_clone: bool, suffix: str = "") -> dict[str, Agent]:
    """A run's lines in every table: its agent, then the clone it started from.

    Args:
        run: whose.
        is_clone: whether the agent's weights are still the clone's.
        suffix: tells several runs apart.
    """
    return {agent_name(run.agent.algorithm, is_clone=is_clone) + suffix: run.agent, CLONE_NAME + suffix: run.clone}
