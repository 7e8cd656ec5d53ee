"""Does anything know the future? What comes after a bar is replaced, and what was said at it may not change by a bit.

Where the making of a column is at hand (features, models, agents, labels, whole pipelines), it is made again on bars
whose later part is poison. Where only its values are (a vendor's column, a file of labels), what they know of later
returns is measured, which no honest column does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import BAR_COLUMNS

Making = Callable[[pd.DataFrame], pd.DataFrame]
MOST_LAG = 64  #: base bars ahead that a leak is followed; one that reads farther is told as reading "the end"
STRONG = 0.2  #: rank correlation with a later return that no column of a liquid market has honestly
SURE = 6.0  #: standard errors above chance
SPANS = (1, 2, 4, 8)  #: bars of later returns that are looked at together


@dataclass(frozen=True)
class Leak:
    """A column that knows what it cannot.

    Attributes:
        part: what was checked, such as "features".
        column: its name.
        lag: how many bars ahead it reads, the most that was found; None where it reads to the end of the data.
        bar: open of a bar at which it was seen.
        strength: of a measured one the rank correlation with the later return; None where it was proven by bits.
    """

    part: str
    column: str
    lag: int | None
    bar: pd.Timestamp | None = None
    strength: float | None = None

    @property
    def words(self) -> str:
        """In one line."""
        far = "to the end of the data" if self.lag is None else f"{self.lag} bar{'s' if self.lag > 1 else ''} ahead"
        seen = "" if self.bar is None else f", at the bar of {self.bar:%Y-%m-%d %H:%M}"
        how = "" if self.strength is None else f" (rank correlation {self.strength:+.2f} with a later return)"
        return f"{self.part}: column {self.column!r} reads {far}{seen}{how}"


def future_reads(
    making: Making,
    bars: pd.DataFrame,
    *,
    part: str = "columns",
    allowed: int = 0,
    looks: int = 20,
    seed: int = 0,
) -> list[Leak]:
    """Leaks of a table that is made of bars.

    Args:
        making: from bars (as `Market.from_bars` takes them) to a table with a row for each bar, or for some, indexed by
            the bar's open; it gives the same for the same bars.
        bars: that it is tried on.
        part: what it is, for the words.
        allowed: bars after its own that a row may depend on: the horizon of labels, 0 of anything that trades.
        looks: rows, drawn at random, after which bars are replaced.
        seed: of the draw and of the poison.

    Returns:
        A leak per column that was found, the one with the farthest reach; empty where all is clean.

    Raises:
        ValueError: a making without columns or rows, or too few bars.
    """
    told = making(bars)
    if told.empty or not told.index.isin(bars.index).all():
        raise ValueError(f"{part}: the table has no rows, or rows of times at which no bar opens")
    places = np.flatnonzero(bars.index.isin(told.index))
    places = places[places < len(bars) - 1 - allowed]
    if len(places) == 0:
        raise ValueError(f"{part}: {len(bars)} bars are too few: no row has bars after it")
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(places, min(looks, len(places)), replace=False))
    found: dict[str, Leak] = {}
    for t in chosen:
        moment = bars.index[int(t)]
        changed = _changed(making, bars, told, int(t), int(t) + 1 + allowed, rng)
        for column in changed:
            if column not in found:
                lag = _reach(making, bars, told, int(t), allowed, column, rng)
                found[column] = Leak(part, column, lag, moment)
    return list(found.values())


def _changed(
    making: Making, bars: pd.DataFrame, told: pd.DataFrame, row: int, begin: int, rng: np.random.Generator
) -> list[str]:
    """Columns whose value at bar `row` changes when the bars from `begin` on are others."""
    moment = bars.index[row]
    again = making(poisoned(bars, begin, rng))
    if moment not in again.index:
        return [str(name) for name in told.columns]  # whether there is a row at all depends on later bars
    before, after = told.loc[moment], again.loc[moment]
    return [str(name) for name in told.columns if not _same(before[name], after[name])]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float | np.floating) and isinstance(other, float | np.floating):
        return bool(one == other) or bool(np.isnan(one) and np.isnan(other))
    return bool(one == other)


def _reach(
    making: Making,
    bars: pd.DataFrame,
    told: pd.DataFrame,
    row: int,
    allowed: int,
    column: str,
    rng: np.random.Generator,
) -> int | None:
    """How far ahead a column reads: the last distance from which on other bars still change it, by bisection."""
    if row + 1 + MOST_LAG < len(bars) and column in _changed(making, bars, told, row, row + 1 + MOST_LAG, rng):
        return None
    low, high = allowed + 1, min(MOST_LAG, len(bars) - 1 - row)  # it changes from `low` on, and not after `high`
    while low < high:
        middle = (low + high + 1) // 2
        if column in _changed(making, bars, told, row, row + middle, rng):
            low = middle
        else:
            high = middle - 1
    return low


def poisoned(bars: pd.DataFrame, begin: int, rng: np.random.Generator) -> pd.DataFrame:
    """The bars with others from row `begin` on: a wild walk at the same times, further columns from their own past."""
    out, count = bars.copy(), len(bars) - begin
    if count <= 0:
        return out
    last = float(bars["close"].iloc[max(begin - 1, 0)])
    close = last * np.exp(np.cumsum(rng.normal(0.0, 0.03, count)))
    opened = np.append(last, close[:-1])
    wick = np.exp(rng.exponential(0.01, (2, count)))
    prices = (opened, np.maximum(opened, close) * wick[0], np.minimum(opened, close) / wick[1], close)
    volume = (float(bars["volume"].iloc[:begin].mean()) + 1.0) * rng.lognormal(0.0, 2.0, count)
    later = dict(zip(BAR_COLUMNS, (*prices, volume), strict=True))
    for name in out.columns.difference(list(BAR_COLUMNS)):
        later[str(name)] = rng.choice(bars[name].iloc[: max(begin, 1)].to_numpy(), count)
    for name, values in later.items():
        out[name] = np.concatenate((bars[name].to_numpy()[:begin], values))
    return out


def check_fit(
    fit: Callable[[pd.DataFrame], dict[str, Any]], bars: pd.DataFrame, until: int, *, part: str = "fit", seed: int = 0
) -> list[Leak]:
    """Leaks of what is fitted on training data (a scaler, weights, a threshold): it may not know what comes after it.

    Args:
        fit: from all bars, of which it knows itself which ones to learn from, to named numbers or arrays.
        bars: all of them.
        until: row after the last that it may learn from.
        part: what it is, for the words.
        seed: of the poison.
    """
    first, again = fit(bars), fit(poisoned(bars, until, np.random.default_rng(seed)))
    names = [name for name in first if not np.array_equal(np.asarray(first[name]), np.asarray(again.get(name)))]
    return [Leak(part, str(name), None, bars.index[until - 1]) for name in names]


def leading_columns(
    columns: pd.DataFrame, bars: pd.DataFrame, *, part: str = "columns", allowed: int = 0, most: int = 8
) -> list[Leak]:
    """Columns whose values, or whose changes, go with returns that come after what they may know.

    What honest columns know of the next return is a rank correlation of a few hundredths; one that is a bar early has
    nearly all of it.

    Args:
        columns: values by the open of the bar at whose close they are said to be known; text counts as classes.
        bars: with a close at these times.
        part: what they are, for the words.
        allowed: bars ahead that they may know: the horizon of labels, 0 of anything that trades.
        most: bars beyond that which are looked at.

    Returns:
        A leak per column that was found, at the lag at which it is strongest.
    """
    log_close = np.log(bars["close"].reindex(columns.index).to_numpy(dtype=np.float64))
    found = []
    for name in columns.columns:
        values = _as_numbers(columns[name])
        told = [_strongest(kind, log_close, allowed, most) for kind in (values, np.diff(values, prepend=np.nan))]
        strength, lag, count = max(told, key=lambda one: abs(one[0]))
        limit = max(SURE / np.sqrt(max(count, 1)), 0.0 if allowed else STRONG)
        if count >= 100 and abs(strength) > limit:
            found.append(Leak(part, str(name), lag, None, strength))
    return found


def _as_numbers(column: pd.Series) -> NDArray[np.float64]:
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.notna().sum() < column.notna().sum():  # text: classes in the order of their names
        return np.where(column.isna(), np.nan, pd.Categorical(column).codes).astype(np.float64)
    return numbers.to_numpy(dtype=np.float64)


def _strongest(
    values: NDArray[np.float64], log_close: NDArray[np.float64], allowed: int, most: int
) -> tuple[float, int, int]:
    """Largest rank correlation with a later return, the bar at which that return ends, and the number of pairs."""
    best = (0.0, allowed + 1, 0)
    for begin in range(allowed, allowed + most):
        for span in SPANS if allowed else (1,):
            ahead = begin + span
            if ahead >= len(values):
                continue
            later = log_close[ahead:] - log_close[begin : len(log_close) - span]
            pair = values[: len(values) - ahead], later
            known = ~(np.isnan(pair[0]) | np.isnan(pair[1]))
            strength = _rank_correlation(pair[0][known], pair[1][known])
            if abs(strength) > abs(best[0]) or best[2] == 0:
                best = (strength, ahead, int(known.sum()))
    return best


def _rank_correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Spearman's, ties sharing their mean rank; 0 where either does not vary."""
    if len(one) < 3:
        return 0.0
    ranks = [pd.Series(values).rank().to_numpy() for values in (one, other)]
    spread = [values - values.mean() for values in ranks]
    scale = float(np.sqrt(np.dot(spread[0], spread[0]) * np.dot(spread[1], spread[1])))
    return float(np.dot(spread[0], spread[1])) / scale if scale > 0.0 else 0.0


def summary_of(leaks: Sequence[Leak], checked: Sequence[str]) -> str:
    """What was checked and found, a line each."""
    bad = {leak.part for leak in leaks}
    lines = [f"{part}: clean" for part in checked if part not in bad]
    return "\n".join([*lines, *(f"LEAK {leak.words}" for leak in leaks)])
