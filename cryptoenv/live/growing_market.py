"""A market that grows by closed bars: what the environment sees of it, bit for bit as a `Market` of all bars so far."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE, FUNDING, FUNDING_MARKS, PRICE_COLUMNS, SIGMA, VOLUME
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.features.families.windowed import rolling_sigma
from cryptoenv.features.stream import FeatureStream
from cryptoenv.live.feed import FeedBar, funding_marks
from cryptoenv.market.market import SIGMA_BARS, Market

BOUND_REACHED = 7.999  #: a feature this large stands at the bound that features are clipped to


class GrowingMarket:
    """The last bars of a market as they close; memory and time per bar do not grow.

    Args:
        history: a market of the closed bars until now.
        frame: the same bars with the further columns that features read.
        window: bars seen per timeframe.
        features: whether features are computed; without, windows are not to be had (observation "index").

    Attributes:
        market: of the history.
        prices: (2, 8) float64, the last two bars, columns as in `Market.prices`.
        bar: index of the last bar, counted from the history's first.
        open_ms: when it opened.
    """

    def __init__(self, history: Market, frame: pd.DataFrame, window: tuple[int, ...], *, features: bool) -> None:
        self.market = history
        self._step = timeframe_ms(history.timeframes[0])
        self.bar = len(history) - 1
        self.open_ms = history.start_ms + self._step * self.bar
        self.prices = np.array(history.prices[-2:], dtype=np.float64)
        if len(self.prices) < 2:
            raise ValueError(f"a history of {len(history)} bar(s) is too short: 2 at least")
        self._closes = np.array(history.prices[-(SIGMA_BARS + 1) :, CLOSE])
        self._windows: list[NDArray[np.float32]] = []
        self._stream: FeatureStream | None = None
        if features:
            ends = history.align[-1] + 1
            self._windows = [
                np.array(matrix[end - size : end])
                for matrix, end, size in zip(history.features, ends.tolist(), window, strict=True)
            ]
            self._stream = FeatureStream(history.timeframes, history.feature_spec)
            self._stream.extend(frame)

    @property
    def step_ms(self) -> int:
        """Length of a bar."""
        return self._step

    @property
    def close_ms(self) -> int:
        """When the last bar closed."""
        return self.open_ms + self._step

    @property
    def sigma(self) -> float:
        """Deviation of the last 96 log-returns, known at the last close."""
        return float(self.prices[1, SIGMA])

    def add(self, bar: FeedBar) -> None:
        """Take in the next closed bar.

        Raises:
            ValueError: it is not the next one. BarsError: it cannot be used; nothing has changed.
        """
        if bar.open_ms != self.open_ms + self._step:
            raise ValueError(f"bar {bar.open_ms} does not follow {self.open_ms}: gaps are filled by the feed")
        if self._stream is not None:
            moment = pd.Timestamp(bar.open_ms, unit="ms", tz="UTC")
            rows = self._stream.append(moment, bar.ohlcv, bar.columns)
            for k, found in enumerate(rows.values()):
                if len(found):
                    self._windows[k] = np.concatenate([self._windows[k], found])[-len(self._windows[k]) :]
        row = np.zeros(len(PRICE_COLUMNS))
        row[: VOLUME + 1] = bar.ohlcv
        self._closes = np.append(self._closes, row[CLOSE])[-(SIGMA_BARS + 1) :]
        row[SIGMA] = rolling_sigma(self._closes, SIGMA_BARS)[-1]
        row[FUNDING], row[FUNDING_MARKS] = bar.funding, funding_marks(bar.open_ms, self._step)
        self.prices = np.stack([self.prices[1], row])
        self.bar, self.open_ms = self.bar + 1, bar.open_ms

    def windows(self) -> dict[str, NDArray[np.float32]]:
        """Per timeframe (W, F) float32, the features of its last closed bars, oldest first; fresh memory."""
        return {name: rows.copy() for name, rows in zip(self.market.timeframes, self._windows, strict=False)}

    def strain(self) -> float:
        """Share of the newest bar's features, over all timeframes, that stand at their bound or are not finite."""
        newest = [rows[-1] for rows in self._windows if rows.shape[1]]
        if not newest:
            return 0.0
        values = np.concatenate(newest)
        return float((~(np.abs(values) < BOUND_REACHED)).mean())
