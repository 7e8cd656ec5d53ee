"""`load`: whatever model an artifact's folder holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from cryptoenv.features import FeatureFunction
from pretrain.extractor.artifact import shipped_place
from pretrain.fitting.artifact_folder import ArtifactError, kind_of
from pretrain.fitting.predicting import Predictor
from pretrain.fitting.recipe import ModelRecipe, model_of
from pretrain.fitting.run_folder import artifact_in

if TYPE_CHECKING:
    from pretrain.tokens.artifact import TokenForecaster

#: Kind of model, as `config.json` names it -> the class whose `load(folder, device=, functions=)` reads it.
LOADERS = {
    "cryptoenv-extractor": ("pretrain.extractor.artifact", "Extractor"),
    "cryptoenv-forecaster": ("pretrain.forecaster.artifact", "Forecaster"),
    "cryptoenv-segmenter": ("pretrain.segmenter.artifact", "Segmenter"),
    "cryptoenv-tokens": ("pretrain.tokens.artifact", "TokenForecaster"),
}
#: Model, as a recipe names it -> the class of its recipes; see `read_recipe`.
RECIPE_KINDS = {
    "extractor": ("pretrain.extractor.recipe", "Recipe"),
    "segmenter": ("pretrain.segmenter.recipe", "SegmenterRecipe"),
    "forecaster": ("pretrain.forecaster.recipe", "ForecasterRecipe"),
}


def load(
    folder: str | Path, *, device: str = "cpu", functions: Sequence[FeatureFunction] = ()
) -> Predictor | TokenForecaster:
    """The model that is kept in a folder, of whatever kind, after every check.

    >>> import pretrain, synthetic
    >>> model = pretrain.load("default")
    >>> table = model.predict(synthetic.regime_market("standard", days=2, seed=7).bars)   # one row per decidable bar

    Args:
        folder: of the artifact, or of the run that made it; "default" and "bars" are those that ship with the package.
        device: where it predicts: "cpu", "cuda", "auto" for a GPU where there is one.
        functions: code of the user's own features, where the model reads some: an artifact holds none.

    Raises:
        ArtifactError: no artifact, one of an unknown kind, one that was changed, or the code of a feature is missing.
        ValueError: no such device.
    """
    place = shipped_place(folder) or artifact_in(Path(folder))
    kind = kind_of(place)
    if kind not in LOADERS:
        raise ArtifactError(f"{place} holds a model of kind {kind!r:.100}, known are {sorted(LOADERS)}")
    module, name = LOADERS[kind]
    loader: Callable[..., Predictor | TokenForecaster] = getattr(import_module(module), name).load
    return loader(place, device=device, functions=functions)


def holds(folder: str | Path, kind: str) -> bool:
    """Whether a folder, or the artifact in a run's folder, holds a model of this kind; nothing else is checked."""
    try:
        return kind_of(artifact_in(Path(folder))) == kind
    except ArtifactError:
        return False


def read_recipe(recipe: str | Path) -> ModelRecipe:
    """A recipe by name (of those shipped) or from a YAML file, of the model that it says it is of.

    Raises:
        ConfigError: no such recipe, no YAML, an unknown model or key, or a value that is not allowed.
    """
    module, name = RECIPE_KINDS[model_of(recipe, RECIPE_KINDS)]
    kind: type[ModelRecipe] = getattr(import_module(module), name)
    return kind.read(recipe)
