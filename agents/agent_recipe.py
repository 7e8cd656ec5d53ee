"""Recipes of agents: everything that decides a training, in one YAML file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from agents.cloning import CloningConfig
from agents.dagger import DaggerConfig
from agents.training import NAMES, TrainingConfig, new_config
from pretrain.config import ConfigError
from pretrain.typed_yaml import read_mapping, recipe_path, section

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class AgentRecipe:
    """What to train on, and how.

    Attributes:
        algorithm: one of `agents.training.NAMES`.
        market: name of a synthetic task, or a file of bars.
        extractor: "default", or the folder of an artifact.
        seed: of everything that is drawn.
        training: sizes, and the configurations of cloning and learning.
    """

    algorithm: str = "ppo"
    market: str = "standard"
    extractor: str = "default"
    seed: int = 0
    training: TrainingConfig = field(default_factory=TrainingConfig)

    @classmethod
    def read(cls, recipe: str | Path) -> Self:
        """A recipe by name (of those shipped) or from a YAML file, which names only what differs from the defaults.

        Its keys are `algorithm`, `market`, `extractor`, `seed`, `training` (fields of `TrainingConfig`), `cloning` (of
        `CloningConfig`), `dagger` (of `DaggerConfig`) and `learning` (of the algorithm's own configuration).

        Raises:
            ConfigError: no such recipe, no YAML, an unknown key or algorithm, or a value that is not allowed.
        """
        path = recipe_path(recipe, RECIPES)
        values = read_mapping(path)
        parts = {name: values.pop(name, {}) for name in ("training", "cloning", "dagger", "learning")}
        named = section(values, cls, str(path))
        algorithm = named.algorithm
        if algorithm not in NAMES:
            raise ConfigError(f"{path}: algorithm={algorithm!r} is unknown; choose one of {NAMES}")
        base = new_config(algorithm)
        if parts["learning"] and base is None:
            raise ConfigError(f"{path}: 'bc' learns nothing after cloning: leave 'learning' out")
        learning: Any = None if base is None else section(parts["learning"], type(base), f"{path}: learning")
        refuse_nested(parts["training"], str(path))
        training = section(parts["training"], TrainingConfig, f"{path}: training")
        cloning = section(parts["cloning"], CloningConfig, f"{path}: cloning") if parts["cloning"] else None
        correction = section(parts["dagger"], DaggerConfig, f"{path}: dagger")
        return replace(
            named, training=replace(training, cloning=cloning, dagger=correction, learning=learning)
        )

    def changed(self, **changes: Any) -> Self:
        """This recipe with other values; None leaves one as it is."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    def with_steps(self, steps: int | None) -> Self:
        """This recipe with another number of env steps; None leaves it as it is.

        Raises:
            ConfigError: "bc" has none.
        """
        if steps is None:
            return self
        if self.training.learning is None:
            raise ConfigError("'bc' takes no env steps: leave --steps out")
        return replace(self, training=replace(self.training, learning=replace(self.training.learning, steps=steps)))

    def with_dagger(self, rounds: int | None) -> Self:
        """This recipe with another number of rounds of DAgger; None leaves it as it is."""
        if rounds is None:
            return self
        return replace(self, training=replace(self.training, dagger=replace(self.training.dagger, rounds=rounds)))


def refuse_nested(training: object, where: str) -> None:
    """`cloning`, `dagger` and `learning` are sections of their own, and settings come from the extractor."""
    if isinstance(training, dict):
        for name in ("cloning", "dagger", "learning", "settings"):
            if name in training:
                raise ConfigError(f"{where}: training: {name!r} does not belong there")
