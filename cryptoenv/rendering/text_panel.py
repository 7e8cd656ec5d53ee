"""The "ansi" frame: five lines of text."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.rendering.record import EpisodeRecord, money_text, price_text, side_text, summarise

if TYPE_CHECKING:
    pass

SPARKLINE_BARS = 48
SPARKS = "▁▂▃▄▅▆▇█"


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
