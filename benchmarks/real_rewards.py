"""Learning by rewards on real bars: forward in time, and on a symbol that nothing was learned from.

    python -m benchmarks.real_rewards FILE [FILE ...] [--steps 300] [--funding FILE RATES]

All files are resampled to 15m, 4h and 1d and split at the same moments: the first three quarters of the time to learn
from, the next tenth to choose weights and hysteresis by, the last to be judged on once. "forward": one extractor learns
from the early part of all symbols. "held out": for each symbol one learns from the early part of the others alone, so
that neither the symbol nor the time was seen. Each is pretrained on synthetic markets and fine-tuned ("bars, then
rewards"), or begins with nothing ("from scratch"); "bars as it ships" learned from synthetic markets alone.

All costs are charged: fee, spread, impact and funding: a file's own rates as far as they are known (`--funding`), then,
and elsewhere, a constant one.
Returns of a week are the mean over symbols, intervals are over weeks, and the deflated Sharpe ratio counts every trial
that the ledger beside the result holds. Single trainings are kept: an interrupted call goes on with the same command.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.algorithms.threads import use_one_thread
from agents.evaluation.extractor_trader import ExtractorTrader
from agents.evaluation.rollout import Rollout, roll, rows_by_length
from agents.evaluation.scoring import mean
from agents.markets.expert_market import ExpertMarket, market_part
from agents.settings import TradingSettings
from benchmarks.support.kept import kept
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from cryptoenv.analysis.statistics import Moments, deflated_sharpe
from cryptoenv.analysis.trial_ledger import LEDGER, Trial, record_trials, tried
from cryptoenv.market.funding_files import read_funding
from cryptoenv.market.market import Market
from cryptoenv.market.stored_bars import bars_at, name_of_place
from cryptoenv.trading.config import Costs
from pretrain import Extractor, FitOptions, Recipe
from pretrain.data.splits import Span, Splits, split_markets
from pretrain.extractor.recipe_runs import EMBARGO, finetune_extractor

FRACTIONS = (0.75, 0.1, 0.15)  #: coins that came late have a part to learn from, too
FUNDING = 0.0001  #: per 8 hours, what a perpetual's longs pay in quiet times
COSTS = Costs()  #: funding comes with the markets
SHIPPED, TUNED, SCRATCH = "bars as it ships", "bars, then rewards", "from scratch by rewards"
RATES = {TUNED: 0.0005, SCRATCH: 0.004}
WEEK = 7 * 96  #: bars of 15m


@dataclass(frozen=True)
class Run:
    """One training: what it begins with, the files it learns from, the file it is judged on (None: all), its budget."""

    contender: str
    files: tuple[str, ...]
    judged: str | None
    steps: int
    seed: int
    funding: tuple[tuple[str, str], ...] = ()


@lru_cache(maxsize=1)
def markets(files: tuple[str, ...], funding: tuple[tuple[str, str], ...] = ()) -> tuple[Market, ...]:
    """The files as the shipped extractor reads them; `funding`: files, and those of their rates."""
    layout, known = Extractor.load("bars").layout, dict(funding)
    found = []
    for file in files:
        bars = bars_at(Path(file))
        rates = funding_of(pd.DatetimeIndex(bars.index), known.get(file))
        found.append(layout.market(bars, name=name_of_place(Path(file)), funding=rates))
    return tuple(found)


def funding_of(index: pd.DatetimeIndex, file: str | None) -> pd.Series:
    """The rates of a file as far as they are known, then the constant one (without a file: all along)."""
    every = pd.Timedelta(hours=8)
    begin, end = index[0].floor("8h") - every, index[-1] + 3 * every
    if file is None:
        return pd.Series(FUNDING, pd.date_range(begin, end, freq=every), dtype=np.float64)
    known = read_funding(file)
    later = pd.date_range(known.index[-1] + every, max(end, known.index[-1] + every), freq=every)
    return pd.concat([known, pd.Series(FUNDING, later, dtype=np.float64)])


def splits_of(found: Sequence[Market]) -> Splits:
    """Early, middle and late rows, at the same moments in all markets."""
    window = Extractor.load("bars").config.window
    return split_markets(found, window, "time", fractions=FRACTIONS, look_ahead=96, embargo=EMBARGO)


def without(splits: Splits, market: int | None) -> Splits:
    """The splits without the early and middle rows of one market."""
    if market is None:
        return splits

    def others(part: tuple[Span, ...]) -> tuple[Span, ...]:
        return tuple(span for span in part if span.market != market)

    return Splits(others(splits.train), others(splits.validation), splits.test)


def extractor_of(run: Run) -> Extractor:
    """Train it; the shipped one as it is."""
    shipped = Extractor.load("bars")
    if run.contender == SHIPPED:
        return shipped
    recipe = Recipe.read("bars")
    training = replace(
        recipe.training, steps=run.steps, learning_rate=RATES[run.contender], validate_every=max(run.steps // 6, 1)
    )
    rewards = replace(recipe.rewards, piece=2048)
    recipe = replace(recipe, training=training, rewards=rewards, seed=run.seed)
    found = markets(run.files, run.funding)
    number = None if run.judged is None else run.files.index(run.judged)
    start = shipped if run.contender == TUNED else None
    return finetune_extractor(start, found, without(splits_of(found), number), recipe, FitOptions(progress=False))


def part_of(found: Sequence[Market], span: Span, settings: TradingSettings) -> ExpertMarket:
    """The market of a span's rows."""
    whole = found[span.market]
    return market_part(whole, whole.first_decision(settings.window), span.start, span.stop, settings)


def weekly(rollouts: Sequence[Rollout]) -> list[list[float]]:
    """Net log-returns of the weeks of every row, the last one cut off where it is not whole."""
    found = []
    for rollout in rollouts:
        marks = np.log(rollout.equity[::WEEK])
        found += [np.diff(marks[:, n]).tolist() for n in range(marks.shape[1])]
    return found


def judged(run: Run) -> dict[str, Any]:
    """Weeks of the late part of the judged symbols, by symbol; turnover, exposure, what was validated."""
    use_one_thread()
    extractor = extractor_of(run)
    found = markets(run.files, run.funding)
    splits = splits_of(found)
    layout = extractor.config
    settings = TradingSettings(timeframes=layout.timeframes, window=layout.window, costs=COSTS)
    number = None if run.judged is None else run.files.index(run.judged)
    chosen_by = [part_of(found, span, settings) for span in without(splits, number).validation]
    late = [part_of(found, span, settings) for span in splits.test if number is None or span.market == number]
    trader = ExtractorTrader(extractor, settings).tuned(chosen_by)
    rollouts = [roll(trader.on(late), late, rows, settings) for rows in rows_by_length(late)]
    days = sum(rollout.rows.steps * len(rollout.rows.market) for rollout in rollouts) / 96.0
    metrics = extractor.provenance.metrics
    told = {
        "weeks": weekly(rollouts), "names": [one.market.name for one in late], "margin": trader.margin,
        "turnover_per_day": float(sum(rollout.turnover.sum() for rollout in rollouts) / days),
        "exposure": float(np.mean([np.abs(rollout.exposure).mean() for rollout in rollouts])),
        "cpu_seconds": metrics.get("cpu_seconds", 0.0) if run.contender != SHIPPED else 0.0,
        "validation_earned": metrics.get("validation/earned") if run.contender != SHIPPED else None,
    }  # fmt: skip
    print(run.contender, run.judged or "all", {k: v for k, v in told.items() if k != "weeks"}, flush=True)
    return told


def portfolio(runs: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """(n,) weeks, each the mean over all symbols judged."""
    rows = [np.array(weeks) for run in runs for weeks in run["weeks"]]
    shortest = min(len(row) for row in rows)
    return np.stack([row[:shortest] for row in rows]).mean(axis=0)


def main() -> None:
    """Train, judge, deflate, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="bars of 15m or finer, a year and more")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--funding", nargs=2, action="append", default=[], metavar=("FILE", "RATES"),
                        help="a file's own funding rates")  # fmt: skip
    parser.add_argument("--only", choices=("forward", "held out"), help="one of the two designs")
    parser.add_argument("--keep", type=Path, default=Path("runs/benchmarks/real_rewards"))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/real_rewards.json"))
    arguments = parser.parse_args()
    use_one_thread()
    files = tuple(arguments.files)
    funding = tuple((file, rates) for file, rates in arguments.funding)
    designs: dict[str, list[str | None]] = {"forward": [None], "held out": list(files)}
    data = " + ".join(sorted(Path(file).name for file in files))
    found: dict[str, Any] = {}
    for design, each in designs.items():
        if arguments.only not in (None, design):
            continue
        for contender in (SHIPPED, TUNED, SCRATCH):
            runs = []
            for held in each:
                run = Run(contender, files, held, arguments.steps, arguments.seed, funding)
                runs.append(kept(arguments.keep, "run", judged, run))
            found[f"{contender}, {design}"] = {"runs": runs, "weeks": portfolio(runs)}
    ledger = arguments.out.parent / LEDGER
    for name, row in found.items():
        moments = Moments.of(row["weeks"])
        what = f"{name}, {arguments.steps} steps, seed {arguments.seed}"
        record_trials(ledger, [Trial("real rewards", data, what, moments.sharpe, moments.count)])
    counted = tried(ledger, data)
    result: dict[str, Any] = header() | {"steps": arguments.steps, "costs": asdict(COSTS), "trials": counted.trials}
    result |= {"constant_funding": FUNDING, "known_funding": [Path(rates).name for _, rates in funding]}
    result["rows"] = {name: figures(row, counted.trials, counted.variance) for name, row in found.items()}
    for name, told in result["rows"].items():
        print(f"{name:40s} {told['daily']} deflated {told['deflated_sharpe']:.3f}", flush=True)
    write_result(arguments.out, result)
    print(f"wrote {arguments.out}")


def figures(row: dict[str, Any], trials: int, variance: float | None) -> dict[str, Any]:
    """Net log-return a day with its interval over weeks, its Sharpe ratio deflated by the trials, the single runs."""
    weeks = row["weeks"]
    return {
        "daily": asdict(mean(weeks / 7.0)), "weeks": len(weeks), "weekly_sharpe": Moments.of(weeks).sharpe,
        "deflated_sharpe": deflated_sharpe(Moments.of(weeks), trials, variance),
        "runs": [{name: value for name, value in run.items() if name != "weeks"} for run in row["runs"]],
    }  # fmt: skip


if __name__ == "__main__":
    main()
