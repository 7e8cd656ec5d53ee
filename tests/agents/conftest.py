from __future__ import annotations

import pytest

from agents.settings import TradingSettings
from agents.taught_market import TaughtMarket, synthetic_markets
from pretrain import Extractor, ExtractorConfig, FitOptions, fit_extractor
from pretrain import TrainingConfig as PretrainingConfig

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


@pytest.fixture(scope="session")
def extractor(taught: tuple[TaughtMarket, ...]) -> Extractor:
    """A small extractor after a few steps: it knows little, and that fast."""
    labelled = [t.labelled for t in taught]
    config = ExtractorConfig(width=16, layers=1, heads=2, feedforward=16)
    training = PretrainingConfig(steps=20, batch=128, validate_every=20, validation_windows=256)
    return fit_extractor(labelled[:3], labelled[3:], config, training, seed=0, options=FitOptions(progress=False))
