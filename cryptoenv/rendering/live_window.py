"""The live window of render mode "human": a chart that is redrawn in place, no faster than asked."""

import time
from typing import Any

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.backends import BackendFilter, backend_registry

from cryptoenv.rendering.chart import Chart
from cryptoenv.rendering.picture import DOTS_PER_INCH, SIZE_INCHES


class ChartWindow:
    """A window on one chart of a class; once the user closes it, nothing is drawn any more.

    Raises:
        RuntimeError: matplotlib has no backend that opens windows here.
    """

    def __init__(self, frames_per_second: float, chart: type[Any] = Chart) -> None:
        backend = str(plt.get_backend())
        if backend.lower() not in backend_registry.list_builtin(BackendFilter.INTERACTIVE):
            raise RuntimeError(
                f"render_mode='human' needs a matplotlib backend that opens windows, and {backend!r} does not: "
                "install tkinter or PyQt6, unset MPLBACKEND, or use render_mode='rgb_array'"
            )
        with matplotlib.rc_context({"toolbar": "None"}):
            self._figure = plt.figure("CryptoTrade", figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, clear=True)
        self._chart = chart(self._figure)
        self._interval = 1.0 / frames_per_second
        self._due = 0.0
        plt.show(block=False)

    @property
    def is_open(self) -> bool:
        """Whether the window is still there."""
        return bool(plt.fignum_exists(self._figure.number))

    def show(self, record: Any) -> None:
        """Draw the record, let the window answer its user, and wait until the frame is due."""
        if not self.is_open:
            return
        self._chart.show(record)
        self._figure.canvas.draw()
        self._figure.canvas.flush_events()
        wait = self._due - time.perf_counter()
        if wait > 0.0:
            self._figure.canvas.start_event_loop(wait)
        self._due = max(self._due, time.perf_counter()) + self._interval

    def close(self) -> None:
        """Close the window; calling it again changes nothing."""
        plt.close(self._figure)
