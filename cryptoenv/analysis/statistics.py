"""How far a Sharpe ratio is evidence: probabilistic, deflated, how long a record must be, and what one must believe.

Sharpe ratios here are per observation, not per year, and returns are those of one period each (a day rather than a
quarter of an hour: the formulas take them as independent).

- Bailey, D. and Lopez de Prado, M. (2012), "The Sharpe ratio efficient frontier", Journal of Risk 15(2).
- Bailey, D. and Lopez de Prado, M. (2014), "The deflated Sharpe ratio", Journal of Portfolio Management 40(5).
- Lopez de Prado, M. and Lewis, M. (2019), "Detection of false investment strategies", Quantitative Finance 19(9).
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from cryptoenv.analysis.returns import deviation

EULER = 0.5772156649015329  #: Euler's constant
_NORMAL = NormalDist()
_SURE = 1e-300  #: a probability that is as good as 0, which has no quantile


@dataclass(frozen=True)
class Moments:
    """What a Sharpe ratio's scatter depends on.

    Attributes:
        count: observations n.
        sharpe: mean over standard deviation (ddof 1), per observation; 0 where nothing varies.
        skewness: third standardised moment (population).
        kurtosis: fourth, 3 for normal returns.
    """

    count: int
    sharpe: float
    skewness: float = 0.0
    kurtosis: float = 3.0

    @classmethod
    def of(cls, returns: ArrayLike) -> Self:
        """The moments of returns (n,).

        Raises:
            ValueError: fewer than 2, or values that are not finite.
        """
        values = np.asarray(returns, dtype=np.float64)
        if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
            raise ValueError(f"returns have shape {values.shape}; allowed: (n,) finite numbers with n >= 2")
        scatter = deviation(values)
        if scatter == 0.0:
            return cls(len(values), 0.0)
        centred = values - values.mean()
        spread = math.sqrt(float(np.mean(centred**2)))
        shape = [float(np.mean((centred / spread) ** power)) for power in (3, 4)]
        return cls(len(values), float(values.mean()) / scatter, *shape)

    @property
    def variance(self) -> float:
        """`1 - skewness SR + (kurtosis - 1) / 4 SR^2`, n - 1 times the variance of the Sharpe ratio (Mertens 2002)."""
        found = 1.0 - self.skewness * self.sharpe + (self.kurtosis - 1.0) / 4.0 * self.sharpe**2
        return max(found, 1e-12)


def probabilistic_sharpe(moments: Moments, benchmark: float = 0.0) -> float:
    """Probability that the true Sharpe ratio is above `benchmark` (Bailey and Lopez de Prado 2012, eq. 10)."""
    return _NORMAL.cdf((moments.sharpe - benchmark) * math.sqrt(moments.count - 1) / math.sqrt(moments.variance))


def log_upper_tail(z: float) -> float:
    """Logarithm of `1 - cdf(z)` of the normal distribution, where a double holds no such probability, too.

    Beyond 30 by the asymptotic series of Mills' ratio (Abramowitz and Stegun 1964, 26.2.12).
    """
    if z < 30.0:
        return math.log(0.5 * math.erfc(z / math.sqrt(2.0)))
    term = total = 1.0
    for k in range(1, 12):
        term *= -(2 * k - 1) / (z * z)
        total += term
    return -0.5 * z * z - math.log(z * math.sqrt(2.0 * math.pi)) + math.log(total)


def sharpe_p_value(moments: Moments, benchmark: float = 0.0) -> float:
    """Probability of a Sharpe ratio as high where the true one is `benchmark`: 1 - `probabilistic_sharpe`, to the last
    digit of a tail that a difference from 1 would lose."""
    z = (moments.sharpe - benchmark) * math.sqrt(moments.count - 1) / math.sqrt(moments.variance)
    return math.exp(log_upper_tail(z))


def scale_to_periods(autocorrelations: ArrayLike, periods: int) -> float:
    """What turns a Sharpe ratio per observation into one per `periods` of them where returns depend on each other.

    `q / sqrt(q + 2 sum_k (q - k) rho_k)` (Lo 2002, "The statistics of Sharpe ratios", Financial Analysts Journal
    58(4)); the root of q where they do not.

    Args:
        autocorrelations: (K,) of lags 1 to K; those beyond are 0.
        periods: q >= 1.

    Raises:
        ValueError: no correlations, or ones that no returns have together.
    """
    rho = np.asarray(autocorrelations, dtype=np.float64)[: max(periods - 1, 0)]
    lags = np.arange(1, len(rho) + 1)
    variance = periods + 2.0 * float(((periods - lags) * rho).sum())
    if periods < 1 or not (np.abs(rho) <= 1.0).all() or variance <= 0.0:
        raise ValueError(f"autocorrelations {rho[:8]} over {periods} periods are not allowed: no returns have them")
    return periods / math.sqrt(variance)


def minimum_track_record(moments: Moments, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """Observations after which this Sharpe ratio would be above `benchmark` with that confidence (2012, eq. 11).

    Infinite where it is not above it.
    """
    if moments.sharpe <= benchmark:
        return math.inf
    return 1.0 + moments.variance * (_NORMAL.inv_cdf(confidence) / (moments.sharpe - benchmark)) ** 2


def expected_best_sharpe(trials: int, variance: float) -> float:
    """The best Sharpe ratio to expect of `trials` strategies without skill (2014, eq. 6).

    The published approximation errs toward a higher one (by 2.6% of 5 trials, 0.1% of a million), and of two trials
    toward a lower one, where the exact value stands in its place.

    Args:
        trials: N >= 1 independent ones; 0.0 of a single one.
        variance: of their Sharpe ratios, per observation.

    Raises:
        ValueError: no trial, or a negative variance.
    """
    if trials < 1 or not variance >= 0.0:
        raise ValueError(f"trials={trials}, variance={variance} are not allowed: trials >= 1, variance >= 0")
    if trials <= 2:
        return math.sqrt(variance / math.pi) if trials == 2 else 0.0
    high, higher = (_NORMAL.inv_cdf(1.0 - 1.0 / (trials * scale)) for scale in (1.0, math.e))
    return math.sqrt(variance) * ((1.0 - EULER) * high + EULER * higher)


def deflated_sharpe(moments: Moments, trials: int, variance: float | None = None) -> float:
    """Probability that the true Sharpe ratio is above what the best of as many trials without skill would show.

    Args:
        moments: of the chosen strategy's returns.
        trials: how many were tried, the chosen one among them.
        variance: of the trials' Sharpe ratios, per observation. None is what sampling alone gives strategies without
            skill over as many observations, 1 / (n - 1): what is left where the others' ratios were not kept.
    """
    spread = 1.0 / (moments.count - 1) if variance is None else variance
    return probabilistic_sharpe(moments, expected_best_sharpe(trials, spread))


@dataclass(frozen=True)
class ReverseOdds:
    """What one must have believed before, to believe in a finding after a search.

    Attributes:
        false_positive: probability that the best of the trials would look as good without skill.
        found: probability that a search with skill in it would have shown it (power).
        needed: odds, true over false strategies among those tried, from which on belief reaches `belief`.
        belief: what is to be reached.
    """

    false_positive: float
    found: float
    needed: float
    belief: float

    def believed(self, odds: float) -> float:
        """Probability that the finding is true, where the odds before the search were `odds` (precision)."""
        true = self.found * odds
        return true / (true + self.false_positive) if true + self.false_positive > 0.0 else 1.0


def reverse_odds(p_value: float, trials: int, *, power: float = 0.8, belief: float = 0.95) -> ReverseOdds:
    """The odds before the search that a finding needs to be believed in (Bayes' rule backwards).

    `trials` independent ones turn a single test's p-value into `1 - (1 - p)^trials` (Lopez de Prado and Lewis 2019);
    belief `b` then needs odds of `b / (1 - b) * false_positive / power`. One in `1 + 1 / needed` of the strategies that
    are tried has to be good.

    Args:
        p_value: of the chosen strategy alone, such as `1 - probabilistic_sharpe`.
        trials: how many were tried.
        power: probability that one with skill passes the same test.
        belief: to be reached.

    Raises:
        ValueError: no probability, or no trial.
    """
    if not (0.0 <= p_value <= 1.0 and 0.0 < power <= 1.0 and 0.0 < belief < 1.0 and trials >= 1):
        raise ValueError(
            f"p_value={p_value}, power={power}, belief={belief}, trials={trials} are not allowed: probabilities, and "
            "trials >= 1"
        )
    false_positive = -math.expm1(trials * math.log1p(-p_value)) if p_value < 1.0 else 1.0
    return ReverseOdds(false_positive, power, belief / (1.0 - belief) * false_positive / power, belief)


def normal_quantile(probability: float) -> float:
    """The standard normal quantile; probabilities of 0 and 1 have that of the last double."""
    return _NORMAL.inv_cdf(min(max(probability, _SURE), 1.0 - 1e-16))
