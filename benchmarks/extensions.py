"""What goes beyond the plain agent, measured against it on "standard": uncertainty, crowds, limits, meta-learning.

    python -m benchmarks.extensions                          all parts, five seeds each; what its file has is not redone
    python -m benchmarks.extensions --part crowd --seeds 2   one part
    python -m benchmarks.extensions --report                 the table alone

The plain agent of a seed is a clone of the oracle on the extractor that ships, trained and tuned as the recipe `bc`
has it on fewer markets; every part starts from the same one. Scores are shares of the optimum's expected net log-return
on 48 test markets of 60 days; intervals are a bootstrap over seeds and markets, those of differences paired by both.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from agents.algorithms.threads import use_one_thread
from agents.evaluation.scoring import score
from benchmarks.support.extension_runs import DAYS, MARKETS, PARTS, PLAIN, TASK, optimum, stage
from benchmarks.support.machine import header
from benchmarks.support.results import write_result

Kept = dict[str, dict[str, dict[str, Any]]]  #: part -> seed -> {"rows": ..., "cpu_seconds": ..., "commit": ...}


def table(kept: Kept, best: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Per part and method: score, its difference from the plain agent, and means of the other figures over seeds."""
    lines: dict[str, dict[str, Any]] = {}
    for part, runs in kept.items():
        share = np.asarray(best[part])
        names = list(next(iter(runs.values()))["rows"])
        lines[part] = {}
        for name in names:
            rows = [run["rows"][name] for run in runs.values()]
            plain = [run["rows"][rows[0].get("against", PLAIN)] for run in runs.values()]  # of the same seed
            earned, others = (np.array([row["earned"] for row in every]) for every in (rows, plain))
            line: dict[str, Any] = {
                "seeds": len(rows),
                "score": asdict(score(earned, share)),
                "realised": asdict(score(np.array([row["realised"] for row in rows]), share)),
                "minus_plain": asdict(score(earned - others, share)),
            }
            told = [key for key, value in rows[0].items() if isinstance(value, (int, float))]
            line |= {key: float(np.mean([row[key] for row in rows])) for key in told}
            lines[part][name] = line
    return lines


def report(lines: dict[str, dict[str, Any]]) -> None:
    """Print the table."""
    for part, methods in lines.items():
        print(f"{part} ({next(iter(methods.values()))['seeds']} seeds)")
        for name, line in methods.items():
            found, less = line["score"], line["minus_plain"]
            print(
                f"  {name:66s} {found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]  "
                f"{less['value']:+.3f} [{less['low']:+.3f}, {less['high']:+.3f}]  drawdown {line['max_drawdown']:.1%} "
                f"turnover {line['turnover_per_day']:.2f} exposure {line['mean_exposure']:.2f} Sharpe "
                f"{line['sharpe']:.2f}" + (f" slippage {line['slippage']:.1%}" if "slippage" in line else "")
            )


def main() -> None:
    """Measure what is lacking, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=tuple(PARTS), action="append", help="instead of all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--report", action="store_true", help="print what the file has")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/extensions.json"))
    arguments = parser.parse_args()
    use_one_thread()
    told: dict[str, Any] = json.loads(arguments.out.read_text("utf-8")) if arguments.out.is_file() else {}
    kept: Kept = told.get("runs", {})
    for part in () if arguments.report else arguments.part or tuple(PARTS):
        for seed in range(arguments.seeds):
            if str(seed) in kept.setdefault(part, {}):
                continue
            stage()  # markets and embeddings are the same for all: not counted
            began = process_time()
            rows = PARTS[part](seed)
            spent, commit = round(process_time() - began, 1), header()["commit"]
            kept[part][str(seed)] = {"rows": rows, "cpu_seconds": spent, "commit": commit}
            print(f"{part}, seed {seed}: {kept[part][str(seed)]['cpu_seconds']} CPU s", flush=True)
            told = header() | {"task": TASK, "days": DAYS, "markets": MARKETS, "best": told.get("best", {})}
            if part not in told["best"]:
                told["best"][part] = optimum(part).tolist()
            write_result(arguments.out, told | {"table": table(kept, told["best"]), "runs": kept})
    report(table({part: runs for part, runs in kept.items() if runs}, told["best"]))


if __name__ == "__main__":
    main()
