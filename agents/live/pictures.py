"""A picture of what was traded: price with fills, equity."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from agents.live.trading_loop import Traded
from cryptoenv.files.durable_files import write_figure

BUY, SELL = "#1a7f37", "#cf222e"


def draw_traded(traded: Traded, path: Path) -> Path:
    """Draw the last bars of a loop.

    Args:
        traded: of `TradingLoop.run`.
        path: of the picture, replaced where it is there.

    Raises:
        ModuleNotFoundError: matplotlib is missing.
    """
    from matplotlib.figure import Figure

    rows = np.array(traded.equity, dtype=np.float64).reshape(-1, 3)
    times = rows[:, 0].astype("datetime64[ms]")
    figure = Figure(figsize=(10.0, 6.0), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    above.plot(times, rows[:, 2], color="#57606a", linewidth=0.8, label="close")
    fills = np.array([fill for fill in traded.fills if fill[0] >= rows[0, 0]], dtype=np.float64).reshape(-1, 3)
    for side, colour, marker, name in ((1.0, BUY, "^", "bought"), (-1.0, SELL, "v", "sold")):
        chosen = fills[np.sign(fills[:, 2]) == side]
        above.plot(chosen[:, 0].astype("datetime64[ms]"), chosen[:, 1], marker, color=colour, markersize=5, label=name)
    above.set_ylabel("price, quote")
    above.legend(loc="upper left", frameon=False)
    above.set_title(f"{traded.bars:,} bars, {traded.orders:,} orders")
    below.plot(times, rows[:, 1], color="#0969da", linewidth=1.0)
    below.set_ylabel("equity, quote")
    for axes in (above, below):
        axes.grid(alpha=0.2)
    write_figure(figure, path)
    return path
