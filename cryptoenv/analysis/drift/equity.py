"""Live equity against what the backtest promised: a band that a healthy path leaves with a chance that is set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryptoenv.analysis.drift.dependence import STRETCH, stretch_rows
from cryptoenv.analysis.drift.reference import numbers
from cryptoenv.analysis.drift.status import Status
from cryptoenv.analysis.resampling import block_length
from cryptoenv.files.typed_values import ConfigError

PATHS, AT_ONCE = 4000, 1_000_000  #: that are drawn; blocks of them that are at a time
POINTS = 128  #: of a band, from the first bar that is judged to the last
FIRST = 0.02  #: share of the horizon from which on a path is judged
MOST_BLOCKS = 200  #: of a path, where blocks may be longer than returns remember
LEAST = 100  #: returns that a band needs
LEAST_BLOCKS = 8  #: independent stretches of the backtest that it needs
MOST_KEPT = 20_000  #: returns of a reference that are kept, the newest


@dataclass(frozen=True)
class EquityReference:
    """Net log-returns per bar of the backtest, on bars that nothing was learned from or chosen by.

    Attributes:
        returns: (n,) in the order of time.
    """

    returns: NDArray[np.float64]

    @classmethod
    def of(cls, returns: ArrayLike) -> Self:
        """From log-returns (n,), the newest 20,000 of them; what is not finite is left out.

        Raises:
            ValueError: fewer than 100, or all of them the same.
        """
        values = np.asarray(returns, dtype=np.float64)
        values = values[np.isfinite(values)][-MOST_KEPT:]
        if len(values) < LEAST or not values.std() > 0.0:
            raise ValueError(f"{len(values):,} returns, or all alike, promise nothing; allowed: >= {LEAST} that differ")
        return cls(values)

    def to_json(self) -> list[float]:
        """Plain values."""
        return [float(f"{x:.6g}") for x in self.returns]

    @classmethod
    def from_json(cls, values: Any, where: str) -> Self:
        """See `to_json`.

        Raises:
            ConfigError: it says something else.
        """
        try:
            return cls.of(numbers(values, where))
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from error


@dataclass(frozen=True)
class EquityBand:
    """What the logarithm of equity over its start may be after so many bars.

    Attributes:
        bars: (P,) int64, ascending: where a path is judged. Between them it may dip farther; at more bars than the band
            was drawn for a healthy path would leave it more often than it says.
        low, middle, high: (P,) float64 log-returns since the start. `low` is crossed anywhere with chance `level`, and
            so is `high`.
        level: that chance.
    """

    bars: NDArray[np.int64]
    low: NDArray[np.float64]
    middle: NDArray[np.float64]
    high: NDArray[np.float64]
    level: float

    def at(self, bars: int) -> tuple[float, float, float] | None:
        """Low, middle and high after so many bars; None where a path is not judged."""
        found = int(np.searchsorted(self.bars, bars))
        if found == len(self.bars) or self.bars[found] != bars:
            return None
        return float(self.low[found]), float(self.middle[found]), float(self.high[found])


def equity_band(reference: EquityReference, horizon: int, level: float = 0.05, *, seed: int = 0) -> EquityBand:
    """The band of paths that are drawn as blocks of neighbours from a backtest's returns (circular block bootstrap,
    Politis and Romano 1992), over all bars at once.

    How far a path is from the middle is measured at each bar in deviations of all paths; the band is as many
    deviations wide as the farthest of a path is with chance `level`. The mean of a backtest is itself uncertain, as is
    its scatter; each path therefore has a mean and a scatter of its own, as another backtest of the length would.

    Args:
        reference: returns of the backtest.
        horizon: bars that the band spans.
        level: chance that a healthy path crosses the lower side; and the upper.
        seed: of the draws.

    Raises:
        ValueError: a horizon below 2, a level outside (0, 0.5), or a backtest of too few independent stretches.
    """
    if horizon < 2 or not 0.0 < level < 0.5:
        raise ValueError(f"horizon={horizon}, level={level} are not allowed: >= 2, and above 0 and below 0.5")
    returns = reference.returns
    count = len(returns)
    volatile = np.abs(returns - returns.mean())
    memory = max(round(block_length(returns)), stretch_rows(returns, volatile))
    block = max(memory, min(math.ceil(horizon / MOST_BLOCKS), count // MOST_BLOCKS))
    if count < LEAST_BLOCKS * block:
        raise ValueError(f"{count:,} returns are fewer than {LEAST_BLOCKS} independent stretches of {block:,}")
    bars = np.unique(np.geomspace(max(FIRST * horizon, 1.0), horizon, POINTS).round().astype(np.int64))
    rng = np.random.default_rng(seed)
    sums = np.concatenate([[0.0], np.cumsum(np.concatenate([returns, returns[:block]]) - returns.mean())])
    blocks = -(-horizon // block)
    whole, rest = bars // block, bars % block
    parts = np.diff(np.append(np.arange(0, PATHS, max(AT_ONCE // (blocks + 1), 1)), PATHS))
    paths = np.concatenate([
        _drawn(sums, rng.integers(count, size=(part, blocks + 1)), block, whole, rest) for part in parts.tolist()
    ])  # fmt: skip
    squares = np.add.reduceat((returns - returns.mean()), np.arange(0, count - count % block, block)) ** 2
    stretches = len(squares)
    error = math.sqrt(float(squares.mean()) / block / count * stretches / (stretches - 1))  # of the mean, per bar
    freedom = stretches - 1
    scatter = np.sqrt(freedom / rng.chisquare(freedom, PATHS) / (1.0 if memory == 1 else 1.0 - 0.5 / STRETCH))
    paths = paths * scatter[:, None] + np.outer(rng.standard_t(freedom, PATHS) * error, bars)
    deviation = np.sqrt(np.mean(paths**2, axis=0))
    units, middle = paths / deviation, returns.mean() * bars
    below, above = np.quantile(units.min(axis=1), level), np.quantile(units.max(axis=1), 1.0 - level)
    return EquityBand(bars, middle + below * deviation, middle, middle + above * deviation, level)


def _drawn(
    sums: NDArray[np.float64], starts: NDArray[np.int64], block: int, whole: NDArray[np.int64], rest: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(n, P) sums of returns after `whole` blocks and `rest` bars of the next, of n paths of blocks (n, B + 1)."""
    full = np.zeros(starts.shape)
    np.cumsum(sums[starts[:, :-1] + block] - sums[starts[:, :-1]], axis=1, out=full[:, 1:])
    at = starts[:, whole]
    found: NDArray[np.float64] = full[:, whole] + sums[at + rest] - sums[at]
    return found


class EquityWatch:
    """Alarms where equity is below the band of its backtest at one of the band's bars; after the last of them the next
    band begins.

    Args:
        reference: of the backtest.
        horizon: bars of a band.
        level: chance of a false alarm within one.
        seed: of the draws.

    Raises:
        ValueError: see `equity_band`.
    """

    def __init__(self, reference: EquityReference, horizon: int, level: float = 0.05, *, seed: int = 0) -> None:
        self.band = equity_band(reference, horizon, level, seed=seed)
        self.horizon = horizon
        self.status = Status(words="equity against its backtest")
        self._start = math.nan
        self._bars = 0

    def add(self, equity: float, at_ms: int) -> bool:
        """Take in the equity at a close; whether an alarm began. What is not finite and positive is left out."""
        if not (math.isfinite(equity) and equity > 0.0):
            return False
        if math.isnan(self._start) or self._bars >= self.horizon:
            self._start, self._bars = math.log(equity), 0
            return False
        self._bars += 1
        allowed = self.band.at(self._bars)
        if allowed is None or self.status.state == "alarm":
            return False
        earned = math.log(equity) - self._start
        fired = earned < allowed[0]
        words = f"log-return since {self._bars:,} bars; the backtest promised {allowed[1]:+.4f}"
        self.status = self.status.then("alarm" if fired else "ok", at_ms, words, earned, allowed[0])
        return fired
