"""What would the other actions have earned? `env.branch(n)` gives n envs that go on from one moment, one per action.

python examples/counterfactuals.py --moments 200
"""

import argparse
from typing import Any

import gymnasium as gym
import numpy as np

import cryptoenv  # noqa: F401 -- registers the environment

HOLD = 16
"""Bars for which each action is kept: four hours."""


def what_each_would_earn(env: Any) -> np.ndarray:
    """(A,) sums of rewards over the next HOLD bars, one per action; `env` itself stays where it is."""
    branches = env.unwrapped.branch(int(env.action_space.n))
    return np.array([sum(float(twin.step(action)[1]) for _ in range(HOLD)) for action, twin in enumerate(branches)])


def main() -> None:
    """Walk at random; at some moments try all three actions, and see that asking changed nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=200)
    moments = parser.parse_args().moments
    rng = np.random.default_rng(0)
    env = gym.make("CryptoTrade-v0", market="standard", observation="index", episode_bars=2880)
    env.reset(seed=0)
    earned, taken, foretold = [], [], []
    for _ in range(moments):
        each = what_each_would_earn(env)
        action = int(rng.integers(3))
        taken.append(sum(float(env.step(action)[1]) for _ in range(HOLD)))
        earned.append(each)
        foretold.append(each[action])
        if len(taken) % 100 == 0:
            env.reset()  # another market
    gap = np.max(earned, axis=1) - np.array(taken)
    print(
        f"{moments} moments: short, flat, long would have earned {np.mean(earned, axis=0).round(5)} on average; "
        f"chance fell {gap.mean():.5f} short of the best; foretold exactly: {np.array_equal(taken, foretold)}"
    )


if __name__ == "__main__":
    main()
