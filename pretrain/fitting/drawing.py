"""What the pictures of all models are made with: colours, figures that are written whole, curves of a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cryptoenv.files.durable_files import write_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = "learning_curves.png"
LONG, SHORT, LINE, SECOND = "#2a9d5c", "#d1495b", "#1f4e9c", "#e07b00"
SHOWN_BARS = 480  #: base bars of a picture of decisions


class Pictures:
    """What these pictures need of matplotlib's pyplot, without its state: no backend is chosen, no figure is kept."""

    def subplots(self, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
        """As pyplot's: `figsize`, `dpi`, `layout` are of the figure, all else of `Figure.subplots`."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        of_figure = {name: options.pop(name) for name in ("figsize", "dpi", "layout") if name in options}
        figure = Figure(**of_figure)
        FigureCanvasAgg(figure)
        return figure, figure.subplots(rows, columns, **options)

    def get_cmap(self, name: str) -> Any:
        """A map of colours by its name."""
        from matplotlib import colormaps

        return colormaps[name]

    def close(self, figure: Figure) -> None:
        """Nothing holds the figure but who drew it."""


def new_pyplot() -> Pictures:
    """In place of pyplot, which is the user's: pictures are drawn beside what they have on their screen."""
    return Pictures()


def save_figure(pyplot: Any, figure: Any, path: Path) -> None:
    """Write a figure, whole or not at all, and forget it."""
    write_figure(figure, path, dpi=110)
    pyplot.close(figure)


def colours(count: int) -> list[str]:
    """`count` colours of lines."""
    return [(LINE, SECOND, "#7b4fa3", LONG, SHORT, "#00838f")[i % 6] for i in range(count)]


def shades(positions: NDArray[np.float64]) -> list[str]:
    """A colour per exposure (A,): green, red, grey."""
    return [LONG if p > 0 else SHORT if p < 0 else "#cccccc" for p in positions]


def logged_scalars(log: Path) -> dict[str, list[Any]]:
    """Every figure of a TensorBoard log (no folders below) by its tag: events with `step` and `value`, as logged."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(log), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}


def draw_learning_curves(log: Path, path: Path) -> None:
    """Loss on training batches, and every figure measured on validation decisions, over optimiser steps."""
    logged = logged_scalars(log)
    measured = [
        tag
        for tag, scalars in logged.items()
        if tag.startswith("validation/") and any(scalar.value != 0.0 for scalar in scalars)
    ]  # a head without targets (regimes of real bars) measures nothing
    pyplot = new_pyplot()
    columns = 4
    rows = -(-(len(measured)) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(3.0 * columns, 2.4 * rows), layout="constrained")
    for axis, tag in zip(np.ravel(axes), [*measured, *[""] * (rows * columns - len(measured))], strict=True):
        if not tag:
            axis.set_visible(False)
            continue
        if tag == "validation/loss":
            _plot_scalars(axis, logged["train/loss"], "#b0bccf", "training")
        _plot_scalars(axis, logged[tag], LINE, "validation")
        if tag == "validation/loss":
            axis.legend(frameon=False, fontsize=8)
        axis.set_title(tag.removeprefix("validation/"), fontsize=10)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25)
    figure.supxlabel("optimiser steps", fontsize=9)
    save_figure(pyplot, figure, path)


def _plot_scalars(axis: Any, scalars: Sequence[Any], colour: str, label: str) -> None:
    axis.plot([s.step for s in scalars], [s.value for s in scalars], color=colour, linewidth=1.4, label=label)


def reliability(
    said: NDArray[np.floating], seen: NDArray[np.bool_], bins: int = 10
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean probability said and share seen in `bins` groups of equally many predictions (R,), in order."""
    order = np.argsort(said, kind="stable")
    groups = [group for group in np.array_split(order, bins) if len(group)]
    return np.array([said[g].mean() for g in groups]), np.array([seen[g].mean() for g in groups])
