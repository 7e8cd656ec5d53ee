"""Whether the arrays of a market are what bars can give: jitted code trusts them blindly, and a hash proves no more
than that a folder is as it was written."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numba import njit

from cryptoenv.bars.alignment import ended_row
from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.price_columns import (
    BAR_COLUMNS,
    CLOSE,
    FUNDING,
    FUNDING_MARKS,
    HIGH,
    LOW,
    OPEN,
    PRICE_COLUMNS,
    SIGMA,
    VOLUME,
)
from cryptoenv.bars.timeframe import HOUR_MS, MINUTE_MS, grid_offset_ms, timeframe_ms, validate_timeframes

SMALLEST_PRICE: Final = 1e-18
LARGEST_PRICE: Final = 1e18
LARGEST_VOLUME: Final = 1e30
LARGEST_RATE: Final = 0.1  #: of one funding payment
LARGEST_FEATURE: Final = 8.0
MARK_MS: Final = 8 * HOUR_MS  #: distance of `FUNDING_MARKS`

_MOST_TIMEFRAMES, _MOST_FEATURES, _MOST_LETTERS = 32, 10_000, 200
_MOST_BARS = 100_000_000  # 190 years of minutes
_MOST_BYTES = 2**36
_LARGEST_SIGMA = 1e3
_WHOLE, _UNSORTED, _ALIGN, _MARK, _FUNDING, _SIGMA = -1, 0, 1, 2, 3, 4
_LAST_MS = 9_000_000_000_000  # 2255: what nanoseconds hold, with room for a market's warm-up


class MarketContentError(ValueError):
    """What no market can have; the message names the array, its row and what is allowed."""


def require_magnitudes(index: pd.DatetimeIndex, ohlcv: np.ndarray) -> None:
    """Refuses prices and volumes that doubles cannot reckon with: their squares and ratios are 0 or infinite.

    Args:
        index: (T,) opens of the bars.
        ohlcv: (T, 5) float64, finite.

    Raises:
        BarsError: a price beyond [SMALLEST_PRICE, LARGEST_PRICE] or a volume beyond LARGEST_VOLUME.
    """
    prices = ohlcv[:, :VOLUME]
    wrong = np.empty(ohlcv.shape, dtype=np.bool_)
    wrong[:, :VOLUME] = (prices < SMALLEST_PRICE) | (prices > LARGEST_PRICE)
    wrong[:, VOLUME] = ohlcv[:, VOLUME] > LARGEST_VOLUME
    if wrong.any():
        row, column = (int(place) for place in np.argwhere(wrong)[0])
        raise BarsError(
            f"row {row} ({index[row].isoformat()}), column {BAR_COLUMNS[column]!r} is {ohlcv[row, column]!r}; allowed: "
            f"prices from {SMALLEST_PRICE:g} to {LARGEST_PRICE:g}, volumes to {LARGEST_VOLUME:g}: change the unit"
        )


def expected_arrays(header: Mapping[str, Any]) -> list[str]:
    """Names of a market's arrays in their order, from its header, whose values are checked first.

    Raises:
        MarketContentError: a header that no market has.
    """
    _require(isinstance(header, Mapping), f"the header is {type(header).__name__}")
    names = header.get("timeframes")
    _require(
        isinstance(names, list) and 0 < len(names) <= _MOST_TIMEFRAMES, f"timeframes are {_shown(names)}, not a list"
    )
    try:
        timeframes = validate_timeframes(names)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        raise MarketContentError(str(error)) from error
    start: Any = header.get("start_ms")
    step = timeframe_ms(timeframes[0])
    whole = _is_whole(start) and abs(start) <= _LAST_MS
    _require(whole and (start - grid_offset_ms(step)) % step == 0, f"start_ms is {_shown(start)}, off the grid")
    valid = header.get("valid_from")
    _require(
        isinstance(valid, list) and len(valid) == len(timeframes) and all(map(_is_row, valid)),
        f"valid_from is {_shown(valid)}, not a row of each timeframe",
    )
    listed = header.get("feature_names")
    _require(
        isinstance(listed, list) and len(listed) == len(timeframes) and all(map(_are_names, listed)),
        "feature_names are not lists of names, one per timeframe, each name once in its list",
    )
    _require(isinstance(header.get("funding_series"), bool), "funding_series is not true or false")
    _require(header.get("price_columns") == list(PRICE_COLUMNS), f"price_columns are not {list(PRICE_COLUMNS)}")
    return ["prices", "align", *(f"features_{timeframe}" for timeframe in timeframes)]


def require_shapes(header: Mapping[str, Any], entries: Sequence[Any]) -> None:
    """Checks the (name, dtype, shape, sha256) entries of a market's arrays against its checked header.

    Raises:
        MarketContentError: other arrays than the header's, or one whose dtype or shape bars do not give.
    """
    names = expected_arrays(header)
    whole = isinstance(entries, list) and all(
        isinstance(entry, list) and len(entry) == 4 and isinstance(entry[3], str) for entry in entries
    )
    _require(whole and [entry[0] for entry in entries] == names, f"the arrays are not {names}")
    prices = entries[0][2]
    _require(
        isinstance(prices, list) and len(prices) == 2 and _is_row(prices[0]) and 0 < prices[0] <= _MOST_BARS,
        f"prices have shape {_shown(prices)}; allowed: (T, {len(PRICE_COLUMNS)}) with 0 < T <= {_MOST_BARS}",
    )
    bars, start = prices[0], header["start_ms"]
    _require(
        start + bars * timeframe_ms(header["timeframes"][0]) <= _LAST_MS,
        f"{bars} bars from {start} ms on end after the year 2254",
    )
    expected = [("<f8", [bars, len(PRICE_COLUMNS)]), ("<i8", [bars, len(header["timeframes"])])]
    for timeframe, listed in zip(header["timeframes"], header["feature_names"], strict=True):
        expected.append(("<f4", [higher_rows(header, timeframe, bars)[1], len(listed)]))
    size = 0
    for (name, dtype, shape, _), wanted in zip(entries, expected, strict=True):
        _require((dtype, shape) == wanted, f"{name} is {_shown(dtype)} {_shown(shape)}; allowed: {wanted}")
        size += int(np.prod(shape)) * np.dtype(wanted[0]).itemsize
    _require(size <= _MOST_BYTES, f"the arrays take {size} bytes; at most {_MOST_BYTES} are read")


def higher_rows(header: Mapping[str, Any], timeframe: str, bars: int) -> tuple[int, int]:
    """Open of the first whole bar of a timeframe (ms), and how many there are in `bars` base bars."""
    start, step, higher = header["start_ms"], timeframe_ms(header["timeframes"][0]), timeframe_ms(timeframe)
    first = start + (grid_offset_ms(higher) - start) % higher
    return first, max((start + bars * step - first) // higher, 0)


def require_values(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Checks every value of a market's arrays, of checked dtypes and shapes, in one pass over each.

    Args:
        header: the market's timeframes, start and warm-up.
        arrays: `prices` (T, 8) float64, `align` (T, K) int64, and `features_<timeframe>` (T_k, F_k) float32.

    Raises:
        MarketContentError: bars that are none, rates beyond their bounds, an alignment or funding marks that are not
            those of the clock, features that are not finite, beyond their bounds, or there before their warm-up.
    """
    prices, align = arrays["prices"], arrays["align"]
    start, step = header["start_ms"], timeframe_ms(header["timeframes"][0])
    most = LARGEST_RATE * max(step // MINUTE_MS, 1) if header["funding_series"] else 0.0
    row, kind = _wrong_price(prices, start, step, most)
    if row >= 0:
        raise MarketContentError(f"prices, row {row} {prices[row].tolist()}: {_ALLOWED[kind]}")
    firsts = [higher_rows(header, timeframe, len(prices))[0] for timeframe in header["timeframes"]]
    durations = [timeframe_ms(timeframe) for timeframe in header["timeframes"]]
    row = _wrong_align(align, start, step, np.array(firsts), np.array(durations))
    if row >= 0:
        raise MarketContentError(
            f"align, row {row} {align[row].tolist()}: allowed: the last bar of each timeframe that has ended"
        )
    for timeframe, valid in zip(header["timeframes"], header["valid_from"], strict=True):
        matrix = arrays[f"features_{timeframe}"]
        row = _wrong_feature(matrix, min(valid, len(matrix)))
        if row >= 0:
            raise MarketContentError(
                f"features_{timeframe}, row {row}: allowed: numbers within +-{LARGEST_FEATURE:g}, 0 before row {valid}"
            )


_ALLOWED = {
    _UNSORTED: f"allowed: finite, {SMALLEST_PRICE:g} <= low <= open, close <= high <= {LARGEST_PRICE:g}, volume >= 0",
    _SIGMA: "allowed: a finite sigma >= 0",
    _FUNDING: f"allowed: funding within +-{LARGEST_RATE} a payment, 0 where the market has no funding series",
    _MARK: "allowed: funding marks that are those of the clock",
}


@njit(cache=True)
def _wrong_price(prices: np.ndarray, start: int, step: int, most_funding: float) -> tuple[int, int]:
    before = (start - step) // MARK_MS
    for t in range(prices.shape[0]):
        opened, high, low = prices[t, OPEN], prices[t, HIGH], prices[t, LOW]
        close, volume = prices[t, CLOSE], prices[t, VOLUME]
        ordered = low >= SMALLEST_PRICE and low <= opened and low <= close and high >= opened and high >= close
        if not (ordered and high <= LARGEST_PRICE and volume >= 0.0 and volume <= LARGEST_VOLUME):
            return t, _UNSORTED
        if not (prices[t, SIGMA] >= 0.0 and prices[t, SIGMA] <= _LARGEST_SIGMA):
            return t, _SIGMA
        if not abs(prices[t, FUNDING]) <= most_funding:
            return t, _FUNDING
        marks = (start + t * step) // MARK_MS
        if prices[t, FUNDING_MARKS] != marks - before:
            return t, _MARK
        before = marks
    return -1, _WHOLE


@njit(cache=True)
def _wrong_align(align: np.ndarray, start: int, step: int, firsts: np.ndarray, durations: np.ndarray) -> int:
    for t in range(align.shape[0]):
        close = start + (t + 1) * step
        for k in range(align.shape[1]):
            if align[t, k] != ended_row(close, firsts[k], durations[k]):
                return t
    return -1


@njit(cache=True)
def _wrong_feature(matrix: np.ndarray, valid: int) -> int:
    for t in range(matrix.shape[0]):
        most = np.float32(LARGEST_FEATURE if t >= valid else 0.0)
        wrong = False  # without a branch in the inner loop: it is read as vectors
        for i in range(matrix.shape[1]):
            wrong |= not abs(matrix[t, i]) <= most
        if wrong:
            return t
    return -1


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise MarketContentError(problem)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_row(value: object) -> bool:
    return _is_whole(value) and 0 <= value < 2**40  # type: ignore[operator]


def _are_names(listed: object) -> bool:
    return (
        isinstance(listed, list)
        and len(listed) <= _MOST_FEATURES
        and all(isinstance(name, str) and 0 < len(name) <= _MOST_LETTERS for name in listed)
        and len(set(listed)) == len(listed)
    )


def _shown(value: object) -> str:
    return repr(value)[:100]
