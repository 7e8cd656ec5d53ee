"""What a walk-forward says: folds, efficiency, regimes, figures over seeds and markets, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.evaluation.backtest.backtesting import Backtest, against_chance, buy_and_hold
from agents.evaluation.backtest.judgement import plain
from agents.evaluation.walk_forward.regimes import RegimeRules, regime_table
from agents.evaluation.walk_forward.stitched import Stitched
from cryptoenv.analysis.resampling import Interval, stratified_interval
from cryptoenv.analysis.statistics import Moments
from cryptoenv.analysis.trial_ledger import Trial, Tried, record_trials, tried
from cryptoenv.analysis.verdict import Verdict, verdict
from cryptoenv.bars.timeframe import DAY_MS, timeframe_ms
from pretrain.data.folds import Border

NO_GAIN = "no gain in training"  #: there is nothing that the test could keep a share of
Efficiency = float | str


def efficiency(train: float, test: float) -> Efficiency:
    """The share of what an agent earned per day where it learned that it earned where it is judged.

    Where it gained nothing even there a ratio would call a larger loss better: it is `NO_GAIN`, and the difference of
    the two, which always means something, is told beside.
    """
    return test / train if train > 0.0 else NO_GAIN


@dataclass(frozen=True)
class TrainedFold:
    """What is kept of one training: its agent and where it comes from.

    Attributes:
        fold, seed: which.
        weights: sha256 (hex) of the agent's weights.
        trained: first and last bar that was learned from, per market; chosen: of those it was chosen by.
        earned: net log-return per day where it learned, per market.
    """

    fold: int
    seed: int
    weights: str
    trained: tuple[tuple[str, str], ...]
    chosen: tuple[tuple[str, str], ...]
    earned: tuple[float, ...]


@dataclass(frozen=True)
class Findings:
    """All that a walk-forward says.

    Attributes:
        folds: a row per fold, seed and market.
        regimes: a row per market and regime, over all seeds.
        methods: a row per seed and market, and buy and hold.
        figures: intervals over seeds and markets, and p-values against chance.
        search: what the ledger knows of trials on the data.
        verdict: of the mean over seeds and markets, per day.
    """

    folds: pd.DataFrame
    regimes: pd.DataFrame
    methods: pd.DataFrame
    figures: dict[str, Any]
    search: Tried
    verdict: Verdict

    def metrics(self) -> dict[str, Any]:
        """Plain values for JSON."""
        said = {"word": self.verdict.word, "because": self.verdict.because, **self.verdict.figures}
        found: dict[str, Any] = plain({"figures": self.figures, "search": asdict(self.search), "verdict": said})
        return found

    def lines(self) -> list[str]:
        """What is printed below the tables."""
        mean = self.figures["log_return_per_day"]
        kinds = ", ".join(f"{count} of {kind}" for kind, count in sorted(self.search.kinds.items()))
        chance = ", ".join(f"{name} {value:.3f}" for name, value in self.figures["chance"].items())
        return [
            f"interquartile mean over seeds and markets: {100.0 * mean['value']:+.4f}% a day "
            f"[{100.0 * mean['low']:+.4f}, {100.0 * mean['high']:+.4f}]; beats buy and hold with probability "
            f"{self.figures['beats_holding']['value']:.2f}",
            f"efficiency: {_words(self.figures['efficiency'])} (train {100.0 * self.figures['train_per_day']:+.4f}%, "
            f"test {100.0 * self.figures['test_per_day']:+.4f}% a day)",
            f"chance:     p = {chance}",
            f"trials:     {self.search.trials} on this data ({kinds})",
            self.verdict.line,
        ]


def _words(value: Efficiency) -> str:
    return value if isinstance(value, str) else f"{value:.2f}"


def find_out(
    stitched: Sequence[Stitched],
    trained: Sequence[TrainedFold],
    borders: Sequence[Border],
    *,
    ledger: Path,
    data: str,
    what: str,
    rules: RegimeRules | None = None,
    states: Sequence[pd.Series] = (),
    seed: int = 0,
) -> Findings:
    """Put the records of all seeds together.

    Args:
        stitched: one per seed.
        trained: of every fold and seed (of a frozen walk-forward: of the first fold).
        borders: of the folds.
        ledger: file of the ledger; each seed is a trial.
        data: what the ledger calls the markets. what: what it calls the recipe and the plan.
        rules: of the regimes. states: of a segmenter, per market by the opens of its bars; each is a regime, too.
        seed: of resampling.
    """
    per_day = np.array([one.log_returns().sum(axis=1) / _days(one) for one in stitched])  # (seeds, markets)
    holding = [buy_and_hold(one) for one in stitched[0].backtests]
    held = np.array([[one.log_return for one in holding]]) / _days(stitched[0])
    record_trials(ledger, [_trial(one, data, what) for one in stitched])
    search = tried(ledger, data)
    chance = _chance(stitched, seed)
    folds = _fold_table(stitched, trained, borders)
    train, test = float(folds["train_per_day"].mean()), float(folds["test_per_day"].mean())
    improvement = stratified_interval(per_day, against=held, seed=seed)
    figures: dict[str, Any] = {
        "log_return_per_day": asdict(_spread(per_day, seed)), "beats_holding": asdict(improvement),
        "train_per_day": train, "test_per_day": test, "efficiency": efficiency(train, test), "chance": chance,
        "days": _days(stitched[0]),
    }  # fmt: skip
    days: NDArray[np.float64] = np.mean([one.days() for one in stitched], axis=0)
    p_values = {f"random positions of equal turnover ({name})": value for name, value in chance.items()}
    said = verdict(days, search.trials, variance=search.variance, p_values=p_values, seed=seed)
    return Findings(folds, _regime_table(stitched, rules, states), _methods(stitched, holding), figures, search, said)


def _chance(stitched: Sequence[Stitched], seed: int) -> dict[str, float]:
    """Per market, the median over seeds of the p-value against random positions of equal dwell and turnover."""
    return {
        first.name: float(np.median([against_chance(one.backtests[m], seed=seed).p_value for one in stitched]))
        for m, first in enumerate(stitched[0].backtests)
    }


def _spread(per_day: NDArray[np.float64], seed: int) -> Interval:
    return stratified_interval(per_day, "iqm", seed=seed)


def _days(one: Stitched) -> float:
    return int(one.steps[-1]) * timeframe_ms(one.backtests[0].market.timeframes[0]) / DAY_MS


def _trial(one: Stitched, data: str, what: str) -> Trial:
    days = one.days()
    sharpe = Moments.of(days).sharpe if len(days) > 1 else None
    return Trial("walk-forward", data, f"{what} seed={one.seed}", sharpe, len(days))


def _fold_table(
    stitched: Sequence[Stitched], trained: Sequence[TrainedFold], borders: Sequence[Border]
) -> pd.DataFrame:
    by_place = {(one.fold, one.seed): one for one in trained}
    rows = []
    for record in stitched:
        earned = record.log_returns()
        days = np.diff(record.steps) * timeframe_ms(record.backtests[0].market.timeframes[0]) / DAY_MS
        for fold, border in enumerate(borders):
            agent = by_place.get((fold, record.seed)) or by_place[0, record.seed]
            for number, one in enumerate(record.backtests):
                train, test = agent.earned[number], float(earned[number, fold] / days[fold])
                rows.append({
                    "fold": fold, "seed": record.seed, "market": one.name, "test_from": _moment(border.test_start),
                    "test_to": _moment(border.test_stop), "weights": agent.weights,
                    "trained_from": agent.trained[number][0], "trained_to": agent.trained[number][1],
                    "chosen_to": agent.chosen[number][1], "train_per_day": train, "test_per_day": test,
                    "efficiency": efficiency(train, test), "change_per_day": test - train,
                })  # fmt: skip
    return pd.DataFrame(rows)


def _moment(milliseconds: int) -> str:
    return pd.Timestamp(milliseconds, unit="ms", tz="UTC").isoformat()


def _regime_table(
    stitched: Sequence[Stitched], rules: RegimeRules | None, states: Sequence[pd.Series]
) -> pd.DataFrame:
    """Per market, net log-return per day in each regime, over all seeds (bars are those of one)."""
    tables = []
    for number, first in enumerate(stitched[0].backtests):
        mean = np.mean([np.diff(np.log(one.backtests[number].equity)) for one in stitched], axis=0)
        held = np.diff(np.log(buy_and_hold(first).equity))
        table = regime_table(
            first.market, first.trace.first, mean, held, rules, states[number] if states else None
        )
        tables.append(table.assign(market=first.name))
    return pd.concat(tables, ignore_index=True)


def _methods(stitched: Sequence[Stitched], holding: Sequence[Backtest]) -> pd.DataFrame:
    named: dict[str, Backtest] = {}
    for record in stitched:
        named |= {f"{one.name}, seed {record.seed}": one for one in record.backtests}
    named |= {f"{one.market.name or 'market'}, buy and hold": one for one in holding}
    return pd.DataFrame.from_dict({name: _told(one) for name, one in named.items()}, orient="index")


def _told(one: Backtest) -> Mapping[str, Any]:
    return one.figures()
