"""Where a replay begins: at the first decision, or after the bar that the journal stands at."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from agents.live.deciders import Decider
from cryptoenv.bars.series import base_series
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.features import FeatureSpec
from cryptoenv.live.journal import JOURNAL, Journal
from cryptoenv.market.market import Market


def first_of_replay(bars: pd.DataFrame, decider: Decider, folder: Path) -> int:
    """How many bars of a replay are history: up to the bar that the journal stands at, else the least that will do.

    Args:
        bars: of the replay.
        decider: what decides.
        folder: of the journal; nothing is written, and it need not be there.

    Raises:
        ValueError: too few bars, before the journal's too; or none after it.
    """
    kept, timeframe = _stands_at(folder), decider.timeframes[0]
    step, series = timeframe_ms(timeframe), base_series(bars, timeframe)
    last = len(series.ohlcv) - 1
    if kept is None:
        if (least := _least_history(bars, decider)) > last:
            raise ValueError(f"{last + 1} bars of {timeframe}: {least} come before the first decision, none is left")
        return least
    at = (kept - series.start_ms) // step
    said, rest = f"the journal of {folder} stands at the bar of {_utc(kept)}", "or another --state to begin anew"
    if at == last:
        raise ValueError(f"{said}, the replay's last: nothing is left to trade; give a file that goes on, {rest}")
    if not 0 <= at < last or (kept - series.start_ms) % step:
        ends = f"{_utc(series.start_ms)} to {_utc(series.start_ms + last * step)}"
        raise ValueError(f"{said}, none of the replay's ({ends}): give its file, {rest}")
    try:
        _least_history(bars.loc[bars.index < pd.Timestamp(kept + step, unit="ms", tz="UTC")], decider)
    except ValueError as error:
        raise ValueError(f"{said}, and the replay holds too little before it: {error}") from None
    return int(at) + 1


def _stands_at(folder: Path) -> int | None:
    """Open of the bar that a journal stands at, ms; None where there is none."""
    if not (folder / JOURNAL).exists():
        return None
    journal = Journal(folder)
    try:
        kept = journal.last_book()
    finally:
        journal.close()
    return None if kept is None else kept[0]


def _least_history(bars: pd.DataFrame, decider: Decider) -> int:
    """Bars until the first decision."""
    features = FeatureSpec.none() if decider.layout is None else decider.layout.features
    return Market.from_bars(bars, decider.timeframes, features=features).first_decision(decider.window) + 1


def _utc(ms: int) -> str:
    return f"{pd.Timestamp(ms, unit='ms'):%Y-%m-%d %H:%M} UTC"
