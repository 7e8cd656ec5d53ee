from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from agents.markets.expert_market import ExpertMarket, synthetic_markets
from agents.settings import TradingSettings
from benchmarks.support.browser import NoBrowserError, chromium
from pretrain import Extractor, ExtractorConfig, FitOptions, fit_extractor
from pretrain import PretrainingConfig as PretrainingConfig

SETTINGS = TradingSettings()


@pytest.fixture(scope="session")
def settings() -> TradingSettings:
    return SETTINGS


@pytest.fixture(scope="session")
def labelled() -> tuple[ExpertMarket, ...]:
    """Four short synthetic markets of the validation family."""
    return synthetic_markets("easy", "validation", 4, 5, SETTINGS, progress=False)


@pytest.fixture(scope="session")
def many() -> tuple[ExpertMarket, ...]:
    """Enough bars for statistics: 12 markets of 20 days of the train family."""
    return synthetic_markets("easy", "train", 12, 20, SETTINGS, progress=False)


@pytest.fixture(scope="session")
def extractor(labelled: tuple[ExpertMarket, ...]) -> Extractor:
    """A small extractor after a few steps: it knows little, and that fast."""
    labelled = [t.labelled for t in labelled]
    config = ExtractorConfig(width=16, layers=1, heads=2, feedforward=16)
    training = PretrainingConfig(steps=20, batch=128, validate_every=20, validation_windows=256)
    return fit_extractor(labelled[:3], labelled[3:], config, training, seed=0, options=FitOptions(progress=False))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium, driven by Playwright; tests skip where there is none.

    A module's: while Playwright is there, its thread has an event loop, and `asyncio.run` of other tests is refused.
    """
    with ExitStack() as stack:
        try:
            driven = stack.enter_context(chromium())
        except NoBrowserError as error:
            pytest.skip(str(error))
        yield driven
