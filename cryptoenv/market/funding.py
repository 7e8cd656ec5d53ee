"""Funding rates of a market's own, charged in the bars they fall due in; a hole among them would count as free."""

import numpy as np
import pandas as pd

from cryptoenv.bars.array_checks import LARGEST_RATE
from cryptoenv.bars.bars import require_utc
from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.rate_times import LATE_MS, LONGEST_INTERVAL_MS, due_times, rate_intervals
from cryptoenv.bars.timeframe import HOUR_MS, MINUTE_MS

FRACTION = "fraction"  #: what `attrs["unit"]` of rates says that are as large as they look
LARGE_RATE = 0.002  #: per 8 hours: what usual rates of fractions stay below; 0.01 % a payment, in percent, is 0.01
FEWEST = 8  #: rates that a doubt needs


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
    times, rates = checked_rates(funding)
    _require_whole(times, int(opens_ms[1]), int(opens_ms[-1]))
    due = np.zeros(len(opens_ms) - 1)
    inside = (times > opens_ms[0]) & (times <= opens_ms[-1])
    np.add.at(due, np.searchsorted(opens_ms[1:], times[inside]), rates[inside])
    return due


def checked_rates(funding: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """When rates fall due, (R,) int64 ms, whole hours, and the rates, (R,) float64 fractions.

    Stamps a few minutes off are snapped to the hour. A series whose `attrs["unit"]` is "fraction" is not doubted for
    being large.

    Raises:
        BarsError: no series of numbers on increasing UTC times near whole hours; rates that are missing, twice there,
            beyond +-0.1, in percent by their size, or carried on between the times they fell due.
    """
    if not isinstance(funding, pd.Series):
        raise BarsError(f"funding is {type(funding).__name__}; allowed: a pandas Series of rates on a UTC index")
    if not pd.api.types.is_numeric_dtype(funding.dtype):
        raise BarsError(f"funding holds {funding.dtype}, not numbers; allowed: float64 rates")
    index = require_utc(funding.index, "funding")
    stamps, rates = index.as_unit("ms").asi8, funding.to_numpy(dtype=np.float64, na_value=np.nan)
    times = due_times(stamps)
    for bad, allowed in (
        (~np.isfinite(rates), "finite rates"),
        (np.diff(stamps, prepend=stamps[:1] - 1) <= 0, "strictly increasing times"),
        (times < 0, f"times within {LATE_MS // MINUTE_MS} minutes of the whole hour at which venues pay"),
        (np.diff(times, prepend=times[:1] - 1) <= 0, "one rate for an hour: one payment is there twice"),
        (~(np.abs(rates) <= LARGEST_RATE), f"rates within +-{LARGEST_RATE}, fractions (0.0001 is 0.01 %)"),
    ):
        if bad.any():
            position = int(bad.argmax())
            more = f" (and {int(bad.sum()) - 1} more of {len(bad)} rows)" if bad.sum() > 1 else ""
            where = f"funding row {position} ({index[position].isoformat()}), rate {float(rates[position])!r}{more}"
            raise BarsError(f"{where}; allowed: {allowed}")
    _refuse_percent(funding, times, rates)
    _refuse_carried(times, rates)
    return times, rates


def _refuse_percent(funding: pd.Series, times: np.ndarray, rates: np.ndarray) -> None:
    """Refuses rates whose usual size is that of percent: a hundred times too much would be charged."""
    paid = rates != 0.0
    if funding.attrs.get("unit") == FRACTION or paid.sum() < FEWEST:
        return
    intervals = np.append(rate_intervals(times), LONGEST_INTERVAL_MS)
    usual = float(np.median(np.abs(rates[paid]) * LONGEST_INTERVAL_MS / intervals[paid]))
    if usual > LARGE_RATE:
        raise BarsError(
            f"funding rates are {usual:.2g} per 8 hours in the middle, {usual * 3 * 365:.0%} of the position a year: "
            "they look like percent, and fractions are needed (0.0001 is 0.01 %): divide them by 100, or read the file "
            'with unit="percent"; if they really are fractions, say unit="fraction" (read_funding), or set '
            'funding.attrs["unit"] = "fraction"'
        )


def _refuse_carried(times: np.ndarray, rates: np.ndarray) -> None:
    """Refuses rates that stand at more times than they fell due, as of a table that was filled forward."""
    if len(times) < FEWEST:
        return
    usual = int(np.median(np.diff(times)))
    changes = times[1:][np.diff(rates) != 0.0]
    if len(changes) < FEWEST:
        return
    for hours in (8, 4, 2):
        whole = hours * HOUR_MS
        if usual < whole and whole % usual == 0 and not ((changes - changes[0]) % whole).any():
            raise BarsError(
                f"funding has a rate every {usual / HOUR_MS:g} hours, but they change every {hours} hours alone: they "
                f"were carried on from the times they fell due, and each would be charged {whole // usual} times; keep "
                "the rows of those times"
            )


def _require_whole(times: np.ndarray, start: int, end: int) -> None:
    """Refuses rates that do not reach from the first bar to the last, or leave out some of those between."""
    if not len(times):
        raise BarsError(_uncovered(start, end, "none"))
    distances, intervals = np.diff(times), rate_intervals(times)
    missed = (times[1:] - intervals > start) & (times[:-1] + intervals <= end)  # while a position may be held
    inside = np.flatnonzero(missed & (distances > intervals + LATE_MS))
    if inside.size:
        at = int(inside[0])
        lost = int((np.round(distances[inside] / intervals[inside]) - 1).sum())
        here = int(((times >= start) & (times <= end)).sum())
        raise BarsError(
            f"funding has no rate between {_utc(times[at])} and {_utc(times[at + 1])}, where one falls due every "
            f"{intervals[at] / HOUR_MS:g} hours: {len(inside)} hole(s) in all, {lost} rates missing beside {here}, "
            "which would count as free; fetch what is missing, cut the bars, or give a rate of 0 at each time where "
            "really none was paid"
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
