"""Bars of the base timeframe as they close, made from bars that come one at a time, of the base or of a finer one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.bars.array_checks import require_magnitudes
from cryptoenv.bars.bars import (
    aggregated_rows,
    bar_opens_ms,
    bars_frame,
    bars_timeframe,
    indexed_bars,
    require_multiple,
    validate_bars,
)
from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.price_columns import BAR_COLUMNS, CLOSE, VOLUME
from cryptoenv.bars.timeframe import DAY_MS, bar_open_ms, timeframe_ms
from cryptoenv.features.families.columns import REFERENCE
from cryptoenv.market.market import Market
from pretrain.fitting.market_layout import MarketLayout

LONGEST_GAP_MS = 30 * DAY_MS  #: that is filled in: no exchange was down for longer


class ClosedBar(NamedTuple):
    """A base bar: its open (ms since 1970), (5,) float64 prices and volume, (C,) further columns, NaN if not new."""

    open_ms: int
    ohlcv: NDArray[np.float64]
    columns: NDArray[np.float64]


class ClosingBars:
    """Puts bars together to base bars, as a market does: gaps become flat bars, a base bar counts once it is whole.

    Args:
        base: timeframe of the bars that are given out.
        source: timeframe of those that come; the base where None.
        columns: names of the further columns that they bring; of each, a base bar has the last value that came with it.

    Raises:
        ValueError: a base bar is not made of whole bars of `source`.
    """

    def __init__(self, base: str, source: str | None, columns: tuple[str, ...]) -> None:
        self._source = base if source is None else source
        require_multiple(self._source, base)
        self._step, self._base, self._columns = timeframe_ms(self._source), timeframe_ms(base), columns
        self._rows: list[NDArray[np.float64]] = []
        self._known = np.full(len(columns), np.nan)
        self._next_ms: int | None = None
        self._close = np.nan

    def go_on_from(self, end_ms: int, close: float) -> None:
        """Expect the bar that opens at `end_ms`; the one before closed at `close`."""
        self._next_ms, self._close = end_ms, close

    def add(self, bars: pd.DataFrame) -> list[ClosedBar]:
        """Take in closed bars, in order; the base bars that closed with them.

        Raises:
            BarsError: bars that cannot be used, that are not later than those before, or that come more than 30 days
                after them; none of them is taken in.
        """
        valid = validate_bars(bars, self._source)
        opens = bar_opens_ms(valid)
        require_magnitudes(pd.DatetimeIndex(valid.index), valid.to_numpy())
        self._require_next(opens)
        further = self._further(bars)
        closed = []
        for open_ms, ohlcv, known in zip(opens.tolist(), valid.to_numpy(), further, strict=True):
            while self._next_ms is not None and self._next_ms < open_ms:
                flat = np.full(len(BAR_COLUMNS), self._close)
                flat[VOLUME] = 0.0
                closed += self._take(self._next_ms, flat)
            self._known = np.where(np.isnan(known), self._known, known)
            closed += self._take(open_ms, ohlcv)
        return closed

    def _take(self, open_ms: int, ohlcv: NDArray[np.float64]) -> list[ClosedBar]:
        start, end = bar_open_ms(open_ms, self._base), open_ms + self._step
        self._next_ms, self._close = end, float(ohlcv[CLOSE])
        if open_ms == start:
            self._rows = []
        self._rows.append(ohlcv)
        if end < start + self._base or len(self._rows) * self._step < self._base:
            return []  # not ended, or its beginning is missing
        whole = aggregated_rows(np.array(self._rows), 0, len(self._rows))[0]
        known, self._known = self._known, np.full(len(self._columns), np.nan)
        return [ClosedBar(start, whole, known)]

    def _require_next(self, opens: NDArray[np.int64]) -> None:
        expected = int(opens[0]) if self._next_ms is None else self._next_ms
        if opens[0] < expected:
            raise BarsError(
                f"the bar of {_moment(opens[0])} is not later than the one before; the next one opens at "
                f"{_moment(expected)}"
            )
        distances = np.diff(opens, prepend=expected)
        if distances.max() > LONGEST_GAP_MS:
            at = int(distances.argmax())
            raise BarsError(
                f"the bar of {_moment(opens[at])} comes {pd.Timedelta(int(distances[at]), unit='ms')} after the one "
                "before; allowed: gaps of at most 30 days; check the time, or begin a new stream there"
            )

    def _further(self, bars: pd.DataFrame) -> NDArray[np.float64]:
        out = np.full((len(bars), len(self._columns)), np.nan)
        for k, name in enumerate(self._columns):
            if name in bars.columns:
                out[:, k] = pd.to_numeric(bars[name]).to_numpy(dtype=np.float64, na_value=np.nan)
        if np.isinf(out).any():
            raise BarsError(f"column {self._columns[int(np.isinf(out).any(axis=0).argmax())]!r} is infinite")
        return out


def known_history(
    history: pd.DataFrame,
    market: Market,
    layout: MarketLayout,
    *,
    reference: pd.DataFrame | None = None,
    timeframe: str | None = None,
) -> tuple[pd.DataFrame, ClosingBars]:
    """What is known of history: whole base bars with their further columns, and the bars after them, not yet whole.

    Args:
        history: bars, of the base timeframe or a finer one.
        market: made of them.
        layout: of the market.
        reference: bars of the reference market, where the layout has one.
        timeframe: of `history`; found out where None.
    """
    bars = indexed_bars(history)
    source, base = bars_timeframe(bars, timeframe), layout.timeframes[0]
    step, end_ms = timeframe_ms(base), market.start_ms + len(market) * timeframe_ms(base)
    ends = bar_opens_ms(bars) + timeframe_ms(source)
    rest = bars.iloc[int(np.searchsorted(ends, end_ms, side="right")) :]
    closes = market.start_ms + step * np.arange(1, len(market) + 1, dtype=np.int64)
    closes = np.concatenate([closes, bar_opens_ms(rest) + timeframe_ms(source)])
    news = {
        name: _news(closes, ends, bars[name].to_numpy(np.float64, na_value=np.nan)) for name in layout.features.columns
    }
    if reference is not None:
        given = indexed_bars(reference)
        reference_ends = bar_opens_ms(given) + timeframe_ms(bars_timeframe(given))
        news[REFERENCE] = _news(closes, reference_ends, given["close"].to_numpy(np.float64))
    known = bars_frame(market.start_ms, step, market.prices[:, : VOLUME + 1])
    known = known.assign(**{name: values[: len(market)] for name, values in news.items()})
    waiting = ClosingBars(base, source, layout.columns)
    waiting.go_on_from(end_ms, float(market.prices[-1, CLOSE]))
    if len(rest):
        waiting.add(rest.assign(**{name: values[len(market) :] for name, values in news.items()}))
    return known, waiting


def _news(closes: NDArray[np.int64], ends: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T,) float64: what became known since the close before, the last of it, NaN where nothing did.

    Args:
        closes: (T,) int64, increasing; before the first, all that was known counts.
        ends: (V,) int64, increasing: when values became known.
        values: (V,) float64, NaN where nothing is new.
    """
    said = ~np.isnan(values)
    ends, values = ends[said], values[said]
    latest = np.searchsorted(ends, closes, side="right") - 1
    out = np.full(len(closes), np.nan)
    fresh = latest > np.concatenate([[-1], latest[:-1]])
    out[fresh] = values[latest[fresh]]
    return out


def _moment(time_ms: int) -> str:
    return pd.Timestamp(int(time_ms), unit="ms", tz="UTC").isoformat()
