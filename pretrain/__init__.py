"""Pretraining: a Transformer feature extractor learnt from labelled markets, and the artifact it is kept in.

>>> extractor = pretrain.fit_extractor(train, validation, seed=0, out="runs/extractor")
>>> extractor.save("runs/extractor/artifact")
>>> table = pretrain.Extractor.load("runs/extractor/artifact").embed(market)       # (T, D) float32
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrain.config import ConfigError, ExtractorConfig, TrainingConfig
from synthetic.jit_cache import drop_stale_cache

if TYPE_CHECKING:
    from pretrain.artifact import ArtifactError, Extractor
    from pretrain.embedding_cache import cached_embeddings
    from pretrain.extractor_model import ExtractorModel
    from pretrain.fitting import FitOptions
    from pretrain.pretraining import pretrain_extractor
    from pretrain.recipe import Recipe
    from pretrain.training import fit_extractor
    from pretrain.windows import LabelledMarket, WindowDataset

# Torch and Lightning take seconds to import: what needs them is loaded on first use.
_LAZY = {
    "ArtifactError": "pretrain.artifact",
    "Extractor": "pretrain.artifact",
    "LabelledMarket": "pretrain.windows",
    "ExtractorModel": "pretrain.extractor_model",
    "FitOptions": "pretrain.fitting",
    "WindowDataset": "pretrain.windows",
    "Recipe": "pretrain.recipe",
    "cached_embeddings": "pretrain.embedding_cache",
    "fit_extractor": "pretrain.training",
    "pretrain_extractor": "pretrain.pretraining",
}

__all__ = [
    "ArtifactError",
    "ConfigError",
    "Extractor",
    "ExtractorConfig",
    "ExtractorModel",
    "FitOptions",
    "LabelledMarket",
    "Recipe",
    "TrainingConfig",
    "WindowDataset",
    "cached_embeddings",
    "fit_extractor",
    "pretrain_extractor",
]

drop_stale_cache(Path(__file__).parent, Path(__file__).parents[1] / "cryptoenv")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'pretrain' has no attribute {name!r}")
