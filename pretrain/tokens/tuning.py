"""The search for a better recipe of a token forecaster."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from cryptoenv.files.durable_files import write_file
from pretrain.fitting.fitting import MONITOR, FitOptions
from pretrain.fitting.study import BEST_RECIPE, TABLE, Study, draw_study, import_optuna, optimise
from pretrain.tokens.recipe import TokenRecipe
from pretrain.tokens.run import tokens_of
from pretrain.tokens.series import TokenSeries
from pretrain.tokens.swaps import BAR_SECONDS, read_tokens
from pretrain.tokens.training import fit_tokens, split_tokens

if TYPE_CHECKING:
    import optuna
    import pandas as pd


@dataclass(frozen=True)
class TokenObjective:
    """The validation loss after training a recipe with suggested sizes and rates.

    Attributes:
        recipe: what is not suggested.
        seconds: CPU seconds of each training, or None for the recipe's steps.
        source: what to learn from, as `read_tokens` takes it; None for the recipe's synthetic tokens.
        bar_seconds: of rows that swaps are put into.
    """

    recipe: TokenRecipe
    seconds: float | None = None
    source: str | None = None
    bar_seconds: int = BAR_SECONDS

    @property
    def data(self) -> str:
        """What trials are judged on, for the ledger."""
        return f"{self.recipe.num_tokens} synthetic tokens" if self.source is None else Path(self.source).name

    def require_splits(self) -> None:
        """What cannot be split is told before a search.

        Raises:
            SeriesError, ValueError: as `split_tokens`.
        """
        split_tokens(_tokens(self.recipe, self.source, self.bar_seconds), self.recipe)

    def suggested(self, trial: optuna.Trial | optuna.trial.FrozenTrial) -> TokenRecipe:
        """The recipe with the values of a trial: embedding, heads, length, feed-forward, dropout, rate, batch."""
        longest = self.recipe.architecture.seq_length
        heads = trial.suggest_categorical("nhead", [1, 2, 4, 8])
        share = trial.suggest_categorical("seq_length_share", [0.25, 0.5, 1.0])
        architecture = replace(
            self.recipe.architecture,
            embed_size=16 * trial.suggest_int("embed_size_by_16", 1, 6),
            nhead=heads,
            seq_length=max(2, round(share * longest)),
            dim_feedforward=trial.suggest_categorical("dim_feedforward", [64, 128, 256, 512]),
            dropout=trial.suggest_float("dropout", 0.0, 0.3),
        )
        training = replace(
            self.recipe.training,
            learning_rate=trial.suggest_float("learning_rate", 2e-6, 1e-2, log=True),
            batch=trial.suggest_categorical("batch_size", [1, 4, 16, 32]),
        )
        return replace(self.recipe, architecture=architecture, training=training)

    def __call__(self, trial: optuna.Trial) -> float:
        """The validation loss of the weights that were kept; pruned where it falls behind others."""
        optuna = import_optuna()
        measurements = 0

        def measured(figures: dict[str, float]) -> None:
            nonlocal measurements
            measurements += 1
            trial.report(figures[MONITOR], measurements)
            if trial.should_prune():
                raise optuna.TrialPruned

        recipe = self.suggested(trial)
        if self.seconds is not None:
            # steps take a few hundredths of a second: often enough that a short trial can be pruned
            often = min(recipe.training.validate_every, max(10, round(10.0 * self.seconds)))
            training = replace(
                recipe.training, max_seconds=self.seconds, epochs=None, steps=10**6, validate_every=often
            )
            recipe = replace(recipe, training=training)
        tokens = _tokens(self.recipe, self.source, self.bar_seconds)
        options = FitOptions(progress=False, on_validation=measured)
        return fit_tokens(tokens, split_tokens(tokens, recipe), recipe, options).provenance.metrics[MONITOR]


@lru_cache(maxsize=1)
def _tokens(recipe: TokenRecipe, source: str | None, bar_seconds: int) -> tuple[TokenSeries, ...]:
    """What all trials learn from: made once per process."""
    return tokens_of(recipe) if source is None else read_tokens(source, bar_seconds)


def tune_tokens(study: Study, objective: TokenObjective, *, progress: bool = True) -> pd.DataFrame:
    """Tune a recipe, and write `best_recipe.yaml`, `trials.csv` and, with matplotlib, two pictures into the folder.

    Returns:
        All trials, best first: number, state, value, parameters.
    """
    found = optimise(study, objective, progress=progress)
    objective.suggested(found.best_trial).write(study.folder / BEST_RECIPE)
    table = found.trials_dataframe(attrs=("number", "state", "value", "params")).sort_values("value")
    write_file(study.folder / TABLE, table.to_csv(index=False))
    draw_study(found, study.folder)
    return table
