"""One panel of the chart: axes whose grid and labels are plain artists, updated in place.

matplotlib's own axis objects measure and lay out every label at every draw, which is half the cost of a frame; here
the places of the labels are known.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Transform

INK, GRID, FRAME = "#333333", "#e4e4e4", "#bbbbbb"
LABEL_SIZE = 9.0
LABEL_GAP = 0.008  #: between a panel and the labels below it, as a fraction of the figure's height
_MINUTE = 60_000
_DAY = 1440 * _MINUTE
_TICK_MINUTES = (1, 5, 15, 30, 60, 120, 180, 240, 360, 720, 1440, 2880, 10_080, 20_160, 40_320, 131_040, 524_160)


class Panel:
    """Axes with value labels on the right and, if wanted, labels below.

    Attributes:
        axes: without matplotlib's own axis objects; draw on it in data coordinates.
    """

    def __init__(self, figure: Figure, place: tuple[float, float, float, float]) -> None:
        self.axes: Axes = figure.add_axes(place)
        self.axes.xaxis.set_visible(False)
        self.axes.yaxis.set_visible(False)
        for spine in self.axes.spines.values():
            spine.set_visible(False)
        self.axes.patch.set_edgecolor(FRAME)
        self.axes.patch.set_linewidth(0.8)
        self._across = self._grid(self.axes.get_yaxis_transform())
        self._upright = self._grid(self.axes.get_xaxis_transform())
        self._gap = -LABEL_GAP / place[3]
        self._right: list[Text] = []
        self._below: list[Text] = []

    def set_y(self, low: float, high: float, values: Sequence[float], labels: Sequence[str]) -> None:
        """Limits of the value axis, and where its grid lines and labels are."""
        self.axes.set_ylim(low, high)
        self._across.set_segments([((0.0, value), (1.0, value)) for value in values])
        self._show(self._right, [(1.008, value) for value in values], labels, below=False)

    def set_x(self, low: float, high: float, values: Sequence[float], labels: Sequence[str] = ()) -> None:
        """Limits of the horizontal axis, its grid lines, and labels below them if any."""
        self.axes.set_xlim(low, high)
        self._upright.set_segments([((value, 0.0), (value, 1.0)) for value in values])
        self._show(self._below, [(value, self._gap) for value in values], labels, below=True)

    def scale_y(self, low: float, high: float, ticks: int, unit: str = "") -> None:
        """Limits of the value axis, with at most `ticks` + 1 round values in as many decimals as they need."""
        values = MaxNLocator(ticks, steps=[1, 2, 5, 10]).tick_values(low, high)
        decimals = max(-math.floor(math.log10(values[1] - values[0]) + 1e-9), 0)
        inside = [float(value) for value in values if low <= value <= high]
        self.set_y(low, high, inside, [f"{value:z,.{decimals}f}{unit}" for value in inside])

    def _grid(self, transform: Transform) -> LineCollection:
        lines = LineCollection([], colors=GRID, linewidths=0.8, zorder=0.8, transform=transform)
        self.axes.add_collection(lines, autolim=False)
        return lines

    def _show(self, pool: list[Text], places: list[tuple[float, float]], labels: Sequence[str], below: bool) -> None:
        """Show `labels` at `places` with the texts of a pool, which grows as needed; the rest of it is hidden."""
        while len(pool) < len(labels):
            pool.append(self._label(below))
        for text, place, label in zip(pool, places, labels, strict=False):
            text.set_position(place)
            text.set_text(label)
            text.set_visible(True)
        for text in pool[len(labels) :]:
            text.set_visible(False)

    def _label(self, below: bool) -> Text:
        transform = self.axes.get_xaxis_transform() if below else self.axes.get_yaxis_transform()
        return self.axes.text(
            0.0, 0.0, "", transform=transform, fontsize=LABEL_SIZE, color=INK, parse_math=False,
            horizontalalignment="center" if below else "left",
            verticalalignment="top" if below else "center_baseline",
        )  # fmt: skip


def time_ticks(start_ms: int, step_ms: int, bars: int) -> tuple[list[float], list[str]]:
    """At most seven round UTC times among the opens of `bars` bars: places in bars, labels (month-day at midnight)."""
    spans = [minutes * _MINUTE for minutes in _TICK_MINUTES]
    span = next((span for span in spans if span % step_ms == 0 and span * 7 >= bars * step_ms), spans[-1])
    opens: Sequence[int] = range(start_ms + -start_ms % span, start_ms + bars * step_ms, span)
    labels = []
    for time in opens:
        form = "%m-%d" if time % _DAY == 0 else "%H:%M"
        labels.append(datetime.fromtimestamp(time / 1000.0, UTC).strftime(form))
    return [(time - start_ms) / step_ms for time in opens], labels
