"""Columns of bars as arrays (T, 5): plain integers, folded by jitted code."""

from typing import Final

OPEN: Final = 0
HIGH: Final = 1
LOW: Final = 2
CLOSE: Final = 3
VOLUME: Final = 4

BAR_COLUMNS: Final = ("open", "high", "low", "close", "volume")
