"""Losses that get worse: Page-Hinkley and ADWIN of the package `river`, held to a false-alarm rate.

Both take their input for independent, of a known scale and without heavy tails; losses of bars are none of that. So
they are fed with means over stretches of several correlation times, in units of the reference's deviation of such
means, cut at three deviations; and their thresholds follow from how many stretches are to pass without a false alarm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from cryptoenv.analysis.drift.dependence import stretch_rows
from cryptoenv.analysis.drift.reference import numbers
from cryptoenv.analysis.drift.status import Status
from cryptoenv.files.typed_values import ConfigError

LEAST_STRETCHES = 30  #: of the reference
MOST_STRETCHES = 1000  #: of the reference that are kept, the newest
CUT = 3.0  #: deviations at which a stretch's mean is cut
ALLOWED = 0.5  #: deviations of a stretch's mean that Page-Hinkley lets pass
LEAST_LENGTH = 5  #: losses of a stretch, so that its mean is no single outlier
OVERSHOOT = 1.166  #: of a random walk over a border, in steps' deviations (Siegmund 1985)
CLOCK = 4  #: stretches between two looks of ADWIN
Method = Literal["page-hinkley", "adwin"]


@dataclass(frozen=True)
class LossReference:
    """Losses while all was well.

    Attributes:
        length: losses of a stretch.
        mean, scatter: of the means of stretches.
        stretches: (S,) the means, in units of `scatter` from `mean`.
    """

    length: int
    mean: float
    scatter: float
    stretches: tuple[float, ...]

    @classmethod
    def of(cls, losses: ArrayLike) -> Self:
        """From losses (n,) in the order of time, of data that nothing was learned from; what is not finite is left out.

        Raises:
            ValueError: fewer than 30 stretches, or no two that differ.
        """
        values = np.asarray(losses, dtype=np.float64)
        values = values[np.isfinite(values)]
        volatile = np.abs(values - values.mean()) if len(values) else values
        length = max(LEAST_LENGTH, stretch_rows(values, volatile))
        count = len(values) // length
        if count < LEAST_STRETCHES:
            raise ValueError(f"{len(values):,} losses are {count} stretches of {length}; allowed: >= {LEAST_STRETCHES}")
        means = values[len(values) - count * length :].reshape(count, length).mean(axis=1)
        scatter = float(means.std(ddof=1))
        if not scatter > 1e-12 * (1.0 + abs(float(means.mean()))):
            raise ValueError("losses do not differ: nothing can be compared with them")
        units = (means - means.mean()) / scatter
        return cls(length, float(means.mean()), scatter, tuple(float(f"{x:.5g}") for x in units[-MOST_STRETCHES:]))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"length": self.length, "mean": self.mean, "scatter": self.scatter, "stretches": list(self.stretches)}

    @classmethod
    def from_json(cls, values: Any, where: str) -> Self:
        """See `to_json`.

        Raises:
            ConfigError: it says something else.
        """
        if not isinstance(values, dict) or set(values) != {"length", "mean", "scatter", "stretches"}:
            raise ConfigError(f"{where}: losses must have exactly the keys length, mean, scatter and stretches")
        length, mean, scatter = numbers([values[key] for key in ("length", "mean", "scatter")], where)
        stretches = numbers(values["stretches"], f"{where}: stretches")
        if not (length >= 1.0 and scatter > 0.0 and LEAST_STRETCHES <= len(stretches) <= MOST_STRETCHES):
            raise ConfigError(f"{where}: length, scatter or number of stretches is not allowed")
        return cls(int(length), float(mean), float(scatter), tuple(stretches.tolist()))


class LossWatch:
    """Alarms once losses have risen above those of the reference.

    Args:
        reference: losses while all was well.
        horizon: losses in which a false alarm has the chance `level`.
        level: that chance.
        method: "page-hinkley" (a sum of what exceeds the mean; soon) or "adwin" (two parts of an adaptive window).

    Raises:
        ModuleNotFoundError: river or scipy is missing.
    """

    def __init__(
        self, reference: LossReference, horizon: int, level: float = 0.05, method: Method = "page-hinkley"
    ) -> None:
        self.reference, self.method = reference, method
        self._looks = max(horizon / reference.length, 1.0)
        self._level = level
        self.status = Status(words=method)
        self._sum, self._count = 0.0, 0
        self._detector: Any = None
        self.begin_again()

    def begin_again(self) -> None:
        """Forget live losses; an alarm is over."""
        self._detector = self._made()
        for one in self.reference.stretches:
            self._detector.update(self._fed(one))
        if self.method == "page-hinkley":  # the reference gives its mean alone
            self._detector._sum_increase = self._detector._min_increase = 0.0
        self.status, self._sum, self._count = Status(words=self.method), 0.0, 0

    def _made(self) -> Any:
        from river.drift import ADWIN, PageHinkley

        if self.method == "adwin":
            looks = max(self._looks / CLOCK, 1.0)
            return ADWIN(delta=self._level / looks, clock=CLOCK, min_window_length=5, grace_period=10)
        allowed = ALLOWED + 1.0 / math.sqrt(len(self.reference.stretches))
        threshold = page_hinkley_threshold(self._looks, self._level, ALLOWED)
        return PageHinkley(min_instances=1, delta=allowed, threshold=threshold, alpha=1.0, mode="up")

    def _fed(self, units: float) -> float:
        cut = min(max(units, -CUT), CUT)
        return cut if self.method == "page-hinkley" else (cut + CUT) / (2.0 * CUT)

    def add(self, loss: float, at_ms: int) -> bool:
        """Take in a loss; whether an alarm began. What is not finite is left out."""
        if not math.isfinite(loss):
            return False
        self._sum, self._count = self._sum + loss, self._count + 1
        if self._count < self.reference.length:
            return False
        units = (self._sum / self._count - self.reference.mean) / self.reference.scatter
        self._sum, self._count = 0.0, 0
        if self.status.state == "alarm":
            return False
        before = float(self._detector.estimation) if self.method == "adwin" else 0.0
        self._detector.update(self._fed(units))
        fired = bool(self._detector.drift_detected)
        if self.method == "adwin":
            fired = fired and float(self._detector.estimation) > before  # what is left is worse than what was
            statistic, threshold = (float(self._detector.estimation) - 0.5) * 2.0 * CUT, None
        else:
            statistic, threshold = self._detector._sum_increase - self._detector._min_increase, self._detector.threshold
        self.status = self.status.then("alarm" if fired else "ok", at_ms, self.method, statistic, threshold)
        return fired


def page_hinkley_threshold(looks: float, level: float, allowed: float) -> float:
    """What the sum may reach, so that `looks` independent normal steps pass it with chance `level`, in deviations.

    The mean time to a false alarm is `(exp(2 d b) - 1 - 2 d b) / (2 d^2)` with `b = threshold + 1.166` (Siegmund 1985,
    "Sequential Analysis", section 2.6), and times to alarms are nearly exponential.
    """
    wanted = looks / -math.log1p(-level)
    low, high = OVERSHOOT, 500.0
    for _ in range(100):
        middle = (low + high) / 2.0
        x = 2.0 * allowed * middle
        mean_time = (math.exp(min(x, 700.0)) - 1.0 - x) / (2.0 * allowed**2)
        low, high = (low, middle) if mean_time > wanted else (middle, high)
    return high - OVERSHOOT
