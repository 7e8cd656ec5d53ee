"""`clean`: bars as they came, with what is certainly wrong put right and everything else reported."""

import numpy as np
import pandas as pd

from cryptoenv.bars.bars import indexed_bars, require_utc
from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.price_columns import BAR_COLUMNS
from cryptoenv.bars.timeframe import detect_timeframe, timeframe_ms
from cryptoenv.cleaning.prices import flash_bars, jumps, swapped_open_and_close, unusual_bars, with_one_price_unit
from cryptoenv.cleaning.report import CleaningReport, Finding, findings_table
from cryptoenv.cleaning.rows import (
    gaps,
    in_order,
    not_ended,
    two_timeframes,
    unusable_rows,
    with_true_times,
    without_duplicates,
    without_empty_rows,
)
from cryptoenv.cleaning.volume import QUOTE_VOLUME, volume_level, volume_mismatches, with_base_volume, zero_volume


def clean(
    bars: pd.DataFrame, timeframe: str | None = None, *, now: pd.Timestamp | None = None
) -> tuple[pd.DataFrame, CleaningReport]:
    """Repairs what is certain, reports everything, invents nothing.

    Repaired: rows out of order; repetitions equal in all columns; rows without any price (removed: gaps); times read in
    the wrong unit; base and quote volume swapped, where quote volume / volume against low and high proves it; prices a
    power of ten off, where the volumes prove it. All else stays as it is and is in the report: as "kept" if likely
    wrong (conflicting duplicates, impossible values, flash bars, volumes that do not fit the price or are cut off, a
    change of the volume's unit, no volume at all, two timeframes, prices of another order of magnitude as where a
    symbol is used again, open and close in each other's place, bars that have not ended), as "noted" if a fact of the
    market (gaps, bars without trades, wide bars, large returns). No price is made up: missing bars stay missing
    (`Market.from_bars` fills them with flat bars that cannot be traded).

    Args:
        bars: T rows on a UTC index, in any order: open, high, low, close, volume, numbers; `quote_volume` (money
            traded) serves as evidence; further columns are carried along. `import_bars` reads such a table from a file.
        timeframe: of the bars; by default the longest whose grid nearly all opens lie on.
        now: time against which bars count as ended; the clock's where None.

    Returns:
        The bars without `quote_volume`, float64, sorted, index `timestamp`; and the report. The bars are what
        `validate_bars` takes unless `report.unusable` names rows.

    Raises:
        BarsError: no bars at all: not a DataFrame, a column is missing or holds text, times that are not UTC, fewer
            than two different times.

    Example:
        >>> from cryptoenv import clean
        >>> from synthetic import regime_market
        >>> bars = regime_market("easy", days=1, seed=1).bars.iloc[:90]
        >>> dirty = bars.iloc[[0, 2, 1, 1, *range(3, 90)]]  # two rows in the wrong order, one of them twice
        >>> mended, report = clean(dirty)
        >>> report.rows_in, report.rows_out, list(report.table["kind"])
        (91, 90, ['disorder', 'duplicate'])
        >>> (mended.to_numpy() == bars.to_numpy()).all()
        np.True_
    """
    table, findings = _numbers(bars), []
    for step in (with_true_times, in_order, without_duplicates, without_empty_rows):
        table, found = step(table)
        findings += found
    times = pd.DatetimeIndex(table.index)
    detected = timeframe is None
    try:
        timeframe = timeframe or detect_timeframe(times[~times.duplicated()])
    except ValueError as error:
        raise BarsError(f"{error}; say it with timeframe=") from error
    step_ms = timeframe_ms(timeframe)
    for repair in (with_one_price_unit, with_base_volume):
        table, found = repair(table)
        findings += found
    unusable, found = unusable_rows(table, step_ms)
    findings += found + _observed(table, step_ms)
    findings += two_timeframes(table, step_ms) if detected else []
    findings += not_ended(table, step_ms, pd.Timestamp.now("UTC") if now is None else now)
    report = CleaningReport(findings_table(findings), len(bars), len(table), timeframe, times[unusable])
    return table.drop(columns=QUOTE_VOLUME, errors="ignore"), report


def _observed(table: pd.DataFrame, step_ms: int) -> list[Finding]:
    return [
        *volume_mismatches(table),
        *volume_level(table),
        *flash_bars(table, step_ms),
        *unusual_bars(table, step_ms),
        *jumps(table, step_ms),
        *swapped_open_and_close(table),
        *gaps(table, step_ms),
        *zero_volume(table),
    ]


def _numbers(bars: pd.DataFrame) -> pd.DataFrame:
    if not isinstance(bars, pd.DataFrame):
        raise BarsError(f"bars are {type(bars).__name__}; allowed: a DataFrame; import_bars reads one from a file")
    bars = indexed_bars(bars)
    missing = [column for column in BAR_COLUMNS if list(bars.columns).count(column) != 1]
    if missing:
        raise BarsError(f"column {missing[0]!r} is not there once in {list(bars.columns)}; needed: {BAR_COLUMNS}")
    if len(bars) == 0:
        raise BarsError("bars have no rows; at least 2 are needed")
    table = bars.set_axis(require_utc(bars.index, "bars").tz_convert("UTC").rename("timestamp"), axis=0)
    for column in (*BAR_COLUMNS, QUOTE_VOLUME):
        if column in table.columns:
            table = table.assign(**{column: _floats(table[column])})
    return table


def _floats(values: pd.Series) -> np.ndarray:
    try:
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        wrong = pd.to_numeric(values, errors="coerce").isna() & values.notna()
        row = int(wrong.to_numpy().argmax())
        raise BarsError(f"row {row}, column {values.name!r}: {values.iloc[row]!r} is not a number") from error
