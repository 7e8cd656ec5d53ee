"""Small models in folders, untrained, and a service of them in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.live.serving.app import Service
from agents.live.serving.batching import Batching
from agents.live.serving.running import ServeOptions, new_service
from agents.policies.agent import Agent
from agents.policies.heads import new_policy
from agents.policies.policy_shape import PolicyShape
from agents.settings import TradingSettings
from agents.web.guard import Guard
from agents.web.limits import Limits
from cryptoenv.features import FeatureSpec
from cryptoenv.market.market import Market
from pretrain import Extractor, ExtractorConfig
from pretrain.data.scaler import RobustScaler
from pretrain.extractor.model import ExtractorModel
from pretrain.fitting.provenance import Provenance
from pretrain.forecaster.artifact import Forecaster
from pretrain.forecaster.config import ForecasterConfig
from pretrain.forecaster.model import ForecasterModel
from pretrain.segmenter.artifact import Anomaly, Segmenter
from pretrain.segmenter.config import SegmenterConfig, SegmenterFeatures
from pretrain.segmenter.model import SegmenterModel
from pretrain.segmenter.state_machine import StateMachine
from pretrain.segmenter.states import Machines
from pretrain.tokens.artifact import TokenForecaster
from pretrain.tokens.channels import channels
from pretrain.tokens.series import TokenSeries, synthetic_tokens
from synthetic.tokens.events import EventCounts
from synthetic.tokens.market import TokenConfig
from tests.pretrain.conftest import random_bars
from tests.pretrain.tokens.conftest import new_model, small_config

FRAMES = ("1h", "4h")
CLASSES = ("bear", "consolidation", "bull")
NOWHERE = Provenance("none", "")
SIZES: dict[str, Any] = {"timeframes": FRAMES, "width": 16, "layers": 1, "heads": 2, "feedforward": 16}
BARS = random_bars(5, 24 * 40)


def scaler_of(market: Market) -> RobustScaler:
    rows = [values[len(values) // 3 :] for values in market.features]
    return RobustScaler.fit(market.timeframes, market.feature_names, rows)


def segmenter(seed: int = 0) -> Segmenter:
    """Of one timeframe, with anomalies."""
    spec = SegmenterFeatures(pursuit_window=(16,), sparsity=2).spec(("1h",))
    market = Market.from_bars(BARS, ("1h",), features=spec)
    sizes = SIZES | {"timeframes": ("1h",), "window": (8,), "patches": (2,)}
    config = SegmenterConfig(**sizes, timescales=("1h", "4h"), classes=CLASSES).for_market(market)
    torch.manual_seed(seed)
    scaler = scaler_of(market)
    one = StateMachine(CLASSES)
    anomaly = Anomaly.fit(market.feature_names[0], market.features[0])
    model = SegmenterModel(config, scaler)
    return Segmenter(model, scaler, NOWHERE, market.feature_spec, Machines(("1h", "4h"), (one, one), one), anomaly)


def forecaster(network: str = "gpt", seed: int = 0, **changes: Any) -> Forecaster:
    market = Market.from_bars(BARS, FRAMES)
    sizes = SIZES | {"network": network, "window": (12, 3), "horizons": (1, 4), "dropout": 0.0} | changes
    config = ForecasterConfig(**sizes).for_market(market)
    torch.manual_seed(seed)
    scaler = scaler_of(market)
    return Forecaster(ForecasterModel(config, scaler), scaler, NOWHERE, market.feature_spec)


def extractor(seed: int = 0, **changes: Any) -> Extractor:
    market = Market.from_bars(BARS, FRAMES)
    config = ExtractorConfig(**(SIZES | {"window": (8, 4), "patches": (4, 2), "horizons": (4,)} | changes))
    config = config.for_market(market)
    torch.manual_seed(seed)
    scaler = scaler_of(market)
    return Extractor(ExtractorModel(config, scaler), scaler, NOWHERE, FeatureSpec())


def agent_run(folder: Path, seed: int = 0) -> Agent:
    """A run whose agent has an opinion about every bar."""
    made = extractor(seed, memory=8)
    shape = PolicyShape(made.width, 3)
    policy = new_policy(shape, 3)
    torch.manual_seed(seed)
    with torch.no_grad():
        for weights in policy.parameters():
            weights.normal_(0.0, 3.0)
    agent = Agent(made, policy, shape, replace(TradingSettings(), timeframes=FRAMES, window=(8, 4)))
    folder.mkdir()
    made.save(folder / "extractor")
    agent.save(folder / "agent")
    shutil.copytree(folder / "agent", folder / "clone")
    (folder / "config.json").write_text("{}", "utf-8")
    return agent


@pytest.fixture(scope="session")
def tokens() -> tuple[TokenSeries, ...]:
    return synthetic_tokens(TokenConfig(tokens=2, bars=60, events=EventCounts(pump_and_dump=1)), 3)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory, tokens: tuple[TokenSeries, ...]) -> Path:
    """`segments`, `forecasts` (a GPT), `hybrid`, `extract`, `tokens` and `run`."""
    root = tmp_path_factory.mktemp("served")
    segmenter().save(root / "segments")
    forecaster(steps=4).save(root / "forecasts")
    forecaster("hybrid", steps=0).save(root / "hybrid")
    extractor().save(root / "extract")
    rows = np.concatenate([channels(token.values) for token in tokens])
    normalization = np.stack([rows.mean(axis=0), rows.std(axis=0) + 1e-3])
    TokenForecaster(new_model(small_config()), normalization, NOWHERE).save(root / "tokens")
    agent_run(root / "run")
    return root


Made = Callable[..., tuple[Guard, Service]]


@pytest.fixture
def serve(folders: Path) -> Iterator[Made]:
    """Makes services of folders by name; they end with the test."""
    made: list[Service] = []

    def new(*names: str, root: Path = folders, **options: Any) -> tuple[Guard, Service]:
        given: dict[str, Any] = {"limits": Limits(rate=0.0), "batching": Batching(32, 0.05)}
        guard, service = new_service([root / name for name in names], ServeOptions(**(given | options)))
        made.append(service)
        return guard, service

    yield new
    for service in made:
        service.close()
