"""The picture of a portfolio's episode: equity, weights by asset, prices and drawdown on a figure of 800 x 600 pixels.

Artists are made once and updated in place. This module imports matplotlib (not pyplot): import it where it is used.
"""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cryptoenv.rendering.chart import (
    CURVE_POINTS,
    EQUITY_COLOUR,
    HOLD_COLOUR,
    LEFT,
    RIGHT,
    SHORT_COLOUR,
    WIDTH,
)
from cryptoenv.rendering.panel import INK, Panel
from cryptoenv.rendering.picture import Picture
from cryptoenv.rendering.portfolio_record import PortfolioRecord
from cryptoenv.rendering.record import drawdown, money_text

COLOURED = 10  #: assets with a colour of their own, those that were held most; the others share the last
OTHERS_COLOUR = "#b0b0b0"
LEAST_BARS = 96  #: width of the picture while an episode is shorter


class PortfolioChart(Picture):
    """The artists of a figure, and what they show.

    Panels from the top: a line of text and the assets' names in their colours; equity beside equal parts held, percent;
    weights at each close, long ones stacked above 0 and short ones below; prices since the start, percent; drawdown.
    """

    def __init__(self, figure: Figure) -> None:
        super().__init__(figure)
        self._equity = Panel(figure, (LEFT, 0.640, WIDTH, 0.225))
        self._weights = Panel(figure, (LEFT, 0.375, WIDTH, 0.225))
        self._prices = Panel(figure, (LEFT, 0.185, WIDTH, 0.150))
        self._drawdown = Panel(figure, (LEFT, 0.050, WIDTH, 0.090))
        self._title = self._text(LEFT, 0.957, 12, weight="bold")
        self._worth = self._text(RIGHT, 0.957, 12, weight="bold", horizontalalignment="right")
        self._names = [self._text(LEFT + k * WIDTH / (COLOURED + 1), 0.917, 8.5) for k in range(COLOURED + 1)]
        self._own = self._text(LEFT, 0.876, 9.5, color=EQUITY_COLOUR)
        self._hold = self._text(0.30, 0.876, 9.5, color=HOLD_COLOUR)
        self._since = self._text(RIGHT, 0.876, 9.5, horizontalalignment="right")
        self._gross = self._text(LEFT, 0.609, 9.5)
        self._text(LEFT, 0.344, 9.5, "prices since the start")
        self._fall = self._text(LEFT, 0.149, 9.5, color=SHORT_COLOUR)
        for panel in (self._equity, self._weights, self._prices):
            panel.axes.axhline(0.0, color="#999999", linewidth=0.8, zorder=3.0)
        self._hold_curve = self._equity.axes.plot([], [], color=HOLD_COLOUR, linewidth=1.2)[0]
        self._own_curve = self._equity.axes.plot([], [], color=EQUITY_COLOUR, linewidth=1.6)[0]
        self._stack = PolyCollection([], edgecolors="none", zorder=2.0)
        self._weights.axes.add_collection(self._stack, autolim=False)
        self._water = PolyCollection([], facecolors=SHORT_COLOUR, edgecolors=SHORT_COLOUR, alpha=0.45, linewidths=0.8)
        self._drawdown.axes.add_collection(self._water, autolim=False)
        self._lines: list[Line2D] = []

    def show(self, record: PortfolioRecord) -> None:
        """Update the artists to a record with at least one bar; the canvas is not drawn yet."""
        last = len(record.equity) - 1
        kept = np.unique(np.linspace(0, last, min(last + 1, CURVE_POINTS)).astype(np.int64))
        width = max(last, LEAST_BARS)
        ticks = [float(tick) for tick in MaxNLocator(8, integer=True).tick_values(0, width) if tick <= width]
        for panel in (self._equity, self._weights, self._prices):
            panel.set_x(0.0, width, ticks)
        self._drawdown.set_x(0.0, width, ticks, [f"{tick:,.0f}" for tick in ticks])
        self._title.set_text(f"{record.label} · {record.market.timeframes[0]}    {record.time:%Y-%m-%d %H:%M} UTC")
        self._worth.set_text(("RUINED  " if record.ruined else "") + money_text(float(record.equity[-1])))
        self._since.set_text(f"{last:,} bars since the start")
        self._show_equity(record, kept)
        groups = self._show_names(record)
        self._show_weights(record.exposures[kept], kept, groups)
        self._show_prices(record, kept, groups)

    def _show_equity(self, record: PortfolioRecord, kept: NDArray[np.int64]) -> None:
        own, hold = (100.0 * (curve / curve[0] - 1.0) for curve in (record.equity, record.held))
        falls = drawdown(record.equity)
        self._own_curve.set_data(kept, own[kept])
        self._hold_curve.set_data(kept, hold[kept])
        self._own.set_text(f"equity {own[-1]:+z.2f}%")
        self._hold.set_text(f"equal parts held {hold[-1]:+z.2f}%")
        low, high = float(min(own.min(), hold.min())), float(max(own.max(), hold.max()))
        margin = max(0.08 * (high - low), 0.05)
        self._equity.scale_y(low - margin, high + margin, 5, "%")
        points = np.column_stack([kept, -100.0 * falls[kept]])
        self._water.set_verts([np.vstack([[0.0, 0.0], points, [points[-1, 0], 0.0]])])
        self._drawdown.scale_y(min(-110.0 * float(falls.max()), -0.1), 0.0, 2, "%")
        self._fall.set_text(f"drawdown {falls[-1]:.2%}   worst {falls.max():.2%}")

    def _show_names(self, record: PortfolioRecord) -> list[tuple[NDArray[np.int64], Any]]:
        """Write the assets' names; groups of assets (numbers) and their colours, the last for all others."""
        names, most = record.market.names, np.abs(record.exposures).mean(axis=0)
        own = np.sort(np.argsort(-most, kind="stable")[:COLOURED])
        rest = np.setdiff1d(np.arange(len(names)), own)
        palette = colormaps["tab10"]
        groups: list[tuple[NDArray[np.int64], Any]] = [(own[k : k + 1], palette(k)) for k in range(len(own))]
        told = [names[int(j)][:9] for j in own]
        if len(rest):
            groups.append((rest, OTHERS_COLOUR))
            told.append(f"{len(rest)} others")
        for k, text in enumerate(self._names):
            text.set_text(told[k] if k < len(told) else "")
            text.set_color(groups[k][1] if k < len(told) else INK)
        return groups

    def _show_weights(
        self, exposures: NDArray[np.float64], kept: NDArray[np.int64], groups: list[tuple[NDArray[np.int64], Any]]
    ) -> None:
        shapes, colours = [], []
        for sign in (1.0, -1.0):
            sides = np.maximum(sign * exposures, 0.0)
            base = np.zeros(len(kept))
            for members, colour in groups:
                top = base + sides[:, members].sum(axis=1)
                if (top > base).any():
                    outline = np.concatenate([np.column_stack([kept, sign * base]),
                                              np.column_stack([kept, sign * top])[::-1]])  # fmt: skip
                    shapes.append(outline)
                    colours.append(colour)
                base = top
        self._stack.set_verts(shapes)
        self._stack.set_facecolor(colours or [OTHERS_COLOUR])
        above = max(1.0, float(np.maximum(exposures, 0.0).sum(axis=1).max()))
        below = min(0.0, float(np.minimum(exposures, 0.0).sum(axis=1).min()))
        self._weights.scale_y(1.05 * below - 0.02, 1.05 * above, 5)
        gross, net = np.abs(exposures[-1]).sum(), exposures[-1].sum()
        self._gross.set_text(f"weights at each close   gross {gross:.2f}   net {net:+z.2f}   cash {1.0 - net:.2f}")

    def _show_prices(
        self, record: PortfolioRecord, kept: NDArray[np.int64], groups: list[tuple[NDArray[np.int64], Any]]
    ) -> None:
        while len(self._lines) < len(record.market.names):
            self._lines.append(self._prices.axes.plot([], [], linewidth=1.1)[0])
        low, high = -0.1, 0.1
        for members, colour in groups:
            for j in members.tolist():
                closes = record.closes[kept, j]
                known = np.flatnonzero(closes > 0.0)
                change = 100.0 * (closes[known] / closes[known[0]] - 1.0) if len(known) else np.zeros(0)
                self._lines[j].set_data(kept[known], change)
                self._lines[j].set_color(colour)
                if len(known):
                    low, high = min(low, float(change.min())), max(high, float(change.max()))
        margin = 0.08 * (high - low)
        self._prices.scale_y(low - margin, high + margin, 3, "%")
