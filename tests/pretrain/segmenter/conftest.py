"""Small markets whose classes are planted in what their features show, and a segmenter that has learned them."""

from __future__ import annotations

import numpy as np
import pytest

from cryptoenv.market.market import Market
from pretrain import FitOptions, PretrainingConfig
from pretrain.data.labelled_market import LabelledMarket
from pretrain.segmenter.artifact import Segmenter
from pretrain.segmenter.classes import labelled
from pretrain.segmenter.config import SegmenterConfig, SegmenterFeatures
from pretrain.segmenter.training import fit_segmenter
from tests.pretrain.conftest import TIMEFRAMES, random_bars

QUIET = FitOptions(progress=False)
CLASSES = ("bear", "consolidation", "bull")
FEATURES = SegmenterFeatures(pursuit_window=(32, 16, 16), sparsity=4)
HOURS = 24 * 90
#: Of the features that classes are planted in: about a third of the bars lies below, between and above.
THIRDS = {"pursuit_end_slope": (-0.18, 0.18), "pursuit_end_level": (-0.8, 0.8)}


def pursued_market(seed: int, hours: int = HOURS) -> Market:
    return Market.from_bars(random_bars(seed, hours), TIMEFRAMES, features=FEATURES.spec(TIMEFRAMES))


def planted_classes(market: Market, rows: tuple[int, int | None] = (0, None)) -> LabelledMarket:
    """Class by the pursuit's slope at the end, on the base bars ("1h"), and by its level there ("4h")."""
    names = market.feature_names[0]
    own = []
    for feature in THIRDS:
        values = market.features[0][:, names.index(feature)]
        own.append(np.digitize(values, THIRDS[feature]).astype(np.int8))
    return labelled(market, own, ("1h", "4h"), CLASSES, kind="planted", rows=rows)


def small_segmenter_config(**changes: object) -> SegmenterConfig:
    values: dict[str, object] = {"timeframes": TIMEFRAMES, "window": (8, 4, 4), "patches": (2, 1, 1), "width": 16}
    return SegmenterConfig(**(values | {"layers": 1, "heads": 2, "feedforward": 32} | changes))  # type: ignore[arg-type]


def quick_training(**changes: object) -> PretrainingConfig:
    values: dict[str, object] = {"steps": 120, "batch": 128, "learning_rate": 5e-3, "validate_every": 40}
    return PretrainingConfig(**(values | {"validation_windows": 1024} | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def pursued() -> tuple[LabelledMarket, ...]:
    return tuple(planted_classes(pursued_market(seed)) for seed in range(3))


@pytest.fixture(scope="session")
def segmenter(pursued: tuple[LabelledMarket, ...]) -> Segmenter:
    return fit_segmenter(pursued[:2], pursued[2:], small_segmenter_config(), quick_training(), seed=1, options=QUIET)
