"""Markets for the environment's tests."""

import pytest

import cryptoenv
from tests.naive.random_bars import random_bars


@pytest.fixture(scope="session")
def market() -> cryptoenv.Market:
    """A market of 70 days of random 15m bars."""
    return cryptoenv.Market.from_bars(random_bars(70, seed=1))


@pytest.fixture(scope="session")
def markets(market: cryptoenv.Market) -> list[cryptoenv.Market]:
    """Three markets of unequal length."""
    return [market] + [cryptoenv.Market.from_bars(random_bars(days, seed=days)) for days in (62, 66)]
