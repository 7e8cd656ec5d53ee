"""A recipe walked forward over files of bars, folds x seeds: the honest table and its verdict as JSON.

    python -m benchmarks.walk_forward FILE [FILE ...] [--recipe ppo] [--folds 6] [--seeds 3] [--work DIR] [--out FILE]

It is `cryptoenv walk-forward` on the same folder: interrupted, it goes on where it was. `cpu_seconds` are those of this
call and of the processes that it began; of a call that found everything trained they are those of trading and judging.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from typing import Any

import pandas as pd

from agents.commands.walk_forward import show
from agents.evaluation.walk_forward.findings import Findings
from agents.evaluation.walk_forward.plan import WalkForwardPlan
from agents.training.recipe import AgentRecipe
from agents.training.walk_forward import WalkForward, walk_forward
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from cryptoenv.analysis.trial_ledger import ledger_beside


def cpu_seconds() -> float:
    """Of this process and of those that it waited for."""
    return sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime
               for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))  # fmt: skip


def told(found: Findings) -> dict[str, Any]:
    """Tables and verdict as plain values; folds as means over seeds, with the first digits of their weights."""
    folds = [
        {
            "fold": int(fold), "market": str(market), "test_from": str(of["test_from"].iloc[0])[:10],
            "trained_to": str(of["trained_to"].iloc[0])[:10], "weights": [str(one)[:12] for one in of["weights"]],
            "train_per_day": float(of["train_per_day"].mean()), "test_per_day": float(of["test_per_day"].mean()),
            "test_per_day_of_seeds": [float(one) for one in of["test_per_day"]],
        }
        for (fold, market), of in found.folds.groupby(["fold", "market"])
    ]  # fmt: skip
    columns = ["total_return", "annualised_return", "sharpe", "max_drawdown", "trades", "win_rate", "turnover_per_day",
               "time_in_market", "cost_share"]  # fmt: skip
    methods = {str(name): {c: _plain(row[c]) for c in columns} for name, row in found.methods.iterrows()}
    regimes = [{str(k): _plain(v) for k, v in row.items()} for row in found.regimes.to_dict("records")]
    return {"folds": folds, "methods": methods, "regimes": regimes, **found.metrics()}


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else None if pd.isna(value) else float(value)


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
    began, before = time.monotonic(), cpu_seconds()
    found = walk_forward(walk, workers=arguments.workers, ledger=ledger_beside(arguments.work))
    spent = {"wall_seconds": time.monotonic() - began, "cpu_seconds": cpu_seconds() - before}
    show(found, walk.recipe.algorithm, arguments.work)
    names = [Path(one).name for one in arguments.bars]
    write_result(arguments.out, header() | {"bars": names, "recipe": arguments.recipe} | spent | told(found))


if __name__ == "__main__":
    main()
