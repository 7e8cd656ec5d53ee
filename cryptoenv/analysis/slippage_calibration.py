"""Fit the kernel's slippage law to order books and trades.

The law is `slippage = half_spread + impact * sigma * sqrt(quantity / volume)`, as a fraction of the mid price
(square-root impact: Almgren et al. 2005, "Direct estimation of equity market impact"; Toth et al. 2011, Phys. Rev. X 1,
021006).

- `sigma` and `volume` belong to one bar of `bar_seconds`. Volume is the traded quantity per second times the bar.
  Sigma is the standard deviation (ddof 0) of log returns of the last trade price on a regular grid, times the square
  root of grid intervals per bar; the interval is the bar itself where the trades span 60 bars, else a 60th of the span.
- Measured ("touch"): half the relative spread of a snapshot, averaged: the slippage of the smallest quantity.
- Measured ("book"): every snapshot is walked on both sides, best price first, for a grid of quantities; slippage is
  `|vwap / mid - 1|`, averaged over the walks that the book could fill.
- Measured ("sweep"): consecutive trades of one taker side within one timestamp are one sweep. Its first trade took the
  touch, so its slippage is `|vwap / first price - 1|` plus the half-spread of the last book before it. Sweeps are
  compared, not fitted: takers choose their moment.

The coefficients, both >= 0, are fitted to touch and book by least squares with each error divided by the modelled
slippage (iterated; the quasi-likelihood of McCullagh and Nelder 1989, chapter 8), so that a half-spread of 1e-7 and an
impact of 1e-4 both count and the mean of measured / modelled is near 1. The touch weighs as much as all quantities
together. A static book costs about linearly in quantity where the law has a square root, so `impact` depends on the
quantities: read `table` and `r_squared`, and pass `quantities` of the size you mean to trade.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.files.durable_files import write_figure
from cryptoenv.trading.config import Costs


class Book(NamedTuple):
    """An order book at one moment; a plain tuple of the three does as well.

    Attributes:
        time: UTC. bids, asks: (L, 2) float64, price and quantity, the best first.
    """

    time: pd.Timestamp
    bids: NDArray[np.float64]
    asks: NDArray[np.float64]



COLUMNS = ("price", "quantity", "side")
MIN_TRADES = 100
MIN_BOOKS = 10
GRID_SIZE = 24
ITERATIONS = 200
INTERVALS = 60  #: returns that sigma needs; a shorter span than so many bars is cut into so many intervals
FILLING_SHARE = 0.9  #: share of book sides that can fill the largest quantity of the default grid
NS = 1e9


@dataclass(frozen=True, eq=False)
class SlippageFit:
    """Coefficients of the slippage law and what they were fitted to.

    Attributes:
        half_spread: fraction of the mid price, >= 0.
        impact: factor of `sigma * sqrt(quantity / volume)`, >= 0.
        sigma: standard deviation of log returns per bar.
        volume: traded base quantity per bar.
        bar_seconds: length of that bar.
        table: columns `source` ("touch", "book" or "sweep"), `quantity` (base; 0 at the touch), `measured` and
            `modelled` (fractions of the mid price), `count` (books, walks or sweeps averaged).
        r_squared: share of the variance of the logarithm of the book's `measured` that `modelled` explains; 1 is
            perfect, below 0 is worse than a constant.
    """

    half_spread: float
    impact: float
    sigma: float
    volume: float
    bar_seconds: float
    table: pd.DataFrame
    r_squared: float

    def slippage(self, quantity: float | NDArray[np.float64]) -> NDArray[np.float64]:
        """Modelled slippage of market orders of `quantity` (base units, any shape), as a fraction of the mid."""
        return self.half_spread + self.impact * self.sigma * np.sqrt(np.asarray(quantity) / self.volume)

    def costs(self, fee: float = 0.001) -> Costs:
        """`Costs` with the fitted half-spread and impact, and `fee` per filled notional; the rest at its default."""
        return Costs(fee=fee, half_spread=self.half_spread, impact=self.impact)

    def plot(self, path: str | Path) -> None:
        """Draw measured against modelled slippage over quantity into an image file (needs matplotlib)."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.0, 5.5), layout="constrained")
        axes = figure.add_subplot()
        shown = self.table[self.table["quantity"] > 0.0]
        for source, marker, label in (("book", "o", "order book walked"), ("sweep", "^", "taker sweeps")):
            rows = shown[shown["source"] == source]
            axes.plot(rows["quantity"], 1e4 * rows["measured"], marker, label=f"{label}, mean", alpha=0.8)
        axes.axhline(
            1e4 * self.table["measured"].iloc[0], linestyle=":", color="grey", label="touch (half-spread), mean"
        )
        grid = np.geomspace(shown["quantity"].min(), shown["quantity"].max(), 200)
        law = f"half_spread {self.half_spread:.3g} + impact {self.impact:.3g} x sigma x sqrt(q / volume)"
        axes.plot(grid, 1e4 * self.slippage(grid), "-", color="black", label=law)
        axes.set(xscale="log", yscale="log", xlabel="quantity (base units)", ylabel="slippage (basis points of mid)")
        axes.set_title(
            f"Slippage, measured and modelled: R² {self.r_squared:.2f} (logarithms, book)\n"
            f"per {self.bar_seconds:g} s bar: sigma {self.sigma:.3g}, volume {self.volume:.4g}"
        )
        axes.grid(True, which="major", alpha=0.3)
        axes.legend(loc="upper left")
        write_figure(figure, Path(path), dpi=120)


def calibrate_slippage(
    trades: pd.DataFrame,
    books: Sequence[Book],
    bar_seconds: float = 900.0,
    quantities: Sequence[float] | NDArray[np.float64] | None = None,
) -> SlippageFit:
    """Fit `half_spread` and `impact` to order books; see the module's text for how each number is measured.

    Args:
        trades: at least 100 rows on a UTC DatetimeIndex in time order: `price` (quote), `quantity` (base), `side` (+1
            where the taker bought, -1 where it sold).
        books: at least 10 of `(timestamp, bids (L, 2), asks (L, 2))` in time order; rows are price and quantity, best
            first. Timestamps must come from the clock of the trades.
        bar_seconds: length of the bars that the costs are for.
        quantities: base quantities to measure; default 24 from the median trade to the largest sweep (at least 100
            times the median trade, at most what 90% of the book sides can fill), evenly spaced in the logarithm.

    Returns:
        The fit.

    Raises:
        TypeError: trades or books of another type. ValueError: a missing column, NaN, values out of range or order, a
            crossed book, too few trades or books, books too thin, prices that never moved.
    """
    if not 0.0 < bar_seconds < math.inf:
        raise ValueError(f"bar_seconds={bar_seconds!r} must be a positive, finite number of seconds")
    _check_trades(trades)
    _check_books(books)
    sigma, volume = _bar_scales(trades, bar_seconds)
    sweeps = _sweeps(trades, books)
    grid = _default_grid(trades, sweeps, books) if quantities is None else _checked_quantities(quantities)
    measured, count = _walk_means(books, grid)
    filled = count > 0
    if filled.sum() < 2:
        deepest = max(side[:, 1].sum() for book in books for side in book[1:])
        raise ValueError(
            f"the books can fill {filled.sum()} of {len(grid)} quantities from {grid[0]:g}; two are needed, and the "
            f"deepest side holds {deepest:g}"
        )
    touch = float(_half_spreads(books).mean())
    measured_rows = [
        pd.DataFrame({"source": "touch", "quantity": [0.0], "measured": [touch], "count": [len(books)]}),
        pd.DataFrame({"source": "book", "quantity": grid, "measured": measured, "count": count})[filled],
        _sweep_rows(sweeps, grid),
    ]
    table = pd.concat(measured_rows, ignore_index=True)[["source", "quantity", "measured", "count"]]
    fitted = table[table["source"] != "sweep"]
    unit = sigma * np.sqrt(fitted["quantity"].to_numpy() / volume)
    half_spread, impact = _fit_law(unit, fitted["measured"].to_numpy(), fitted["count"].to_numpy(dtype=np.float64))
    table.insert(3, "modelled", half_spread + impact * sigma * np.sqrt(table["quantity"] / volume))
    return SlippageFit(half_spread, impact, sigma, volume, bar_seconds, table, _r_squared(table))


def _check_trades(trades: pd.DataFrame) -> None:
    if not isinstance(trades, pd.DataFrame):
        raise TypeError(f"trades must be a DataFrame with columns {COLUMNS}, got {type(trades).__name__}")
    missing = [name for name in COLUMNS if name not in trades.columns]
    if missing:
        raise ValueError(f"trades have no column {missing[0]!r}; needed are {COLUMNS}")
    index = trades.index
    if not isinstance(index, pd.DatetimeIndex) or str(index.tz) != "UTC":
        raise ValueError("trades need a DatetimeIndex in UTC (tz-aware)")
    if len(trades) < MIN_TRADES:
        raise ValueError(f"{len(trades)} trades are too few; at least {MIN_TRADES} are needed")
    if index.hasnans or not index.is_monotonic_increasing or index[0] == index[-1]:
        raise ValueError("timestamps of trades must be in time order, without NaT, and span some time")
    for name, allowed in (("price", "> 0"), ("quantity", "> 0"), ("side", "+1 or -1")):
        values = trades[name].to_numpy(dtype=np.float64)
        good = np.isin(values, (1.0, -1.0)) if name == "side" else (values > 0.0) & np.isfinite(values)
        if not good.all():
            row = int(np.argmin(good))
            raise ValueError(f"trades column {name!r}, row {row} ({index[row]}): {values[row]} must be {allowed}")


def _check_books(books: Sequence[Book]) -> None:
    if len(books) < MIN_BOOKS:
        raise ValueError(f"{len(books)} books are too few; at least {MIN_BOOKS} are needed")
    before: pd.Timestamp | None = None
    for i, book in enumerate(books):
        if not isinstance(book, tuple) or len(book) != 3:
            raise TypeError(f"books[{i}] must be a tuple (timestamp, bids, asks), got {type(book).__name__}")
        timestamp, bids, asks = book
        if not isinstance(timestamp, pd.Timestamp) or timestamp.tz is None:
            raise TypeError(f"books[{i}]: timestamp {timestamp!r} must be a tz-aware pandas Timestamp")
        if before is not None and timestamp < before:
            raise ValueError(f"books[{i}] ({timestamp}) is earlier than the book before it ({before})")
        before = timestamp
        for name, levels, better in (("bids", bids, -1.0), ("asks", asks, 1.0)):
            _check_levels(f"books[{i}] ({timestamp}) {name}", levels, better)
        if bids[0, 0] >= asks[0, 0]:
            raise ValueError(f"books[{i}] ({timestamp}) is crossed: best bid {bids[0, 0]}, best ask {asks[0, 0]}")


def _check_levels(where: str, levels: NDArray[np.float64], order: float) -> None:
    """Raise unless `levels` are (L, 2) finite positive prices and quantities, prices rising times `order`."""
    if not isinstance(levels, np.ndarray) or levels.ndim != 2 or levels.shape[1] != 2 or len(levels) == 0:
        raise ValueError(f"{where} must be a (L, 2) array of price and quantity, L >= 1")
    good = np.isfinite(levels) & (levels > 0.0)
    if not good.all():
        row, column = (int(x) for x in np.argwhere(~good)[0])
        name = ("price", "quantity")[column]
        raise ValueError(f"{where}, level {row}: {name} {levels[row, column]} must be finite and > 0")
    if (order * np.diff(levels[:, 0]) <= 0.0).any():
        row = int(np.argmax(order * np.diff(levels[:, 0]) <= 0.0)) + 1
        raise ValueError(f"{where}, level {row}: price {levels[row, 0]} is not worse than the level before; best first")


def _checked_quantities(quantities: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    grid = np.unique(np.asarray(quantities, dtype=np.float64))
    if len(grid) < 2 or not np.isfinite(grid).all() or grid[0] <= 0.0:
        raise ValueError(f"quantities={quantities!r} must hold at least two different, finite quantities > 0")
    return grid


def _bar_scales(trades: pd.DataFrame, bar_seconds: float) -> tuple[float, float]:
    """Sigma and volume of one bar."""
    seconds = (trades.index.as_unit("ns").asi8 - trades.index[0].as_unit("ns").value) / NS  # type: ignore[attr-defined]
    span = float(seconds[-1])
    volume = float(trades["quantity"].sum()) / span * bar_seconds
    interval = min(bar_seconds, span / INTERVALS)
    grid = interval * np.arange(math.floor(span / interval * (1.0 + 1e-12)) + 1)
    last = np.searchsorted(seconds, grid, side="right") - 1
    returns = np.diff(np.log(trades["price"].to_numpy(dtype=np.float64)[last]))
    sigma = float(np.std(returns)) * math.sqrt(bar_seconds / interval)
    if sigma == 0.0:
        raise ValueError(f"prices of trades never moved on a grid of {interval:g} s: impact cannot be told apart")
    return sigma, volume


def _half_spreads(books: Sequence[Book]) -> NDArray[np.float64]:
    """Half the spread of each book, as a fraction of its mid."""
    return np.array([(asks[0, 0] - bids[0, 0]) / (asks[0, 0] + bids[0, 0]) for _, bids, asks in books])


def _sweeps(trades: pd.DataFrame, books: Sequence[Book]) -> pd.DataFrame:
    """`quantity` and `measured` of every run of one side in one timestamp that has a book before it."""
    stamps = trades.index.as_unit("ns").asi8  # type: ignore[attr-defined]
    side = trades["side"].to_numpy(dtype=np.float64)
    price, quantity = (trades[name].to_numpy(dtype=np.float64) for name in ("price", "quantity"))
    first = np.flatnonzero(np.concatenate([[True], (np.diff(stamps) != 0) | (np.diff(side) != 0.0)]))
    total = np.add.reduceat(quantity, first)
    vwap = np.add.reduceat(price * quantity, first) / total
    book_stamps = np.array([book[0].as_unit("ns").value for book in books])
    book = np.searchsorted(book_stamps, stamps[first], side="left") - 1
    measured = np.abs(vwap / price[first] - 1.0) + _half_spreads(books)[np.maximum(book, 0)]
    return pd.DataFrame({"quantity": total, "measured": measured})[book >= 0]


def _default_grid(trades: pd.DataFrame, sweeps: pd.DataFrame, books: Sequence[Book]) -> NDArray[np.float64]:
    low = float(trades["quantity"].median())
    depths = [side[:, 1].sum() for book in books for side in book[1:]]
    fillable = float(np.quantile(depths, 1.0 - FILLING_SHARE))
    if fillable <= low:
        raise ValueError(
            f"books are too thin: one in ten sides holds {fillable:g} or less, and the median trade is {low:g}"
        )
    largest = float(sweeps["quantity"].max()) if len(sweeps) else 0.0
    return np.geomspace(low, min(fillable, max(largest, 100.0 * low)), GRID_SIZE)


def _walk_means(books: Sequence[Book], grid: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Mean slippage (G,) over the book sides that can fill each quantity of `grid` (G,), and their number."""
    total, count = np.zeros(len(grid)), np.zeros(len(grid), dtype=np.int64)
    for _, bids, asks in books:
        mid = 0.5 * (bids[0, 0] + asks[0, 0])
        for side in (bids, asks):
            depth = np.concatenate([[0.0], np.cumsum(side[:, 1])])
            paid = np.concatenate([[0.0], np.cumsum(side[:, 0] * side[:, 1])])
            fills = grid <= depth[-1]
            wanted = grid[fills]
            level = np.searchsorted(depth[1:], wanted)  # the level where the walk ends
            vwap = (paid[level] + (wanted - depth[level]) * side[level, 0]) / wanted
            total[fills] += np.abs(vwap / mid - 1.0)
            count += fills
    return total / np.maximum(count, 1), count


def _fit_law(
    unit: NDArray[np.float64], measured: NDArray[np.float64], count: NDArray[np.float64]
) -> tuple[float, float]:
    """Half-spread and impact for rows of `unit` = sigma * sqrt(quantity / volume), the touch (0) first."""
    design = np.column_stack([np.ones(len(unit)), unit])
    share = np.concatenate([[1.0], count[1:] / count[1:].sum()])  # the touch weighs as much as all quantities
    modelled = measured
    found = np.zeros(2)
    for _ in range(ITERATIONS):
        weights = np.sqrt(share) / np.maximum(modelled, 1e-3 * measured)
        before, found = found, _non_negative_fit(design * weights[:, None], measured * weights)
        if np.allclose(found, before, rtol=1e-12, atol=0.0):
            break
        modelled = design @ found
    return float(found[0]), float(found[1])


def _r_squared(table: pd.DataFrame) -> float:
    book = table[table["source"] == "book"]
    logs = np.log(book["measured"].to_numpy())
    unexplained = float(np.sum((logs - np.log(book["modelled"].to_numpy())) ** 2))
    spread_out = float(np.sum((logs - logs.mean()) ** 2))
    return 1.0 - unexplained / spread_out if spread_out > 0.0 else 1.0


def _non_negative_fit(design: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two coefficients >= 0 that minimise `|design @ c - target|^2`; where one would be negative, the other alone.

    A convex problem in two coefficients: its constrained minimum is the free one or lies on one of the two axes.
    """
    scale = np.linalg.norm(design, axis=0)
    free = np.linalg.lstsq(design / scale, target, rcond=None)[0] / scale
    if (free >= 0.0).all():
        return free
    alone = np.diag(np.maximum(design.T @ target, 0.0) / scale**2)
    return min(alone, key=lambda c: float(np.sum((design @ c - target) ** 2)))


def _sweep_rows(sweeps: pd.DataFrame, grid: NDArray[np.float64]) -> pd.DataFrame:
    """Mean quantity and slippage of the sweeps nearest (in the logarithm) to each quantity of `grid`."""
    nearest = np.searchsorted(np.sqrt(grid[1:] * grid[:-1]), sweeps["quantity"].to_numpy(dtype=np.float64))
    means = sweeps.groupby(nearest).mean()
    means["count"] = sweeps.groupby(nearest).size()
    return means.assign(source="sweep")
