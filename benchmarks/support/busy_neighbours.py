"""Whether stepping on several threads pays beside other processes: default threads against one, ratios in one run.

`python -m benchmarks.support.busy_neighbours [--quick] [--out FILE]` prints a table and writes JSON with machine and
commit; `benchmarks.env_speed` has the same rows. Both sides step the same actions; a bit that differs ends it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import cryptoenv
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from benchmarks.support.walk import walk_bars

ROWS = 4_096
BLOCK = 20  #: steps of one side before the other's turn
WARM_UP = 1.0  #: seconds that neighbours get to fill their cores
NEIGHBOUR = "while True: sum(range(1000))"
TORCH = """
import json, sys
{imports}
torch.set_num_threads({cores})
from benchmarks.support.busy_neighbours import measured
from benchmarks.support.walk import walk_bars
x = torch.ones(256, 256)
market = cryptoenv.Market.from_bars(walk_bars(20_000))
print(json.dumps(measured(market, {blocks}, lambda: x @ x)))
"""


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Other processes, each of which takes as much of a core as it gets."""
    others = [subprocess.Popen([sys.executable, "-c", NEIGHBOUR]) for _ in range(count)]
    try:
        time.sleep(WARM_UP if count else 0.0)
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def measured(market: cryptoenv.Market, blocks: int, between: Callable[[], object] = int) -> dict[str, float]:
    """Seconds of a step of N = 4,096 index rows, by default and on one thread: medians and means.

    Args:
        market: to trade.
        blocks: of 20 steps, per side; the sides take turns.
        between: is called before each step, outside of what is timed (a policy, say).

    Raises:
        AssertionError: the two differ in a bit.
    """
    sides: dict[str, Any] = {
        name: gym.make_vec("CryptoTrade-v0", num_envs=ROWS, market=market, observation="index")
        for name in ("default", "serial")
    }
    sides["serial"].unwrapped._threads = 1
    for envs in sides.values():
        envs.reset(seed=0)
    rng = np.random.default_rng(0)
    actions = [rng.integers(3, size=ROWS) for _ in range(BLOCK)]
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(blocks):
        rewards = {name: _timed(envs, actions, between, seconds[name]) for name, envs in sides.items()}
        if not np.array_equal(rewards["default"], rewards["serial"]):
            raise AssertionError("stepping on several threads gives other rewards: nothing is reported")
    found = {f"{name}_median": statistics.median(values) for name, values in seconds.items()}
    return found | {f"{name}_mean": statistics.fmean(values) for name, values in seconds.items()}


def _timed(envs: Any, actions: list[Any], between: Callable[[], object], seconds: list[float]) -> Any:
    """Steps once per actions and appends the seconds of each; the rewards (BLOCK, N)."""
    rewards = []
    for chosen in actions:
        between()
        begin = time.perf_counter()
        rewards.append(envs.step(chosen)[1])
        seconds.append(time.perf_counter() - begin)
    return np.stack(rewards)


def _row(measure: str, figures: dict[str, float]) -> dict[str, Any]:
    return {
        "measure": f"{measure}: a step by default / on one thread",
        "ours": ROWS / figures["default_median"],
        "reference": ROWS / figures["serial_median"],
        "unit": "steps/s",
        "ratio": figures["serial_median"] / figures["default_median"],
        "ratio_of_means": figures["serial_mean"] / figures["default_mean"],
    }


def busy_neighbours(market: cryptoenv.Market, blocks: int) -> Iterator[dict[str, Any]]:
    """Rows beside no process, one, and one per core; and with torch in this process, imported first or last."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for count in sorted({0, 1, cores}):
        with neighbours(count):
            found = measured(market, blocks)
        yield _row(f"make_vec 'index', N = {ROWS}, {count} busy neighbours", found)
    for count in (0, cores):
        for imports in ("import torch\nimport cryptoenv", "import cryptoenv\nimport torch"):
            order = "torch first" if imports.startswith("import torch") else "torch last"
            code = TORCH.format(imports=imports, cores=cores, blocks=blocks)
            with neighbours(count):
                done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
            measure = f"make_vec 'index', N = {ROWS}, {count} busy neighbours, {order}"
            if done.returncode:
                yield {"measure": measure, "note": done.stderr.strip().splitlines()[-1]}
            else:
                yield _row(measure, json.loads(done.stdout))


def main() -> None:
    """Run all rows, print them, write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    parser.add_argument("--out", type=Path, default=Path("runs/busy_neighbours.json"))
    options = parser.parse_args()
    rows = []
    for row in busy_neighbours(cryptoenv.Market.from_bars(walk_bars(20_000)), 20 if options.quick else 100):
        rows.append(row)
        figures = row.get("note") or f"{row['ours']:12.4g} {row['unit']}{row['ratio']:8.2f} x"
        means = f", means {row['ratio_of_means']:.2f} x" if "ratio" in row else ""
        print(f"{row['measure']:92s} {figures}{means}", flush=True)
    write_result(options.out, {**header(), "rows": rows})


if __name__ == "__main__":
    main()
