"""Pretraining: a Transformer feature extractor learnt from labelled markets, and the artifact it is kept in.

Training a small one takes seconds; one that is good takes minutes (`cryptoenv pretrain`).

>>> import pretrain
>>> from pretrain.data.teachers import labelled_sample
>>> from synthetic import regime_market, task_seeds
>>> markets = [
...     labelled_sample(regime_market("easy", days=2, seed=seed), ("15m", "4h", "1d"), (32, 16, 8))
...     for seed in task_seeds("easy", "extractor", 2)
... ]
>>> extractor = pretrain.fit_extractor(
...     markets[:1],
...     markets[1:],
...     pretrain.ExtractorConfig(width=16, layers=1, heads=2, feedforward=16),
...     pretrain.PretrainingConfig(steps=2, batch=32, validate_every=2, validation_windows=64),
...     seed=0,
...     options=pretrain.FitOptions(progress=False),
... )
>>> extractor.embed(markets[0].market).shape  # (T, D) float32
(5568, 16)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cryptoenv.files.typed_values import ConfigError
from pretrain.extractor.config import ExtractorConfig
from pretrain.fitting.config import PretrainingConfig, TrainingConfig
from synthetic.import_paths import lazy_names
from synthetic.jit_cache import drop_stale_cache

if TYPE_CHECKING:
    from pretrain.data.labelled_market import LabelledMarket
    from pretrain.data.own_labels import labelled_market
    from pretrain.data.windows import WindowDataset
    from pretrain.extractor.artifact import Extractor
    from pretrain.extractor.embedding_cache import cached_embeddings
    from pretrain.extractor.model import ExtractorModel
    from pretrain.extractor.recipe import Recipe
    from pretrain.extractor.recipe_runs import pretrain_extractor
    from pretrain.extractor.training import fit_extractor
    from pretrain.fitting.artifact_folder import ArtifactError
    from pretrain.fitting.fitting import FitOptions
    from pretrain.fitting.market_inputs import ExogenousSource, MarketInputs
    from pretrain.fitting.market_layout import MarketLayout
    from pretrain.fitting.predicting import Predictor
    from pretrain.fitting.streaming import stream
    from pretrain.forecaster.artifact import Forecaster
    from pretrain.forecaster.config import ForecasterConfig
    from pretrain.forecaster.recipe import ForecasterRecipe
    from pretrain.forecaster.recipe_runs import pretrain_forecaster
    from pretrain.forecaster.training import fit_forecaster
    from pretrain.loading import load, read_recipe
    from pretrain.segmenter.artifact import Segmenter
    from pretrain.segmenter.config import SegmenterConfig
    from pretrain.segmenter.recipe import SegmenterRecipe
    from pretrain.segmenter.recipe_runs import pretrain_segmenter
    from pretrain.segmenter.state_machine import StateMachine
    from pretrain.segmenter.stream import SegmentStream
    from pretrain.segmenter.training import fit_segmenter
    from pretrain.tokens.artifact import TokenForecaster
    from pretrain.tokens.hdf5_store import TokenStore
    from pretrain.tokens.recipe import TokenRecipe

# Torch and Lightning take seconds to import: what needs them is loaded on first use.
_HOMES = {
    "ArtifactError": "pretrain.fitting.artifact_folder",
    "ExogenousSource": "pretrain.fitting.market_inputs",
    "Extractor": "pretrain.extractor.artifact",
    "ExtractorModel": "pretrain.extractor.model",
    "FitOptions": "pretrain.fitting.fitting",
    "Forecaster": "pretrain.forecaster.artifact",
    "ForecasterConfig": "pretrain.forecaster.config",
    "ForecasterRecipe": "pretrain.forecaster.recipe",
    "LabelledMarket": "pretrain.data.labelled_market",
    "MarketInputs": "pretrain.fitting.market_inputs",
    "MarketLayout": "pretrain.fitting.market_layout",
    "Predictor": "pretrain.fitting.predicting",
    "Recipe": "pretrain.extractor.recipe",
    "SegmentStream": "pretrain.segmenter.stream",
    "Segmenter": "pretrain.segmenter.artifact",
    "SegmenterConfig": "pretrain.segmenter.config",
    "SegmenterRecipe": "pretrain.segmenter.recipe",
    "StateMachine": "pretrain.segmenter.state_machine",
    "TokenForecaster": "pretrain.tokens.artifact",
    "TokenRecipe": "pretrain.tokens.recipe",
    "TokenStore": "pretrain.tokens.hdf5_store",
    "WindowDataset": "pretrain.data.windows",
    "cached_embeddings": "pretrain.extractor.embedding_cache",
    "fit_extractor": "pretrain.extractor.training",
    "fit_forecaster": "pretrain.forecaster.training",
    "fit_segmenter": "pretrain.segmenter.training",
    "labelled_market": "pretrain.data.own_labels",
    "load": "pretrain.loading",
    "pretrain_extractor": "pretrain.extractor.recipe_runs",
    "pretrain_forecaster": "pretrain.forecaster.recipe_runs",
    "pretrain_segmenter": "pretrain.segmenter.recipe_runs",
    "read_recipe": "pretrain.loading",
    "stream": "pretrain.fitting.streaming",
}

__distribution__ = "cryptoenv-rl"

__all__ = [
    "ArtifactError",
    "ConfigError",
    "ExogenousSource",
    "Extractor",
    "ExtractorConfig",
    "ExtractorModel",
    "FitOptions",
    "Forecaster",
    "ForecasterConfig",
    "ForecasterRecipe",
    "LabelledMarket",
    "MarketInputs",
    "MarketLayout",
    "Predictor",
    "PretrainingConfig",
    "Recipe",
    "SegmentStream",
    "Segmenter",
    "SegmenterConfig",
    "SegmenterRecipe",
    "StateMachine",
    "TokenForecaster",
    "TokenRecipe",
    "TokenStore",
    "TrainingConfig",
    "WindowDataset",
    "cached_embeddings",
    "fit_extractor",
    "fit_forecaster",
    "fit_segmenter",
    "labelled_market",
    "load",
    "pretrain_extractor",
    "pretrain_forecaster",
    "pretrain_segmenter",
    "read_recipe",
    "stream",
]

drop_stale_cache(Path(__file__).parent, Path(__file__).parents[1] / "cryptoenv")

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
