"""Targets from outside: a file of signals, or the states that a model tells."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.evaluation.backtest.rule import Rule, grid_of
from cryptoenv.bar_files.columns import TIME_NAMES, plain_name
from cryptoenv.bar_files.formats import read_raw_table
from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.bars.times import TimeReading, utc_times
from cryptoenv.market.market import Market

TARGET, CONFIDENCE = "target", "confidence"


class SignalsError(BarsError):
    """Signals that cannot be traded; the message names row and column."""


def read_signals(path: Path) -> pd.DataFrame:
    """A file of signals: a time, `target` (exposure) and, where they have one, `confidence` (0 to 1).

    Times are when a signal is known, in UTC where they do not say theirs.

    Returns:
        float64 columns `target` and `confidence` (1 where there is none), on a UTC index of times, in order.

    Raises:
        FileNotFoundError: no such file.
        SignalsError: no times or targets, a time that is there twice, a value that is not allowed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        return checked_signals(read_raw_table(path.read_bytes()).table)
    except BarsError as error:
        raise SignalsError(f"{path}: {error}") from error


def checked_signals(table: pd.DataFrame) -> pd.DataFrame:
    """As `read_signals`, of a table with the times as its index or as a column."""
    table = table.rename(columns=lambda name: plain_name(str(name)))
    named = next((name for name in TIME_NAMES if name in table.columns), None)
    if isinstance(table.index, pd.DatetimeIndex):
        times = table.index.to_series()
    elif named is not None:
        times = table[named]
    else:
        raise SignalsError(f"no column of times in {list(table.columns)}; needed: when each signal is known, as 'time'")
    if TARGET not in table.columns:
        raise SignalsError(f"no column {TARGET!r} in {list(table.columns)}; needed: the exposure that is asked for")
    index = pd.DatetimeIndex(utc_times(times, TimeReading("UTC"))[0])
    target = _numbers(table, TARGET)
    confidence = _numbers(table, CONFIDENCE) if CONFIDENCE in table.columns else np.ones(len(table))
    bad = (confidence < 0.0) | (confidence > 1.0)
    if bad.any():
        row = int(bad.argmax())
        raise SignalsError(f"row {row}, column {CONFIDENCE!r}: {confidence[row]:g} is not allowed: 0 to 1")
    found = pd.DataFrame({TARGET: target, CONFIDENCE: confidence}, index=index.rename("time")).sort_index()
    if found.index.has_duplicates:
        raise SignalsError(f"the time {found.index[found.index.duplicated()][0]} is there twice; allowed: once")
    return found


def _numbers(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    values = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        row = int((~np.isfinite(values)).argmax())
        raise SignalsError(f"row {row}, column {name!r}: {table[name].iloc[row]!r} is no finite number")
    return values


def signal_targets(signals: pd.DataFrame, market: Market, *, sized: bool = False) -> NDArray[np.float64]:
    """(T,) float64 targets at each close; NaN where nothing new is known, 0 before the first signal.

    A signal is acted upon at the first close at which it is known, that is at or after its time, and filled at the open
    after that; of several within one bar the last counts.

    Args:
        signals: of `read_signals`.
        market: whose bars are traded.
        sized: trade the target times the confidence.

    Raises:
        SignalsError: no signal falls into the market's bars.
    """
    step = timeframe_ms(market.timeframes[0])
    known = pd.DatetimeIndex(signals.index).as_unit("ms").asi8
    rows = -(-(known - market.start_ms) // step) - 1  # the bar whose close is at or after it
    wanted = signals[TARGET].to_numpy() * (signals[CONFIDENCE].to_numpy() if sized else 1.0)
    targets = np.full(len(market), np.nan)
    targets[0] = 0.0
    inside = (rows >= 0) & (rows < len(market))
    if not inside.any():
        raise SignalsError(
            f"no signal from {signals.index[0]} to {signals.index[-1]} falls into the bars, {market.bars.index[0]} to "
            f"{market.bars.index[-1]}"
        )
    before = np.flatnonzero(rows < 0)
    if len(before):
        targets[0] = wanted[before[-1]]
    targets[rows[inside]] = wanted[inside]
    return targets


def state_column(timescale: str) -> str:
    """Where a segmenter's table has the states of a timescale, such as "4h"; "all" is the machine over all of them."""
    return "state" if timescale == "all" else f"state_{timescale}"


def state_targets(
    table: pd.DataFrame, market: Market, timescale: str, *, long: float = 1.0, below: float = 0.0
) -> NDArray[np.float64]:
    """Long while the state of a timescale is "bull", `below` while it is "bear", kept in any other.

    Args:
        table: indexed by the open of the bar at whose close it is known: the states of a segmenter's machines (a column
            `state_4h`), else its predictions (columns such as `bull_4h`), of which the likeliest class is the state.
        market: whose bars are traded.
        timescale: whose columns count, such as "4h"; "all" is the machine over all of them.
        long, below: exposures.

    Returns:
        (T,) float64 targets at each close, NaN to keep.

    Raises:
        SignalsError: no such columns, or no such states.
    """
    held = state_column(timescale)
    if held in table.columns:
        state = table[held].astype(object).reindex(market.bars.index)
        if table[held].dtype == "category" and not {"bull", "bear"} <= set(table[held].cat.categories):
            has = list(table[held].cat.categories)[:40]
            raise SignalsError(f"no states 'bull' and 'bear' in {held!r}: it has {has}")
        return np.select([state == "bull", state == "bear"], [long, below], np.nan)
    ending = f"_{timescale}"
    columns = [str(name) for name in table.columns if str(name).endswith(ending)]
    states = [name.removesuffix(ending) for name in columns]
    if not {"bull", "bear"} <= set(states):
        raise SignalsError(f"no columns 'bull{ending}' and 'bear{ending}' in {list(table.columns)[:40]}")
    said = table[columns].reindex(market.bars.index).to_numpy(dtype=np.float64)
    targets = np.full(len(market), np.nan)
    told = ~np.isnan(said).any(axis=1)
    likeliest = np.array(states)[said[told].argmax(axis=1)]
    targets[told] = np.select([likeliest == "bull", likeliest == "bear"], [long, below], np.nan)
    return targets


def by_state_confidence(
    targets: NDArray[np.float64], table: pd.DataFrame, market: Market, timescale: str
) -> NDArray[np.float64]:
    """Targets (T,) times the probability of the state that is traded, as it is when the position begins.

    A position keeps its size: to follow every change of a probability would cost more than it is worth.

    Raises:
        SignalsError: no probabilities of that timescale ("all" has none).
    """
    columns = [f"{name}_{timescale}" for name in ("bull", "bear")]
    if not set(columns) <= set(table.columns):
        raise SignalsError(f"no columns {columns} in {list(table.columns)[:40]}: --size confidence reads them")
    bull, bear = (table[name].reindex(market.bars.index).to_numpy(np.float64) for name in columns)
    return _from_each_start(targets, np.where(targets > 0.0, bull, bear))


def by_rise_confidence(
    rule: Rule, market: Market, table: pd.DataFrame, *, shorts: bool
) -> NDArray[np.float64]:
    """Targets (T,) of a threshold rule times what its model is sure of, `|2 p - 1|` of a rise, as a position begins.

    Raises:
        SignalsError: the table has no probability of a rise, such as `up_4`, over the bars that the column is of.
    """
    column = str(dict(rule.values)["column"])
    bars = re.search(r"_(\d+)(?:_|$)", column)
    rise = f"up_{bars.group(1)}" if bars else "up"
    if rise not in table.columns:
        raise SignalsError(f"no column {rise!r} in {list(table.columns)[:40]}: --size confidence reads it")
    sure = np.abs(2.0 * table[rise].reindex(market.bars.index).to_numpy(np.float64) - 1.0)
    return _from_each_start(grid_of([rule], market, shorts=shorts, table=table).targets(0), sure)


def _from_each_start(targets: NDArray[np.float64], confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Targets (T,) times the confidence (T,) of the bar at which each was first asked for; NaN stays."""
    known = np.where(np.isnan(targets), -1, np.arange(len(targets)))
    last = np.maximum.accumulate(known)
    held = np.where(last < 0, np.nan, targets[np.maximum(last, 0)])
    begins = np.concatenate(([True], held[1:] != held[:-1]))
    start = np.maximum.accumulate(np.where(begins, np.arange(len(targets)), 0))
    return targets * np.clip(np.nan_to_num(confidence[start]), 0.0, 1.0)
