"""What an episode looks like: its record, a text panel, and the renderer behind the modes of `CryptoTradeEnv.render`.

Nothing here touches the account: it is handed what a step has already shown. matplotlib is imported with the first
picture (see `cryptoenv.rendering.chart`), never before.
"""

import os
import sys
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cryptoenv.market.market import Market
from cryptoenv.rendering.record import EpisodeRecord
from cryptoenv.rendering.text_panel import text_panel
from synthetic.installation import install_hint

if TYPE_CHECKING:
    from cryptoenv.rendering.live_window import ChartWindow

RENDER_MODES = ("human", "rgb_array", "ansi")


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
        self._record: Any = None
        self._chart: Any = None
        self._window: ChartWindow | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The record without figures: those belong to their process."""
        return {**self.__dict__, "_chart": None, "_window": None}

    def begin(self, market: Market, label: str, bar: int, shown: NDArray[np.float64]) -> None:
        """Begin an episode at `bar`, of which `shown` is (INFO_WIDTH,); what was recorded before is dropped."""
        self._record = EpisodeRecord(market, label, bar)
        self.record(shown)

    def record(self, *shown: NDArray[np.float64]) -> None:
        """Add the next bar: (INFO_WIDTH,) float64."""
        assert self._record is not None
        self._record.append(*shown)
        if self._mode == "human":
            self._show()

    def _text(self) -> str:
        return text_panel(self._record)

    def _chart_class(self) -> type[Any]:
        from cryptoenv.rendering.chart import Chart

        return Chart

    def render(self) -> NDArray[np.uint8] | str | None:
        """The frame: (600, 800, 3) uint8 in mode "rgb_array", text in mode "ansi", None in mode "human".

        Raises:
            RuntimeError: no episode was begun. ImportError: matplotlib is not installed.
        """
        if self._record is None:
            raise RuntimeError("there is nothing to render yet: call reset() before render()")
        if self._mode == "ansi":
            return self._text()
        if self._mode == "human":
            return None  # every reset and step has shown itself
        if self._chart is None:
            require_matplotlib()
            self._chart = self._chart_class().offscreen()
        self._chart.show(self._record)
        pixels: NDArray[np.uint8] = self._chart.pixels()
        return pixels

    def close(self) -> None:
        """Close the window and let the figures go; calling it again changes nothing."""
        if self._window is not None:
            self._window.close()
        self._chart, self._window = None, None

    def _show(self) -> None:
        assert self._record is not None
        if self._window is None:
            require_matplotlib()
            from cryptoenv.rendering.live_window import ChartWindow

            self._window = ChartWindow(self._frames_per_second, self._chart_class())
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
            f"pictures need matplotlib, which is not installed: {install_hint('report')}; "
            "render_mode='ansi' needs nothing"
        ) from error
