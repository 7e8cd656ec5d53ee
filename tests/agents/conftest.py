from __future__ import annotations

import pytest

from agents.settings import TradingSettings
from agents.taught_market import TaughtMarket, synthetic_markets

SETTINGS = TradingSettings()


@pytest.fixture(scope="session")
def settings() -> TradingSettings:
    return SETTINGS


@pytest.fixture(scope="session")
def taught() -> tuple[TaughtMarket, ...]:
    """Four short synthetic markets of the validation family."""
    return synthetic_markets("easy", "validation", 4, 5, SETTINGS, progress=False)


@pytest.fixture(scope="session")
def many_taught() -> tuple[TaughtMarket, ...]:
    """Enough bars for statistics: 12 markets of 20 days of the train family."""
    return synthetic_markets("easy", "train", 12, 20, SETTINGS, progress=False)
