"""What regime markets are worth to whom: the causal optimum, filters that are told less, and tuned simple rules.

`python -m benchmarks.oracle [--tasks standard hard] [--quick] [--out FILE]` scores on the "test" seed family, which
neither the tasks' parameters nor any plan or rule has seen: the parameters were frozen first, plans are fitted on
"oracle" markets and rules chosen on "train" markets. A score is the expected net log-return over that of the filter
oracle. Speeds are medians, beside their ratio to `numpy.cumsum` of as many numbers in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from agents.evaluation.scoring import score
from benchmarks.support.machine import header
from benchmarks.support.market_scores import earned, oracle_exposure, sharpe
from benchmarks.support.results import write_result
from benchmarks.support.rules import grid, rule_returns
from synthetic import (
    BARS_PER_DAY,
    EVERYTHING,
    OBSERVABLE,
    Information,
    MacroTask,
    Objective,
    RegimeSample,
    filter_beliefs,
    filter_oracle,
    find_task,
    hindsight_oracle,
    regime_market,
    task_seeds,
)

COST = 0.0012
DAYS = 60
PERCENT_A_DAY = 100.0 * BARS_PER_DAY
REPEATS = 7
SOURCES = {
    "without the volatility level (observable ceiling)": OBSERVABLE,
    "blind to the macro state": Information(macro=False),
    "without wicks": Information(wicks=False),
    "without volume": Information(volume=False),
    "price only": Information(volume=False, wicks=False),
    "64 bars of memory": Information(memory=64),
}


def _markets(task: str, family: str, count: int) -> list[RegimeSample]:
    return [regime_market(task, DAYS, seed) for seed in task_seeds(task, family, count)]


def _score(method: NDArray[np.float64], optimum: NDArray[np.float64]) -> dict[str, float]:
    estimate = score(method, optimum)
    return {"score": estimate.value, "low": estimate.low, "high": estimate.high}


def _oracle_row(
    samples: list[RegimeSample], information: Information, objective: Objective, label: str
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """Figures of one oracle, and its expected net log-return of each market (M,)."""
    runs = []
    for sample in tqdm(samples, desc=label, leave=False):
        plan = filter_oracle(sample, COST, information=information, objective=objective)
        runs.append(earned(sample, oracle_exposure(plan), COST))
    realised, expected, held = (np.array(columns) for columns in zip(*runs, strict=True))
    figures = {
        "expected_percent_a_day": PERCENT_A_DAY * expected.mean(),
        "realised_percent_a_day": PERCENT_A_DAY * realised.mean(),
        "sharpe": sharpe(realised),
        "turnover_a_day": BARS_PER_DAY * float(np.abs(np.diff(held, axis=1, prepend=0.0)).mean()),
        "exposure": float(np.abs(held).mean()),
    }
    return figures, expected.sum(axis=1)


def rule_scores(task: str, samples: list[RegimeSample], optimum: NDArray[np.float64], train: int) -> dict[str, Any]:
    """The best rule of each family on `train` training markets, scored on `samples`."""
    rules = grid()
    trained = rule_returns(_markets(task, "train", train), rules, COST).sum(axis=1)
    chosen = {}
    for family in dict.fromkeys(rule.family for rule in rules):
        chosen[family] = max((i for i, rule in enumerate(rules) if rule.family == family), key=trained.__getitem__)
    tested = rule_returns(samples, [rules[i] for i in chosen.values()], COST)
    table = {
        family: {"rule": rules[i].name, **_score(returns, optimum)}
        for (family, i), returns in zip(chosen.items(), tested, strict=True)
    }
    best = max(chosen, key=lambda family: trained[chosen[family]])
    return {"rules": len(rules), "best": {"family": best, **table[best]}, "families": table}


def task_figures(task: str, markets: int) -> dict[str, Any]:
    """Oracle, filters that are told less, other objectives and rules of one task."""
    samples = _markets(task, "test", markets)
    figures, optimum = _oracle_row(samples, EVERYTHING, Objective(), f"{task}: oracle")
    result: dict[str, Any] = {"markets": markets, "days": DAYS, "cost": COST, "oracle": figures}
    result["rules"] = rule_scores(task, samples, optimum, max(markets * 2 // 3, 2))
    objectives = {"risk aversion 6": Objective(risk_aversion=6.0), "holding 0.5 bp": Objective(holding=5e-5)}
    for name, objective in objectives.items():
        row, returns = _oracle_row(samples, EVERYTHING, objective, f"{task}: {name}")
        result.setdefault("objectives", {})[name] = {**row, **_score(returns, optimum)}
    for name, information in SOURCES.items() if isinstance(find_task(task), MacroTask) else ():
        row, returns = _oracle_row(samples, information, Objective(), f"{task}: {name}")
        result.setdefault("told less", {})[name] = {**row, **_score(returns, optimum)}
    return result


def _seconds(call: Callable[[], object]) -> float:
    call()
    took = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def speeds(task: str, days: int) -> dict[str, dict[str, float]]:
    """Million bars per second, and time as a multiple of `numpy.cumsum`'s."""
    sample = regime_market(task, days, 0)
    returns = np.log(sample.bars["close"].to_numpy() / sample.bars["open"].to_numpy())
    calls: dict[str, Callable[[], object]] = {
        "generator": lambda: regime_market(task, days, 1),
        "filter": lambda: filter_beliefs(sample),
        "hindsight, 3 positions": lambda: hindsight_oracle(returns, COST),
        "hindsight, 21 positions": lambda: hindsight_oracle(returns, COST, np.linspace(-1.0, 1.0, 21).tolist()),
    }
    reference = _seconds(lambda: np.cumsum(returns))
    table = {}
    for name, call in tqdm(calls.items(), desc=f"{task}: speeds", leave=False):
        took = _seconds(call)
        table[name] = {"million_bars_per_second": len(returns) / took / 1e6, "times_cumsum": took / reference}
    return table


def _table(task: str, result: Mapping[str, Any]) -> str:
    oracle, best = result["oracle"], result["rules"]["best"]
    lines = [
        f"{task}: {result['markets']} test markets x {result['days']} days, cost {result['cost']:.2%}",
        f"  {'filter oracle':52s} {oracle['expected_percent_a_day']:.2f} %/day, Sharpe {oracle['sharpe']:.1f}, "
        f"turnover {oracle['turnover_a_day']:.1f}/day, exposure {oracle['exposure']:.2f}",
    ]
    for name, row in {**result.get("told less", {}), **result["objectives"]}.items():
        lines.append(
            f"  {name:52s} {row['score']:.2f} [{row['low']:.2f}, {row['high']:.2f}], {row['exposure']:.2f} held"
        )
    for family, row in result["rules"]["families"].items():
        lines.append(f"  {family:52s} {row['score']:.2f} [{row['low']:.2f}, {row['high']:.2f}], {row['rule']}")
    lines.append(f"  best of {result['rules']['rules']} tuned rules: {best['score']:.2f} ({best['family']})")
    for name, row in result["speeds"].items():
        lines.append(f"  {name:52s} {row['million_bars_per_second']:.2f} M bars/s, {row['times_cumsum']:.0f} x cumsum")
    return "\n".join(lines)


def main() -> None:
    """Score the tasks and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["standard", "hard"])
    parser.add_argument("--quick", action="store_true", help="3 markets of each task instead of 48")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "oracle.json")
    arguments = parser.parse_args()
    results = {}
    for task in arguments.tasks:
        results[task] = task_figures(task, 3 if arguments.quick else 48)
        results[task]["speeds"] = speeds(task, 200 if arguments.quick else 5000)
        print(_table(task, results[task]), flush=True)
        write_result(arguments.out, {**header(), "tasks": results})


if __name__ == "__main__":
    main()
