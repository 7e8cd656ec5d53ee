"""Seeds of vector envs that share no episode.

Row `i` of a vector env reset with seed `s` draws its episodes as a single env reset with `s + i`: Gymnasium's rule, and
what makes a row checkable by itself. It also means that the seeds 0, 1, 2, ... of N rows are nearly one seed.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from cryptoenv.env.episode import EPISODE, SEED, SEED_MASK
from cryptoenv.env.row_arguments import check_seeds
from cryptoenv.files.typed_values import Range, whole

MOST_SPANS = 64  #: kept of each
#: What vector envs of this process were seeded with: by markets, spans of row seeds.
_SPANS: dict[object, list[range]] = {}


def drawn_seeds(sequence: np.random.SeedSequence, rows: int) -> tuple[int, ...]:
    """Seeds for N = `rows` rows, 62 bits each, by NumPy's hash of the sequence; the sequence is left as it is."""
    return tuple(int(word) & SEED_MASK for word in sequence.generate_state(rows, np.uint64))


def spread_seeds(seed: int, num_envs: int) -> list[int]:
    """A seed for every row of a vector env, such that two seeds share no row's: for runs that are to be independent.

    Args:
        seed: 0, 1, 2, ...: of a run.
        num_envs: N.

    Returns:
        N whole numbers of 62 bits, for `reset(seed=...)`; the first M of them are those of M rows.

    Raises:
        ValueError, TypeError: `seed` below 0, `num_envs` below 1, or no whole numbers.

    Example:
        >>> import gymnasium as gym
        >>> import cryptoenv
        >>> envs = gym.make_vec("CryptoTrade-v0", num_envs=4, market="easy", observation="index")
        >>> observations, infos = envs.reset(seed=cryptoenv.spread_seeds(0, 4))
        >>> len(set(cryptoenv.spread_seeds(0, 1024)) & set(cryptoenv.spread_seeds(1, 1024)))
        0
    """
    return list(drawn_seeds(np.random.SeedSequence(whole("seed", seed, Range(0))), whole("num_envs", num_envs)))


def seed_rows(
    env: VectorEnv[Any, Any, Any], clocks: NDArray[np.int64], seed: Any, mask: NDArray[np.bool_], begun: bool,
    markets: Hashable,
) -> None:  # fmt: skip
    """Give every row where `mask` (N,) is True its seed, or the number of its next episode.

    Args:
        env: whose generator seeds rows that nobody gave a seed. clocks: (N, CLOCK_WIDTH), changed.
        seed: of `reset`. begun: whether episodes were begun before.
        markets: what tells the markets from others: the same seed on others shares no episode.

    Raises:
        ValueError: seeds of another number, or one that is none.
    """
    rows = len(clocks)
    if seed is None and begun:
        clocks[mask, EPISODE] += 1
        return
    if isinstance(seed, np.random.SeedSequence):
        seed = list(drawn_seeds(seed, rows))
    if isinstance(seed, (list, tuple, np.ndarray)):
        check_seeds(seed, rows)
        for i in np.flatnonzero(mask):
            row_seed = seed[i]
            if row_seed is not None:
                clocks[i, SEED], clocks[i, EPISODE] = int(row_seed) & SEED_MASK, 0
            elif begun:
                clocks[i, EPISODE] += 1
            else:
                clocks[i, SEED], clocks[i, EPISODE] = env.np_random.integers(SEED_MASK), 0
        return
    VectorEnv.reset(env, seed=seed)
    first = int(env.np_random_seed or 0) & SEED_MASK  # the sum with a row number fits into int64
    if seed is not None:
        _warn_of_shared_episodes(markets, first, rows)
    clocks[mask, SEED] = ((first + np.arange(rows)) & SEED_MASK)[mask]
    clocks[mask, EPISODE] = 0


def _warn_of_shared_episodes(markets: Hashable, first: int, rows: int) -> None:
    """Warn where rows seeded `first`, `first + 1`, ... share episodes with another seeding in this process.

    The same seed again is no fault: that is how a run is repeated.
    """
    span, earlier = range(first, first + rows), _SPANS.setdefault(markets, [])
    for other in earlier:
        shared = min(span.stop, other.stop) - max(span.start, other.start)
        if other.start != first and shared > 0:
            warnings.warn(
                f"seeds {other.start} and {first} share {shared} of the {rows} rows' episodes: row i of a vector env "
                "draws as a single env seeded with seed + i. For runs that are to be independent: "
                f"reset(seed=cryptoenv.spread_seeds({first}, {rows}))",
                UserWarning, stacklevel=4,
            )  # fmt: skip
            break
    if span not in earlier:
        earlier.append(span)
        del earlier[:-MOST_SPANS]
