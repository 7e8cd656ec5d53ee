"""How fast portfolios step: a single env against CartPole, a vector env's asset-steps against the trading env's rows.

`python -m benchmarks.portfolio_speed [--quick] [--out FILE]` verifies that rows equal single envs, then times; figures
are medians of interleaved repetitions in one run.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.env_speed import interleaved, time_single, time_vector
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from cryptoenv import CorrelatedTask, PortfolioMarket

ASSETS, ROWS = 8, 1024


def verify(market: PortfolioMarket) -> None:
    """Row 0 of a vector env equals the single env over 300 steps."""
    env: Any = gym.make("CryptoPortfolio-v0", market=market)
    envs: Any = gym.make_vec("CryptoPortfolio-v0", num_envs=2, market=market)
    env.reset(seed=0)
    envs.reset(seed=0)
    for actions in np.random.default_rng(1).uniform(-1, 1, (300, 2, ASSETS)):
        single, row = env.step(actions[0]), envs.step(actions)
        if single[1] != row[1][0] or any((single[0][k] != row[0][k][0]).any() for k in single[0]):
            raise AssertionError("vector row 0 differs from the single env: nothing is timed")


def time_portfolio(env: Any, steps: int, rows: int) -> Callable[[], float]:
    """A function that steps an env, of `rows` rows (0: a single env), and returns seconds per step of one row."""
    env.reset(seed=0)
    shape = (ASSETS,) if rows == 0 else (rows, ASSETS)
    actions = [np.random.default_rng(k).uniform(-1, 1, shape).astype(np.float32) for k in range(8)]

    def run() -> float:
        begin = time.perf_counter()
        for k in range(steps):
            _, _, terminated, truncated, _ = env.step(actions[k % 8])
            if rows == 0 and (terminated or truncated):
                env.reset()
        return (time.perf_counter() - begin) / (steps * max(rows, 1))

    run()
    return run


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/portfolio_speed.json"))
    options = parser.parse_args()
    market = CorrelatedTask(assets=ASSETS).draw("train", 0, 60)
    verify(market)
    steps, vector_steps = (5_000, 20) if options.quick else (20_000, 100)
    rows: list[dict[str, Any]] = []
    for observation in ("window", "index"):
        arguments: dict[str, Any] = {"market": market, "observation": observation}
        took = interleaved(
            {
                "ours": time_portfolio(gym.make("CryptoPortfolio-v0", **arguments), steps, 0),
                "cartpole": time_single(gym.make("CartPole-v1"), steps),
            }
        )
        rows.append(
            {
                "measure": f"gym.make, {ASSETS} assets, observation '{observation}' / CartPole-v1",
                "ours": 1.0 / took["ours"], "reference": 1.0 / took["cartpole"], "unit": "steps/s",
                "ratio": took["cartpole"] / took["ours"],
            }
        )  # fmt: skip
        ours = gym.make_vec("CryptoPortfolio-v0", num_envs=ROWS, **arguments)
        theirs = gym.make_vec("CryptoTrade-v0", num_envs=ROWS, market=market.markets[0], observation=observation)
        took = interleaved(
            {"ours": time_portfolio(ours, vector_steps, ROWS), "theirs": time_vector(theirs, 8 * vector_steps)}
        )
        rows.append(
            {
                "measure": f"make_vec {observation!r}, N = {ROWS}: asset-steps of {ASSETS} / CryptoTrade-v0 row-steps",
                "ours": ASSETS / took["ours"], "reference": 1.0 / took["theirs"], "unit": "steps/s",
                "ratio": ASSETS * took["theirs"] / took["ours"],
            }
        )  # fmt: skip
    for row in rows:
        print(f"{row['measure']:88s} {row['ours']:12.4g} {row['unit']:8s}{row['ratio']:8.2f} x")
    write_result(options.out, {**header(), "rows": rows})


if __name__ == "__main__":
    main()
