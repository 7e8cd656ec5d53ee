"""Small markets whose labels are planted in what their features show."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cryptoenv.market.market import Market
from pretrain import ExtractorConfig, LabelledMarket, PretrainingConfig

TIMEFRAMES = ("1h", "4h", "1d")
WINDOW = (16, 8, 4)
HOURS = 24 * 80


def random_bars(seed: int, hours: int = HOURS) -> pd.DataFrame:
    """A random walk of hourly bars from 2020-01-01 00:00 UTC."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, hours)))
    open_ = np.concatenate(([100.0], close[:-1]))
    wick = np.exp(rng.exponential(0.004, (2, hours)))
    index = pd.date_range("2020-01-01", periods=hours, freq="h", tz="UTC", name="timestamp")
    columns = {
        "open": open_,
        "high": np.maximum(open_, close) * wick[0],
        "low": np.minimum(open_, close) / wick[1],
        "close": close,
        "volume": rng.lognormal(3.0, 0.5, hours),
    }
    return pd.DataFrame(columns, index=index)


def random_market(seed: int) -> Market:
    return Market.from_bars(random_bars(seed), timeframes=TIMEFRAMES)


def planted(market: Market, feature: int = 0) -> LabelledMarket:
    """Go long when the mean of a feature over the last 4 bars is positive, else short, whatever is held."""
    rows = market.features[0][:, feature]
    recent = np.convolve(rows, np.ones(4), mode="full")[: len(rows)]
    labels = np.repeat(np.where(recent > 0.0, 2, 0).astype(np.int8)[:, None], 3, axis=1)
    labels[-1] = -1
    return LabelledMarket(market, labels, label_kind="planted")


def small_config(**changes: object) -> ExtractorConfig:
    values: dict[str, object] = {"timeframes": TIMEFRAMES, "window": WINDOW, "patches": (4, 4, 4), "width": 16}
    return ExtractorConfig(**(values | {"feedforward": 32, "horizons": (4, 8)} | changes))  # type: ignore[arg-type]


def small_training(**changes: object) -> PretrainingConfig:
    values: dict[str, object] = {"steps": 120, "batch": 128, "learning_rate": 5e-3, "validate_every": 40}
    return PretrainingConfig(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def markets() -> tuple[Market, ...]:
    return tuple(random_market(seed) for seed in range(3))
