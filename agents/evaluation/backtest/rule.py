"""Rules that compare two lines, written as text, one or a grid of them: "cross fast=8,16 slow=64,128 band=0.1".

Every rule asks for one exposure while its first line is above the other by more than a band, for another while it is
below it by more than that, and keeps what it asked for in between. So one rule can be replayed, and a grid of them be
swept in one jitted pass.

| kind | values | first line | other line |
|---|---|---|---|
| hold | | 1 | 0 |
| cross | fast, slow, band | EMA of `fast` bars | EMA of `slow` bars; the band in deviations of `slow` bars |
| momentum | bars, band | log-return over `bars`, in its standard deviations | 0 |
| breakout | bars | close within the range of the `bars` before it, -1 at its low, 1 at its high | 0; the band is 1 |
| reversion | bars, band | 50 - RSI of `bars` | 0 |
| threshold | column, above, below | a column of a table, such as a model's predictions | between: kept |

All take `long` and `short`, the exposures asked for above and below; `short` is 0 on spot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import talib
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE, HIGH, LOW, SIGMA
from cryptoenv.market.market import Market

Line = tuple[Any, ...]  #: a kind of line and its number of bars, or a column's name
MOST_RULES = 100_000
LEAST_SIGMA = 1e-6
#: Values of each kind and what they are where they are not given; None has to be.
KINDS: dict[str, dict[str, Any]] = {
    "hold": {},
    "cross": {"fast": 16, "slow": 64, "band": 0.0},
    "momentum": {"bars": 96, "band": 0.0},
    "breakout": {"bars": 96},
    "reversion": {"bars": 14, "band": 20.0},
    "threshold": {"column": None, "above": 0.001, "below": -0.001},
}


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        kind: a key of `KINDS`.
        values: its values by name, in the kind's order.
        long: exposure above the band. short: exposure below it; None is -1, or 0 where nothing can be sold short.

    Raises:
        ValueError: an unknown kind, or a value that is not allowed.
    """

    kind: str
    values: tuple[tuple[str, Any], ...] = ()
    long: float = 1.0
    short: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"rule {self.kind!r} is unknown; choose one of {', '.join(KINDS)}")
        for name, value in self.values:
            if name in ("fast", "slow", "bars") and not (isinstance(value, int) and 2 <= value <= 1_000_000):
                raise ValueError(f"rule {self.kind}: {name}={value} is not allowed: a whole number of bars >= 2")
            if name == "band" and not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
                raise ValueError(f"rule {self.kind}: band={value} is not allowed: a number >= 0")
        values = dict(self.values)
        if self.kind == "cross" and values["fast"] >= values["slow"]:
            raise ValueError(f"rule cross: fast={values['fast']} is not below slow={values['slow']}")
        if self.kind == "threshold" and not values["below"] <= values["above"]:
            raise ValueError(f"rule threshold: below={values['below']} is above above={values['above']}")

    @property
    def words(self) -> str:
        """The rule as text, as `parse_rules` reads it."""
        told = [f"{name}={value:g}" if isinstance(value, int | float) else f"{name}={value}"
                for name, value in self.values]  # fmt: skip
        told += [f"long={self.long:g}"] if self.long != 1.0 else []
        told += [f"short={self.short:g}"] if self.short is not None else []
        return " ".join([self.kind, *told])

    def compared(self) -> tuple[Line, Line, float]:
        """Its lines and its band."""
        value = dict(self.values)
        if self.kind == "cross":
            return ("ema", value["fast"]), ("ema", value["slow"]), value["band"] * math.sqrt(value["slow"])
        if self.kind == "momentum":
            return ("momentum", value["bars"]), ("constant", 0.0), float(value["band"])
        if self.kind == "breakout":
            return ("channel", value["bars"]), ("constant", 0.0), 1.0
        if self.kind == "reversion":
            return ("rsi", value["bars"]), ("constant", 0.0), float(value["band"])
        if self.kind == "threshold":
            middle = (value["above"] + value["below"]) / 2.0
            return ("column", value["column"]), ("constant", middle), (value["above"] - value["below"]) / 2.0
        return ("constant", 1.0), ("constant", 0.0), 0.0


def parse_rules(text: str) -> list[Rule]:
    """The rules that a text stands for: every combination of the values that it lists.

    >>> from agents.evaluation.backtest.rule import parse_rules
    >>> [rule.words for rule in parse_rules("cross fast=8,16 slow=16,64")]
    ['cross fast=8 slow=16 band=0', 'cross fast=8 slow=64 band=0', 'cross fast=16 slow=64 band=0']

    Combinations in which the fast average is not the shorter one are left out.

    Raises:
        ValueError: an unknown kind or value, a value that is no number, or no rule that makes sense.
    """
    kind, *told = text.split()
    if kind not in KINDS:
        raise ValueError(f"rule {kind!r} is unknown; choose one of {', '.join(KINDS)}")
    known = [*KINDS[kind], "long", "short"]
    given: dict[str, list[Any]] = {}
    for part in told:
        name, equals, values = part.partition("=")
        if not equals or name not in known:
            raise ValueError(f"rule {kind}: {part!r} is not allowed; known are {', '.join(f'{n}=...' for n in known)}")
        given[name] = [one if name == "column" else _number(kind, name, one) for one in values.split(",")]
    missing = [name for name, default in KINDS[kind].items() if default is None and name not in given]
    if missing:
        raise ValueError(f"rule {kind}: {missing[0]}=... is missing")
    lists = [given.get(name, [KINDS[kind].get(name, {"long": 1.0}.get(name))]) for name in known]
    if math.prod(map(len, lists)) > MOST_RULES:
        raise ValueError(f"rule {kind}: {math.prod(map(len, lists)):,} combinations; at most {MOST_RULES:,}")
    found = []
    for combination in product(*lists):
        named: dict[str, Any] = dict(zip(known, combination, strict=True))
        if kind == "cross" and named["fast"] >= named["slow"]:
            continue
        own = tuple((name, named[name]) for name in KINDS[kind])
        found.append(Rule(kind, own, float(named["long"]), named["short"]))
    if not found:
        raise ValueError("rule cross: no combination in which fast is below slow")
    return found


def _number(kind: str, name: str, text: str) -> float | int:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"rule {kind}: {name}={text!r} is no number") from None
    if not math.isfinite(value):
        raise ValueError(f"rule {kind}: {name}={text} is not finite")
    return int(value) if name in ("fast", "slow", "bars") and value == int(value) else value


@dataclass(frozen=True)
class Grid:
    """Rules on a market, in the form that a sweep takes.

    Attributes:
        lines: (L, T) float64, known at each close.
        rules: (K, 5) float64: two numbers of lines, band, exposure above, exposure below.
    """

    lines: NDArray[np.float64]
    rules: NDArray[np.float64]

    def targets(self, number: int) -> NDArray[np.float64]:
        """(T,) float64 target exposures of one rule at each close; NaN keeps the one before."""
        first, second, band, above, below = self.rules[number]
        one, other = self.lines[int(first)], self.lines[int(second)]
        return np.where(one > other + band, above, np.where(one < other - band, below, np.nan))


def grid_of(
    rules: Sequence[Rule], market: Market, *, shorts: bool = True, table: pd.DataFrame | None = None
) -> Grid:
    """The rules' lines on a market, each line once.

    Args:
        rules: of any kinds.
        market: whose bars they read.
        shorts: whether below the band is -1 where a rule does not say, or 0.
        table: columns for "threshold", a row per bar of the market or for some of them (indexed by its open).

    Raises:
        ValueError: a column that the table does not have, or no table.
    """
    places: dict[Line, int] = {}
    rows = []
    for rule in rules:
        one, other, band = rule.compared()
        numbers = [places.setdefault(line, len(places)) for line in (one, other)]
        low = rule.short if rule.short is not None else (-1.0 if shorts else 0.0)
        rows.append([*numbers, band, rule.long, low])
    lines = np.stack([_line(line, market, table) for line in places])
    return Grid(lines, np.array(rows, dtype=np.float64))


def _line(line: Line, market: Market, table: pd.DataFrame | None) -> NDArray[np.float64]:
    kind, value = line
    if kind == "constant":
        return np.full(len(market), float(value))
    if kind == "column":
        return _column(market, value, table)
    found: NDArray[np.float64] = _LINES[kind](market, value)
    return found


def _column(market: Market, name: str, table: pd.DataFrame | None) -> NDArray[np.float64]:
    if table is None or name not in table.columns:
        known = "there is no table" if table is None else f"the table has {', '.join(map(str, table.columns[:40]))}"
        raise ValueError(f"rule threshold: no column {name!r}: {known}")
    return np.asarray(table[name].reindex(market.bars.index), dtype=np.float64)


def _ema(market: Market, bars: int) -> NDArray[np.float64]:
    """In units of what a bar moves, so that lines of any bars can be compared by a band."""
    close = _column_of(market, CLOSE)
    scale = close * np.maximum(_column_of(market, SIGMA), LEAST_SIGMA)
    return np.asarray(talib.EMA(close, bars) / scale, dtype=np.float64)


def _momentum(market: Market, bars: int) -> NDArray[np.float64]:
    close = np.log(_column_of(market, CLOSE))
    found = np.full(len(close), np.nan)
    sigma = np.maximum(_column_of(market, SIGMA)[bars:], LEAST_SIGMA)
    found[bars:] = (close[bars:] - close[:-bars]) / (sigma * math.sqrt(bars))
    return found


def _channel(market: Market, bars: int) -> NDArray[np.float64]:
    """Of the bars before: the bar itself is not among them."""
    high, low = talib.MAX(_column_of(market, HIGH), bars), talib.MIN(_column_of(market, LOW), bars)
    found = np.full(len(high), np.nan)
    middle, half = (high[:-1] + low[:-1]) / 2.0, (high[:-1] - low[:-1]) / 2.0
    np.divide(_column_of(market, CLOSE)[1:] - middle, half, out=found[1:], where=half > 0.0)
    return found


def _rsi(market: Market, bars: int) -> NDArray[np.float64]:
    return np.asarray(50.0 - talib.RSI(_column_of(market, CLOSE), bars), dtype=np.float64)


_LINES: Mapping[str, Callable[[Market, int], NDArray[np.float64]]] = {
    "ema": _ema, "momentum": _momentum, "channel": _channel, "rsi": _rsi,
}  # fmt: skip


def _column_of(market: Market, number: int) -> NDArray[np.float64]:
    return np.ascontiguousarray(market.prices[:, number])
