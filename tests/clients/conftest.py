"""Markets for third-party clients, and one thread for torch."""

import pytest
import torch

import cryptoenv
from tests.naive.random_bars import random_bars


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def market() -> cryptoenv.Market:
    """A market of 70 days of random 15m bars."""
    return cryptoenv.Market.from_bars(random_bars(70, seed=1))


@pytest.fixture(scope="session")
def markets(market: cryptoenv.Market) -> list[cryptoenv.Market]:
    """Two markets of unequal length."""
    return [market, cryptoenv.Market.from_bars(random_bars(62, seed=2))]
