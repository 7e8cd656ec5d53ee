"""Figures of a million bars, a rule's backtest and a sweep of it, beside vectorbt on the same bars in the same run.

    python -m benchmarks.evaluation [--python PATH] [--bars FILE] [--rules 1000] [--out FILE]

vectorbt (Apache 2.0 with the Commons Clause) runs in a process of its own, in whatever interpreter has it, and is only
timed and asked for equities; without it its columns are left out. Before anything is timed both must reach the same
final equity within 1e-9 relative for every rule looked at: spot, a proportional fee and a half-spread, no impact,
orders where the target changes. A planted fee (1% higher) must be found. The timed runs of ours have impact on as well.

Both sides get targets that are worked out already for one rule; for the sweep each side works them out itself from the
same averages. Times are the
best of three, warm: both compile before; they are CPU seconds of the process, which other work on the machine hardly
moves, and ours of the sweep are those of all its threads together (its wall seconds are told beside).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.backtest.backtesting import Desk, backtest
from agents.evaluation.backtest.rule import Rule, grid_of
from agents.evaluation.backtest.sweeping import sweep_rules
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from benchmarks.support.walk import walk_bars
from benchmarks.vectorbt_parity import vectorbt_version
from cryptoenv import Market
from cryptoenv.analysis.figures import figures
from cryptoenv.bar_files.reading import read_bars
from cryptoenv.bars.bars import bars_timeframe
from cryptoenv.features import FeatureSpec
from cryptoenv.trading.config import Costs, RiskLimits, TradingConfig
from cryptoenv.trading.replay import Opening, replay

BARS = 176_585  #: what twenty months of 5m have
MILLION = 1_000_000
FEE, HALF_SPREAD = 0.001, 0.0001
VERIFIED = 5  #: rules of the sweep that are compared bar by bar
VECTORBT_SIDE = """
import json, pathlib, sys, time
import numpy as np, vectorbt as vbt
folder = pathlib.Path(sys.argv[1])
e = np.load(folder / "given.npz")
def run(size, fee=e["fee"].item()):
    shape = (len(size), -1)
    return vbt.Portfolio.from_orders(
        e["close"].reshape(shape), size=size.reshape(shape), size_type="targetpercent", direction="longonly",
        price=e["open"].reshape(shape), val_price=e["known"].reshape(shape), fees=fee, fixed_fees=0.0, min_size=0.0,
        slippage=e["half_spread"].item(), init_cash=10000.0, freq="5min",
    )
def changes(fast, slow):
    want = np.where(fast > slow, 1.0, np.where(fast < slow, 0.0, np.nan))
    last = np.maximum.accumulate(np.where(np.isnan(want), -1, np.arange(len(want))[:, None]), axis=0)
    held = np.where(last < 0, 0.0, np.take_along_axis(want, np.maximum(last, 0), axis=0))
    before = np.vstack((np.zeros((1, held.shape[1])), held[:-1]))
    return np.where(held != before, held, np.nan)
def best(work):
    found = []
    for _ in range(3):
        began = time.process_time(); work(); found.append(time.process_time() - began)
    return min(found)
one = e["size"]
told = {"equity": np.asarray(run(one).value()).ravel()[-1].item(),
        "planted": np.asarray(run(one, 1.01 * e["fee"].item()).value()).ravel()[-1].item()}
told["one_seconds"] = best(lambda: np.asarray(run(one).value()))
lines, pairs, step = e["lines"], e["pairs"], int(e["columns"])
final = []
def sweep():
    final.clear()
    for begin in range(0, len(pairs), step):
        part = pairs[begin:begin + step]
        size = changes(lines[part[:, 0]].T, lines[part[:, 1]].T)
        final.append(np.asarray(run(size).final_value()).ravel())
if len(pairs):
    wall, began = time.perf_counter(), time.process_time(); sweep()
    told["sweep_seconds"], told["sweep_wall_seconds"] = time.process_time() - began, time.perf_counter() - wall
    told["sweep_equity"] = np.concatenate(final).tolist()
(folder / "told.json").write_text(json.dumps(told))
"""


def best_of(work: Callable[[], object], times: int = 3) -> float:
    """CPU seconds of the fastest of several calls."""
    found = []
    for _ in range(times):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def desk(*, impact: float) -> Desk:
    """Spot with these costs; orders go out where the target changes, and are never cut."""
    limits = RiskLimits(rebalance_tolerance=125.0, participation=1.0)
    return Desk(TradingConfig("spot", Costs(fee=FEE, half_spread=HALF_SPREAD, impact=impact), limits))


def grid_rules(count: int) -> list[Rule]:
    """As many crosses of averages as asked for, so slow that costs ruin none: vectorbt knows no ruin."""
    pairs = [(fast, slow) for slow in range(900, 9000, 83) for fast in range(100, slow // 2, 37)]
    chosen = np.linspace(0, len(pairs) - 1, count).astype(int)
    return [Rule("cross", (("fast", pairs[k][0]), ("slow", pairs[k][1]), ("band", 0.0)), short=0.0) for k in chosen]


def million() -> dict[str, float]:
    """Seconds that all figures of a million bars take, with exposure, turnover, costs and a benchmark."""
    rng = np.random.default_rng(0)
    equity = 1e4 * np.exp(np.cumsum(rng.normal(1e-6, 0.001, MILLION + 1)))
    held, other = rng.choice([-1.0, 0.0, 1.0], MILLION), np.exp(np.cumsum(rng.normal(0.0, 0.001, MILLION + 1)))
    curve = best_of(lambda: figures(equity, 35_040.0))
    whole = best_of(lambda: figures(
        equity, 35_040.0, exposure=held, turnover=np.abs(np.diff(held, prepend=0.0)), costs={"fees": 1.0},
        benchmark=other,
    ))  # fmt: skip
    return {"curve_seconds": curve, "all_seconds": whole}


def changed(targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Targets (S,) where they change, NaN elsewhere: what vectorbt is given."""
    last = np.maximum.accumulate(np.where(np.isnan(targets), -1, np.arange(len(targets))))
    held = np.where(last < 0, 0.0, targets[np.maximum(last, 0)])
    return np.where(held != np.concatenate(([0.0], held[:-1])), held, np.nan)


def ours(market: Market, rules: list[Rule]) -> dict[str, Any]:
    """Times of one rule and of the sweep, and the equities that are to be verified."""
    plain, dear = desk(impact=0.0), desk(impact=0.1)
    targets = grid_of(rules[:1], market, shorts=False).targets(0)
    given = np.ascontiguousarray(targets[:-1])
    dear_parameters = dear.parameters(market)
    sweep_rules(rules[:2], market, dear)  # compiled
    wall, began = time.perf_counter(), time.process_time()
    sweep_rules(rules, market, dear)
    seconds, lasted = time.process_time() - began, time.perf_counter() - wall
    verified = sweep_rules(rules, market, plain)
    return {
        "one_seconds": best_of(lambda: replay(market.prices, given, dear_parameters, opening=Opening(10_000.0))),
        "sweep_seconds": seconds,
        "sweep_wall_seconds": lasted,
        "whole_seconds": best_of(lambda: backtest(market, targets, dear)),
        "equity": float(backtest(market, targets, plain).equity[-1]),
        "targets": given,
        "sweep_equity": verified.swept.column("equity"),
    }


def vectorbts(market: Market, rules: list[Rule], targets: NDArray[np.float64], python: str) -> dict[str, Any]:
    """The same of vectorbt.

    Raises:
        RuntimeError: its process failed, with the end of what it said.
    """
    grid = grid_of(rules, market, shorts=False)
    prices = market.prices
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(
            folder / "given.npz", allow_pickle=False, close=prices[1:, 3], open=prices[1:, 0], known=prices[:-1, 3],
            size=changed(targets), fee=np.float64(FEE), half_spread=np.float64(HALF_SPREAD),
            lines=np.nan_to_num(grid.lines[:, :-1], nan=np.nan), pairs=grid.rules[:, :2].astype(np.int64),
            columns=np.int64(50),
        )  # fmt: skip
        done = subprocess.run([python, "-I", "-c", VECTORBT_SIDE, name], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"vectorbt failed: {done.stderr[-2000:]}")
        told: dict[str, Any] = json.loads((folder / "told.json").read_text(encoding="utf-8"))
    return told


def compared(mine: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Ratios, after both were found equal and a planted fee was found.

    Raises:
        RuntimeError: equities that differ, or a planted difference that does not show.
    """
    if abs(theirs["planted"] / mine["equity"] - 1.0) < 1e-6:
        raise RuntimeError("a fee that is 1% higher was not noticed: nothing is reported")
    worst = np.abs(np.array(theirs["sweep_equity"]) / mine["sweep_equity"] - 1.0)
    error = max(abs(theirs["equity"] / mine["equity"] - 1.0), float(worst.max()))
    if error > 1e-9:
        raise RuntimeError(f"equities differ by {error:.3g} (rule {int(worst.argmax())}): nothing is reported")
    return {
        "largest_difference": error,
        "one_ratio": theirs["one_seconds"] / mine["one_seconds"],
        "sweep_ratio": theirs["sweep_seconds"] / mine["sweep_seconds"],
    }


def main() -> None:
    """Verify, time, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=".venv-vectorbt/bin/python", help="interpreter that has vectorbt")
    parser.add_argument("--bars", type=Path, help="a file of bars; drawn ones without it")
    parser.add_argument("--rules", type=int, default=1000, help="parameter sets of the sweep")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/evaluation.json"))
    arguments = parser.parse_args()
    bars = walk_bars(BARS, 0) if arguments.bars is None else read_bars(arguments.bars)
    timeframe, nothing = (bars_timeframe(bars),), FeatureSpec.none()
    whole = Market.from_bars(bars, timeframe, features=nothing).bars  # gaps filled
    market = Market.from_bars(whole.assign(volume=1e12), timeframe, features=nothing)  # no order is cut on either side
    rules = grid_rules(arguments.rules)
    mine = ours(market, rules)
    result: dict[str, Any] = header() | {
        "bars": len(market), "rules": len(rules), "million": million(),
        "ours": {name: mine[name] for name in ("one_seconds", "whole_seconds", "sweep_seconds", "sweep_wall_seconds")},
    }  # fmt: skip
    version = vectorbt_version(arguments.python)
    if version is not None:
        theirs = vectorbts(market, rules, mine["targets"], arguments.python)
        result["vectorbt"] = {"version": version} | {
            n: theirs[n] for n in ("one_seconds", "sweep_seconds", "sweep_wall_seconds")
        }
        result |= compared(mine, theirs)
    print(json.dumps({name: value for name, value in result.items() if name not in ("machine", "versions")}, indent=1))
    write_result(arguments.out, result)


if __name__ == "__main__":
    main()
