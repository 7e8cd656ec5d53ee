"""What is learned from bars alone: extractors that rewards taught, against the optimum of the synthetic tasks.

    python -m benchmarks.bars_alone --run NAME ARTIFACT [ARTIFACT ...]     a row: one artifact per seed
    python -m benchmarks.bars_alone --ensemble NAME ARTIFACT ARTIFACT ...  a row: the mean of all decides
    python -m benchmarks.bars_alone --agent fitted_q ARTIFACT              agents that begin with its values (`--seeds`)
    python -m benchmarks.bars_alone --task hard --run NAME ARTIFACT

Extractors are trained beforehand (`cryptoenv pretrain --recipe bars`); here their hysteresis is chosen on "validation"
seeds, and they trade "test" seeds, which nothing else reads, through the environment. What is scored is kept in the
result file, row by row, so that a later call adds to it. Intervals are over markets, and over seeds where there are
several.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import numpy as np

from agents.algorithms.registry import new_config
from agents.algorithms.threads import use_one_thread
from agents.evaluation import baselines
from agents.evaluation.extractor_trader import ExtractorTrader
from agents.evaluation.rollout import Rollout, roll, whole_markets
from agents.evaluation.scoring import score
from agents.evaluation.tables import agent_policies
from agents.markets.expert_market import ExpertMarket, synthetic_markets
from agents.settings import TradingSettings
from agents.training.config import AgentTrainingConfig
from agents.training.pipeline import train
from benchmarks.support.learning_methods import STEPS
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from pretrain import Extractor

DAYS = 60
VALIDATION, TEST = 24, 48  #: markets
AGENT_MARKETS = 96  #: that an agent learns from


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
        told = {"margin": trader.margin, "hash": first.hash, "labels": first.provenance.label_kind}
        found.append(figures(roll(trader.on(test), test, rows, settings), test) | told | first.provenance.metrics)
    return found, best


def agent_of(
    algorithm: str, artifact: str, task: str, seed: int, folder: Path
) -> tuple[list[dict[str, Any]], Any]:
    """What an agent earns that begins with an artifact's values and goes on with an algorithm, and what it began as."""
    extractor = Extractor.load(artifact)
    steps = STEPS[algorithm]
    learning = replace(new_config(algorithm), steps=steps, evaluate_every=steps // 8)
    config = AgentTrainingConfig(learning=learning, train_markets=AGENT_MARKETS, checkpoint_every=10**9)
    began = process_time()
    run = train(algorithm, market=task, extractor=extractor, out=folder, seed=seed, config=config, progress=False)
    spent = process_time() - began
    settings = config.settings_for(extractor)
    test = markets(task, "test", TEST, settings)
    rows = whole_markets(test)
    best = roll(baselines.oracle(test, settings), test, rows, settings).expected(test)
    found = []
    for agent in (run.agent, run.clone):
        rollout = roll(agent_policies({"agent": agent}, test)["agent"], test, rows, settings)
        told = {"margin": agent.margin, "head": agent.head, "hash": extractor.hash, "seed": seed, "cpu_seconds": spent}
        found.append(figures(rollout, test) | told)
    return found, best


def figures(rollout: Rollout, test: Sequence[ExpertMarket]) -> dict[str, Any]:
    """What a rollout earned in each market, expected and realised; turnover and exposure."""
    return {
        "earned": rollout.expected(test), "realised": rollout.realised,
        "turnover_per_day": float(rollout.turnover.sum() / DAYS / len(test)),
        "exposure": float(np.abs(rollout.exposure).mean()),
    }  # fmt: skip


def row(name: str, runs: list[dict[str, Any]], best: Any, task: str) -> dict[str, Any]:
    """A row of the result: score with its interval, scores by seed, what each run was; printed."""
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
    parser.add_argument("--agent", nargs="+", action="append", default=[], metavar="ALGORITHM ARTIFACT",
                        help="rows of agents, each artifact's, and of what they began as")  # fmt: skip
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of agents")
    parser.add_argument("--task", default="standard")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/bars_alone.json"))
    arguments = parser.parse_args()
    use_one_thread()
    rows: dict[str, Any] = json.loads(arguments.out.read_text())["rows"] if arguments.out.is_file() else {}

    def keep(name: str, runs: list[dict[str, Any]], best: Any) -> None:
        rows.setdefault(arguments.task, {})[name] = row(name, runs, best, arguments.task)
        write_result(arguments.out, header() | {"days": DAYS, "test_markets": TEST, "rows": rows})

    for together, given in ((False, arguments.run), (True, arguments.ensemble)):
        for name, *folders in given:
            keep(name, *traded(folders, arguments.task, together=together))
    for algorithm, *artifacts in arguments.agent:
        runs: list[list[dict[str, Any]]] = []
        on = Path(artifacts[0]).name if len(artifacts) == 1 else f"{len(artifacts)} artifacts"
        for artifact, seed in product(artifacts, arguments.seeds):
            with TemporaryDirectory() as folder:
                found, best = agent_of(algorithm, artifact, arguments.task, seed, Path(folder) / "run")
            runs.append(found)
            agents, begun = zip(*runs, strict=True)
            keep(f"{algorithm} on {on}", list(agents), best)
            keep(f"what {algorithm} began as on {on}", list(begun), best)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
