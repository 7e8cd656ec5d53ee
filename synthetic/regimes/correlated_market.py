"""Several markets that share one factor: each is a market of its task by itself, their noise moves together.

The noise of asset `j` in bar `t` is `(load z[t] + sqrt(1 - load^2) e[j, t]) / sqrt(w[t] / df)` of unit variance, with
normal `z` (the factor) and `e`, and `w` of the chi-squared law with `df` degrees of freedom, which all assets share:
multivariate Student-t, so that large moves come together. By itself each asset's noise is the Student-t noise of its
task, its regimes are its own, and the task's exact filter is that of every asset. `load^2` is the correlation of noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from synthetic.regimes.chain_task import BARS_PER_DAY, WARMUP_DAYS, RegimeTask
from synthetic.regimes.market import draw_market, noise_length
from synthetic.regimes.sample import RegimeSample
from synthetic.regimes.tasks import find_task

MOST_ASSETS = 1000  #: of one portfolio; seeds of its assets follow each other
_FACTOR = 0x0FAC70  #: salt of the factor's own stream


@dataclass(frozen=True)
class CorrelatedSample:
    """Markets drawn together.

    Attributes:
        assets: A samples by name, "asset-0", "asset-1", ..., on one index, each with its own truth.
        seed: what they were drawn with; asset `j` has regimes, wicks and volume of seed `seed + j`.
        correlation: of any two assets' noise.
    """

    assets: dict[str, RegimeSample]
    seed: int
    correlation: float


def correlated_market(
    task: str | RegimeTask = "easy", assets: int = 4, days: int = 60, seed: int = 0, correlation: float = 0.5
) -> CorrelatedSample:
    """Draw `assets` markets of a regime task whose noise has one common factor. Same arguments, same bytes.

    Args:
        task: a regime chain: "easy", or a `RegimeTask` of one's own.
        assets: A, 1 to 1000.
        days: tradable days, after 56 days of warm-up.
        seed: any integer >= 0.
        correlation: of the noise of two assets, in [0, 1).

    Raises:
        ValueError: an argument out of range, or a task that is no regime chain.

    Example:
        >>> from synthetic.regimes.correlated_market import correlated_market
        >>> drawn = correlated_market(assets=2, days=1, seed=3)
        >>> {name: sample.bars.shape for name, sample in drawn.assets.items()}
        {'asset-0': (5472, 5), 'asset-1': (5472, 5)}
    """
    found = find_task(task)
    if not isinstance(found, RegimeTask):
        raise ValueError(f"task {found.name!r} is no regime chain: pass 'easy' or a RegimeTask")
    if not 1 <= assets <= MOST_ASSETS:
        raise ValueError(f"assets is {assets}: it must be from 1 to {MOST_ASSETS}")
    if days < 1 or seed < 0:
        raise ValueError(f"days is {days} and seed {seed}: at least 1 tradable day, and a seed >= 0, are needed")
    if not 0.0 <= correlation < 1.0:
        raise ValueError(f"correlation is {correlation}: it must lie in [0, 1)")
    length = (WARMUP_DAYS + days) * BARS_PER_DAY
    rng, count, degrees = np.random.default_rng([seed, _FACTOR]), noise_length(length), found.degrees_of_freedom
    factor = rng.standard_normal(count)
    scale = np.sqrt((degrees - 2.0) / rng.chisquare(degrees, count))
    drawn = {}
    for j in range(assets):
        own = rng.standard_normal(count)
        noise = (math.sqrt(correlation) * factor + math.sqrt(1.0 - correlation) * own) * scale
        drawn[f"asset-{j}"] = draw_market(found, length, seed + j, noise)
    return CorrelatedSample(drawn, seed, correlation)
