"""The picture of a backtest: equity beside what it is compared with, drawdown, and the position over the price."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import dates as mdates
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from agents.evaluation.backtest.backtesting import Backtest
from cryptoenv.analysis.drawdowns import drawdown_curve
from cryptoenv.files.durable_files import write_figure

COLOURS = ("#1f4e9c", "#888888", "#e07b00", "#7b4fa3")
LONG_COLOUR, SHORT_COLOUR = "#2a9d5c", "#d1495b"
MOST_POINTS = 6000  #: of a line; a picture shows no more


def draw_portfolio(found: Backtest, others: Mapping[str, Backtest], path: Path, *, title: str) -> None:
    """Draw a backtest into a PNG file.

    Args:
        found: the strategy's.
        others: over the same bars, such as buy and hold.
        path: file to write.
        title: of the picture.
    """
    figure = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(figure)
    money, under, price = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1.2, 1.6))
    times = found.closes_ms.astype("datetime64[ms]")
    shown = _shown(len(times))
    for colour, (name, one) in zip(COLOURS, ({found.name: found} | dict(others)).items(), strict=False):
        money.plot(times[shown], one.equity[shown], color=colour, linewidth=1.0, label=name)
        under.plot(times[shown], -100.0 * drawdown_curve(one.equity)[shown], color=colour, linewidth=0.8)
    cash = found.desk.cash
    money.axhline(cash, color="black", linewidth=0.8, linestyle="--", label=f"initial capital {cash:,.0f}")
    money.set_ylabel("equity")
    money.set_title(title, loc="left")
    money.legend(frameon=False, loc="upper left")
    under.set_ylabel("drawdown, %")
    first = found.trace.first
    close = found.market.prices[first : first + len(times), 3]
    _draw_position(price, times[shown], close[shown], np.concatenate(([0.0], found.trace.column("exposure")))[shown])
    locator = mdates.AutoDateLocator(maxticks=9)
    price.xaxis.set_major_locator(locator)
    price.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
    for axis in (money, under, price):
        axis.grid(alpha=0.25)
        axis.margins(x=0.0)
    write_figure(figure, path, dpi=100)


def _shown(count: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).astype(np.int64))


def _draw_position(
    axis: Axes, times: NDArray[np.datetime64], close: NDArray[np.float64], exposure: NDArray[np.float64]
) -> None:
    """The close over a background that is green while long and red while short."""
    axis.plot(times, close, color="#333333", linewidth=0.8)
    low, high = float(close.min()), float(close.max())
    for colour, held in ((LONG_COLOUR, exposure > 0.0), (SHORT_COLOUR, exposure < 0.0)):
        axis.fill_between(times, low, high, where=held.tolist(), color=colour, alpha=0.18, linewidth=0.0, step="pre")
    axis.set_ylabel("close, position")
