"""The exact forecast of the next bar of a synthetic market of two levels: what no forecaster can beat."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, stdtr

from synthetic import RegimeSample
from synthetic.oracles.macro_filter import OBSERVABLE, Information, evidence, macro_beliefs, two_level
from synthetic.regimes.macro_market import state_numbers

Floats = NDArray[np.float64]
LEAST_SHARE, HALVINGS = 1e-4, 30  #: of a mixture that counts in its quantiles, and how exact these are


def next_bar_law(sample: RegimeSample, information: Information) -> tuple[Floats, Floats, Floats, float]:
    """Of every bar's next log-return: shares (T, K), centres (T, K) and spreads (T, K) of a mixture of Student-t laws,
    and their degrees of freedom."""
    task = two_level(sample)
    seen, states = evidence(sample, information), state_numbers(task)
    shares = macro_beliefs(sample, information, seen) @ task.transition_matrix
    move = states.drift[None] - states.anchor_pull[None] * seen.next_distance[:, None]
    scale = seen.next_scale[:, None]
    degrees = float(task.degrees_of_freedom)
    unit = math.sqrt((degrees - 2.0) / degrees)  # of a variable of variance 1
    centres = scale * move - task.bounce * seen.shock[:, None]
    return shares, centres, scale * states.volatility[None] * unit, degrees


def log_scores(sample: RegimeSample, information: Information = OBSERVABLE) -> tuple[Floats, Floats]:
    """(T,) log density of the next bar's log-return under the exact law, and (T,) its expectation; the last row NaN.

    Of what bars allow by default; with `EVERYTHING` also told the latent level of volatility.
    """
    shares, centres, spreads, degrees = next_bar_law(sample, information)
    logs = np.log(sample.bars["close"].to_numpy())
    ahead = np.append(np.diff(logs), np.nan)
    z = (ahead[:, None] - centres) / spreads
    constant = gammaln((degrees + 1.0) / 2.0) - gammaln(degrees / 2.0) - 0.5 * math.log(degrees * math.pi)
    density = np.exp(constant - (degrees + 1.0) / 2.0 * np.log1p(z * z / degrees)) / spreads
    return np.log((shares * density).sum(axis=1)), (shares * centres).sum(axis=1)


def law_quantiles(
    sample: RegimeSample, rows: NDArray[np.int64], levels: Floats, information: Information = OBSERVABLE
) -> Floats:
    """(n, Q) quantiles at levels (Q,) of the exact law of the log-return after each of rows (n,), by bisection."""
    shares, centres, spreads, degrees = next_bar_law(sample, information)
    reach = 40.0 * spreads[rows].max(axis=1, keepdims=True)
    low, high = np.tile(-reach, (1, len(levels))), np.tile(reach, (1, len(levels)))
    counted = [shares[row] > LEAST_SHARE for row in rows]
    for _ in range(HALVINGS):
        middle, below = 0.5 * (low + high), np.empty_like(low)
        for i, (row, one) in enumerate(zip(rows, counted, strict=True)):
            z = (middle[i, :, None] - centres[row, one]) / spreads[row, one]
            below[i] = stdtr(degrees, z) @ (shares[row, one] / shares[row, one].sum())
        low, high = np.where(below < levels, middle, low), np.where(below < levels, high, middle)
    return 0.5 * (low + high)
