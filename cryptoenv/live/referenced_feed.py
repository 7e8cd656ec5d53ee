"""Bars of a market, each with the close that a reference market had then: what features against one are computed of."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import numpy as np
import pandas as pd

from cryptoenv.bars.bars import bars_frame, bars_timeframe, indexed_bars
from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.bars.series import base_series
from cryptoenv.bars.staleness import REFERENCE
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.live.feed import Feed, FeedBar, FeedError


class ReferencedFeed:
    """A feed whose bars bring the close of another feed's bars of the same times, as the column "reference".

    Where the reference is silent no bar is given out: its last close is not made to stand.

    Args:
        feed: of the market that is traded.
        reference: of the reference market, of the same timeframe.

    Raises:
        ValueError: the timeframes differ.
    """

    def __init__(self, feed: Feed, reference: Feed) -> None:
        if feed.timeframe != reference.timeframe:
            raise ValueError(f"the reference has bars of {reference.timeframe}, the market of {feed.timeframe}")
        self.timeframe, self.has_funding = feed.timeframe, feed.has_funding
        self._feed, self._reference = feed, reference
        self._closes: dict[int, float] = {}
        self._newest = 0
        self._waiting: list[FeedBar] = []

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self  # `gymnasium.make` copies what an environment is made with

    def history(self) -> pd.DataFrame:
        """See `Feed`; with the column "reference".

        Raises:
            FeedError: the reference does not cover the history.
        """
        frame, other = self._feed.history(), self._reference.history()
        self._closes = dict(zip(_opens(other), other["close"].tolist(), strict=True))
        self._newest = max(self._closes)
        self._reach(_opens(frame)[-1])
        missing = [at for at in _opens(frame) if at not in self._closes]
        if missing:
            at = pd.Timestamp(missing[0], unit="ms", tz="UTC")
            raise FeedError(f"the reference lacks {len(missing)} bars of the history, the first at {at.isoformat()}")
        return frame.assign(reference=[self._closes[at] for at in _opens(frame)])

    def next_bars(self, after_ms: int) -> list[FeedBar]:
        """See `Feed`; what has come is kept while the reference is waited for."""
        if not self._waiting or self._waiting[0].open_ms <= after_ms:
            self._waiting = self._feed.next_bars(after_ms)
        self._reach(self._waiting[-1].open_ms)
        bars = [replace(bar, columns={**bar.columns, REFERENCE: self._closes[bar.open_ms]}) for bar in self._waiting]
        self._waiting = []
        self._closes = {at: close for at, close in self._closes.items() if at >= bars[-1].open_ms}
        return bars

    def _reach(self, open_ms: int) -> None:
        """Hear of the reference's bars up to one.

        Raises:
            FeedError: they do not come.
        """
        while self._newest < open_ms:
            try:
                found = self._reference.next_bars(self._newest)
            except FeedError as error:
                raise FeedError(f"reference: {error}") from None
            for bar in found:
                self._closes[bar.open_ms] = bar.ohlcv[CLOSE]
                self._newest = bar.open_ms

    def now_ms(self) -> int:
        """See `Feed`."""
        return self._feed.now_ms()

    def close(self) -> None:
        """See `Feed`."""
        self._feed.close()
        self._reference.close()


def with_reference(bars: pd.DataFrame, reference: pd.DataFrame, timeframe: str) -> pd.DataFrame:
    """Bars with the column "reference": the close that the reference market had last had when each of them closed.

    Args:
        bars: of `timeframe` or finer. reference: likewise. timeframe: of the base.

    Raises:
        ValueError: the reference begins after the bars or ends before them.
    """
    given, step = indexed_bars(bars), timeframe_ms(timeframe)
    series = base_series(reference, timeframe)
    ends = series.start_ms + step * np.arange(1, len(series.ohlcv) + 1, dtype=np.int64)
    closes = np.array(_opens(given), dtype=np.int64) + timeframe_ms(bars_timeframe(given))
    rows = np.searchsorted(ends, closes, side="right") - 1
    if rows[0] < 0 or closes[-1] - ends[-1] >= step:
        frame = bars_frame(series.start_ms, step, series.ohlcv)
        raise ValueError(
            f"the reference has bars from {frame.index[0]} to {frame.index[-1]}, the market from {given.index[0]} to "
            f"{given.index[-1]}: bring reference bars over all of them"
        )
    return given.assign(reference=series.ohlcv[rows, CLOSE])


def _opens(frame: pd.DataFrame) -> list[int]:
    return [int(at) for at in pd.DatetimeIndex(frame.index).as_unit("ms").asi8]
