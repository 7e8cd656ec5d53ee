"""The picture of an episode: candles, position, fills, equity and drawdown on one figure of 800 x 600 pixels.

Artists are made once and updated in place. This module imports matplotlib (not pyplot): import it where it is used.
"""

from typing import Any

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE, HIGH, LOW, OPEN
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.rendering.panel import INK, Panel, time_ticks
from cryptoenv.rendering.picture import Picture
from cryptoenv.rendering.record import EpisodeRecord, Summary, drawdown, money_text, price_text, side_text, summarise
from cryptoenv.trading.account import (
    CLOSE_PRICE,
    EQUITY,
    EXIT_KIND,
    EXIT_PRICE,
    EXPOSURE,
    FILL_PRICE,
    FILL_QUANTITY,
    ExitKind,
)

WINDOW_BARS = 96  #: candles shown
CURVE_POINTS = 1600  #: two per pixel; longer curves are thinned to it
LONG_COLOUR, SHORT_COLOUR = "#2a9d5c", "#d1495b"
EQUITY_COLOUR, HOLD_COLOUR = "#1f4e9c", "#e07b00"
BODY_COLOURS = to_rgba_array(["#555555", "#ffffff"])  #: falling, rising
EXIT_MARKERS = {
    ExitKind.STOP_LOSS: ("X", "#ff8c00"),
    ExitKind.TAKE_PROFIT: ("D", "#7b4fa3"),
    ExitKind.LIQUIDATION: ("X", "#000000"),
}
MARKER_KEY = (
    ("▲ buy", LONG_COLOUR),
    ("▼ sell", SHORT_COLOUR),
    ("✖ stop", EXIT_MARKERS[ExitKind.STOP_LOSS][1]),
    ("◆ profit taken", EXIT_MARKERS[ExitKind.TAKE_PROFIT][1]),
    ("✖ liquidation", EXIT_MARKERS[ExitKind.LIQUIDATION][1]),
)
KEY_PLACES = (0.445, 0.515, 0.585, 0.660, 0.790)  #: left ends of the entries of `MARKER_KEY`, figure fractions
LEFT, WIDTH = 0.045, 0.85
RIGHT = LEFT + WIDTH
_SIDE_COLOURS = to_rgba_array([LONG_COLOUR, SHORT_COLOUR])
TINT = 0.16  #: opacity behind the candles of a whole long or short position


class Chart(Picture):
    """The artists of a figure, and what they show.

    Panels from the top: two lines of text; the last `WINDOW_BARS` candles, tinted where a position is held, with fills
    and exits at their prices; the exposure at each close; equity and buy and hold since the episode began, in percent;
    drawdown in percent.
    """

    def __init__(self, figure: Figure) -> None:
        super().__init__(figure)
        self._prices = Panel(figure, (LEFT, 0.465, WIDTH, 0.405))
        self._exposure = Panel(figure, (LEFT, 0.365, WIDTH, 0.060))
        self._equity = Panel(figure, (LEFT, 0.170, WIDTH, 0.125))
        self._drawdown = Panel(figure, (LEFT, 0.050, WIDTH, 0.075))
        self._make_texts()
        self._make_candles()
        self._make_exposure()
        self._make_curves()

    def show(self, record: EpisodeRecord) -> None:
        """Update the artists to a record with at least one row; the canvas is not drawn yet."""
        now = summarise(record)
        self._show_texts(now)
        first = max(record.bar + 1 - WINDOW_BARS, 0)
        self._show_candles(record, first)
        self._show_position(record, first)
        self._show_trades(record, first)
        self._show_curves(record)

    def _make_texts(self) -> None:
        self._title = self._text(LEFT, 0.957, 12, weight="bold")
        self._price = self._text(RIGHT, 0.957, 12, weight="bold", horizontalalignment="right")
        self._account = self._text(LEFT, 0.921, 10, weight="bold")
        self._order = self._text(LEFT, 0.884, 9.5)
        self._exit = self._text(RIGHT, 0.884, 9.5, horizontalalignment="right")
        self._text(LEFT, 0.436, 9.5, "exposure")
        for (entry, colour), place in zip(MARKER_KEY, KEY_PLACES, strict=True):
            self._text(place, 0.436, 9.5, entry, color=colour)
        self._own = self._text(LEFT, 0.304, 9.5, color=EQUITY_COLOUR)
        self._hold = self._text(0.30, 0.304, 9.5, color=HOLD_COLOUR)
        self._since = self._text(RIGHT, 0.304, 9.5, horizontalalignment="right")
        self._fall = self._text(LEFT, 0.134, 9.5, color=SHORT_COLOUR)

    def _make_candles(self) -> None:
        axes = self._prices.axes
        self._tint = PolyCollection([], transform=axes.get_xaxis_transform(), antialiaseds=False, zorder=0.5)
        self._start = axes.axvline(-1.0, color=INK, linewidth=1.0, linestyle=":", zorder=1.0)
        self._wicks = LineCollection([], colors=INK, linewidths=0.9, zorder=2.0)
        self._bodies = PolyCollection([], edgecolors=INK, linewidths=0.8, zorder=2.1)
        for collection in (self._tint, self._wicks, self._bodies):
            axes.add_collection(collection, autolim=False)
        self._buys = self._markers("^", LONG_COLOUR, 9.0)
        self._sells = self._markers("v", SHORT_COLOUR, 9.0)
        self._exits = {kind: self._markers(marker, colour, 8.5) for kind, (marker, colour) in EXIT_MARKERS.items()}

    def _markers(self, marker: str, colour: str, size: float) -> Line2D:
        return self._prices.axes.plot(
            [], [], marker, markersize=size, zorder=3.0, color=colour, markeredgecolor="white", markeredgewidth=0.9
        )[0]

    def _make_exposure(self) -> None:
        axes = self._exposure.axes
        self._held = PolyCollection([], edgecolors="none", antialiaseds=False, zorder=2.0)
        axes.add_collection(self._held, autolim=False)
        axes.axhline(0.0, color=INK, linewidth=0.8, zorder=2.1)

    def _make_curves(self) -> None:
        axes = self._equity.axes
        axes.axhline(0.0, color="#999999", linewidth=0.8, zorder=1.5)
        self._hold_curve = axes.plot([], [], color=HOLD_COLOUR, linewidth=1.2)[0]
        self._own_curve = axes.plot([], [], color=EQUITY_COLOUR, linewidth=1.6)[0]
        self._water = PolyCollection([], facecolors=SHORT_COLOUR, edgecolors=SHORT_COLOUR, alpha=0.45, linewidths=0.8)
        self._drawdown.axes.add_collection(self._water, autolim=False)

    def _show_texts(self, now: Summary) -> None:
        self._title.set_text(f"{now.name} · {now.timeframe}    {now.time:%Y-%m-%d %H:%M} UTC")
        self._price.set_text(price_text(now.price))
        self._account.set_text(
            f"{'RUINED' if now.ruined else side_text(now.exposure)}   exposure {now.exposure:+z.2f}   "
            f"equity {money_text(now.equity)}"
        )
        colour = LONG_COLOUR if now.exposure > 0.0 else SHORT_COLOUR if now.exposure < 0.0 or now.ruined else INK
        self._account.set_color(colour)
        self._order.set_text(f"last order: {now.order}")
        self._exit.set_text(f"last exit: {now.exit}" if now.exit else "")
        self._own.set_text(f"equity {now.change:+z.2%}")
        self._hold.set_text(f"buy and hold {now.hold:+z.2%}")
        self._fall.set_text(f"drawdown {now.drawdown:.2%}   worst {now.worst:.2%}")

    def _show_candles(self, record: EpisodeRecord, first: int) -> None:
        bars = record.market.prices[first : record.bar + 1]
        x = np.arange(len(bars)) + 0.5
        _centred(self._wicks, x, bars[:, LOW], bars[:, HIGH])
        self._bodies.set_verts(_boxes(x, 0.36, bars[:, OPEN], bars[:, CLOSE]))
        rising = bars[:, CLOSE] >= bars[:, OPEN]
        self._bodies.set_facecolor(BODY_COLOURS[rising.astype(np.int64)])
        low, high = float(bars[:, LOW].min()), float(bars[:, HIGH].max())
        margin = 0.06 * (high - low) or 0.01 * high
        self._prices.scale_y(low - margin, high + margin, 6)
        step = timeframe_ms(record.market.timeframes[0])
        ticks, labels = time_ticks(record.market.start_ms + first * step, step, WINDOW_BARS)
        self._prices.set_x(0.0, WINDOW_BARS, ticks)
        self._exposure.set_x(0.0, WINDOW_BARS, ticks, labels)
        self._start.set_xdata([record.start + 1 - first] * 2)

    def _show_position(self, record: EpisodeRecord, first: int) -> None:
        """Tint and exposure bars; the reset's own row is left out, for nothing was held during its bar."""
        begin = max(record.start + 1, first)
        held = record.rows[begin - record.start :, EXPOSURE]
        x = np.arange(begin - first, begin - first + len(held)) + 0.5
        colours = _SIDE_COLOURS[(held < 0.0).astype(np.int64)]
        self._held.set_verts(_boxes(x, 0.5, np.zeros(len(held)), held))
        self._held.set_facecolor(colours)
        self._tint.set_verts(_boxes(x, 0.5, np.zeros(len(held)), np.ones(len(held))))
        self._tint.set_facecolor(np.column_stack([colours[:, :3], TINT * np.minimum(np.abs(held), 1.0)]))
        most = float(np.abs(held).max(initial=0.0))
        bound = most if most > 1.2 else 1.0  # a whole position drifts a little
        self._exposure.set_y(-1.3 * bound, 1.3 * bound, (-bound, 0.0, bound), (f"{-bound:+.3g}", "0", f"{bound:+.3g}"))

    def _show_trades(self, record: EpisodeRecord, first: int) -> None:
        begin = max(record.start, first)
        rows = record.rows[begin - record.start :]
        x = np.arange(begin - first, begin - first + len(rows)) + 0.5
        quantity = rows[:, FILL_QUANTITY]
        for markers, filled in ((self._buys, quantity > 0.0), (self._sells, quantity < 0.0)):
            markers.set_data(x[filled], rows[filled, FILL_PRICE])
        for kind, markers in self._exits.items():
            left = rows[:, EXIT_KIND] == kind
            markers.set_data(x[left], rows[left, EXIT_PRICE])

    def _show_curves(self, record: EpisodeRecord) -> None:
        rows = record.rows
        last = len(rows) - 1
        kept = np.unique(np.linspace(0, last, min(len(rows), CURVE_POINTS)).astype(np.int64))
        own = 100.0 * (rows[kept, EQUITY] / rows[0, EQUITY] - 1.0)
        hold = 100.0 * (rows[kept, CLOSE_PRICE] / rows[0, CLOSE_PRICE] - 1.0)
        fall = -100.0 * drawdown(rows[:, EQUITY])[kept]
        self._own_curve.set_data(kept, own)
        self._hold_curve.set_data(kept, hold)
        points = np.column_stack([kept, fall])
        self._water.set_verts([np.vstack([[0.0, 0.0], points, [last, 0.0]])])
        width = max(last, WINDOW_BARS)
        low, high = float(min(own.min(), hold.min())), float(max(own.max(), hold.max()))
        margin = max(0.08 * (high - low), 0.05)
        self._equity.scale_y(low - margin, high + margin, 4, "%")
        self._drawdown.scale_y(min(1.1 * float(fall.min()), -0.1), 0.0, 2, "%")
        ticks = [float(tick) for tick in MaxNLocator(8, integer=True).tick_values(0, width) if tick <= width]
        self._equity.set_x(0.0, width, ticks)
        self._drawdown.set_x(0.0, width, ticks, [f"{tick:,.0f}" for tick in ticks])
        self._since.set_text(f"{last:,} bars since the start")


def _centred(lines: Any, x: NDArray[Any], low: Any, high: Any) -> None:
    """Vertical lines at x from low to high, all (n,)."""
    lines.set_segments(np.stack([np.column_stack([x, low]), np.column_stack([x, high])], axis=1))


def _boxes(x: NDArray[Any], half: float, bottom: Any, top: Any) -> Any:
    """(n, 4, 2) corners of boxes around x, `half` wide to either side, all inputs (n,)."""
    left, right = x - half, x + half
    corners = ((left, bottom), (left, top), (right, top), (right, bottom))
    return np.stack([np.column_stack(corner) for corner in corners], axis=1)
