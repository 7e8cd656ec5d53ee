"""Reports: size of the page, seconds until it is made, and until a headless Chromium has drawn it, by number of bars.

    python -m benchmarks.reports [--bars 100000] [--bars 1000000] [--quick] [--out FILE]

Each number of bars is a backtest of a rule that trades often, on drawn bars of 15m, written as `cryptoenv backtest`
writes it (not timed). Timed are reading and making the page (in a process that has compiled), then opening it from
its file without a network, from the start of the navigation until all charts are drawn: the median of three, a fresh
context each. Before that is believed: every figure on the page is that of metrics.json, digit by digit, every chart
has paths, and the browser's console is silent. `load` is how many processes ran on the machine before.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from agents.evaluation.backtest.backtesting import Desk, backtest
from agents.evaluation.backtest.judgement import judge, write_backtest
from agents.evaluation.backtest.rule import grid_of, parse_rules
from agents.reports.report_files import make_report, write_report
from benchmarks.support.browser import PATHS, NoBrowserError, chromium, opened
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from benchmarks.support.walk import walk_bars
from cryptoenv import Market
from cryptoenv.features import FeatureSpec
from cryptoenv.trading.config import RiskLimits, TradingConfig

BARS = (100_000, 1_000_000)
RULE = "cross fast=16 slow=96 band=0.2"
TIMES = 3


def backtested(bars: int, folder: Path) -> Path:
    """The folder of a backtest over so many bars, with stops."""
    market = Market.from_bars(walk_bars(bars), timeframes=("15m",), features=FeatureSpec.none())
    limits = RiskLimits(stop_loss=0.02, take_profit=0.05)
    targets = grid_of(parse_rules(RULE), market, shorts=True).targets(0)
    found = backtest(market, targets, Desk(TradingConfig(limits=limits)), name=RULE)
    out = folder / f"backtest-{bars}"
    out.mkdir()
    write_backtest(judge(found, folder / "trials.jsonl", str(bars), chances=1), out)
    return out


def measured(run: Path, folder: Path) -> dict[str, Any]:
    """Size and seconds of the page on a run.

    Raises:
        RuntimeError: a figure that is not the run's.
    """
    seconds = []
    for number in range(TIMES):
        page = folder / f"{run.name}-{number}.html"
        began = time.perf_counter()
        write_report(make_report([run], progress=False), page, "html", progress=False)
        seconds.append(time.perf_counter() - began)
    told = json.loads((run / "metrics.json").read_text("utf-8"))
    figures = require_same(page.read_text("utf-8"), told)
    found = {
        "bars": int(told["figures"]["bars"]), "trades": int(told["figures"]["trades"]), "figures": figures,
        "bytes": page.stat().st_size, "made_seconds": median(seconds), "made_seconds_first": seconds[0],
    }  # fmt: skip
    try:
        with chromium() as browser:
            return found | drawn(browser, page)
    except NoBrowserError as error:
        return found | {"browser": str(error)}


def require_same(page: str, metrics: dict[str, Any]) -> int:
    """How many figures of `metrics.json` stand on the page; all of them the same.

    Raises:
        RuntimeError: one differs, or there is none.
    """
    said = re.findall(r'<data value="([^"]*)" data-metric="figures\.([a-z_0-9]+)"', page)
    for value, name in said:
        if value != json.dumps(metrics["figures"][name]):
            raise RuntimeError(f"the page says {name} {value}, and metrics.json {metrics['figures'][name]!r}")
    if len({name for _, name in said}) < len(metrics["figures"]):
        raise RuntimeError("figures are missing on the page")
    return len(said)


def drawn(browser: Any, page: Path) -> dict[str, Any]:
    """Seconds until all charts are drawn, and after a zoom of the candles to a trade.

    Raises:
        RuntimeError: a chart without paths, or an error in the browser's console.
    """
    seconds, zoomed = [], []
    for _ in range(TIMES):
        began = time.perf_counter()
        shown, said = opened(browser, page, viewport={"width": 1440, "height": 900})
        seconds.append(time.perf_counter() - began)
        paths = shown.evaluate(PATHS)
        if said or not paths or min(paths.values()) == 0:
            raise RuntimeError(f"not all is drawn: {said or paths}")
        began = time.perf_counter()
        shown.evaluate("() => report.toTrade('run0-candles-candles-0', 10)")
        zoomed.append(time.perf_counter() - began)
        shown.context.close()
    return {
        "charts": len(paths),
        "drawn_seconds": median(seconds),
        "zoomed_seconds": median(zoomed),
        "browser": browser.version,
    }


def main() -> None:
    """Verify, time, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=int, action="append", help="once per number; 100,000 and 1,000,000 without it")
    parser.add_argument("--quick", action="store_true", help="10,000 bars alone")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/reports.json"))
    given = parser.parse_args()
    found = header() | {"load": os.getloadavg()[0], "rows": []}
    with tempfile.TemporaryDirectory() as name:
        for bars in given.bars or ((10_000,) if given.quick else BARS):
            row = measured(backtested(bars, Path(name)), Path(name))
            found["rows"].append(row)
            print(json.dumps(row))
    write_result(given.out, found)


if __name__ == "__main__":
    main()
