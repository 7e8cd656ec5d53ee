"""A trained agent before a report: judged on markets it did not learn from, with every trade, and looked into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.algorithms.threads import one_thread
from agents.evaluation.backtest.backtesting import Backtest, against_chance, backtest
from agents.evaluation.backtest.deciders import agent_desk, decisions_of
from agents.evaluation.charges import with_impact
from agents.evaluation.rollout import Rollout, rows_by_length
from agents.evaluation.stress import stress_table, stressed
from agents.evaluation.tables import (
    judged_policies,
    judging_markets,
    judging_parts,
    learned_before,
    named_agents,
    plain_table,
    rollouts_of_each,
    run_maker,
    score_table,
)
from agents.evaluation.walk_forward.regimes import regime_table
from agents.markets.embedded import EmbeddingTable
from agents.markets.expert_market import ExpertMarket
from agents.markets.own_markets import MarketSource, data_named, task_named
from agents.policies.trading_policy import TradingPolicy
from agents.reports.records.record import COSTS, HOLDING, Attention, Record, Track
from agents.run_folders.run_folder import Run
from agents.run_folders.run_origin import own_market
from agents.settings import TradingSettings
from cryptoenv.analysis.verdict import verdict
from cryptoenv.bars.timeframe import timeframe_ms

DEFAULT_TASK = "standard"
SHOWN = 2  #: markets whose trades and candles are shown
LOOKED_AT = 256  #: decisions that attention and importance are measured on
CHOSEN_BY = ", on markets that also chose the weights"


@dataclass(frozen=True)
class JudgeOn:
    """What an agent is judged on for a report.

    Attributes:
        source: a task's name or markets of one's own; what the run was trained on where None.
        split: "validation" or "test".
        markets: of a task.
        days: of each.
    """

    source: MarketSource | None = None
    split: str = "validation"
    markets: int = 8
    days: int = 60


@one_thread()
def judged(run: Run, on: JudgeOn, record: Record) -> dict[str, Any]:
    """What a judged agent adds to the record of its run, as arguments of `Record`.

    Raises:
        ValueError, FileNotFoundError: nothing to judge it on.
    """
    source = on.source or own_market(run) or DEFAULT_TASK
    settings, labelled, policies = _policies(run, source, on)
    first = next(iter(policies))
    found, backtests, seen = _traded(policies, first, labelled, settings)
    task = task_named(source)
    if task is None:
        methods = plain_table(found, settings)
    else:
        methods = score_table({name: one[0] for name, one in found.items()}, labelled, settings)
    tracks = [_track(backtests[n], first, found, n) for n in range(min(SHOWN, len(labelled)))]
    held = [_curve(found[HOLDING], n) for n in range(len(tracks))]
    regimes = pd.concat([
        regime_table(one.market, one.trace.first, np.diff(np.log(one.equity)), np.diff(np.log(curve)))
        .assign(market=track.name)
        for one, curve, track in zip(backtests, held, tracks, strict=False)
    ])  # fmt: skip
    days = np.concatenate([one.days() for one in backtests])
    chance: dict[str, float] = {}
    if task is None:
        for number, one in enumerate(backtests):
            place = one.market.name or f"market {number}"
            chance[f"random positions of equal turnover ({place})"] = against_chance(one).p_value
    said = verdict(days, 1, p_values=chance)
    where = (
        f"{len(labelled)} {on.split} markets of task {task!r}"
        if task
        else f"the {on.split} part of {data_named(source)}"
    )
    looked, importance, why = _insight(run, labelled[0], seen)
    sources = [{"what": f"judged on ({on.split})", "path": one.market.name or f"market {n}",
                "from": _moment(one.market, one.first), "to": _moment(one.market, len(one.market) - 1),
                "bars": one.steps, "hash": one.market.hash} for n, one in enumerate(labelled)]  # fmt: skip
    notes = ("The markets that it is judged on here also chose the agent's weights and hysteresis. Figures that count: "
             "`cryptoenv report RUN --split test`, once.",) if on.split == "validation" else ()  # fmt: skip
    return {
        "verdict": (said.word, said.because + (CHOSEN_BY if on.split == "validation" else "")),
        "judged": f"net returns of {len(days)} days on {where}; one trial is reckoned with",
        "tracks": tuple(tracks), "methods": methods, "regimes": regimes, "name": first,
        "stress": stress_table(list(stressed(backtests[0]))).reset_index().assign(market=tracks[0].name),
        "looked": looked, "importance": importance, "missing": {**record.missing, **why},
        "sources": (*record.sources, *sources), "notes": (*record.notes, *notes),
    }  # fmt: skip


def _policies(
    run: Run, source: MarketSource, on: JudgeOn
) -> tuple[TradingSettings, list[ExpertMarket], dict[str, TradingPolicy]]:
    settings = run.agent.settings
    task = task_named(source)
    if task is None:
        settings = with_impact(settings)
        maker = run_maker(run, None, source)
        labelled, rule = judging_parts(source, on.split, settings, learned_before([run], on.split), maker=maker)
    else:
        layout = run_maker(run).layout
        labelled, rule = judging_markets(task, on.split, on.markets, on.days, settings, layout=layout)  # type: ignore[assignment]
    return settings, list(labelled), judged_policies(named_agents([run]), labelled, settings, rule)


@dataclass(frozen=True)
class Seen:
    """Decisions (R,) of the first market: bars, and accounts (R, A) float32 as the agent saw them."""

    bars: NDArray[np.int64]
    accounts: NDArray[np.float32]


class _Noted:
    """A policy that keeps what the first row saw."""

    def __init__(self, policy: TradingPolicy) -> None:
        self._policy = policy
        self.positions = getattr(policy, "positions", None)
        self.continuous = bool(getattr(policy, "continuous", False))
        self.rows: list[tuple[int, NDArray[np.float32]]] = []

    def act(self, index: NDArray[np.int64], account: NDArray[np.float32]) -> NDArray[Any]:
        """What the policy does."""
        if index[0, 0] == 0:
            self.rows.append((int(index[0, 1]), account[0].copy()))
        return self._policy.act(index, account)


def _traded(
    policies: dict[str, TradingPolicy], first: str, labelled: list[ExpertMarket], settings: TradingSettings
) -> tuple[dict[str, list[Rollout]], list[Backtest], Seen]:
    """Rollouts of all methods, the agent's decisions once more through the kernel alone (the same equity, bit for bit,
    and every trade), and what it saw."""
    groups = rows_by_length(labelled)
    backtests: dict[int, Backtest] = {}
    noted = _Noted(policies[first])
    decided = [decisions_of(noted, labelled, rows, settings) for rows in groups]
    others = {name: policy for name, policy in policies.items() if name != first}
    found = {first: [one.rollout for one in decided]} | rollouts_of_each(others, labelled, settings)
    for rows, one in zip(groups, decided, strict=True):
        for column, number in enumerate(rows.market):
            market, start = labelled[number].market, int(rows.start[column])
            targets = np.full(len(market), np.nan)
            targets[start : start + rows.steps] = one.targets[:, column]
            backtests[int(number)] = backtest(
                market, targets, agent_desk(settings), first=start, last=start + rows.steps - 1, name=first
            )
    seen = Seen(np.array([bar for bar, _ in noted.rows], dtype=np.int64), np.stack([row for _, row in noted.rows]))
    return found, [backtests[number] for number in range(len(labelled))], seen


def _curve(rollouts: Sequence[Rollout], number: int) -> NDArray[np.float64]:
    """(S + 1,) equity of a market's row."""
    for one in rollouts:
        at = np.flatnonzero(one.rows.market == number)
        if len(at):
            return one.equity[:, int(at[0])]
    raise ValueError(f"no row of market {number}")


def _track(one: Backtest, name: str, found: dict[str, list[Rollout]], number: int) -> Track:
    table = one.equity_table()
    others = {other: _curve(rollouts, number) for other, rollouts in found.items() if other != name}
    limits = one.desk.trading.limits
    return Track(
        one.market.name or f"market {number + 1}", one.closes_ms, timeframe_ms(one.market.timeframes[0]),
        {name: one.equity, **others}, table["exposure"].to_numpy(), {kind: table[kind].to_numpy() for kind in COSTS},
        table[["open", "high", "low", "close"]], one.trades, limits.stop_loss, limits.take_profit,
    )  # fmt: skip


def _moment(market: Any, row: int) -> str:
    return str(market.bars.index[row].isoformat())


def _insight(
    run: Run, labelled: ExpertMarket, seen: Seen
) -> tuple[tuple[Attention, ...], dict[str, float], dict[str, str]]:
    """Attention of the extractor's summary, importance of features for the agent's decisions, and what is missing."""
    import torch

    from pretrain import Extractor
    from pretrain.data.windows import WindowSource

    extractor = run.agent.extractor
    if type(extractor) is not Extractor or extractor.config.memory:
        why = "the agent reads more than windows (a memory, or a segmenter's states): features cannot be hidden alone"
        return (), {}, {"looked": why, "importance": why}
    rows = np.linspace(0, len(seen.bars) - 1, min(LOOKED_AT, len(seen.bars))).astype(np.int64)
    windows = WindowSource([labelled.market], extractor.config.window).gather(
        np.zeros(len(rows), np.int64), seen.bars[rows]
    )
    model, accounts = extractor.model, seen.accounts[rows]
    index = np.stack([np.zeros(len(rows), np.int64), np.arange(len(rows), dtype=np.int64)], axis=1)

    def decided(given: Sequence[torch.Tensor]) -> NDArray[Any]:
        with torch.inference_mode():
            embedded = model(list(given)).numpy()
        return run.agent.decide_on(EmbeddingTable([embedded])).targets(index, accounts)

    own = decided(windows)
    names = extractor.config.feature_names
    importance: dict[str, float] = {}
    for k, timeframe in enumerate(extractor.config.timeframes):
        importance[f"all of {timeframe}"] = _changed(own, decided(_hidden(windows, {k: range(len(names[k]))})))
    for feature in dict.fromkeys(one for of in names for one in of):
        at = {k: [of.index(feature)] for k, of in enumerate(names) if feature in of}
        importance[feature] = _changed(own, decided(_hidden(windows, at)))
    if extractor.config.encoder != "transformer":
        return (), importance, {"looked": f"a {extractor.config.encoder} encoder has no attention"}
    return _attention(extractor, windows), importance, {}


def _changed(own: NDArray[Any], other: NDArray[Any]) -> float:
    return float((np.abs(own - other) > 1e-6).mean())


def _hidden(windows: Sequence[Any], columns: dict[int, Any]) -> list[Any]:
    """Windows whose columns hold, in every bar, the median of what these windows hold there."""
    found = []
    for k, window in enumerate(windows):
        copy = window.clone()
        for column in columns.get(k, ()):
            copy[:, :, column] = window[:, :, column].median()
        found.append(copy)
    return found


def _attention(extractor: Any, windows: Sequence[Any]) -> tuple[Attention, ...]:
    import torch

    config = extractor.config
    with torch.inference_mode():
        weights = extractor.model.attention(list(windows)).mean(dim=0).numpy()
    found, start = [], 1  # the summary itself comes first
    for timeframe, bars, patch in zip(config.timeframes, config.window, config.patches, strict=True):
        count = bars // patch
        ages = bars - patch * (np.arange(count) + 0.5)
        found.append(Attention(timeframe, ages, weights[start : start + count].astype(np.float64)))
        start += count
    return tuple(found)
