"""Falls from the highest point so far, and how long they last."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryptoenv.analysis.returns import annualised_return


@dataclass(frozen=True)
class Drawdown:
    """One fall: indices of the curve (peak, lowest point, recovery or None where there was none), and its depth."""

    peak: int
    valley: int
    recovery: int | None
    depth: float


def drawdown_curve(equity: ArrayLike) -> NDArray[np.float64]:
    """(T + 1,) `1 - equity_t / max(equity_0..equity_t)`, so >= 0."""
    curve = np.asarray(equity, dtype=np.float64)
    return 1.0 - curve / np.maximum.accumulate(curve)


def max_drawdown(equity: ArrayLike) -> float:
    """The deepest fall, a fraction >= 0."""
    return float(drawdown_curve(equity).max())


def longest_drawdown(equity: ArrayLike) -> int:
    """Bars from a peak until the curve is back there (or ends), the most of all falls."""
    at_peak = np.flatnonzero(drawdown_curve(equity) <= 0.0)
    gaps = np.diff(np.append(at_peak, len(np.asarray(equity)) - 1))
    last = int(gaps[-1])  # to the end: never back
    recovered = gaps[:-1]
    longest = int(recovered.max()) if len(recovered) else 0
    return max(longest if longest > 1 else 0, last)


def ulcer_index(equity: ArrayLike) -> float:
    """Root mean square of the drawdown over all T + 1 marks (Martin and McCann 1989), a fraction."""
    depth = drawdown_curve(equity)
    return float(np.sqrt(np.dot(depth, depth) / len(depth)))


def calmar_ratio(equity: ArrayLike, per_year: float) -> float:
    """Annualised return over the deepest drawdown (Young 1991); 0 where there was none."""
    deepest = max_drawdown(equity)
    return annualised_return(equity, per_year) / deepest if deepest > 0.0 else 0.0


def deepest_drawdowns(equity: ArrayLike, count: int = 5) -> list[Drawdown]:
    """The `count` deepest falls, the deepest first; they do not overlap."""
    depth = drawdown_curve(equity)
    under = np.concatenate(([False], depth > 0.0, [False]))
    edges = np.flatnonzero(np.diff(under.astype(np.int8)))
    found = []
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        valley = int(start) + int(depth[start:stop].argmax())
        found.append(Drawdown(int(start) - 1, valley, int(stop) if stop < len(depth) else None, float(depth[valley])))
    return sorted(found, key=lambda fall: -fall.depth)[:count]
