"""Columns of `Market.prices` (T, 8), which the kernel reads of each base bar: plain integers, folded by jitted code."""

from typing import Final

OPEN: Final = 0
HIGH: Final = 1
LOW: Final = 2
CLOSE: Final = 3
VOLUME: Final = 4
SIGMA: Final = 5
"""Standard deviation (ddof 0) of the last 96 log-returns known at the bar's close."""
FUNDING: Final = 6
"""Sum of the market's own funding rates due in (previous open, open]; 0 where the market has no funding series."""
FUNDING_MARKS: Final = 7
"""Number of 00:00, 08:00 and 16:00 UTC marks in (previous open, open]."""

PRICE_COLUMNS: Final = ("open", "high", "low", "close", "volume", "sigma", "funding", "funding_marks")
BAR_COLUMNS: Final = PRICE_COLUMNS[:5]
