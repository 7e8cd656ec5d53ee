"""Where closed bars come from: a replay of bars that there are already, or an exchange (`ccxt_feed`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd

from cryptoenv.bars.array_checks import MARK_MS
from cryptoenv.bars.bars import bars_frame
from cryptoenv.bars.series import base_series
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.market.funding import funding_due


class FeedError(OSError):
    """No bar can be had; the message says since when, and why. No bar is made up."""


class FeedEndedError(FeedError):
    """A replay has no more bars."""


@dataclass(frozen=True)
class FeedBar:
    """A base bar that has closed.

    Attributes:
        open_ms: when it opened, ms since the epoch.
        ohlcv: open, high, low, close, volume.
        columns: further columns that became known with it.
        funding: sum of the funding rates that fell due in (previous open, open].
        heard_ms: when it was known here, ms since the epoch.
        source: "replay", "stream" (websocket), "poll" or "gap" (the exchange has none there: flat, without volume).
    """

    open_ms: int
    ohlcv: tuple[float, float, float, float, float]
    columns: Mapping[str, float] = field(default_factory=dict)
    funding: float = 0.0
    heard_ms: int = 0
    source: str = "replay"


class Feed(Protocol):
    """Closed bars of one market, oldest first, each once.

    Attributes:
        timeframe: of the bars.
        has_funding: whether its bars bring the venue's own funding rates.
    """

    timeframe: str
    has_funding: bool

    def history(self) -> pd.DataFrame:
        """Closed bars until now, without gaps, with the further columns; the last is the newest."""
        ...

    def next_bars(self, after_ms: int) -> list[FeedBar]:
        """Wait for the next bar; all that have closed since the one that opened at `after_ms`.

        Raises:
            FeedError: none came for too long, or the exchange contradicts itself.
        """
        ...

    def now_ms(self) -> int:
        """What time it is where the bars come from."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class ReplayFeed:
    """Bars that there are already, one after the other.

    Gaps become flat bars without volume, as in a `Market`: the bars of a replay are those that the simulator trades.

    Args:
        bars: open, high, low, close, volume on a UTC index, of the timeframe or finer.
        timeframe: of the base.
        first: how many bars are history before the first decision; the rest comes one by one.
        columns: further columns that the features read.
        funding: rates as `Market.from_bars` takes them.
        speed: bars per second of waiting are `speed / seconds of a bar`; None waits not at all.

    Raises:
        BarsError: bars that cannot be used. ValueError: `first` leaves no bar to replay, or speed is not positive.
    """

    def __init__(
        self,
        bars: pd.DataFrame,
        timeframe: str,
        first: int,
        *,
        columns: tuple[str, ...] = (),
        funding: pd.Series | None = None,
        speed: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if speed is not None and not speed > 0.0:
            raise ValueError(f"speed={speed} is not allowed: > 0, times as fast as the market")
        self.timeframe, self.has_funding = timeframe, funding is not None
        self._step = timeframe_ms(timeframe)
        series = base_series(bars, timeframe, columns)
        self._start, self._ohlcv, self._further, self._names = series.start_ms, series.ohlcv, series.columns, columns
        opens = self._start + self._step * np.arange(-1, len(self._ohlcv), dtype=np.int64)
        self._due = np.zeros(len(self._ohlcv)) if funding is None else funding_due(funding, opens)
        self._sleep, self._pause = sleep, 0.0 if speed is None else self._step / 1000.0 / speed
        self.rewind(first)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # `gymnasium.make` copies what an environment is made with

    def __len__(self) -> int:
        return len(self._ohlcv)

    @property
    def ended(self) -> bool:
        """Whether no bar is left."""
        return self._next >= len(self._ohlcv)

    def rewind(self, first: int) -> None:
        """Begin again, with the `first` bars as history.

        Raises:
            ValueError: no bar is left to replay, or none is history.
        """
        if not 1 <= first < len(self._ohlcv):
            raise ValueError(f"first={first} is not allowed: 1 to {len(self._ohlcv) - 1}, of {len(self)} bars")
        self._next = first

    def history(self) -> pd.DataFrame:
        """See `Feed`."""
        frame = bars_frame(self._start, self._step, self._ohlcv[: self._next])
        return frame.assign(**{name: self._further[: self._next, k] for k, name in enumerate(self._names)})

    def next_bars(self, after_ms: int) -> list[FeedBar]:
        """See `Feed`: one bar.

        Raises:
            FeedEndedError: it was the last one. FeedError: bars are asked for in another order.
        """
        if after_ms != self._start + self._step * (self._next - 1):
            raise FeedError(f"the replay stands at bar {self._next}, which does not follow {_utc(after_ms)}")
        if self._next >= len(self._ohlcv):
            raise FeedEndedError(f"the replay ends with the bar of {_utc(after_ms)}")
        if self._pause:
            self._sleep(self._pause)
        at = self._next
        self._next += 1
        opened = self._start + self._step * at
        further = dict(zip(self._names, self._further[at].tolist(), strict=True))
        values = self._ohlcv[at].tolist()
        ohlcv = (values[0], values[1], values[2], values[3], values[4])
        return [FeedBar(opened, ohlcv, further, float(self._due[at]), opened + self._step)]

    def now_ms(self) -> int:
        """See `Feed`: the close of the last bar."""
        return self._start + self._step * self._next

    def close(self) -> None:
        """See `Feed`."""


def funding_marks(open_ms: int, step_ms: int) -> int:
    """How many of 00, 08 and 16 UTC lie in (previous open, open]."""
    return open_ms // MARK_MS - (open_ms - step_ms) // MARK_MS


def _utc(ms: int) -> str:
    return pd.Timestamp(int(ms), unit="ms", tz="UTC").isoformat()
