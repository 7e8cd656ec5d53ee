"""Prints a hash of kernel, episode and reward results: the same with and without NUMBA_DISABLE_JIT=1."""

import hashlib

import numpy as np

from cryptoenv.env.episode import EPISODE, SEED, EpisodeRules, World
from cryptoenv.env.lanes import accounts_of, empty_rows
from cryptoenv.env.vector_rows import begin_rows, empty_seen, step_serial
from cryptoenv.market.table import market_table
from cryptoenv.trading.rewards import REWARD_NAMES, reward_weights
from tests.naive.kernel_fuzz import BAR_SECONDS, random_config, random_prices


def trajectory_digest(seed: int, rounds: int) -> str:
    """SHA-256 over accounts, rewards and observations of fuzzed vector episodes."""
    rng = np.random.default_rng(seed)
    digest = hashlib.sha256()
    for _ in range(rounds):
        prices = random_prices(rng, 120, wild=True)
        config = random_config(rng, prices[0, 3])
        weights = reward_weights({name: float(rng.normal()) for name in REWARD_NAMES})
        align = np.zeros((60, 1), dtype=np.int64)
        features = (np.zeros((60, 2), dtype=np.float32),)
        halves = [(prices[:60], align, features), (prices[60:], align, features)]
        world = World(market_table(halves, [(3, 59), (5, 59)]), config.parameters(BAR_SECONDS), weights)
        n = 3
        rows = empty_rows(n)
        rows.clocks[:, SEED] = 2**40 + np.arange(n)
        rows.clocks[:, EPISODE] = 0
        rules = EpisodeRules(20, True, 10_000.0)
        drawn = np.full(n, -1, dtype=np.int64)
        begin_rows(np.ones(n, dtype=np.bool_), rows, world, rules, drawn, drawn, np.zeros(n))
        low = -config.limits.exposure if config.shorts_allowed else 0.0
        for _ in range(60):
            rows.targets[:] = rng.choice([low, 0.0, config.limits.exposure], n)
            seen = empty_seen(n)
            step_serial(rows, world, rules, True, seen)
            for array in (accounts_of(rows), rows.clocks, *seen):
                digest.update(array.tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    print(trajectory_digest(seed=5, rounds=6))
