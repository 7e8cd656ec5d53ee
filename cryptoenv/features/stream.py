"""Features of bars as they close, one base bar at a time: the bits of all of history, at a cost that does not grow."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cryptoenv.bars.array_checks import require_magnitudes
from cryptoenv.bars.bars import aggregated_rows, bar_opens_ms, require_few_gaps, validate_bars
from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.exogenous import USUAL
from cryptoenv.bars.price_columns import BAR_COLUMNS, CLOSE, VOLUME
from cryptoenv.bars.series import Series
from cryptoenv.bars.staleness import REFERENCE, LastValues, StaleAfter, StaleLimits
from cryptoenv.bars.timeframe import DAY_MS, bar_open_ms, timeframe_ms, validate_timeframes
from cryptoenv.features.plans import TimeframePlan, feature_plans
from cryptoenv.features.spec import FeatureSpec

_LONGEST_GAP_MS = 30 * DAY_MS  # that is filled in: no exchange was down for longer
_FEWEST_GAPS = 5  # bars of long timeframes


class _Tail:
    """The last bars of a timeframe, at least `keep` of them once there were as many."""

    def __init__(self, start_ms: int, duration_ms: int, keep: int, columns: int) -> None:
        self._start_ms, self._duration_ms, self._keep = start_ms, duration_ms, keep
        self._ohlcv, self._columns = np.empty((2 * keep, len(BAR_COLUMNS))), np.empty((2 * keep, columns))
        self._count = 0

    def append(self, ohlcv: np.ndarray, columns: np.ndarray) -> None:
        if self._count == len(self._ohlcv):
            for array in (self._ohlcv, self._columns):
                array[: self._keep] = array[self._count - self._keep :]
            self._start_ms += (self._count - self._keep) * self._duration_ms
            self._count = self._keep
        self._ohlcv[self._count], self._columns[self._count] = ohlcv, columns
        self._count += 1

    def last(self, bars: int) -> np.ndarray:
        return self._ohlcv[max(self._count - bars, 0) : self._count]

    def series(self, bars: int | None = None) -> Series:
        first = 0 if bars is None else max(self._count - bars, 0)
        start = self._start_ms + first * self._duration_ms
        return Series(start, self._ohlcv[first : self._count], self._columns[first : self._count])


class FeatureStream:
    """Features of each bar at its close, equal bit for bit to those of a `Market` of all bars so far.

    >>> from cryptoenv import Market
    >>> from cryptoenv.features import FeatureStream
    >>> from synthetic import regime_market
    >>> bars = regime_market("easy", days=1, seed=0).bars
    >>> stream = FeatureStream(("15m", "4h"))
    >>> stream.extend(bars.iloc[:-1])  # history: no features are computed
    >>> rows = stream.append(bars.index[-1], bars.iloc[-1].to_numpy())  # the bar that has just closed
    >>> {timeframe: row.shape for timeframe, row in rows.items()}
    {'15m': (1, 34), '4h': (1, 18)}
    >>> market = Market.from_bars(bars, ("15m", "4h"))
    >>> bool((rows["15m"][0] == market.features[0][-1]).all())
    True

    It keeps as many bars as the longest memory asks for, so time and memory per bar are the same however many came.

    Attributes:
        timeframes: names, base first.
        feature_names: K tuples of F_k names.
    """

    def __init__(
        self,
        timeframes: Sequence[str] = ("15m", "4h", "1d"),
        spec: FeatureSpec | None = None,
        *,
        reference: bool = False,
        stale_after: StaleAfter = USUAL,
    ) -> None:
        """An empty stream.

        Args:
            timeframes: names, base first; the bars that come are of the base.
            spec: which features; the default set where None.
            reference: whether each bar brings the close of a reference market, as column "reference".
            stale_after: how long the last value of a column may stand, as in `Market.from_bars`.

        Raises:
            ValueError: timeframes, spec or stale_after that cannot be used.
        """
        given = FeatureSpec() if spec is None else spec
        self.timeframes = validate_timeframes(timeframes)
        self._columns = given.columns + ((REFERENCE,) if reference else ())
        self._plans = feature_plans(given, self.timeframes, self._columns)
        self.feature_names = tuple(plan.names for plan in self._plans)
        self._step = timeframe_ms(self.timeframes[0])
        self._keep = _kept_bars(self._plans)
        self._tails: list[_Tail | None] = [None] * len(self._plans)
        self._first_ms = [0] * len(self._plans)
        self._next_ms: int | None = None
        self._known = np.full(len(self._columns), np.nan)
        self._last = LastValues(StaleLimits.of(stale_after, self._columns), self._step)
        self._close = math.nan

    def extend(self, bars: pd.DataFrame) -> None:
        """Takes in history without computing features.

        Args:
            bars: of the base timeframe, later than what came before; gaps are filled as in a market.

        Raises:
            BarsError: bars that cannot be used, or a further column of the spec that is missing or
                has a hole; nothing was taken in.
        """
        valid = validate_bars(bars, self.timeframes[0])
        for name in self._columns:
            if name not in bars.columns:
                raise BarsError(f"column {name!r}, which the stream needs, is missing in {list(bars.columns)}")
        further = bars[list(self._columns)].to_numpy(dtype=np.float64, na_value=np.nan)
        opens = bar_opens_ms(valid)
        reaching = opens if self._next_ms is None else np.append(min(self._next_ms, opens[0]), opens)
        require_few_gaps(reaching, self._step, _LONGEST_GAP_MS // self._step)
        require_magnitudes(pd.DatetimeIndex(valid.index), valid.to_numpy())
        self._require_usable(int(opens[0]), further[0])
        last = self._last.copy()
        for open_ms, values in zip(opens.tolist() if self._columns else (), further.tolist(), strict=False):
            last.take(open_ms + self._step, values)
        self._last = last
        for open_ms, ohlcv, columns in zip(opens.tolist(), valid.to_numpy(), further, strict=True):
            self._take(open_ms, ohlcv, columns, compute=False)

    def append(
        self, open_time: pd.Timestamp, ohlcv: Sequence[float], columns: Mapping[str, float] | None = None
    ) -> dict[str, np.ndarray]:
        """Takes in one closed base bar.

        Args:
            open_time: when it opened, UTC; bars missing before it are filled in as in a market.
            ohlcv: open, high, low, close, volume.
            columns: further columns of the spec by name, and "reference"; NaN or absent where nothing new is known.

        Returns:
            Per timeframe (n, F) float32: the features of the bars that closed, n = 0 for one that none closed of. A row
            without its whole warm-up is 0, as in a market.

        Raises:
            BarsError: a bar that cannot be used: off the grid, not later than the one before, over 30 days later, or
                wrong in its values; or a column whose last value is too old. The stream is as before.
            ValueError: a column that the spec does not name, or none known yet of one that it names.
        """
        index = pd.DatetimeIndex([open_time], name="timestamp")
        valid = validate_bars(pd.DataFrame([list(ohlcv)], index=index, columns=list(BAR_COLUMNS)), self.timeframes[0])
        given = {} if columns is None else columns
        for name in given:
            if name not in self._columns:
                raise ValueError(f"column {name!r} is not in the spec; allowed: {self._columns}")
        further = np.array([float(given.get(name, math.nan)) for name in self._columns])
        open_ms = int(pd.DatetimeIndex(valid.index).as_unit("ms").asi8[0])
        require_magnitudes(index, valid.to_numpy())
        return self.append_checked(open_ms, valid.to_numpy()[0], further)

    def append_checked(self, open_ms: int, ohlcv: np.ndarray, further: np.ndarray) -> dict[str, np.ndarray]:
        """`append` of a bar that `validate_bars` and `require_magnitudes` have passed already.

        Args:
            open_ms: when it opened, ms since the epoch.
            ohlcv: (5,) float64.
            further: (C,) float64, values of `columns` in their order, NaN where nothing new is known.

        Raises:
            BarsError, ValueError: as `append`, of what depends on the bars before.
        """
        self._require_near(open_ms)
        self._require_usable(open_ms, further)
        last = self._last.copy()
        last.take(open_ms + self._step, further.tolist())
        self._last = last
        rows = self._take(open_ms, ohlcv, further, compute=True)
        return {
            plan.timeframe: np.array(found, dtype=np.float32).reshape(len(found), len(plan.names))
            for plan, found in zip(self._plans, rows, strict=True)
        }

    def _take(self, open_ms: int, ohlcv: np.ndarray, columns: np.ndarray, compute: bool) -> list[list[np.ndarray]]:
        rows: list[list[np.ndarray]] = [[] for _ in self._plans]
        while self._next_ms is not None and self._next_ms < open_ms:
            flat = np.full(len(BAR_COLUMNS), self._close)
            flat[VOLUME] = 0.0
            self._close_bar(flat, rows, compute)
        self._next_ms = open_ms if self._next_ms is None else self._next_ms
        self._known = np.where(np.isnan(columns), self._known, columns)
        self._close_bar(ohlcv, rows, compute)
        return rows

    def _require_usable(self, open_ms: int, columns: np.ndarray) -> None:
        if self._next_ms is not None and open_ms < self._next_ms:
            moment = pd.Timestamp(open_ms, unit="ms", tz="UTC").isoformat()
            raise BarsError(f"the bar of {moment} is not later than the one before; allowed: increasing times")
        known = np.where(np.isnan(columns), self._known, columns)
        if np.isnan(known).any():
            name = self._columns[int(np.isnan(known).argmax())]
            raise ValueError(f"column {name!r} is not known yet at the first bar; bring its value")

    def _require_near(self, open_ms: int) -> None:
        # Before any of the bars between is filled in: a time in the wrong unit would fill them for ever.
        missing = 0 if self._next_ms is None else (open_ms - self._next_ms) // self._step
        most = max(_LONGEST_GAP_MS // self._step, _FEWEST_GAPS)
        if missing > most:
            assert self._next_ms is not None
            there, here = (pd.Timestamp(ms, unit="ms", tz="UTC").isoformat() for ms in (open_ms, self._next_ms))
            raise BarsError(
                f"the bar of {there} is {missing} bars of {self.timeframes[0]} after the next one, {here}; allowed: "
                f"gaps of at most {most} bars; check the time, or begin a new stream there"
            )

    def _close_bar(self, ohlcv: np.ndarray, rows: list[list[np.ndarray]], compute: bool) -> None:
        assert self._next_ms is not None
        end = self._next_ms + self._step
        closed = [k for k in range(len(self._plans)) if self._add(k, end, ohlcv)]
        self._next_ms, self._close = end, float(ohlcv[CLOSE])
        for k in closed if compute else ():
            rows[k].append(self._row(k, end))

    def _add(self, k: int, end: int, ohlcv: np.ndarray) -> bool:
        # Puts the bar of timeframe k that ends now into its tail; False where none ends, or its beginning is missing.
        duration = self._plans[k].setting.duration_ms
        start = end - duration
        if bar_open_ms(start, duration) != start:
            return False
        tail = self._tails[k]
        if tail is None:
            if k and start < self._first_ms[0]:
                return False
            tail = self._tails[k] = _Tail(start, duration, self._keep[k], len(self._columns))
            self._first_ms[k] = start
        if k:
            base = self._tails[0]
            assert base is not None
            ohlcv = aggregated_rows(base.last(duration // self._step), 0, duration // self._step)[0]
        tail.append(ohlcv, self._known)
        return True

    def _row(self, k: int, end: int) -> np.ndarray:
        plan, own = self._plans[k], self._tails[k]
        assert own is not None
        valid_ms = self._first_ms[k] + plan.first_valid_row(self._first_ms[k]) * plan.setting.duration_ms
        if not plan.names or end - plan.setting.duration_ms < valid_ms:
            return np.zeros(len(plan.names), dtype=np.float32)
        bars = own.series(self._keep[k])
        higher = tuple(tail.series() for tail in self._tails[k + 1 :] if tail is not None)
        return plan.rows(bars, higher, len(bars.ohlcv) - 1)[0]


def _kept_bars(plans: Sequence[TimeframePlan]) -> list[int]:
    # Per timeframe: its own rows' memory, and what the shorter timeframes' rows and its own longer bars read of it.
    out = []
    for k, plan in enumerate(plans):
        duration = plan.setting.duration_ms
        shorter = (math.ceil((p.memory + p.setting.block) * p.setting.duration_ms / duration) for p in plans[:k])
        longest = plans[-1].setting.duration_ms // duration if k == 0 else 0
        out.append(max(plan.memory + plan.setting.block, longest, *shorter, 0) + 3)
    return out
