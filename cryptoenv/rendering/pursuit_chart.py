"""The picture of one matching pursuit: the window, its reconstruction, and the atoms that it is made of.

This module imports matplotlib (not pyplot): import it where it is used.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cryptoenv.features.pursuit.batch_omp import pursue
from cryptoenv.features.pursuit.dictionary import Dictionary
from cryptoenv.rendering.panel import FRAME, GRID, INK, LABEL_SIZE

WINDOW_COLOUR, FIT_COLOUR = "#555555", "#1f4e9c"
FAMILY_COLOURS = ("#2a9d5c", "#e07b00", "#d1495b")  #: of sine, cosine and Gabor atoms
_WIDTH, _TOP_HEIGHT, _ROW_HEIGHT, _MARGIN = 8.0, 2.8, 0.62, 0.75  # inches


def plot_pursuit(window: NDArray[np.float64], dictionary: Dictionary, sparsity: int) -> Figure:
    """Draw the pursuit of a window: above, the window and its reconstruction; below, each atom times its coefficient.

    Args:
        window: (W,) float64, of norm about one (as the features': log closes, centred and scaled).
        dictionary: atoms of W bars.
        sparsity: k, atoms to choose.

    Returns:
        A figure with an Agg canvas: `figure.savefig(path)`.

    Raises:
        ValueError: as `pursue`.
    """
    result = pursue(np.asarray(window, np.float64)[None], dictionary, sparsity)
    atoms = result.atoms[0][result.atoms[0] >= 0]
    parts = result.coefficients[0, : len(atoms), None] * dictionary.atoms[atoms]
    total = float(np.square(window).sum())
    shares = result.energies[0, : len(atoms)] / total if total > 0.0 else np.zeros(0)
    height = _TOP_HEIGHT + _ROW_HEIGHT * len(atoms) + _MARGIN
    figure = Figure(figsize=(_WIDTH, height), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    ratios = [_TOP_HEIGHT / _ROW_HEIGHT] + [1.0] * len(atoms)
    sides = {"left": 0.085, "right": 0.985, "top": 1.0 - 0.4 / height, "bottom": 0.5 / height}
    grid = figure.add_gridspec(len(ratios), 1, height_ratios=ratios, hspace=0.12, **sides)
    panels = [figure.add_subplot(grid[row]) for row in range(len(ratios))]
    left = result.error[0] / total if total > 0.0 else 0.0
    _draw_window(panels[0], window, result.reconstruct(dictionary)[0], f"{len(atoms)} atoms leave {left:.1%}")
    for panel, part, atom, share in zip(panels[1:], parts, atoms, shares, strict=True):
        kind = dictionary.kinds[atom]
        panel.plot(part, color=FAMILY_COLOURS[kind.family], linewidth=1.4)
        panel.fill_between(np.arange(len(part)), part, color=FAMILY_COLOURS[kind.family], alpha=0.15, linewidth=0.0)
        _scale_own(panel, float(np.abs(part).max()))
        _label(panel, f"{kind}: {share:.1%}")
    for panel in panels:
        _dress(panel, len(window), bottom=panel is panels[-1])
    return figure


def _draw_window(panel: Axes, window: NDArray[np.float64], fit: NDArray[np.float64], title: str) -> None:
    panel.plot(window, color=WINDOW_COLOUR, linewidth=1.0, marker=".", markersize=3.0, label="window")
    panel.plot(fit, color=FIT_COLOUR, linewidth=1.8, label="reconstruction")
    panel.set_title(title, fontsize=LABEL_SIZE + 1, color=INK, loc="left")
    panel.legend(fontsize=LABEL_SIZE, frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0))


def _scale_own(panel: Axes, peak: float) -> None:
    """Each atom on its own scale, its peak labelled: on a common one all but the first would be flat lines."""
    panel.set_ylim(-1.3 * peak, 2.4 * peak)
    panel.set_yticks((-peak, peak), (f"{-peak:.2g}", f"{peak:.2g}"))


def _label(panel: Axes, text: str) -> None:
    panel.text(0.008, 0.95, text, transform=panel.transAxes, fontsize=LABEL_SIZE - 1, color=INK, va="top")


def _dress(panel: Axes, bars: int, bottom: bool) -> None:
    panel.set_xlim(0, bars - 1)
    panel.grid(color=GRID, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(labelsize=LABEL_SIZE - 1, colors=INK, length=0, labelbottom=bottom)
    for spine in panel.spines.values():
        spine.set_color(FRAME)
    if bottom:
        panel.set_xlabel("bar of the window", fontsize=LABEL_SIZE, color=INK)
