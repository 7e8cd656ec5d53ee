"""The loop that every Gymnasium client runs, with a rule for a policy: follow the last day's move.

python examples/gym_loop.py --steps 2000
"""

import argparse

import gymnasium as gym
import numpy as np

import cryptoenv  # noqa: F401 -- registers the environment

SHORT, FLAT, LONG = range(3)


def follow_the_day(observation: dict[str, np.ndarray]) -> int:
    """Long after 96 bars that rose on balance, short after bars that fell, flat in between.

    The first feature of the base timeframe is the last bar's log-return in units of its volatility.
    """
    move = float(observation["15m"][:, 0].mean())
    return LONG if move > 0.1 else SHORT if move < -0.1 else FLAT


def main() -> None:
    """Trade for some steps and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    steps = parser.parse_args().steps
    env = gym.make("CryptoTrade-v0", window=(96, 1, 1))
    observation, info = env.reset(seed=0)
    total = 0.0
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(follow_the_day(observation))
        total += float(reward)
        if terminated or truncated:
            observation, info = env.reset()
    print(f"{steps} steps, log-return {total:+.3f}; equity {info['equity']:.0f}, exposure {info['exposure']:+.2f}")


if __name__ == "__main__":
    main()
