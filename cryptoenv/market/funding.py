"""Funding rates of a market's own, charged in the bars they fall due in; a hole among them would count as free."""

import numpy as np
import pandas as pd

from cryptoenv.bars.array_checks import LARGEST_RATE
from cryptoenv.bars.bars import require_utc
from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.rate_times import LATE_MS, LONGEST_INTERVAL_MS, rate_intervals
from cryptoenv.bars.timeframe import DAY_MS, HOUR_MS, MINUTE_MS


def funding_due(funding: pd.Series, opens_ms: np.ndarray) -> np.ndarray:
    """Sum of the rates due in (previous open, open] of each bar.

    Args:
        funding: rates on a UTC index of the times they fall due.
        opens_ms: (T + 1,) int64: a bar's length before the first open, then the opens.

    Returns:
        (T,) float64.

    Raises:
        BarsError: rates that cannot be used, do not cover the bars, or have a hole.
    """
    times, rates = _checked(funding)
    _require_whole(times, int(opens_ms[1]), int(opens_ms[-1]))
    due = np.zeros(len(opens_ms) - 1)
    inside = (times > opens_ms[0]) & (times <= opens_ms[-1])
    np.add.at(due, np.searchsorted(opens_ms[1:], times[inside]), rates[inside])
    return due


def _checked(funding: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(funding, pd.Series):
        raise BarsError(f"funding is {type(funding).__name__}; allowed: a pandas Series of rates on a UTC index")
    if not pd.api.types.is_numeric_dtype(funding.dtype):
        raise BarsError(f"funding holds {funding.dtype}, not numbers; allowed: float64 rates")
    index = require_utc(funding.index, "funding")
    times, rates = index.as_unit("s").asi8 * 1000, funding.to_numpy(dtype=np.float64, na_value=np.nan)
    distances = np.diff(times, prepend=times[:1] - DAY_MS)
    for bad, allowed in (
        (~np.isfinite(rates), "finite rates"),
        (distances <= 0, "strictly increasing times, of whole seconds"),
        (distances < MINUTE_MS, "rates a minute apart at least: one payment is there twice"),
        (~(np.abs(rates) <= LARGEST_RATE), f"rates within +-{LARGEST_RATE}"),
    ):
        if bad.any():
            position = int(bad.argmax())
            raise BarsError(
                f"funding row {position} ({index[position].isoformat()}), rate {rates[position]!r}; allowed: {allowed}"
            )
    return times, rates


def _require_whole(times: np.ndarray, start: int, end: int) -> None:
    """Refuses rates that do not reach from the first bar to the last, or leave out some of those between."""
    if not len(times):
        raise BarsError(_uncovered(start, end, "none"))
    distances, intervals = np.diff(times), rate_intervals(times)
    missed = (times[1:] - intervals > start) & (times[:-1] + intervals <= end)  # while a position may be held
    inside = np.flatnonzero(missed & (distances > intervals + LATE_MS))
    if inside.size:
        at = int(inside[0])
        raise BarsError(
            f"funding has no rate between {_utc(times[at])} and {_utc(times[at + 1])}, where one falls due every "
            f"{intervals[at] / HOUR_MS:g} hours: {len(inside)} hole(s) in all, which would count as free; fetch "
            "what is missing, cut the bars, or give a rate of 0 at each time where really none was paid"
        )
    at_start, at_end = (int(intervals[row]) if len(intervals) else LONGEST_INTERVAL_MS for row in (0, -1))
    if times[0] > start + at_start + LATE_MS or times[-1] + at_end + LATE_MS < end:
        raise BarsError(_uncovered(start, end, f"from {_utc(times[0])} to {_utc(times[-1])}"))


def _uncovered(start: int, end: int, rates: str) -> str:
    return (
        f"bars go from {_utc(start)} to {_utc(end)}, funding rates {rates}; allowed: rates for all of the bars: "
        "cut the bars to them"
    )


def _utc(ms: int) -> str:
    return pd.Timestamp(int(ms), unit="ms", tz="UTC").isoformat()
