"""What a filter of a two-level market expects of the bars to come, near and far.

The next bar's mean and second moment are exact given the belief. Sums of discounted drifts further on have no closed
form, since scale and anchor move with the bars: they are regressed on belief and distance, in units of the next bar's
scale, on markets of the "oracle" seed family. Shape legend: `T` bars, `K` joint states.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numba import njit

from synthetic.oracles.macro_filter import Evidence, Information, evidence, macro_beliefs, two_level
from synthetic.regimes.chain_task import BARS_PER_DAY, WARMUP_DAYS
from synthetic.regimes.macro_market import draw_macro_market, state_numbers
from synthetic.regimes.macro_task import Floats, MacroTask
from synthetic.regimes.sample import RegimeSample
from synthetic.regimes.tasks import task_seeds

_NEAR_HALF_LIFE: Final = 4.0
_FAR_HALF_LIFE: Final = 30.0
_FIT_MARKETS: Final = 8
_FIT_DAYS: Final = 400
_RIDGE: Final = 1e-6
_HORIZON: Final = 600  #: bars at the end of a market whose discounted sums are not complete


class Forecast(NamedTuple):
    """The next bar's expected return and squared return, (T,) each, and coordinates (T,) of what lies further."""

    coordinates: tuple[Floats, ...]
    drift: Floats
    second_moment: Floats


@njit(cache=True)
def _discounted_ahead(drift: Floats, decay: float) -> Floats:
    """(T,) `sum over j >= 1 of decay^(j-1) drift[t+j]`."""
    ahead = np.zeros(drift.shape[0])
    for t in range(drift.shape[0] - 2, -1, -1):
        ahead[t] = drift[t + 1] + decay * ahead[t + 1]
    return ahead


@njit(cache=True)
def _add_products(features: Floats, ahead: Floats, squares: Floats, products: Floats) -> None:
    """Add `features.T @ features` and `features.T @ ahead`: the same bytes however many threads a BLAS would take."""
    for t in range(features.shape[0]):
        for i in range(features.shape[1]):
            weight = features[t, i]
            for j in range(features.shape[1]):
                squares[i, j] += weight * features[t, j]
            for j in range(ahead.shape[1]):
                products[i, j] += weight * ahead[t, j]


def _features(task: MacroTask, beliefs: Floats, seen: Evidence) -> Floats:
    """(T, K + 1): the belief, and how far the anchor pulls now."""
    pull = (beliefs @ state_numbers(task).anchor_pull) * seen.next_distance
    return np.column_stack([beliefs, pull])


def _labelled_samples(task: MacroTask, information: Information) -> Iterator[tuple[Floats, Floats]]:
    """Features (n, K + 1) and discounted true drifts in units of scale (n, 2), market by market."""
    for seed in task_seeds(task, "oracle", _FIT_MARKETS):
        sample = draw_macro_market(task, (WARMUP_DAYS + _FIT_DAYS) * BARS_PER_DAY, seed)
        seen = evidence(sample, information)
        # Without the share of the last shock that is taken back: it is known, and over after one bar.
        taken_back = task.bounce * np.concatenate([[0.0], seen.shock[:-1]])
        drift = sample.truth["drift"].to_numpy() + taken_back
        ahead = [_discounted_ahead(drift, 0.5 ** (1.0 / life)) for life in (_NEAR_HALF_LIFE, _FAR_HALF_LIFE)]
        inside = slice(WARMUP_DAYS * BARS_PER_DAY, -_HORIZON)
        features = _features(task, macro_beliefs(sample, information, seen), seen)
        yield features[inside], (np.column_stack(ahead) / seen.next_scale[:, None])[inside]


@lru_cache(maxsize=32)
def _weights(task: MacroTask, information: Information) -> Floats:
    """(K + 1, 2) least-squares weights of near and far drift on the features, barely damped."""
    size = len(task.regimes) + 1
    squares, products, count = np.zeros((size, size)), np.zeros((size, 2)), 0
    for features, ahead in _labelled_samples(task, information):
        _add_products(features, ahead, squares, products)
        count += len(features)
    return np.asarray(np.linalg.solve(squares + _RIDGE * count * np.eye(size), products), np.float64)


def macro_forecast(sample: RegimeSample, information: Information) -> Forecast:
    """What the filter expects at every bar, from the bars up to and including it.

    Raises:
        ValueError: the sample is not of a two-level task.
    """
    task = two_level(sample)
    seen = evidence(sample, information)
    beliefs = macro_beliefs(sample, information, seen)
    near, far = (_features(task, beliefs, seen) @ _weights(task, information)).T * seen.next_scale

    states = state_numbers(task)
    drift, pull, volatility = states.drift, states.anchor_pull, states.volatility
    known = np.column_stack([drift, pull, drift**2 + volatility**2, drift * pull, pull**2])
    mean, pulled, square, cross, pulled_square = (beliefs @ (task.transition_matrix @ known)).T
    distance, scale = seen.next_distance, seen.next_scale
    move = mean - pulled * distance
    squared_move = square - 2.0 * cross * distance + pulled_square * distance**2
    taken_back = task.bounce * seen.shock
    return Forecast(
        coordinates=(near, far, scale),
        drift=scale * move - taken_back,
        second_moment=scale**2 * squared_move - 2.0 * scale * move * taken_back + taken_back**2,
    )
