"""`Market`: validated bars in the form that the environment reads, frozen, with a content hash.

Shapes: `T` base bars, `K` timeframes, `T_k` bars of timeframe k, `F` features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from cryptoenv.bars.alignment import ended_rows, ending_rows
from cryptoenv.bars.array_checks import MARK_MS
from cryptoenv.bars.bars import bars_frame, indexed_bars, warn_without_volume
from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.exogenous import USUAL
from cryptoenv.bars.price_columns import CLOSE, FUNDING, FUNDING_MARKS, PRICE_COLUMNS, SIGMA, VOLUME
from cryptoenv.bars.series import Series, base_series, series_of
from cryptoenv.bars.staleness import REFERENCE, StaleAfter
from cryptoenv.bars.timeframe import DAY_MS, grid_offset_ms, timeframe_ms, validate_timeframes
from cryptoenv.features import FeatureSpec, TimeframePlan, check_functions, feature_plans
from cryptoenv.features.families.windowed import rolling_sigma
from cryptoenv.files.typed_values import is_whole
from cryptoenv.market.files import FORMAT, MarketFileError, content_hash, read_market, write_market
from cryptoenv.market.funding import funding_due
from synthetic.regimes.origin import Origin

SIGMA_BARS = 96


@dataclass(frozen=True, eq=False)
class Market:
    """One asset, ready for the environment. Make it with `from_bars` or `load`.

    A decision at index `t` falls at the close of base bar `t`. It may see base bars up to `t`, and bar `align[t, k]`
    of timeframe k and those before: bars whose END is not later than that close. Gaps of the base are bars of their
    own: flat, volume 0.

    Attributes:
        timeframes: K names, the base first.
        start_ms: open of base bar 0, milliseconds since the epoch; bars follow each other without a gap.
        prices: (T, 8) float64, C order, read-only, columns as in `price_columns`.
        features: K arrays (T_k, F_k) float32 in [-8, 8]; rows before `valid_from[k]` are 0.
        feature_names: K tuples of F_k names.
        align: (T, K) int64: row of the last bar of each timeframe that has ended at the close of base bar t, -1 if
            none; column 0 is t.
        valid_from: K ints: first row of `features[k]` that has its whole warm-up (it may lie past the end).
        funding_series: whether the market came with its own funding rates.
        name: for people; no part of the hash.
        folder: where it was loaded from or saved to; it pickles by that folder.
        feature_spec: what its features were made by.
        origin: of a synthetic market, its task and seed, whatever it is called; part of the hash.
    """

    timeframes: tuple[str, ...]
    start_ms: int
    prices: np.ndarray
    features: tuple[np.ndarray, ...]
    feature_names: tuple[tuple[str, ...], ...]
    align: np.ndarray
    valid_from: tuple[int, ...]
    funding_series: bool = False
    name: str = ""
    folder: Path | None = None
    feature_spec: FeatureSpec = field(default_factory=FeatureSpec)
    origin: Origin | None = None

    def __post_init__(self) -> None:
        for array in (self.prices, self.align, *self.features):
            array.setflags(write=False)

    @classmethod
    def from_bars(
        cls,
        bars: pd.DataFrame,
        timeframes: Sequence[str] = ("15m", "4h", "1d"),
        *,
        features: FeatureSpec | None = None,
        reference: pd.DataFrame | None = None,
        funding: pd.Series | None = None,
        name: str = "",
        timeframe: str | None = None,
        stale_after: StaleAfter = USUAL,
    ) -> Self:
        """Builds a market.

        Args:
            bars: open, high, low, close, volume on a UTC index (bar open), or with a column `timestamp` (UTC times, or
                numbers since 1970); further columns are left aside, but for those that `features` names. Bars finer
                than the first timeframe are aggregated to it; missing bars become flat ones without volume.
            timeframes: names, base first, each made of whole bars of the base.
            features: which features it gets; the default set where None, none with `FeatureSpec.none()`.
            reference: bars of another market, such as BTC, that correlation and beta are taken against.
            funding: funding rates (fraction of the position's value, paid by longs, within +-0.1) on a UTC index of the
                times they fall due, for all of the bars: where the venue's interval (8 hours at most; it may
                change) lets expect one and none is there, it is a hole and refused. Times are cut to whole seconds.
            name: shown in reports.
            timeframe: of `bars`, where few of them are there; found out where None.
            stale_after: how long the last value of a further column or of the reference may stand while there are bars
                (what is older is a hole and refused): a duration such as "3d" for all of them, or by column with
                "reference" among them; "usual" is twice the distance that a column's values keep, a day at least, and
                four hours of missing reference bars; None is no limit.

        Warns:
            UserWarning: no bar has any volume: no order will ever fill.

        Raises:
            BarsError: bars, reference or funding that cannot be used; the message names row and column.
            ValueError: timeframes or features that cannot be used; LookAheadError: a user's feature looks ahead.

        Example:
            >>> from cryptoenv import Market
            >>> from synthetic import regime_market
            >>> market = Market.from_bars(regime_market("easy", days=2, seed=1).bars, ("15m", "4h"), name="drawn")
            >>> market
            <Market 'drawn': 5568 bars from 2020-01-01 00:00:00+00:00, timeframes ('15m', '4h')>
            >>> market.prices.shape, market.features[1].shape, market.align[-1].tolist()
            ((5568, 8), (348, 18), [5567, 347])
        """
        names = validate_timeframes(timeframes)
        spec = FeatureSpec() if features is None else features
        bars = indexed_bars(bars)
        series = series_of(names, base_series(bars, names[0], spec.columns, reference, timeframe, stale_after))
        warn_without_volume(series[0].ohlcv[:, VOLUME])
        plans = feature_plans(spec, names, spec.columns + (() if reference is None else (REFERENCE,)))
        start, ohlcv, base = series[0].start_ms, series[0].ohlcv, timeframe_ms(names[0])
        align = np.empty((len(ohlcv), len(names)), dtype=np.int64)
        for k, timeframe in enumerate(names):
            align[:, k] = ended_rows(start, base, len(ohlcv), series[k].start_ms, timeframe_ms(timeframe))
        matrices = feature_matrices(plans, series)
        check_functions(plans, series)
        return cls(
            names, start, _prices(start, base, ohlcv, funding), matrices,
            tuple(plan.names for plan in plans), align,
            tuple(plan.first_valid_row(s.start_ms) for plan, s in zip(plans, series, strict=True)),
            funding is not None, name, feature_spec=spec, origin=Origin.of(bars),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.prices)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self.folder is not None:
            return _load_same, (self.folder, self.hash)
        fields = (self.timeframes, self.start_ms, self.prices, self.features, self.feature_names, self.align)
        return Market, (*fields, self.valid_from, self.funding_series, self.name, None, self.feature_spec, self.origin)

    def __repr__(self) -> str:
        label = f" {self.name!r}" if self.name else ""
        return f"<Market{label}: {len(self)} bars from {self.bars.index[0]}, timeframes {self.timeframes}>"

    @cached_property
    def bars(self) -> pd.DataFrame:
        """Base bars, gaps filled: T rows, float64, on a UTC index; a read-only view of `prices`."""
        frame = bars_frame(self.start_ms, timeframe_ms(self.timeframes[0]), self.prices[:, : VOLUME + 1])
        if self.origin is not None:
            self.origin.mark(frame)
        return frame

    @cached_property
    def hash(self) -> str:
        """sha256 (hex) over arrays, timeframes, feature names, spec and origin: markets with one hash are the same."""
        return content_hash(self._header(), self._arrays())

    def first_decision(self, window: Sequence[int]) -> int:
        """First `t` at which the last `window[k]` bars of every timeframe have ended and have whole features.

        Raises:
            ValueError: not one positive whole number per timeframe.
            BarsError: the market is too short; the message says how many bars are needed.
        """
        sizes = tuple(window) if isinstance(window, Sequence | np.ndarray) else ()
        if len(sizes) != len(self.timeframes) or not all(map(_is_count, sizes)):
            raise ValueError(
                f"window is {window!r}; allowed: a whole number of bars >= 1 for each of {self.timeframes}"
            )
        base, given = timeframe_ms(self.timeframes[0]), len(self)
        ends = []
        for timeframe, valid_from, size in zip(self.timeframes, self.valid_from, sizes, strict=True):
            duration = timeframe_ms(timeframe)
            first = _first_open(self.start_ms, duration)
            ends.append(ending_rows(valid_from + int(size) - 1, first, duration, self.start_ms, base))
        needed = max(ends) + 1
        if needed > given:
            raise BarsError(
                f"too few bars for window {sizes} on timeframes {self.timeframes}: "
                f"{needed} bars of {self.timeframes[0]} ({needed * base / DAY_MS:.1f} days) are needed, "
                f"{given} ({given * base / DAY_MS:.1f} days) were given"
            )
        return int(needed - 1)

    def part(self, start: int, stop: int) -> "Market":
        """The market of base bars `start` to `stop` (exclusive) alone, a market of its own.

        Its features are those of the whole: each is made of a fixed slice of bars that had ended, so that what comes
        after `stop` is in none of them. Its higher timeframes begin with their first bar that opens in it.

        Raises:
            ValueError: not 0 <= start < stop <= T.
        """
        if not 0 <= start < stop <= len(self):
            raise ValueError(f"part({start}, {stop}) is outside the market's {len(self)} bars")
        base = timeframe_ms(self.timeframes[0])
        opens, closes = self.start_ms + start * base, self.start_ms + stop * base
        align = np.empty((stop - start, len(self.timeframes)), dtype=np.int64)
        features, valid_from = [], []
        for k, timeframe in enumerate(self.timeframes):
            duration = timeframe_ms(timeframe)
            whole_first, first = (_first_open(at, duration) for at in (self.start_ms, opens))
            row, rows = (first - whole_first) // duration, max((closes - first) // duration, 0)
            align[:, k] = ended_rows(opens, base, stop - start, first, duration)
            features.append(self.features[k][row : row + rows])
            valid_from.append(max(self.valid_from[k] - row, 0))
        return Market(
            self.timeframes, opens, self.prices[start:stop], tuple(features), self.feature_names, align,
            tuple(valid_from), self.funding_series, self.name, None, self.feature_spec, self.origin,
        )  # fmt: skip

    def save(self, folder: str | Path) -> "Market":
        """Writes the market to a folder of its own, whole or not at all, and returns the market loaded from it.

        Raises:
            FileExistsError: the folder holds something else than a market, which would be lost.
        """
        write_market(Path(folder), self.name, self._header(), self._arrays())
        return Market.load(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "Market":
        """A market from its folder, memory-mapped, after its content was checked against its hash.

        Raises:
            FileNotFoundError: the folder holds no market.
            MarketFileError: a file is damaged, of another version of the format, a link or a pipe, or holds what no
                market can (checked value by value before jitted code reads it).
        """
        path = Path(folder).resolve()
        name, header, arrays, digest = read_market(path)
        timeframes = tuple(header["timeframes"])
        features = tuple(arrays[f"features_{timeframe}"] for timeframe in timeframes)
        market = cls(
            timeframes, header["start_ms"], arrays["prices"], features,
            tuple(tuple(names) for names in header["feature_names"]), arrays["align"],
            tuple(header["valid_from"]), header["funding_series"], name, path,
            _spec_in(header, path), _origin_in(header, path),
        )  # fmt: skip
        if market._header() != header:
            raise MarketFileError(f"{path} has a header of another version; build and save the market again")
        market.__dict__["hash"] = digest  # just reckoned from the same header and bytes: not twice
        return market

    def _header(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "timeframes": list(self.timeframes),
            "start_ms": self.start_ms,
            "feature_names": [list(names) for names in self.feature_names],
            "feature_spec": self.feature_spec.to_dict(),
            "valid_from": list(self.valid_from),
            "funding_series": self.funding_series,
            "price_columns": list(PRICE_COLUMNS),
            **({} if self.origin is None else {"origin": self.origin.to_dict()}),
        }

    def _arrays(self) -> dict[str, np.ndarray]:
        features = {
            f"features_{timeframe}": array for timeframe, array in zip(self.timeframes, self.features, strict=True)
        }
        return {"prices": self.prices, "align": self.align, **features}


def _spec_in(header: dict[str, Any], folder: Path) -> FeatureSpec:
    try:
        return FeatureSpec.from_dict(header["feature_spec"])
    except (KeyError, TypeError, ValueError) as error:
        raise MarketFileError(f"{folder}: the feature spec cannot be used ({error}); save the market again") from error


def _origin_in(header: dict[str, Any], folder: Path) -> Origin | None:
    try:
        return Origin.from_dict(header["origin"]) if "origin" in header else None
    except ValueError as error:
        raise MarketFileError(f"{folder}: {error}; save the market again") from error


def _load_same(folder: Path, expected: str) -> Market:
    """The market that was pickled: the one in its folder, if it is still the same.

    Raises:
        MarketFileError: another market has been saved there since.
    """
    market = Market.load(folder)
    if market.hash != expected:
        raise MarketFileError(
            f"{folder} holds market {market.hash[:16]}, but {expected[:16]} was pickled: it was replaced since"
        )
    return market


def feature_matrices(plans: Sequence[TimeframePlan], series: Sequence[Series]) -> tuple[np.ndarray, ...]:
    """The features of each timeframe, (T_k, F_k) float32."""
    return tuple(plan.matrix(series[k], tuple(series[k + 1 :])) for k, plan in enumerate(plans))


def _is_count(size: Any) -> bool:
    return is_whole(size) and int(size) >= 1


def _first_open(start_ms: int, duration_ms: int) -> int:
    # When the first bar of a timeframe opens that does so at `start_ms` or later.
    return start_ms + (grid_offset_ms(duration_ms) - start_ms) % duration_ms


def _prices(start_ms: int, base_ms: int, ohlcv: np.ndarray, funding: pd.Series | None) -> np.ndarray:
    prices = np.zeros((len(ohlcv), len(PRICE_COLUMNS)))
    prices[:, : VOLUME + 1] = ohlcv
    prices[:, SIGMA] = rolling_sigma(np.ascontiguousarray(ohlcv[:, CLOSE]), SIGMA_BARS)
    opens = start_ms + base_ms * np.arange(-1, len(ohlcv), dtype=np.int64)
    prices[:, FUNDING_MARKS] = np.diff(opens // MARK_MS)
    if funding is not None:
        prices[:, FUNDING] = funding_due(funding, opens)
    return prices
