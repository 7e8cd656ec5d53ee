"""How good forecasts are: proper scores, coverage, skill and tests of difference. They look at what came true.

Shapes: `n` forecasts in the order of time, `Q` levels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEVELS: Floats = (np.arange(100, dtype=np.float64) + 0.5) / 100.0  #: at which a distribution is scored


class TestResult(NamedTuple):
    """A test's statistic and its two-sided p-value (one-sided where the test says so)."""

    statistic: float
    p_value: float


def quantile_function(levels: Floats, values: Floats, at: Floats) -> Floats:
    """Quantiles of a distribution that is known at some levels.

    Between levels it is linear. Beyond the outermost ones the tails fall exponentially, as fast as between the last
    two levels.

    Args:
        levels: (Q,) strictly increasing in (0, 1), at least two.
        values: (..., Q) increasing.
        at: levels in (0, 1): (m,) for all rows, or (..., m) for each.

    Returns:
        (..., m) float64.
    """
    values = np.asarray(values, np.float64)
    at = np.broadcast_to(at, (*values.shape[:-1], np.shape(at)[-1]))
    place = np.clip(np.searchsorted(levels, at, side="right") - 1, 0, len(levels) - 2)
    low, high = np.take_along_axis(values, place, -1), np.take_along_axis(values, place + 1, -1)
    share = (at - levels[place]) / (levels[place + 1] - levels[place])
    out = low + share * (high - low)
    first, last = levels[0], levels[-1]
    below, above = at < first, at > last
    if below.any():
        scale = (values[..., 1] - values[..., 0]) / math.log(levels[1] / first)
        tail = values[..., :1] + scale[..., None] * np.log(np.where(below, at, first) / first)
        out = np.where(below, tail, out)
    if above.any():
        scale = (values[..., -1] - values[..., -2]) / math.log((1.0 - levels[-2]) / (1.0 - last))
        tail = values[..., -1:] - scale[..., None] * np.log((1.0 - np.where(above, at, last)) / (1.0 - last))
        out = np.where(above, tail, out)
    return np.asarray(out, np.float64)


def log_density(levels: Floats, values: Floats, truth: Floats) -> Floats:
    """(n,) log of the density at `truth` (n,) of distributions with quantiles `values` (n, Q) at `levels` (Q,).

    Between levels the quantiles are a monotone cubic (Fritsch and Carlson 1980, SIAM J. Numerical Analysis 17) of the
    normal score of the level, so that a normal law is met exactly; beyond them tails fall exponentially, as in
    `quantile_function`, which says the same quantiles at the levels themselves.
    """
    from scipy.interpolate import PchipInterpolator
    from scipy.special import ndtri

    levels, values = np.asarray(levels, np.float64), np.maximum.accumulate(np.asarray(values, np.float64), axis=1)
    values = values + 1e-12 * np.arange(len(levels))
    scores, rows = ndtri(levels), np.arange(len(truth))
    place = np.clip((values <= truth[:, None]).sum(axis=1) - 1, 0, len(levels) - 2)
    cubic = PchipInterpolator(scores, values, axis=1).c[:, place, rows]  # (4, n): from the third power down
    low, high = np.zeros(len(rows)), np.diff(scores)[place]
    for _ in range(50):  # the score at which the cubic is the truth, by bisection
        middle = 0.5 * (low + high)
        below = np.polyval(cubic, middle) < truth
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    gaps = np.diff(values, axis=1)
    slope = 3.0 * cubic[0] * low**2 + 2.0 * cubic[1] * low + cubic[2]
    # flat at a knot is no infinite density
    slope = np.maximum(slope, 0.05 * gaps[rows, place] / np.diff(scores)[place])
    inside = -0.5 * (scores[place] + low) ** 2 - 0.5 * math.log(2.0 * math.pi) - np.log(slope)
    low_scale = gaps[:, 0] / math.log(levels[1] / levels[0])
    high_scale = gaps[:, -1] / math.log((1.0 - levels[-2]) / (1.0 - levels[-1]))
    under = np.log(levels[0] / low_scale) + np.minimum(truth - values[:, 0], 0.0) / low_scale
    over = np.log((1.0 - levels[-1]) / high_scale) - np.maximum(truth - values[:, -1], 0.0) / high_scale
    return np.where(truth < values[:, 0], under, np.where(truth > values[:, -1], over, inside))


def pinball(levels: Floats, values: Floats, truth: Floats) -> Floats:
    """(n, Q) pinball losses of quantiles (n, Q) at levels (Q,): `max(a (y - q), (a - 1) (y - q))`.

    Koenker and Bassett 1978, "Regression quantiles", Econometrica 46.
    """
    gap = truth[:, None] - values
    return np.asarray(np.maximum(levels * gap, (levels - 1.0) * gap), np.float64)


def crps(levels: Floats, values: Floats, truth: Floats) -> Floats:
    """(n,) continuous ranked probability scores: twice the mean pinball loss at 100 levels.

    CRPS is twice the pinball loss integrated over levels (Laio and Tamea 2007, Hydrol. Earth Syst. Sci. 11; Gneiting
    and Raftery 2007, JASA 102, for the score). `values` (n, Q) at `levels` (Q,) give those levels by
    `quantile_function`.
    """
    return 2.0 * pinball(LEVELS, quantile_function(levels, values, LEVELS), truth).mean(axis=1)


def crps_of_normal(mean: Floats, sigma: Floats, truth: Floats) -> Floats:
    """(n,) exact CRPS of normal distributions (Gneiting and Raftery 2007, equation 5)."""
    from scipy.stats import norm

    z = (truth - mean) / sigma
    return np.asarray(sigma * (z * (2.0 * norm.cdf(z) - 1.0) + 2.0 * norm.pdf(z) - 1.0 / math.sqrt(math.pi)))


def coverage(low: Floats, high: Floats, truth: Floats) -> float:
    """Share of truths (n,) within [low, high]."""
    return float(((truth >= low) & (truth <= high)).mean())


def point_errors(forecast: Floats, truth: Floats) -> dict[str, float]:
    """`mae`, `mse`, `rmse` and `mape` (a share of the truth's size; NaN where a truth is 0) of forecasts (n,)."""
    error = forecast - truth
    mse = float(np.mean(error**2))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.abs(error / truth)
    return {
        "mae": float(np.abs(error).mean()),
        "mse": mse,
        "rmse": math.sqrt(mse),
        "mape": float(share.mean()) if (truth != 0.0).all() else math.nan,
    }


def mase(forecast: Floats, truth: Floats, history: Floats, season: int = 1) -> float:
    """Mean absolute scaled error: MAE / the in-sample MAE of the seasonal naive forecast of `history` (m,).

    Hyndman and Koehler 2006, "Another look at measures of forecast accuracy", Int. J. Forecasting 22.
    """
    naive = float(np.abs(history[season:] - history[:-season]).mean())
    return float(np.abs(forecast - truth).mean()) / naive if naive > 0.0 else math.nan


def skill(loss: Floats, of_reference: Floats) -> float:
    """1 - mean loss / the reference's mean loss: 0 is no better, 1 is perfect."""
    reference = float(of_reference.mean())
    return 1.0 - float(loss.mean()) / reference if reference > 0.0 else math.nan


def long_run_variance(values: Floats, lags: int) -> float:
    """Newey and West's (1987) estimate of the variance of sqrt(n) times the mean: Bartlett weights, `lags` lags."""
    centred = values - values.mean()
    count = len(values)
    total = float(centred @ centred) / count
    for lag in range(1, min(lags, count - 1) + 1):
        total += 2.0 * (1.0 - lag / (lags + 1.0)) * float(centred[lag:] @ centred[:-lag]) / count
    return max(total, 0.0)


def diebold_mariano(loss: Floats, of_other: Floats, horizon: int) -> TestResult:
    """Whether two forecasts of the same truths lose differently; negative: the first loses less.

    Diebold and Mariano 1995 (J. Business & Economic Statistics 13) with the correction of Harvey, Leybourne and Newbold
    1997 and Student's t with n - 1 degrees; the variance is Newey-West's with `horizon - 1` lags or n^(1/3), whichever
    is more, as overlapping forecasts are correlated.

    Args:
        loss, of_other: (n,) in the order of time.
        horizon: bars ahead.
    """
    from scipy.stats import t as student

    difference = loss - of_other
    count = len(difference)
    variance = long_run_variance(difference, max(horizon - 1, round(count ** (1.0 / 3.0))))
    if variance == 0.0:
        return TestResult(0.0, 1.0)
    ahead = min(horizon, count // 2)
    correction = math.sqrt(max((count + 1 - 2 * ahead + ahead * (ahead - 1) / count) / count, 0.0))
    statistic = correction * float(difference.mean()) / math.sqrt(variance / count)
    return TestResult(statistic, float(2.0 * student.sf(abs(statistic), count - 1)))


def pesaran_timmermann(forecast: Floats, truth: Floats) -> TestResult:
    """Whether signs are forecast better than chance would, given how often each sign comes; p-value one-sided.

    Pesaran and Timmermann 1992, "A simple nonparametric test of predictive performance", J. Business & Economic
    Statistics 10, equation 6. Truths must not overlap: take every `horizon`-th.
    """
    from scipy.stats import norm

    up, said = truth > 0.0, forecast > 0.0
    count, p_up, p_said = len(truth), float((truth > 0.0).mean()), float((forecast > 0.0).mean())
    hit = float((up == said).mean())
    chance = p_up * p_said + (1.0 - p_up) * (1.0 - p_said)
    of_hit = chance * (1.0 - chance) / count
    of_chance = (
        (2.0 * p_up - 1.0) ** 2 * p_said * (1.0 - p_said) / count
        + (2.0 * p_said - 1.0) ** 2 * p_up * (1.0 - p_up) / count
        + 4.0 * p_up * p_said * (1.0 - p_up) * (1.0 - p_said) / count**2
    )
    variance = of_hit - of_chance
    if variance <= 0.0:
        return TestResult(math.nan, math.nan)
    statistic = (hit - chance) / math.sqrt(variance)
    return TestResult(statistic, float(norm.sf(statistic)))


def block_bootstrap(values: Floats, block: int, draws: int, rng: np.random.Generator) -> Floats:
    """(draws, ...) means of `values` (n, ...) over circular blocks of `block` rows (Politis and Romano 1992)."""
    count = len(values)
    block = max(1, min(block, count))
    blocks = -(-count // block)
    starts = rng.integers(count, size=(draws, blocks))
    totals = np.concatenate([values, values[:block]]).cumsum(axis=0)
    totals = np.concatenate([np.zeros_like(totals[:1]), totals])
    sums = totals[starts + block] - totals[starts]
    return np.asarray(sums.sum(axis=1) / (blocks * block), np.float64)
