"""The search for a better recipe of an extractor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptoenv.files.typed_values import require, written_values
from cryptoenv.market.stored_bars import name_of_place
from pretrain.data.stretches import ROWS
from pretrain.extractor.recipe import Recipe
from pretrain.fitting.config import PretrainingConfig
from pretrain.fitting.study import BEST_RECIPE, Study, import_optuna, keep_study, optimise

if TYPE_CHECKING:
    import optuna
    import pandas as pd


@dataclass(frozen=True)
class ExtractorObjective:
    """The validation loss of action labels after training a recipe with suggested values.

    Attributes:
        recipe: what is not suggested.
        seconds: CPU seconds of each training, or None for the recipe's steps.
        bars: files of bars, saved markets or series of a store to learn from instead of the recipe's task, split in
            time; the last part is not looked at.

    Raises:
        ConfigError: a recipe that rewards teach, which has no labels to be judged by.
    """

    recipe: Recipe
    seconds: float | None = None
    bars: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        labelled = not self.recipe.streams
        require(labelled, "teacher", self.recipe.teacher, "one that labels: rewards are not tuned by this search")

    @property
    def data(self) -> str:
        """What trials are judged on, for the ledger."""
        return " + ".join(sorted(name_of_place(Path(file)) for file in self.bars)) or self.recipe.task

    def suggested(self, trial: optuna.Trial | optuna.trial.FrozenTrial) -> Recipe:
        """The recipe with the values of a trial."""
        layout, training = self.recipe.architecture, self.recipe.training
        width = 16 * trial.suggest_int("width_by_16", 1, 4)
        share = trial.suggest_categorical("window_share", [0.25, 0.5, 1.0])
        layout = replace(
            layout,
            width=width,
            heads=trial.suggest_categorical("heads", [1, 2, 4, 8]),
            feedforward=width * trial.suggest_categorical("feedforward_by_width", [1, 2, 4]),
            window=tuple(_shortened(*sizes, share) for sizes in zip(layout.window, layout.patches, strict=True)),
            layers=trial.suggest_int("layers", 1, 3),
            memory=trial.suggest_categorical("memory", [32, 64, 96]) if layout.memory else 0,
            dropout=trial.suggest_float("dropout", 0.0, 0.3),
        )
        training = replace(
            training,
            learning_rate=trial.suggest_float("learning_rate", 5e-4, 2e-2, log=True),
            weight_decay=trial.suggest_float("weight_decay", 1e-3, 0.3, log=True),
            regime_weight=trial.suggest_float("regime_weight", 0.0, 2.0),
            batch=_batch(trial.suggest_categorical("batch_by_recipe", [0.5, 1.0, 2.0]), training, layout.memory),
        )
        return replace(self.recipe, architecture=layout, training=training)

    def __call__(self, trial: optuna.Trial) -> float:
        """The validation loss of action labels of the weights that were kept; pruned where it falls behind others."""
        from pretrain.extractor.recipe_runs import pretrain_extractor
        from pretrain.fitting.fitting import FitOptions

        optuna = import_optuna()
        measurements = 0

        def measured(figures: dict[str, float]) -> None:
            nonlocal measurements
            measurements += 1
            trial.report(figures["validation/action"], measurements)
            if trial.should_prune():
                raise optuna.TrialPruned

        recipe = self.suggested(trial)
        if self.seconds is not None:
            # a step takes about a quarter of a second: often enough that a short trial can be pruned
            often = min(recipe.training.validate_every, max(2, round(self.seconds / 2.0)))
            training = replace(recipe.training, max_seconds=self.seconds, validate_every=often)
            recipe = replace(recipe, training=training)
        options = FitOptions(progress=False, on_validation=measured)
        kept = pretrain_extractor(recipe, options, markets=_markets(self.recipe, self.bars))
        return kept.provenance.metrics["validation/action"]


def _shortened(window: int, patch: int, share: float) -> int:
    """A share of a window, in whole patches. None is longer than the recipe's: all trials see the same decisions."""
    return patch * max(1, round(share * window / patch))


def _batch(share: float, training: PretrainingConfig, memory: int) -> int:
    """A share of the recipe's batch that its devices, and a memory's stretches, can divide."""
    whole = training.devices * (ROWS if memory else 1)
    return whole * max(1, round(share * training.batch / whole))


@lru_cache(maxsize=1)
def _markets(recipe: Recipe, bars: tuple[str, ...]) -> Any:
    """What all trials of a recipe learn from and are measured on: made once per process."""
    from pretrain.extractor.recipe_runs import expert_markets, own_expert_markets

    if bars:
        return own_expert_markets(recipe, [Path(file) for file in bars])
    return expert_markets(recipe, progress=False)


def tune_extractor(study: Study, objective: ExtractorObjective, *, progress: bool = True) -> pd.DataFrame:
    """Tune a recipe, and write `best_recipe.yaml`, `trials.csv` and, with matplotlib, two pictures into the folder.

    Returns:
        All trials, best first: number, state, value, parameters.
    """
    found = optimise(study, objective, progress=progress)
    best = objective.suggested(found.best_trial)
    best.write(study.folder / BEST_RECIPE)
    return keep_study(study, found, written_values(objective.recipe))
