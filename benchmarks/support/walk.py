"""Bars without any meaning, for timing."""

import numpy as np
import pandas as pd


def walk_bars(bars: int, seed: int = 0) -> pd.DataFrame:
    """Random-walk 15m bars for timing."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(0.002 * rng.standard_normal(bars)))
    opened = np.concatenate([[100.0], close[:-1]])
    index = pd.date_range("1970-01-01", periods=bars, freq="15min", tz="UTC", name="timestamp")
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
    volume = rng.lognormal(12.0, 0.5, bars)
    return pd.DataFrame({"open": opened, "high": high, "low": low, "close": close, "volume": volume}, index=index)
