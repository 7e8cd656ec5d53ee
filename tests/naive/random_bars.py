"""Random valid bars for tests that need a market and no more."""

import numpy as np
import pandas as pd


def random_bars(days: float, seed: int = 0, timeframe: str = "15min", start: str = "2021-01-01") -> pd.DataFrame:
    """Random-walk bars with gaps between close and open, UTC, valid in every column."""
    rng = np.random.default_rng(seed)
    index = pd.date_range(
        start, periods=int(days * pd.Timedelta("1D") / pd.Timedelta(timeframe)), freq=timeframe, tz="UTC"
    )
    close = 100.0 * np.exp(np.cumsum(0.004 * rng.standard_normal(len(index))))
    opened = np.concatenate([[100.0], close[:-1]]) * np.exp(0.0005 * rng.standard_normal(len(index)))
    high = np.maximum(opened, close) * (1 + 0.002 * rng.random(len(index)))
    low = np.minimum(opened, close) / (1 + 0.002 * rng.random(len(index)))
    volume = rng.lognormal(8.0, 1.0, len(index))
    frame = pd.DataFrame({"open": opened, "high": high, "low": low, "close": close, "volume": volume}, index=index)
    return frame.rename_axis("timestamp")
