"""A picture of 800 x 600 pixels, drawn offscreen or in a window; what is on it is said by those that derive from it."""

from typing import Any, Self

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

from cryptoenv.rendering.panel import INK

SIZE_INCHES = (8.0, 6.0)
DOTS_PER_INCH = 100


class Picture:
    """A figure with artists that are made once and updated in place."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        figure.set_facecolor("white")

    @classmethod
    def offscreen(cls) -> Self:
        """One on its own Agg canvas, unknown to pyplot."""
        figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH)
        FigureCanvasAgg(figure)
        return cls(figure)

    def pixels(self) -> NDArray[np.uint8]:
        """(600, 800, 3) uint8, fresh memory."""
        canvas: Any = self.figure.canvas
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()

    def _text(self, x: float, y: float, size: float, text: str = "", **style: Any) -> Text:
        return self.figure.text(x, y, text, fontsize=size, parse_math=False, **{"color": INK, **style})
