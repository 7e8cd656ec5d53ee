"""Pretraining: a Transformer feature extractor learnt from labelled markets, and the artifact it is kept in.

>>> extractor = pretrain.fit_extractor(train, validation, seed=0, out="runs/extractor")
>>> extractor.save("runs/extractor/artifact")
>>> model = pretrain.load("runs/extractor/artifact")         # whatever model the folder holds
>>> table = model.predict(bars)                              # a DataFrame, one row per decidable bar
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptoenv.files.typed_values import ConfigError
from pretrain.extractor.config import ExtractorConfig
from pretrain.fitting.config import PretrainingConfig, TrainingConfig
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
    from pretrain.fitting.market_layout import MarketLayout
    from pretrain.fitting.predicting import Predictor
    from pretrain.loading import load

# Torch and Lightning take seconds to import: what needs them is loaded on first use.
_LAZY = {
    "ArtifactError": "pretrain.extractor.artifact",
    "Extractor": "pretrain.extractor.artifact",
    "LabelledMarket": "pretrain.data.labelled_market",
    "ExtractorModel": "pretrain.extractor.model",
    "FitOptions": "pretrain.fitting.fitting",
    "WindowDataset": "pretrain.data.windows",
    "MarketLayout": "pretrain.fitting.market_layout",
    "Predictor": "pretrain.fitting.predicting",
    "Recipe": "pretrain.extractor.recipe",
    "cached_embeddings": "pretrain.extractor.embedding_cache",
    "fit_extractor": "pretrain.extractor.training",
    "labelled_market": "pretrain.data.own_labels",
    "load": "pretrain.loading",
    "pretrain_extractor": "pretrain.extractor.recipe_runs",
}

__distribution__ = "cryptoenv-rl"

__all__ = [
    "ArtifactError",
    "ConfigError",
    "Extractor",
    "ExtractorConfig",
    "ExtractorModel",
    "FitOptions",
    "LabelledMarket",
    "MarketLayout",
    "Predictor",
    "PretrainingConfig",
    "Recipe",
    "TrainingConfig",
    "WindowDataset",
    "cached_embeddings",
    "fit_extractor",
    "labelled_market",
    "load",
    "pretrain_extractor",
]

drop_stale_cache(Path(__file__).parent, Path(__file__).parents[1] / "cryptoenv")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'pretrain' has no attribute {name!r}")
