"""A tiny forecaster, trained once for all tests of the room."""

from __future__ import annotations

from typing import Any

import pytest

from cryptoenv.market.market import Market
from pretrain import FitOptions, PretrainingConfig
from pretrain.data.forecast_windows import Part
from pretrain.forecaster.artifact import Forecaster
from pretrain.forecaster.config import ForecasterConfig
from pretrain.forecaster.training import fit_forecaster
from tests.pretrain.conftest import TIMEFRAMES

QUIET = FitOptions(progress=False)
VARIANTS: dict[str, dict[str, Any]] = {
    "tokens": {},
    "channels": {"timescales": "channels", "window": (12, 1, 1)},
    "bins": {"tokens": "bins", "bins": 8},
    "attention": {"network": "attention", "steps": 0},
    "hybrid": {"network": "hybrid", "steps": 0, "window": (12, 1, 1)},
    "transformer": {"network": "transformer", "steps": 0},
    "informer": {"network": "informer", "steps": 0},
}
PUBLISHED: dict[str, dict[str, Any]] = {
    name: {"network": name, "steps": 0} for name in ("patchtst", "informer", "series_transformer")
}


def tiny_config(**changes: object) -> ForecasterConfig:
    values: dict[str, object] = {
        "timeframes": TIMEFRAMES, "window": (12, 3, 2), "width": 16, "layers": 1, "heads": 2, "feedforward": 16,
        "horizons": (1, 4, 8), "steps": 8, "dropout": 0.0,
    }  # fmt: skip
    return ForecasterConfig(**(values | changes))  # type: ignore[arg-type]


def tiny_training(**changes: object) -> PretrainingConfig:
    values: dict[str, object] = {
        "steps": 12, "batch": 32, "learning_rate": 5e-3, "validate_every": 6, "validation_windows": 128,
        "quantile_weight": 1.0,
    }  # fmt: skip
    return PretrainingConfig(**(values | changes))  # type: ignore[arg-type]


def tiny_forecaster(markets: tuple[Market, ...], **changes: object) -> Forecaster:
    return fit_forecaster(
        [Part(markets[0])], [Part(markets[1])], tiny_config(**changes), tiny_training(), seed=3, options=QUIET
    )


@pytest.fixture(scope="session")
def forecaster(markets: tuple[Market, ...]) -> Forecaster:
    return tiny_forecaster(markets)
