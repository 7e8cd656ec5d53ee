"""What is learned from bars alone: extractors that rewards taught, against the optimum of the synthetic tasks.

    python -m benchmarks.bars_alone --run NAME ARTIFACT [ARTIFACT ...]     a row: one artifact per seed
    python -m benchmarks.bars_alone --task hard --run NAME ARTIFACT

Extractors are trained beforehand (`cryptoenv pretrain --recipe bars`); here their hysteresis is chosen on "validation"
seeds, and they trade "test" seeds, which nothing else reads, through the environment. What is scored is kept in the
result file, row by row, so that a later call adds to it. Intervals are over markets, and over seeds where there are
several.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from agents.algorithms.threads import use_one_thread
from agents.evaluation import baselines
from agents.evaluation.extractor_trader import ExtractorTrader
from agents.evaluation.rollout import roll, whole_markets
from agents.evaluation.scoring import score
from agents.markets.expert_market import ExpertMarket, synthetic_markets
from agents.settings import TradingSettings
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from pretrain import Extractor

DAYS = 60
VALIDATION, TEST = 24, 48  #: markets


@lru_cache(maxsize=4)
def markets(task: str, family: str, count: int, settings: TradingSettings) -> tuple[ExpertMarket, ...]:
    """Judging markets of a task with the truth of each bar."""
    return tuple(synthetic_markets(task, family, count, DAYS, settings, progress=False))


def traded(folders: list[str], task: str, *, together: bool = False) -> tuple[list[dict[str, Any]], Any]:
    """What each artifact earns on the test markets, and the optimum of them; `together`: their mean decides."""
    loaded = [Extractor.load(folder) for folder in folders]
    layout = loaded[0].config
    settings = TradingSettings(timeframes=layout.timeframes, window=layout.window, positions=layout.positions)
    validation, test = (markets(task, *which, settings) for which in (("validation", VALIDATION), ("test", TEST)))
    rows = whole_markets(test)
    best = roll(baselines.oracle(test, settings), test, rows, settings).expected(test)
    every = [loaded] if together else [[one] for one in loaded]
    found = []
    for first, *beside in every:
        trader = ExtractorTrader(first, settings, beside=tuple(beside)).tuned(validation)
        rollout = roll(trader.on(test), test, rows, settings)
        realised = rollout.realised
        found.append(
            {
                "earned": rollout.expected(test), "realised": realised, "margin": trader.margin,
                "turnover_per_day": float(rollout.turnover.sum() / DAYS / len(test)),
                "exposure": float(np.abs(rollout.exposure).mean()), "hash": first.hash,
                "labels": first.provenance.label_kind, **first.provenance.metrics,
            }
        )  # fmt: skip
    return found, best


def row(name: str, folders: list[str], task: str, *, together: bool = False) -> dict[str, Any]:
    """A row of the result: score with its interval, scores by seed, what each run was; printed."""
    runs, best = traded(folders, task, together=together)
    earned = np.stack([run["earned"] for run in runs])
    realised = np.stack([run["realised"] for run in runs])
    told = [{name: value for name, value in run.items() if name not in ("earned", "realised")} for run in runs]
    found = {
        "score": asdict(score(earned, best)),
        "realised": asdict(score(realised, best)),
        "per_seed": [score(one, best).value for one in earned],
        "runs": told,
    }
    print(f"{task} {name:44s} {found['score']} {found['per_seed']}", flush=True)
    for run in told:
        print(f"  margin {run['margin']} turnover {run['turnover_per_day']:.2f} a day, CPU s {run.get('cpu_seconds')}")
    return found


def main() -> None:
    """Score, print, add to the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", nargs="+", action="append", default=[], metavar="NAME ARTIFACT", help="a row")
    parser.add_argument("--ensemble", nargs="+", action="append", default=[], metavar="NAME ARTIFACT",
                        help="a row of artifacts whose mean decides")  # fmt: skip
    parser.add_argument("--task", default="standard")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/bars_alone.json"))
    arguments = parser.parse_args()
    use_one_thread()
    rows: dict[str, Any] = json.loads(arguments.out.read_text())["rows"] if arguments.out.is_file() else {}
    for together, given in ((False, arguments.run), (True, arguments.ensemble)):
        for name, *folders in given:
            found = row(name, folders, arguments.task, together=together)
            rows.setdefault(arguments.task, {})[name] = found
            write_result(arguments.out, header() | {"days": DAYS, "test_markets": TEST, "rows": rows})
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
