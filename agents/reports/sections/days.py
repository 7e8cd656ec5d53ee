"""Returns of days of an account: what verdicts, intervals and comparisons rest on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.backtest.backtesting import daily_returns
from agents.reports.records.record import Track
from cryptoenv.analysis.returns import period_returns
from cryptoenv.bars.timeframe import DAY_MS


def days_of(track: Track) -> NDArray[np.float64]:
    """(days,) net returns of whole UTC days, as a backtest's verdict takes them."""
    return daily_returns(track.own, track.closes_ms)


def day_ends(track: Track) -> NDArray[np.int64]:
    """(days,) int64, when each of `days_of` ends, milliseconds."""
    closes = track.closes_ms
    return (closes[closes % DAY_MS == 0] if track.step_ms < DAY_MS else closes)[1:]


def dated_days(track: Track) -> dict[int, float]:
    """Day since 1970 -> net return, the first and the last day as far as they go."""
    days, returns = period_returns(track.own, track.closes_ms, "D")
    return dict(zip(days.tolist(), returns.tolist(), strict=True))
