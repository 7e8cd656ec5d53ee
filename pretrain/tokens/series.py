"""One token's rows: six features at a regular distance, and what is known of the token.

Shape legend of the room: `T` rows, `N` tokens, `C` = 6 features, `L` rows of a window (`seq_length`), `B` windows in a
batch, `D` model width, `Q` quantiles, `P` sampled paths, `H` rows ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pretrain.data.splits import Timeline
from synthetic.tokens.market import TokenConfig, TokenSample, token_market

FEATURES: Final = ("price", "volume", "liquidity", "buys", "sells", "market_cap")
PRICE, VOLUME, LIQUIDITY, BUYS, SELLS, MARKET_CAP = range(6)
LONGEST_ADDRESS: Final = 200


class SeriesError(ValueError):
    """Rows that are no token's; the message names token, row and column."""


@dataclass(frozen=True, eq=False)
class TokenSeries:
    """A token's rows, in order.

    Attributes:
        address: what the token is known by.
        times: (T,) int64, opens of the rows in milliseconds UTC, at one distance.
        values: (T, 6) float64 in the order of `FEATURES`: `price` (close, quote per token), `volume` (tokens),
            `liquidity` (quote reserve of the pool), `buys` and `sells` (traded quote value), `market_cap` (price times
            supply, in quote).
        supply: tokens in all.
        source: where the rows are from, in words.
        pumps: (first, peak, last) rows of every pump, last inclusive; None where it is not known.

    Raises:
        SeriesError: a shape, a time or a value that cannot be.
    """

    address: str
    times: NDArray[np.int64]
    values: NDArray[np.float64]
    supply: float
    source: str = ""
    pumps: tuple[tuple[int, int, int], ...] | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.address, str) and 0 < len(self.address) <= LONGEST_ADDRESS):
            raise SeriesError(f"address={self.address!r:.80} is not allowed: a text of 1 to {LONGEST_ADDRESS} signs")
        if not (np.isfinite(self.supply) and self.supply > 0):
            raise SeriesError(f"{self.address}: supply={self.supply!r} is not allowed: a finite number > 0")
        rows = len(self.times)
        if self.values.shape != (rows, len(FEATURES)) or self.values.dtype != np.float64 or rows < 2:
            found = f"{self.values.dtype} {self.values.shape} beside {rows} times"
            raise SeriesError(f"{self.address}: values are {found}; allowed: float64 (T, 6), T >= 2")
        steps = np.diff(self.times)
        if steps[0] <= 0 or (steps != steps[0]).any():
            row = int(np.flatnonzero(steps != steps[0])[0]) + 1 if steps[0] > 0 else 1
            raise SeriesError(f"{self.address}: row {row} is not one step after the row before; allowed: one distance")
        for c, name in enumerate(FEATURES):
            least = 0.0 if name in ("volume", "buys", "sells") else np.nextafter(0.0, 1.0)
            wrong = ~(np.isfinite(self.values[:, c]) & (self.values[:, c] >= least))
            if wrong.any():
                row = int(wrong.argmax())
                allowed = "finite and >= 0" if least == 0.0 else "finite and > 0"
                raise SeriesError(f"{self.address}: row {row}: {name} is {self.values[row, c]}: it must be {allowed}")
        cap = np.abs(self.values[:, MARKET_CAP] / (self.values[:, PRICE] * self.supply) - 1.0)
        if (cap > 1e-6).any():
            raise SeriesError(f"{self.address}: row {int((cap > 1e-6).argmax())}: market_cap is not price times supply")
        for first, peak, last in self.pumps or ():
            if not 0 <= first <= peak <= last < rows:
                raise SeriesError(f"{self.address}: a pump of rows {(first, peak, last)} does not lie in {rows} rows")

    def __len__(self) -> int:
        return len(self.times)

    @property
    def step_ms(self) -> int:
        """From row to row."""
        return int(self.times[1] - self.times[0])

    @property
    def index(self) -> pd.DatetimeIndex:
        """Opens of the rows, UTC."""
        return pd.DatetimeIndex(self.times.astype("datetime64[ms]"), name="timestamp").tz_localize("UTC")

    def table(self) -> pd.DataFrame:
        """The features, one column each."""
        return pd.DataFrame(self.values, index=self.index, columns=list(FEATURES))

    def timeline(self, first: int = 0) -> Timeline:
        """What a split needs to know; rows before `first` are not decided at."""
        return Timeline(int(self.times[0]), self.step_ms, len(self), first, self.address[:24])

    @classmethod
    def from_bars(
        cls,
        bars: pd.DataFrame,
        address: str,
        supply: float,
        *,
        source: str = "",
        pumps: tuple[tuple[int, int, int], ...] | None = None,
    ) -> Self:
        """A token from its bars: `close` or `price`, `volume`, `liquidity`, `buys`, `sells` on a UTC index.

        Raises:
            SeriesError: a column is missing, or a value cannot be.
        """
        price = "price" if "price" in bars.columns else "close"
        wanted = (price, "volume", "liquidity", "buys", "sells")
        if missing := [name for name in wanted if name not in bars.columns]:
            raise SeriesError(f"{address}: column {missing[0]!r} is missing; needed are {list(wanted)}")
        if not isinstance(bars.index, pd.DatetimeIndex):
            raise SeriesError(f"{address}: the index must be times, got {type(bars.index).__name__}")
        index = bars.index if bars.index.tz is not None else bars.index.tz_localize("UTC")
        times = index.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[ms]").astype(np.int64)
        values = bars[list(wanted)].to_numpy(np.float64)
        values = np.column_stack([values, values[:, PRICE] * supply])
        return cls(address, times, np.ascontiguousarray(values), float(supply), source, pumps)


def synthetic_tokens(config: TokenConfig, seed: int) -> tuple[TokenSeries, ...]:
    """The tokens of a synthetic market, addresses "SEED-NUMBER", with their pumps."""
    return sampled_tokens(token_market(config, seed))


def sampled_tokens(sample: TokenSample) -> tuple[TokenSeries, ...]:
    """The tokens of a market that was drawn already."""
    found = []
    for number, (token, bars) in enumerate(sample.bars.items()):
        mine = sample.events[(sample.events["token"] == token) & (sample.events["kind"] == "pump_and_dump")]
        pumps = tuple((int(e["first"]), int(e["peak"]), int(e["last"])) for e in mine.to_dict("records"))
        address, source = f"{sample.seed}-{number}", f"synthetic seed {sample.seed}"
        found.append(TokenSeries.from_bars(bars, address, sample.config.supply, source=source, pumps=pumps))
    return tuple(found)


def require_one_step(tokens: Sequence[TokenSeries]) -> int:
    """The distance of rows of all tokens, ms.

    Raises:
        SeriesError: none, or tokens that differ.
    """
    steps = {token.step_ms for token in tokens}
    if len(steps) != 1:
        raise SeriesError(f"tokens have rows at distances of {sorted(steps)} ms: one distance is needed")
    return steps.pop()
