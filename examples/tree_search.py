"""Tree search with saved states: one env is played, 27 rows of a vector env try what could be done next.

The rows go on in the same market, so the search knows its next bars: what it earns no trader can, and it stands here
beside the causal optimum of the filter oracle, which sees only the past.

python examples/tree_search.py --days 20
"""

import argparse
import itertools
from typing import Any

import gymnasium as gym
import numpy as np

import cryptoenv
import synthetic

DEPTH, HOLD = 3, 4
PLANS = np.array(list(itertools.product(range(3), repeat=DEPTH)))
"""(27, DEPTH) actions, each kept for HOLD bars."""


def best_plan(env: Any, tries: Any) -> int:
    """The first action of the plan that earns most over the next DEPTH * HOLD bars."""
    tries.unwrapped.set_state(env.unwrapped.get_state()[[0] * len(PLANS)])
    earned = np.zeros(len(PLANS))
    going = np.ones(len(PLANS), dtype=bool)
    for action in PLANS.T.repeat(HOLD, axis=0):
        _, rewards, terminated, truncated, _ = tries.step(action)
        earned += rewards * going
        going &= ~(terminated | truncated)  # what a row does after its end is of another episode
    return int(PLANS[earned.argmax(), 0])


def main() -> None:
    """One market of "standard": the search, the oracle, and holding, each from flat."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=20)
    days = parser.parse_args().days
    sample = synthetic.regime_market("standard", days=days, seed=11)
    best = synthetic.filter_oracle(sample, cost=0.0011)
    made = {"market": sample, "observation": "index", "random_start": False, "episode_bars": days * 96,
            "costs": cryptoenv.Costs(impact=0.0)}  # fmt: skip
    env, tries = gym.make("CryptoTrade-v0", **made), gym.make_vec("CryptoTrade-v0", num_envs=len(PLANS), **made)
    equity = {}
    for name in ("search with foresight", "causal optimum", "buy and hold"):
        _, info = env.reset(seed=0)
        over, held, step = False, 1, 0
        while not over:
            if name == "causal optimum":
                held = int(best.actions[info["bar"], held])
            elif name == "buy and hold":
                held = 2
            elif step % HOLD == 0:
                held = best_plan(env, tries)
            _, _, terminated, truncated, info = env.step(held)
            over, step = terminated or truncated, step + 1
        equity[name] = np.log(info["equity"] / 10_000.0)
    print("log-return of " + ", ".join(f"{name} {value:+.3f}" for name, value in equity.items()))


if __name__ == "__main__":
    main()
