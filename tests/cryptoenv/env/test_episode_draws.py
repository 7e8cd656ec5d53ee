"""Episode draws: each seed, episode and purpose draws for itself."""

import numpy as np

from cryptoenv.env.episode import episode_draw

MARKET_SALT, START_SALT = 1, 2
BOUND = 1_000_000


def draws(salt: int, seeds: range, episode: int = 0) -> np.ndarray:
    """One draw per seed."""
    return np.array([episode_draw(seed, episode, salt, BOUND) for seed in seeds], dtype=np.float64)


def test_the_draws_of_neighbouring_seeds_episodes_and_purposes_are_unrelated() -> None:
    seeds = range(4000)
    mine = draws(START_SALT, seeds)
    others = {
        "other purpose": draws(MARKET_SALT, seeds),
        "other purpose of the next seed": draws(MARKET_SALT, range(1, 4001)),
        "next seed": draws(START_SALT, range(1, 4001)),
        "next episode": draws(START_SALT, seeds, 1),
        "next episode of the seed before": draws(START_SALT, range(3999, 7999), 1),
        "a seed whose high bits differ": draws(START_SALT, range(2**32, 2**32 + 4000)),
    }
    for name, other in others.items():
        assert abs(np.corrcoef(mine, other)[0, 1]) < 5 / np.sqrt(len(seeds)), name
        assert (mine == other).mean() < 0.01, name
    assert abs(mine.mean() / BOUND - 0.5) < 5 / np.sqrt(12 * len(seeds))
    counts = np.bincount((mine * 20 // BOUND).astype(int), minlength=20)
    assert ((counts - 200) ** 2 / 200).sum() < 60, "uniform"
