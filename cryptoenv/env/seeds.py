"""Seeds of vector envs that share no episode.

Row `i` of a vector env reset with seed `s` draws its episodes as a single env reset with `s + i`: Gymnasium's rule, and
what makes a row checkable by itself. It also means that the seeds 0, 1, 2, ... of N rows are nearly one seed.
"""

from __future__ import annotations

import warnings

import numpy as np

from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.env.episode import SEED_MASK
from cryptoenv.env.spec import EnvironmentSpec
from cryptoenv.files.typed_values import Range, whole
from cryptoenv.market.market import Market

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


def warn_of_shared_episodes(setup: EnvironmentSpec, first: int, rows: int) -> None:
    """Warn where rows seeded `first`, `first + 1`, ... share episodes with another seeding in this process.

    The same seed again is no fault: that is how a run is repeated.
    """
    source = setup.visits.source(0)
    own = (len(source), source.prices[0, CLOSE], source.prices[-1, CLOSE]) if isinstance(source, Market) else source
    span, earlier = range(first, first + rows), _SPANS.setdefault((own, setup.visits.count), [])
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
