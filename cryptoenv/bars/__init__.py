"""Bars: their validation and aggregation, timeframes, and further columns joined as of the time they were known."""

from cryptoenv.bars.bars import (
    MOST_GAPS,
    aggregate,
    aggregated_rows,
    bar_opens_ms,
    bars_frame,
    bars_timeframe,
    fill_gaps,
    filled_rows,
    higher_bars,
    indexed_bars,
    require_few_gaps,
    require_multiple,
    require_utc,
    two_timeframes,
    utc_index,
    validate_bars,
    warn_without_volume,
)
from cryptoenv.bars.errors import BarsError

__all__ = [
    "MOST_GAPS",
    "BarsError",
    "aggregate",
    "aggregated_rows",
    "bar_opens_ms",
    "bars_frame",
    "bars_timeframe",
    "fill_gaps",
    "filled_rows",
    "higher_bars",
    "indexed_bars",
    "require_few_gaps",
    "require_multiple",
    "require_utc",
    "two_timeframes",
    "utc_index",
    "validate_bars",
    "warn_without_volume",
]
