"""Cleaning of rows as such: the unit of times, order, duplicates, gaps, values that no bar can have."""

import numpy as np
import pandas as pd

from cryptoenv.bars.price_columns import BAR_COLUMNS
from cryptoenv.bars.timeframe import coarser_run, own_offset_ms
from cryptoenv.cleaning.report import KEPT, NOTED, Finding, stretches

_FIRST, _LAST = pd.Timestamp("2009-01-01", tz="UTC"), pd.Timestamp("2100-01-01", tz="UTC")

Cleaned = tuple[pd.DataFrame, list[Finding]]


def utc_index(bars: pd.DataFrame) -> pd.DatetimeIndex:
    """The index of bars whose times are known to be UTC."""
    return pd.DatetimeIndex(bars.index)


def with_true_times(bars: pd.DataFrame) -> Cleaned:
    """Times that were read in the wrong unit (seconds taken for nanoseconds: 1970), put right.

    Between 2009 and 2100 the number of seconds, milliseconds, microseconds and nanoseconds never have the same size, so
    a time before 2009 that is one of them in another unit is that one and no other.
    """
    index = utc_index(bars)
    early = np.asarray(index < _FIRST)
    if not early.any():
        return bars.set_axis(index.as_unit("us"), axis=0), []
    nanos = index[early].as_unit("ns").asi8
    true = np.zeros(len(nanos), dtype=np.int64)
    for factor in (10**3, 10**6, 10**9):
        fits = (nanos >= _FIRST.value // factor) & (nanos < _LAST.value // factor)
        true[fits] = nanos[fits] * factor
    times = index.as_unit("us").asi8.copy()
    positions = np.flatnonzero(early)[true > 0]
    times[positions] = true[true > 0] // 1000
    fixed = pd.DatetimeIndex(times.view("datetime64[us]"), tz="UTC", name="timestamp")
    findings = []
    if len(positions):
        moved = fixed[positions]
        detail = f"{index[positions[0]].isoformat()} is {fixed[positions[0]].isoformat()} read in the wrong unit"
        findings.append(Finding("time unit", moved.min(), moved.max(), len(positions), "multiplied", detail))
    left = index[early][true == 0]
    if len(left):
        findings.append(Finding("time before 2009", left.min(), left.max(), len(left), KEPT, "no unit explains it"))
    return bars.set_axis(fixed, axis=0), findings


def in_order(bars: pd.DataFrame) -> Cleaned:
    """Rows by time; rows of one time keep their order."""
    index = utc_index(bars)
    earlier = int((np.diff(index.asi8) < 0).sum())
    if earlier == 0:
        return bars, []
    how = "newest first" if earlier == len(bars) - 1 else "rows that are earlier than the row before them"
    return bars.sort_index(kind="stable"), [
        Finding("disorder", index.min(), index.max(), earlier, "sorted", how),
    ]


def without_duplicates(bars: pd.DataFrame) -> Cleaned:
    """Sorted rows, exact repetitions removed; rows of one time that differ are all kept: which one is right is open."""
    if utc_index(bars).is_unique:
        return bars, []
    findings = []
    repeated = bars.reset_index(names="timestamp").duplicated().to_numpy()
    times = utc_index(bars)[repeated]
    if len(times):
        detail = "equal in all columns"
        findings.append(Finding("duplicate", times.min(), times.max(), len(times), "removed", detail))
    left = bars[~repeated]
    index = utc_index(left)
    differing = index.duplicated(keep=False)
    for a, b in stretches(differing):
        column = next(str(c) for c in left if left[c].iloc[a] != left[c].iloc[a + 1])
        detail = f"{column}: {left[column].iloc[a : a + 2].tolist()}"
        findings.append(Finding("conflicting duplicate", index[a], index[b], b - a + 1, KEPT, detail))
    return left, findings


def without_empty_rows(bars: pd.DataFrame) -> Cleaned:
    """Rows with no price at all are no bars: removed, so that they are gaps."""
    empty = bars[list(BAR_COLUMNS[:4])].isna().all(axis=1).to_numpy()
    index = utc_index(bars)
    findings = [
        Finding("empty row", index[a], index[b], b - a + 1, "removed", "no price: a gap") for a, b in stretches(empty)
    ]
    return (bars[~empty], findings) if empty.any() else (bars, [])


def unusable_rows(bars: pd.DataFrame, step_ms: int) -> tuple[np.ndarray, list[Finding]]:
    """Rows that no market takes, (T,) bool, and why: off the grid, not finite, not positive, or inconsistent."""
    index = utc_index(bars)
    open_, high, low, close, volume = (bars[c].to_numpy(dtype=np.float64) for c in BAR_COLUMNS)
    prices = np.stack([open_, high, low, close])
    finite = np.isfinite(prices).all(axis=0) & np.isfinite(volume)
    opens_us = index.as_unit("us").asi8
    off = (opens_us - own_offset_ms(opens_us // 1000, step_ms) * 1000) % (step_ms * 1000) != 0
    positive = (prices > 0.0).all(axis=0)
    rules = (
        ("off grid", off),
        ("not a number", ~finite),
        ("price not positive", finite & ~positive),
        ("negative volume", finite & (volume < 0.0)),
        ("high or low inconsistent", finite & positive & ((high < prices.max(axis=0)) | (low > prices.min(axis=0)))),
    )
    findings = [
        Finding(kind, index[a], index[b], b - a + 1, KEPT, _values(bars, a))
        for kind, bad in rules
        for a, b in stretches(bad)
    ]
    bad = np.logical_or.reduce([mask for _, mask in rules])
    return bad | index.duplicated(keep=False), findings


def _values(bars: pd.DataFrame, position: int) -> str:
    return ", ".join(f"{c} {bars[c].iloc[position]:g}" for c in BAR_COLUMNS)


def gaps(bars: pd.DataFrame, step_ms: int) -> list[Finding]:
    """Bars that are missing between the first and the last."""
    index = utc_index(bars)
    opens, step = index.as_unit("us").asi8, step_ms * 1000
    missing = np.diff(opens) // step - 1
    return [
        Finding(
            "gap", index[i] + pd.Timedelta(step_ms, "ms"), index[i] + pd.Timedelta(step_ms * int(missing[i]), "ms"),
            int(missing[i]), NOTED, "no bars",
        )
        for i in np.flatnonzero(missing > 0).tolist()
    ]  # fmt: skip


def two_timeframes(bars: pd.DataFrame, step_ms: int) -> list[Finding]:
    """The longest stretch of bars of a longer timeframe among bars of `step_ms`."""
    index = utc_index(bars)
    index = index[~index.duplicated()]
    run = coarser_run(index, step_ms)
    if run is None:
        return []
    first, last, distance = run
    detail = f"bars {pd.Timedelta(distance, 'ms')} apart among bars of {pd.Timedelta(step_ms, 'ms')}"
    return [Finding("two timeframes", index[first], index[last], last - first + 1, KEPT, detail)]


def not_ended(bars: pd.DataFrame, step_ms: int, now: pd.Timestamp) -> list[Finding]:
    """Bars that end after `now`: one that is still open will change, one of the future cannot be known."""
    index, step = utc_index(bars), pd.Timedelta(step_ms, "ms")
    future, still_open = np.asarray(index > now), np.asarray((index <= now) & (index + step > now))
    return [
        Finding(kind, index[a], index[b], b - a + 1, KEPT, detail)
        for kind, mask, detail in (
            ("bar still open", still_open, "its end is not over: it will change"),
            ("bar of the future", future, f"opens after {now.isoformat(timespec='seconds')}"),
        )
        for a, b in stretches(mask)
    ]
