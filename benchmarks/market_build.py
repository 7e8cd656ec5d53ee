"""How long a million 1m bars take to become an aligned 15m/4h/1d market, and such a market to load; peak memory.

`python -m benchmarks.market_build [--bars 1000000] [--out FILE]` (Linux) checks the market against pandas, then prints
a table and writes JSON with machine and commit. Times are medians of runs in one process after one that loads the
jitted code; memory is the highest resident set of a process of its own that builds one market, less what it held
before.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

import cryptoenv
from benchmarks.memory import random_minutes
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from cryptoenv.bars.bars import aggregate
from cryptoenv.features import FeatureSpec

TIMEFRAMES = ("15m", "4h", "1d")
RUNS = 7
BUILD_LIMIT_S, LOAD_LIMIT_S = 2.0, 0.05
MIB = 1 << 20


def build(
    bars: pd.DataFrame, features: FeatureSpec | None, timeframes: tuple[str, ...] = TIMEFRAMES
) -> cryptoenv.Market:
    """The market that is measured."""
    return cryptoenv.Market.from_bars(bars, timeframes, features=features)


def check(bars: pd.DataFrame, market: cryptoenv.Market) -> None:
    """Bars of each timeframe equal pandas' own; alignment equals a search for the last bar that has ended."""
    closes = pd.DatetimeIndex(market.bars.index).shift(1, freq="15min")
    rules = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    for k, (timeframe, rule) in enumerate(zip(TIMEFRAMES, ("15min", "4h", "1D"), strict=True)):
        made = aggregate(bars, timeframe)
        expected = bars.resample(rule).agg(rules).iloc[: len(made)]
        volumes, prices = made.pop("volume"), expected.drop(columns="volume")
        pd.testing.assert_frame_equal(made, prices, check_exact=True, check_freq=False, check_index_type=False)
        np.testing.assert_allclose(volumes, expected["volume"], rtol=1e-12)
        ends = pd.DatetimeIndex(made.index).shift(1, freq=rule)
        np.testing.assert_array_equal(market.align[:, k], ends.searchsorted(closes, side="right") - 1)


def median_seconds(action: Callable[[], object], runs: int = RUNS) -> float:
    """Median duration of an action, after one run that is not counted."""
    action()
    taken = []
    for _ in range(runs):
        begin = time.perf_counter()
        action()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def report_peak(count: int, pipe: Connection) -> None:
    """Send the bytes of the bars and of the peak that building one market adds to them."""
    bars = random_minutes(count)
    build(bars.iloc[:100_000], FeatureSpec.none())  # loads the jitted code
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM starts again
    before = _status("VmRSS")
    market = build(bars, FeatureSpec.none())
    pipe.send((int(bars.memory_usage().sum()), _status("VmHWM") - before, len(market)))


def peak(count: int) -> tuple[int, int]:
    """Bytes of the bars, and of the peak beyond them, from a process of its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=report_peak, args=(count, there))
    process.start()
    bars, beyond, _ = here.recv()
    process.join()
    return bars, beyond


def measure(count: int) -> list[dict[str, Any]]:
    """All rows: what was measured, its value and unit, and the limit where there is one."""
    bars, none = random_minutes(count), FeatureSpec.none()
    rows: list[dict[str, Any]] = []

    def row(measure: str, value: float, unit: str, limit: float | None = None) -> None:
        rows.append({"measure": measure, "value": value, "unit": unit, "limit": limit})
        progress.update()

    with tempfile.TemporaryDirectory() as scratch, tqdm(total=8, desc="markets") as progress:
        market = build(bars, none)
        check(bars, market)
        name = f"{count:,} 1m bars -> {'/'.join(TIMEFRAMES)}"
        row(f"{name}, no features", median_seconds(lambda: build(bars, none)), "s", BUILD_LIMIT_S)
        row(f"{name}, default features", median_seconds(lambda: build(bars, None), 3), "s")
        for label, built, limit in (
            ("load, no features", market, LOAD_LIMIT_S),
            ("load, default features", build(bars, None), LOAD_LIMIT_S),
            ("load, 1m base, no features", build(bars, none, ("1m", *TIMEFRAMES)), None),
        ):
            folder = Path(scratch, label)
            built.save(folder)
            seconds = median_seconds(lambda folder=folder: cryptoenv.Market.load(folder))  # type: ignore[misc]
            size = sum(file.stat().st_size for file in folder.iterdir()) / MIB
            row(f"{label} ({size:.0f} MiB, checked against its hash)", seconds, "s", limit)
        fine = random_minutes(count)
        row("clean: every check of the same bars", median_seconds(lambda: cryptoenv.clean(fine), 3), "s")
        given, beyond = peak(count)
        row("memory: the bars given", given / MIB, "MiB")
        row("memory: peak of building, beyond them", beyond / MIB, "MiB")
    return rows


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=1_000_000, help="1m bars")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/market_build.json"))
    options = parser.parse_args()
    rows = measure(options.bars)
    for row in rows:
        limit = "" if row["limit"] is None else f"  (limit {row['limit']:g})"
        print(f"{row['measure']:70s} {row['value']:10.3f} {row['unit']}{limit}")
    write_result(options.out, {**header(), "rows": rows})


if __name__ == "__main__":
    main()
