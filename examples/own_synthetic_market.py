"""A synthetic market of your own: change a task's parameters, trade it, and ask what could have been earned.

python examples/own_synthetic_market.py --days 30
"""

import argparse
from dataclasses import replace

import gymnasium as gym

import cryptoenv  # noqa: F401 -- registers the environment
import synthetic

CALM = replace(synthetic.TASKS["easy"], name="calm", sigma=0.002, signal_to_noise=0.8)
"""Bars that move less than those of "easy" (0.0025), and drifts that are weaker beside the noise."""
FLAT = 1


def main() -> None:
    """Follow the oracle, which sees only the past, through one market; then step a stream of others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=30)
    days = parser.parse_args().days
    sample = synthetic.regime_market(CALM, days=days, seed=7)
    print(f"{len(sample.bars)} bars; regimes: {sample.truth['regime'].nunique()} of {len(CALM.regimes)} seen")
    best = synthetic.filter_oracle(sample, cost=0.0011)
    env = gym.make("CryptoTrade-v0", market=sample, random_start=False, episode_bars=days * synthetic.BARS_PER_DAY)
    _, info = env.reset(seed=0)
    over, held = False, FLAT
    while not over:
        held = int(best.actions[info["bar"], held])  # what to hold next depends on what is held
        _, _, terminated, truncated, info = env.step(held)
        over = terminated or truncated
    print(f"the optimum of these {days} days: equity {info['equity']:.0f} from 10000, fees {info['fees']:.0f}")
    stream = gym.make("CryptoTrade-v0", market=CALM, markets="stream", days=days)
    numbers = [stream.reset(seed=seed)[1]["market"] for seed in range(3)]
    print("three markets of the stream:", numbers)


if __name__ == "__main__":
    main()
