"""A recipe walked forward over files of bars, folds x seeds: the honest table and its verdict as JSON.

    python -m benchmarks.walk_forward FILE [FILE ...] [--recipe ppo] [--folds 6] [--seeds 3] [--work DIR] [--out FILE]

It is `cryptoenv walk-forward` on the same folder: interrupted, it goes on where it was; where that is finished, it only
writes the JSON. `cpu_seconds` are those of the last call and of the processes that it began.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from typing import Any

import pandas as pd

from agents.commands.walk_forward import show
from agents.evaluation.walk_forward.plan import WalkForwardPlan
from agents.run_folders.run_folder import METRICS, read_json
from agents.training.recipe import AgentRecipe
from agents.training.walk_forward import FOLDS, WalkForward, walk_forward
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from cryptoenv.analysis.trial_ledger import ledger_beside


def cpu_seconds() -> float:
    """Of this process and of those that it waited for."""
    return sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime
               for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))  # fmt: skip


def told(folder: Path) -> dict[str, Any]:
    """Tables and verdict of a finished walk-forward; folds as means over seeds, with first digits of their weights."""
    folds, found = pd.read_parquet(folder / FOLDS), []
    for (fold, market), of in folds.groupby(["fold", "market"]):
        earned = of["test_per_day"].astype(float)
        found.append({
            "fold": int(str(fold)), "market": str(market), "test_from": str(of["test_from"].iloc[0])[:10],
            "trained_to": str(of["trained_to"].iloc[0])[:10], "weights": [str(one)[:12] for one in of["weights"]],
            "train_per_day": float(of["train_per_day"].astype(float).mean()), "test_per_day": float(earned.mean()),
            "test_per_day_of_seeds": earned.tolist(),
        })  # fmt: skip
    columns = ["total_return", "annualised_return", "sharpe", "max_drawdown", "trades", "win_rate", "turnover_per_day",
               "time_in_market", "cost_share"]  # fmt: skip
    methods = pd.read_parquet(folder / "methods.parquet")[columns].to_dict("index")
    regimes = pd.read_parquet(folder / "regimes.parquet").to_dict("records")
    metrics = {name: value for name, value in read_json(folder / METRICS).items() if name != "origin"}
    return {"folds": found, "methods": methods, "regimes": regimes, **metrics}


def main() -> None:
    """Walk, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bars", nargs="+", help="files of bars, one per market")
    parser.add_argument("--recipe", default="ppo")
    parser.add_argument("--folds", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks/walk-forward"), help="folder, kept")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/walk_forward.json"))
    arguments = parser.parse_args()
    plan = WalkForwardPlan(arguments.folds, arguments.seeds)
    walk = WalkForward(arguments.work, AgentRecipe.read(arguments.recipe), plan, tuple(arguments.bars))
    spent = {}
    if not (arguments.work / METRICS).is_file():
        began, before = time.monotonic(), cpu_seconds()
        found = walk_forward(walk, workers=arguments.workers, ledger=ledger_beside(arguments.work))
        spent = {"wall_seconds": time.monotonic() - began, "cpu_seconds": cpu_seconds() - before}
        show(found, walk.recipe.algorithm, arguments.work)
    names = [Path(one).name for one in arguments.bars]
    result = {"bars": names, "recipe": arguments.recipe, "seeds": arguments.seeds} | spent | told(arguments.work)
    write_result(arguments.out, header() | result)
    print(result["verdict"]["word"], result["verdict"]["because"])


if __name__ == "__main__":
    main()
