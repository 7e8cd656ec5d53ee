"""Agents on real bars: trained, tuned and judged on one history each, in the order of time.

    python -m benchmarks.real_bars FILE [FILE ...]

Every file of bars is resampled to 15m, 4h and 1d and split in time: the first three fifths to learn from, the next to
choose weights and hysteresis on, the last to be judged on once, with all costs. The extractor is the one that ships,
which has seen synthetic markets alone; labels are those of bars. Intervals are over the weeks of the test part.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents.algorithms.registry import new_config
from agents.algorithms.threads import use_one_thread
from agents.evaluation.tables import evaluate_on_bars
from agents.reports.table import print_table
from agents.run_folders.run_origin import CLONE_NAME
from agents.training.config import AgentTrainingConfig
from agents.training.pipeline import train
from benchmarks.support.machine import header
from benchmarks.support.results import write_result

STEPS = {"ppo": 600_000, "fitted_q": 6_000_000}
COLUMNS = ["daily_log_return", "daily_log_return_low", "daily_log_return_high", "sharpe", "max_drawdown",
           "turnover_per_day", "mean_exposure"]  # fmt: skip


def judged(file: Path, seed: int) -> Any:
    """The table of a file: agents, clone and baselines on the last fifth of its bars."""
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for algorithm, steps in STEPS.items():
            learning = replace(new_config(algorithm), steps=steps, evaluate_every=steps // 8)
            config = AgentTrainingConfig(learning=learning, checkpoint_every=10**9)
            place = Path(folder) / algorithm
            runs.append(train(algorithm, market=file, out=place, seed=seed, config=config, progress=False))
        table = evaluate_on_bars(runs, file, split="test")
    # both started at the same clone
    table = table.drop(index=f"{CLONE_NAME} (fitted_q)")
    return table.rename(index=lambda name: name.removesuffix(" (ppo)").removesuffix(" (fitted_q)"))


def main() -> None:
    """Run, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="bars of 15m or finer, a year and more")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/real_bars.json"))
    arguments = parser.parse_args()
    use_one_thread()
    result: dict[str, Any] = header() | {"steps": STEPS, "files": {}}
    for file in arguments.files:
        table = judged(file, arguments.seed)
        print_table(table, f"{file.name}, the last fifth")
        result["files"][file.name] = table[COLUMNS].to_dict(orient="index")
    write_result(arguments.out, result)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
