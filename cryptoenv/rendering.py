"""What an episode looks like: its record, a text panel, and the renderer behind the modes of `CryptoTradeEnv.render`.

Nothing here touches the account: it is handed what a step has already shown. matplotlib is imported with the first
picture (see `cryptoenv.chart`), never before.
"""

import math
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cryptoenv.account import (
    CLOSE_PRICE,
    EQUITY,
    EXIT_KIND,
    EXIT_PRICE,
    EXPOSURE,
    FILL_PRICE,
    FILL_QUANTITY,
    INFO_WIDTH,
    ORDER_STATUS,
    RUINED,
    ExitKind,
    OrderStatus,
)
from cryptoenv.market import Market
from cryptoenv.price_columns import CLOSE
from cryptoenv.timeframe import timeframe_ms

if TYPE_CHECKING:
    from cryptoenv.chart import Chart
    from cryptoenv.window import ChartWindow

RENDER_MODES = ("human", "rgb_array", "ansi")
SPARKLINE_BARS = 48
SPARKS = "▁▂▃▄▅▆▇█"
LONGEST_NAME = 28  #: characters of a market's name that are shown
_FIRST_ROWS = 256


class EpisodeRecord:
    """What `info` showed at every bar of one episode; its memory grows with the episode and goes with it.

    Attributes:
        market: what is traded. start: bar of the first decision.
    """

    def __init__(self, market: Market, label: str, start: int) -> None:
        self.market = market
        self.label = label
        self.start = start
        self._rows = np.empty((_FIRST_ROWS, INFO_WIDTH), dtype=np.float64)
        self._count = 0

    def append(self, shown: NDArray[np.float64]) -> None:
        """Add a bar: (INFO_WIDTH,) float64, the first columns of the account."""
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[self._count] = shown
        self._count += 1

    @property
    def rows(self) -> NDArray[np.float64]:
        """(n, INFO_WIDTH) float64; row `i` belongs to bar `start + i`, row 0 to the reset."""
        return self._rows[: self._count]

    @property
    def bar(self) -> int:
        """Index of the last bar."""
        return self.start + self._count - 1


@dataclass(frozen=True)
class Summary:
    """The present of an episode in words and numbers.

    Attributes:
        name: market. timeframe: of the base bars. time: UTC close of the last bar. price: its close.
        exposure: signed fraction of equity. equity: in quote. change, hold: fraction won since the start by the account
            and by buying and holding (at no cost). drawdown, worst: fraction below the peak, now and at its deepest.
        order: the last order and what became of it. exit: the last intrabar exit, empty if there was none.
        ruined: whether the account is.
    """

    name: str
    timeframe: str
    time: datetime
    price: float
    exposure: float
    equity: float
    change: float
    hold: float
    drawdown: float
    worst: float
    order: str
    exit: str
    ruined: bool


def summarise(record: EpisodeRecord) -> Summary:
    """Summary of a record with at least one row."""
    rows, market = record.rows, record.market
    last = rows[-1]
    step = timeframe_ms(market.timeframes[0])
    drawdowns = drawdown(rows[:, EQUITY])
    return Summary(
        name=record.label if len(record.label) <= LONGEST_NAME else record.label[: LONGEST_NAME - 1] + "…",
        timeframe=market.timeframes[0],
        time=datetime.fromtimestamp((market.start_ms + (record.bar + 1) * step) / 1000.0, UTC),
        price=float(last[CLOSE_PRICE]),
        exposure=float(last[EXPOSURE]),
        equity=float(last[EQUITY]),
        change=float(last[EQUITY] / rows[0, EQUITY] - 1.0),
        hold=float(last[CLOSE_PRICE] / rows[0, CLOSE_PRICE] - 1.0),
        drawdown=float(drawdowns[-1]),
        worst=float(drawdowns.max()),
        order=_last_order(rows),
        exit=_last_exit(rows),
        ruined=bool(last[RUINED]),
    )


def drawdown(equity: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) fraction below the highest equity so far, of (n,) equity."""
    return 1.0 - equity / np.maximum.accumulate(equity)


def _last_order(rows: NDArray[np.float64]) -> str:
    dates = np.flatnonzero(rows[:, ORDER_STATUS])
    if dates.size == 0:
        return "none yet"
    row = rows[dates[-1]]
    status = OrderStatus(int(row[ORDER_STATUS])).name.lower().replace("_", " ")
    quantity = row[FILL_QUANTITY]
    side = "" if quantity == 0.0 else "buy " if quantity > 0.0 else "sell "
    price = f" at {price_text(row[FILL_PRICE])}" if quantity != 0.0 else ""
    return f"{side}{status}{price}, {_age(len(rows) - 1 - int(dates[-1]))}"


def _last_exit(rows: NDArray[np.float64]) -> str:
    dates = np.flatnonzero(rows[:, EXIT_KIND])
    if dates.size == 0:
        return ""
    row = rows[dates[-1]]
    kind = ExitKind(int(row[EXIT_KIND])).name.lower().replace("_", "-")
    return f"{kind} at {price_text(row[EXIT_PRICE])}, {_age(len(rows) - 1 - int(dates[-1]))}"


def _age(bars: int) -> str:
    return "now" if bars == 0 else f"{bars} bar{'s' if bars > 1 else ''} ago"


def price_text(price: float) -> str:
    """A price with five digits at least, two decimals at least."""
    decimals = 2 if price >= 100.0 else min(4 - math.floor(math.log10(price)), 12)
    return f"{price:,.{decimals}f}"


def money_text(amount: float) -> str:
    """An amount of quote currency, in a width that fits a line."""
    return f"{amount:,.2f}" if abs(amount) < 1e9 else f"{amount:.4g}"


def side_text(exposure: float) -> str:
    """ "long", "short" or "flat"."""
    return "long" if exposure > 0.0 else "short" if exposure < 0.0 else "flat"


def sparkline(values: NDArray[np.float64]) -> str:
    """One block character per value of (n,), the lowest low and the highest high."""
    low, high = float(values.min()), float(values.max())
    scale = (len(SPARKS) - 1) / (high - low) if high > low else 0.0
    return "".join(SPARKS[round((value - low) * scale)] for value in values.tolist())


def text_panel(record: EpisodeRecord) -> str:
    """The "ansi" frame: five lines of text."""
    now = summarise(record)
    closes = record.market.prices[max(record.bar + 1 - SPARKLINE_BARS, 0) : record.bar + 1, CLOSE]
    lines = (
        f"{now.name} {now.timeframe}  {now.time:%Y-%m-%d %H:%M} UTC  bar {record.bar} "
        f"({record.bar - record.start} since the start){'  RUINED' if now.ruined else ''}",
        f"price     {price_text(now.price)}  {sparkline(closes)}",
        f"position  {now.exposure:+z.2f} {side_text(now.exposure)}",
        f"equity    {money_text(now.equity)} ({now.change:+z.2%}; buy and hold {now.hold:+z.2%})  "
        f"drawdown {now.drawdown:.2%} (worst {now.worst:.2%})",
        f"order     {now.order}{'; exit ' + now.exit if now.exit else ''}",
    )
    return "\n".join(lines) + "\n"


def display_is_missing() -> str:
    """Why no window can be opened here, as far as the environment tells; empty where one may."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "neither DISPLAY nor WAYLAND_DISPLAY is set"
    return ""


@cache
def _can_draw() -> bool:
    """Whether matplotlib is there, without importing it."""
    return find_spec("matplotlib") is not None


def usable_render_modes() -> list[str]:
    """The render modes that can work here: without a display no window, without matplotlib no picture."""
    if not _can_draw():
        return ["ansi"]
    return [mode for mode in RENDER_MODES if mode != "human" or not display_is_missing()]


def require_render_mode(mode: str) -> None:
    """Check a render mode.

    Raises:
        ValueError: an unknown mode. RuntimeError: "human" where there is no display. ImportError: a picture where there
            is no matplotlib.
    """
    if mode not in RENDER_MODES:
        raise ValueError(f"render_mode={mode!r} is unknown; choose from {list(RENDER_MODES)}")
    if mode != "ansi" and not _can_draw():
        raise ImportError(f"render_mode={mode!r} draws with matplotlib, which is not installed: pip install matplotlib")
    if mode not in usable_render_modes():
        raise RuntimeError(
            f"render_mode='human' needs a display, and {display_is_missing()}; use 'rgb_array' or 'ansi' here"
        )


class Renderer:
    """Records an episode and shows it in one mode.

    In mode "human" every record is shown at once, at no more than `frames_per_second`.
    """

    def __init__(self, mode: str, frames_per_second: float) -> None:
        require_render_mode(mode)
        self._mode = mode
        self._frames_per_second = frames_per_second
        self._record: EpisodeRecord | None = None
        self._chart: Chart | None = None
        self._window: ChartWindow | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The record without figures: those belong to their process."""
        return {**self.__dict__, "_chart": None, "_window": None}

    def begin(self, market: Market, label: str, bar: int, shown: NDArray[np.float64]) -> None:
        """Begin an episode at `bar`; what was recorded before is dropped."""
        self._record = EpisodeRecord(market, label, bar)
        self.record(shown)

    def record(self, shown: NDArray[np.float64]) -> None:
        """Add the next bar: (INFO_WIDTH,) float64."""
        assert self._record is not None
        self._record.append(shown)
        if self._mode == "human":
            self._show()

    def render(self) -> NDArray[np.uint8] | str | None:
        """The frame: (600, 800, 3) uint8 in mode "rgb_array", text in mode "ansi", None in mode "human".

        Raises:
            RuntimeError: no episode was begun. ImportError: matplotlib is not installed.
        """
        if self._record is None:
            raise RuntimeError("there is nothing to render yet: call reset() before render()")
        if self._mode == "ansi":
            return text_panel(self._record)
        if self._mode == "human":
            return None  # every reset and step has shown itself
        if self._chart is None:
            require_matplotlib()
            from cryptoenv.chart import Chart

            self._chart = Chart.offscreen()
        self._chart.show(self._record)
        return self._chart.pixels()

    def close(self) -> None:
        """Close the window and let the figures go; calling it again changes nothing."""
        if self._window is not None:
            self._window.close()
        self._chart, self._window = None, None

    def _show(self) -> None:
        assert self._record is not None
        if self._window is None:
            require_matplotlib()
            from cryptoenv.window import ChartWindow

            self._window = ChartWindow(self._frames_per_second)
        self._window.show(self._record)


def require_matplotlib() -> None:
    """Check that pictures can be drawn.

    Raises:
        ImportError: matplotlib is not installed; the extra that brings it is named.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "pictures need matplotlib, which is not installed: pip install cryptoenv[report]; render_mode='ansi' "
            "needs nothing"
        ) from error
