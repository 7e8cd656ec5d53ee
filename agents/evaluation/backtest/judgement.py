"""What a backtest says: its figures, beside buy and hold and chance, what a search was worth, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agents.evaluation.backtest.backtesting import CHANCES, Backtest, Chance, against_chance, buy_and_hold
from agents.evaluation.backtest.sweeping import Sweep
from agents.evaluation.stress import stress_table, stressed
from agents.evaluation.walk_forward.regimes import regime_table
from cryptoenv.analysis.statistics import Moments
from cryptoenv.analysis.trial_ledger import Trial, Tried, record_trials, tried
from cryptoenv.analysis.verdict import Verdict, verdict


@dataclass(frozen=True)
class Judged:
    """A backtest with all that it is compared with.

    Attributes:
        found: the strategy's. held: buy and hold over the same bars.
        chance: random positions of equal turnover.
        search: what the ledger knows of trials on the same data, this one among them.
        verdict: of its net returns per day.
        luck: of a sweep, its probability of overfitting and tests for data snooping.
        ceilings: what nobody can beat, where the truth is known.
        states: random states of equal dwell, where states were traded.
    """

    found: Backtest
    held: Backtest
    chance: Chance
    search: Tried
    verdict: Verdict
    luck: dict[str, Any]
    ceilings: tuple[Backtest, ...] = ()
    states: Chance | None = None

    def metrics(self) -> dict[str, Any]:
        """All of it as plain values for JSON."""
        found = self.found
        index = found.market.bars.index
        return {
            "strategy": found.name,
            "market": {"name": found.market.name, "hash": found.market.hash, "bars": len(found.market)},
            "first": index[found.trace.first].isoformat(),
            "last": index[found.trace.first + len(found.targets)].isoformat(),
            "desk": asdict(found.desk),
            "figures": found.figures(self.held),
            "monthly_returns": found.monthly_returns(),
            "buy_and_hold": self.held.figures(),
            "chance": _chance(self.chance),
            **({"chance_states": _chance(self.states)} if self.states is not None else {}),
            **({"ceilings": {one.name: one.figures(self.held) for one in self.ceilings}} if self.ceilings else {}),
            "search": asdict(self.search),
            "luck": self.luck,
            "verdict": {"word": self.verdict.word, "because": self.verdict.because, **self.verdict.figures},
        }

    def lines(self) -> list[str]:
        """What is printed below the table."""
        kinds = ", ".join(f"{count} of {kind}" for kind, count in sorted(self.search.kinds.items()))
        told = [f"chance:  {self.chance.words}"]
        if self.states is not None:
            told.append(f"states:  of equal dwell, at random: {self.states.words}")
        told += [f"ceiling: {share_of(self.found, one)} of {one.name}" for one in self.ceilings]
        told.append(f"trials:  {self.search.trials} on this data ({kinds})")
        if self.luck:
            told.append(
                f"search:  probability of overfitting {self.luck['probability_of_overfitting']:.2f}, reality check "
                f"p = {self.luck['reality_check']:.3f}, superior predictive ability p = "
                f"{self.luck['superior_predictive_ability']:.3f}"
            )
        return [*told, self.verdict.line]


def _chance(one: Chance) -> dict[str, Any]:
    return {"p_value": one.p_value, "turnover": one.turnover, "n": len(one.earned)}


def share_of(found: Backtest, ceiling: Backtest) -> str:
    """The log-return of a backtest as a share of a ceiling's, in words."""
    if ceiling.log_return <= 0.0:
        return f"no share ({100.0 * ceiling.log_return:+.1f}% log-return)"
    return f"{100.0 * found.log_return / ceiling.log_return:.0f}%"


def trial_of(found: Backtest, data: str, what: str, kind: str) -> Trial:
    """A backtest as a line of the ledger."""
    days = found.days()
    moments = Moments.of(days) if len(days) > 1 else None
    return Trial(kind, data, what, None if moments is None else moments.sharpe, len(days))


def judge(
    found: Backtest,
    ledger: Path,
    data: str,
    *,
    sweep: Sweep | None = None,
    chances: int = CHANCES,
    seed: int = 0,
    ceilings: Sequence[Backtest] = (),
    states: bool = False,
) -> Judged:
    """Compare a backtest, write its trials into the ledger, and judge it by all that were ever made on the data.

    Args:
        found: the strategy's; of a sweep its best rule's.
        ledger: file of the ledger.
        data: what the ledger calls the data.
        sweep: whose best it is; all its rules are trials.
        chances: random positions to compare with.
        seed: of chance and resampling.
        ceilings: what nobody can beat, where the truth is known.
        states: states of a segmenter were traded: compare with random ones of equal dwell, too.
    """
    desk = repr(found.desk)
    if sweep is None:
        trials: Sequence[Trial] = [trial_of(found, data, f"{found.name} {desk}", "backtest")]
    else:
        observed = len(sweep.days)
        trials = [
            Trial("sweep", data, f"{rule.words} {desk}", float(sharpe), observed)
            for rule, sharpe in zip(sweep.rules, sweep.sharpes, strict=True)
        ]
    record_trials(ledger, trials)
    search = tried(ledger, data)
    chance = against_chance(found, chances, seed)
    p_values = {"random positions of equal turnover": chance.p_value} if len(chance.earned) else {}
    drawn = against_chance(found, chances, seed, states=True) if states else None
    if drawn is not None and len(drawn.earned):
        p_values["random states of equal dwell"] = drawn.p_value
    luck = {} if sweep is None else sweep.luck(seed)
    if luck:
        p_values["superior predictive ability"] = luck["superior_predictive_ability"]
    said = verdict(found.days(), search.trials, variance=search.variance, p_values=p_values, seed=seed)
    return Judged(found, buy_and_hold(found), chance, search, said, luck, tuple(ceilings), drawn)


def write_backtest(
    judged: Judged, folder: Path, *, sweep: Sweep | None = None, origin: dict[str, Any] | None = None
) -> None:
    """What a report reads, into an empty folder.

    `trades.parquet`, `equity.parquet`, `regimes.parquet`, `stress.parquet`, of a sweep `sweep.parquet`, and
    `metrics.json`, where `origin` (what was traded, with what) stands under "origin".
    """
    from agents.run_folders.run_folder import write_json

    found = judged.found
    found.trades.to_parquet(folder / "trades.parquet")
    others = {"buy_and_hold": judged.held} | {one.name.replace(" ", "_"): one for one in judged.ceilings}
    found.equity_table(**others).to_parquet(folder / "equity.parquet")
    as_text(regimes_of_backtest(found, judged.held)).to_parquet(folder / "regimes.parquet")
    as_text(stress_table(list(stressed(found)))).to_parquet(folder / "stress.parquet")
    if sweep is not None:
        sweep.table().to_parquet(folder / "sweep.parquet")
    write_json(folder / "metrics.json", plain(judged.metrics() | ({"origin": origin} if origin else {})))


def regimes_of_backtest(found: Backtest, held: Backtest) -> pd.DataFrame:
    """What a backtest earned in each regime, beside buy and hold."""
    earned = [np.diff(np.log(one.equity)) for one in (found, held)]
    return regime_table(found.market, found.trace.first, earned[0], earned[1])


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """A table of figures, some of them words, as text that says every digit."""
    return table.map(lambda value: value if isinstance(value, str) else repr(float(value))).astype(str)


def plain(value: Any) -> Any:
    """Values as JSON knows them."""
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return value
