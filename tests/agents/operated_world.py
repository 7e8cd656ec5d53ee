"""A store that grows, and a small agent of an hour's bars that learned from its beginning: quick to train and trade."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from agents.cloning.behaviour_cloning import CloningConfig
from agents.run_folders.run_folder import Run
from agents.settings import TradingChoice
from agents.training.config import AgentTrainingConfig
from agents.training.pipeline import train
from cryptoenv.features import FeatureSpec
from cryptoenv.market.market import Market
from cryptoenv.store.key import SeriesKey
from cryptoenv.store.store import BarStore
from pretrain import Extractor, ExtractorConfig
from pretrain.data.scaler import RobustScaler
from pretrain.extractor.model import ExtractorModel
from pretrain.fitting.provenance import Provenance
from tests.naive.random_bars import random_bars

KEY = SeriesKey("binance", "BTC/USDT", "1h")
DAYS, LEARNED, DRIFTED = 170, 100, 125  #: of all bars; of those that are learned from; before they swing farther


def hourly_bars() -> pd.DataFrame:
    """Random bars whose returns and ranges are four times as large from a day on."""
    calm = random_bars(DAYS, seed=4, timeframe="1h")
    at = DRIFTED * 24
    steps = np.log(calm["close"]).diff().to_numpy().copy()
    steps[at:] *= 4.0
    close = 100.0 * np.exp(np.nancumsum(steps))
    opened = np.concatenate([[100.0], close[:-1]])
    spread = np.where(np.arange(len(calm)) < at, 1.001, 1.004)
    return calm.assign(
        open=opened, close=close, high=np.maximum(opened, close) * spread, low=np.minimum(opened, close) / spread
    )


def untrained_extractor(bars: pd.DataFrame) -> Extractor:
    """Of random weights: embeddings of features are all that a clone needs."""
    market = Market.from_bars(bars, ("1h",), features=FeatureSpec())
    config = ExtractorConfig(
        timeframes=("1h",), window=(8,), patches=(4,), width=8, layers=1, heads=1, feedforward=8
    ).for_market(market)
    scaler = RobustScaler.fit(config.timeframes, config.feature_names, market.features)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = ExtractorModel(config, scaler)
    return Extractor(model, scaler, Provenance("none", "", "", {}, {}, ()), market.feature_spec)


@dataclass
class World:
    """A folder with a store that grows, a run that learned from its first days, and the bars to come."""

    folder: Path
    bars: pd.DataFrame
    run: Run

    @property
    def series(self) -> Path:
        """Of the store."""
        return KEY.folder(self.folder / "store")

    @classmethod
    def made(cls, folder: Path) -> World:
        """Train it."""
        bars = hourly_bars()
        world = cls(folder, bars, None)  # type: ignore[arg-type]
        world.grow(LEARNED)
        untrained_extractor(bars.iloc[: LEARNED * 24]).save(folder / "extractor")
        config = AgentTrainingConfig(
            cloning=CloningConfig(samples=1024, epochs=1, batch_size=256), trading=TradingChoice()
        )
        world.run = train("bc", market=str(world.series), extractor=folder / "extractor", out=folder / "run",
                          config=config, progress=False)  # fmt: skip
        return world

    def grow(self, days: int) -> None:
        """The store has the bars of so many days."""
        part = self.bars.iloc[: days * 24]
        opens = pd.DatetimeIndex(part.index).as_unit("ms").asi8
        with BarStore(self.folder / "store").writer(KEY) as writer:
            writer.append(part, (int(opens[0]), int(opens[-1]) + 3_600_000))
