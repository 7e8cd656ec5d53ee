"""Whether probabilities still mean what they meant: residuals by bin of probability, live against reference."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryptoenv.analysis.drift.dependence import (
    LEAST_BATCHES,
    batch_rows,
    long_run_covariance,
    safety,
    stretch_rows,
)
from cryptoenv.analysis.drift.reference import numbers
from cryptoenv.analysis.drift.samples import Distance
from cryptoenv.analysis.drift.status import Status
from cryptoenv.files.typed_values import ConfigError

BINS = 5  #: by quantiles of the reference's probabilities
PER_BIN = 20.0  #: live predictions that a bin must expect
_NORMAL = NormalDist()


def expected_calibration_error(probabilities: ArrayLike, outcomes: ArrayLike, bins: int = 10) -> float:
    """Mean over `bins` equal parts of [0, 1] of |how often it came true - how often was said|, by their numbers.

    Naeini, Cooper and Hauskrecht 2015, "Obtaining well calibrated probabilities using Bayesian binning", AAAI.

    Args:
        probabilities: (n,) in [0, 1]. outcomes: (n,) 0 or 1.

    >>> from cryptoenv.analysis.drift.calibration import expected_calibration_error
    >>> expected_calibration_error([0.2, 0.2, 0.2, 0.2, 0.2], [0, 0, 0, 0, 1])
    0.0
    """
    said, came = _checked(probabilities, outcomes)
    cell = np.minimum((said * bins).astype(np.int64), bins - 1)
    return float(np.abs(np.bincount(cell, came - said, bins)).sum() / len(said))


@dataclass(frozen=True)
class CalibrationReference:
    """How far probabilities were off while all was well.

    Attributes:
        rows: predictions that it is reckoned from.
        edges: (B - 1,) inner borders of the bins of probability.
        residuals: (B,) mean over all rows of outcome - probability where the row is in the bin, else 0.
        variances: (B,) of that mean, times the rows, with the dependence of rows in time.
        shares: (B,) of the rows.
        batches: how many stretches without overlap the variances rest on.
        ahead: rows from a prediction to its outcome.
    """

    rows: int
    edges: NDArray[np.float64]
    residuals: NDArray[np.float64]
    variances: NDArray[np.float64]
    shares: NDArray[np.float64]
    batches: float
    ahead: int = 1

    @property
    def judged(self) -> bool:
        """Whether enough is known of it to compare anything with it."""
        return self.batches >= LEAST_BATCHES

    @classmethod
    def of(cls, probabilities: ArrayLike, outcomes: ArrayLike, ahead: int = 1) -> Self:
        """From predictions (n,) in the order of time, on data that nothing was learned from, and what came, 0 or 1.

        Outcomes over horizons that overlap depend on each other; that is reckoned with.

        Raises:
            ValueError: no probabilities or outcomes, or fewer than 100.
        """
        said, came = _checked(probabilities, outcomes)
        if len(said) < 100:
            raise ValueError(f"{len(said)} predictions are too few to compare with; allowed: >= 100")
        edges = np.unique(np.quantile(said, np.arange(1, BINS) / BINS))
        edges = edges[edges < said.max()]
        parts = _parts(edges, said, came)
        residual = came - said
        length = max(batch_rows(residual, np.abs(residual)), math.ceil(stretch_rows(said) / 2))
        covariance, batches = long_run_covariance([parts], length)
        variances = np.maximum(np.diag(covariance) * safety(length, batches), parts.var(axis=0))
        return cls(len(said), edges, parts.mean(axis=0), variances, (parts != 0.0).mean(axis=0), batches, ahead)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        lists = {key: [float(f"{x:.8g}") for x in getattr(self, key)] for key in _LISTS}
        return {"rows": self.rows, "batches": self.batches, "ahead": self.ahead, **lists}

    @classmethod
    def from_json(cls, values: Any, where: str) -> Self:
        """See `to_json`.

        Raises:
            ConfigError: it says something else.
        """
        if not isinstance(values, dict) or set(values) != {"rows", "batches", "ahead", *_LISTS}:
            keys = ", ".join(("rows", "batches", "ahead", *_LISTS))
            raise ConfigError(f"{where}: calibration must have exactly the keys {keys}")
        edges, residuals, variances, shares = (numbers(values[key], f"{where}: {key}") for key in _LISTS)
        rows, batches, ahead = numbers([values[key] for key in ("rows", "batches", "ahead")], where)
        if not 1 <= ahead <= 1e6:
            raise ConfigError(f"{where}: ahead is {ahead:g}; allowed: 1 to 1,000,000")
        if not (len(residuals) == len(variances) == len(shares) == len(edges) + 1 <= BINS and (variances >= 0.0).all()):
            raise ConfigError(f"{where}: edges, residuals, variances and shares do not fit each other")
        return cls(int(rows), edges, residuals, variances, shares, float(batches), int(ahead))


_LISTS = ("edges", "residuals", "variances", "shares")


def calibration_distance(
    reference: CalibrationReference, probabilities: ArrayLike, outcomes: ArrayLike, level: float = 0.05
) -> Distance | None:
    """How many deviations the residuals of the worst bin are from the reference's, and what they may be with chance
    `level` over all bins (Bonferroni); None where nothing can be said.

    Args:
        reference: of when all was well.
        probabilities, outcomes: (n,) live, in the order of time.
        level: chance of a false alarm.

    Raises:
        ValueError: no probabilities or outcomes.
    """
    said, came = _checked(probabilities, outcomes)
    usable = (reference.shares * len(said) >= PER_BIN) & (reference.variances > 0.0)
    if not reference.judged or not usable.any():
        return None
    live = _parts(reference.edges, said, came).mean(axis=0)
    error = np.sqrt(reference.variances * (1.0 / len(said) + 1.0 / reference.rows))
    worst = np.max(np.abs(live - reference.residuals)[usable] / error[usable])
    return Distance(float(worst), _NORMAL.inv_cdf(1.0 - level / (2.0 * int(usable.sum()))))


class CalibrationWatch:
    """Compares the last predictions and what came of them with a reference, as they become known.

    Args:
        reference: of when all was well.
        level: chance of any false alarm at one look, shared by the windows.
        windows: predictions of each window.
        every: outcomes from one look to the next.
    """

    def __init__(
        self, reference: CalibrationReference, level: float, windows: Sequence[int] = (200, 1000), every: int = 25
    ) -> None:
        self.reference, self.windows, self.every = reference, tuple(sorted(windows)), every
        self.level = level / len(self.windows)
        self.status = Status(words="no outcome is known yet")
        self._known: deque[tuple[float, float]] = deque(maxlen=self.windows[-1])
        self._seen = 0

    def add(self, probability: float, outcome: bool, at_ms: int) -> None:
        """Take in a prediction of which the outcome is known; what is no probability is left out."""
        if not 0.0 <= probability <= 1.0:
            return
        self._known.append((probability, float(outcome)))
        self._seen += 1
        if self._seen % self.every == 0:
            self.status = self._looked(at_ms)

    def _looked(self, at_ms: int) -> Status:
        said, came = np.array(self._known).T
        found: list[tuple[float, Distance, str]] = []
        for window in self.windows:
            if window > len(said):
                break
            distance = calibration_distance(self.reference, said[-window:], came[-window:], self.level)
            if distance is not None:
                words = f"the bin that is off most, over {window:,} predictions, in deviations"
                found.append((distance.statistic / distance.threshold, distance, words))
        if not found:
            return self.status.then("unknown", at_ms, f"{self._seen:,} outcomes are too few to judge by")
        _, worst, words = max(found, key=lambda one: one[0])
        return self.status.then("alarm" if worst.alarms else "ok", at_ms, words, worst.statistic, worst.threshold)


def _parts(edges: NDArray[np.float64], said: NDArray[np.float64], came: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, B) residuals, each in the column of its bin."""
    inside = np.searchsorted(edges, said, side="left")[:, None] == np.arange(len(edges) + 1)
    found: NDArray[np.float64] = inside * (came - said)[:, None]
    return found


def _checked(probabilities: ArrayLike, outcomes: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    said, came = np.asarray(probabilities, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if said.ndim != 1 or said.shape != came.shape or not len(said):
        raise ValueError(f"probabilities and outcomes have shapes {said.shape} and {came.shape}; allowed: both (n,)")
    if not (((said >= 0.0) & (said <= 1.0)).all() and np.isin(came, (0.0, 1.0)).all()):
        raise ValueError("probabilities must be in [0, 1], and outcomes 0 or 1")
    return said, came
