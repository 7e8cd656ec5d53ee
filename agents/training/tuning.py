"""Tuning of agents: what an algorithm earns on validation markets, over its learning rate and its ties to the clone."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from stable_baselines3.common.logger import KVWriter

from agents.markets.own_markets import data_named, maker_for
from agents.training.recipe import AgentRecipe
from cryptoenv.files.typed_values import ConfigError
from pretrain.fitting.study import BEST_RECIPE, Study, import_optuna, keep_study, optimise

if TYPE_CHECKING:
    import optuna
    import pandas as pd


class ReportsToTrial(KVWriter):
    """Tells a trial every evaluation but the first, which is the clone's; ends the training where it falls behind."""

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial, self._told = trial, 0

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Called by Stable-Baselines3's logger.

        Raises:
            optuna.TrialPruned: earlier trials were better by then.
        """
        if step == 0 or "validation/log_return" not in key_values:
            return
        self._told += 1
        self._trial.report(-float(key_values["validation/log_return"]), self._told)
        if self._trial.should_prune():
            raise import_optuna().TrialPruned

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class AgentObjective:
    """Minus the mean net log-return on validation markets after training a recipe with suggested values.

    Attributes:
        recipe: what is not suggested.
        markets: training markets, or None for the recipe's.
    """

    recipe: AgentRecipe
    markets: int | None = None

    @property
    def data(self) -> str:
        """What trials are judged on, for the ledger."""
        return data_named(self.recipe.market)

    def suggested(self, trial: optuna.Trial | optuna.trial.FrozenTrial) -> AgentRecipe:
        """The recipe with the values of a trial: those of its algorithm's configuration that are worth a search.

        Raises:
            ConfigError: the algorithm learns nothing ("bc").
        """
        training = self.recipe.training
        learning: Any = training.learning
        if learning is None:
            raise ConfigError("'bc' has nothing to tune after cloning; choose an algorithm that learns")
        known = {item.name for item in fields(learning)}
        values: dict[str, Any] = {"learning_rate": trial.suggest_float("learning_rate", 3e-5, 3e-3, log=True)}
        if "pull" in known:
            values["pull"] = trial.suggest_float("pull", 1e-3, 1.0, log=True)
        if "gamma" in known:
            values["gamma"] = 1.0 - trial.suggest_float("forgetting", 1e-3, 5e-2, log=True)
        if "margin_weight" in known:
            values["margin_weight"] = trial.suggest_float("margin_weight", 0.0, 1.0)
        if "entropy" in known:
            values["entropy"] = trial.suggest_float("entropy", 0.02, 0.5)
        if self.markets is not None:
            training = replace(training, train_markets=self.markets)
        return replace(self.recipe, training=replace(training, learning=replace(learning, **values)))

    def __call__(self, trial: optuna.Trial) -> float:
        """Train, and look at the best evaluation on validation markets."""
        from agents.policies.segmented_extractor import load_extractor
        from agents.training.pipeline import expert_markets_for, learn

        recipe = self.suggested(trial)
        extractor = load_extractor(recipe.extractor, recipe.segments)
        settings = recipe.training.settings_for(extractor)
        maker = maker_for(extractor, recipe.inputs, f"the extractor {recipe.extractor}")
        markets = expert_markets_for(recipe.market, settings, recipe.training, maker, progress=False)
        trained = learn(
            recipe.algorithm, extractor, markets, recipe.training, seed=recipe.seed, writer=ReportsToTrial(trial),
            progress=False,
        )  # fmt: skip
        # the first evaluation is the clone's, whatever was suggested
        return -max(score for step, score in trained.metrics["validation"] if step > 0)


def tune_agent(study: Study, objective: AgentObjective, *, progress: bool = True) -> pd.DataFrame:
    """Tune an agent's recipe; leaves `best_recipe.yaml`, `trials.csv` and pictures in the study's folder."""
    from agents.training.recipe import write_agent_recipe

    found = optimise(study, objective, progress=progress)
    write_agent_recipe(objective.suggested(found.best_trial), study.folder / BEST_RECIPE)
    return keep_study(study, found, asdict(objective.recipe))
