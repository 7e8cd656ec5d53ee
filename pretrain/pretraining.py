"""`pretrain_extractor`: a recipe's extractor, from seeds to artifact."""

from __future__ import annotations

from typing import cast

from pretrain.artifact import Extractor
from pretrain.fitting import FitOptions
from pretrain.lessons import Teacher, lessons
from pretrain.recipe import Recipe
from pretrain.training import fit_extractor
from pretrain.windows import LabelledMarket

ARTIFACT, RECIPE = "artifact", "recipe.yaml"


def pretrain_extractor(recipe: Recipe, options: FitOptions) -> Extractor:
    """Pretrain what `recipe` describes; on the same machine, the same recipe gives the same artifact, bit for bit.

    Where `options.out` is given, that folder gets `recipe.yaml`, logs, checkpoints and `artifact/`.

    Raises:
        ConfigError: the recipe does not fit its markets. FileExistsError: `options.out` holds another run.
    """
    layout = recipe.architecture
    teacher = cast(Teacher, recipe.teacher)

    def taught(family: str, count: int) -> tuple[LabelledMarket, ...]:
        return lessons(
            recipe.task,
            family,
            count,
            recipe.days,
            layout.timeframes,
            layout.window,
            teacher=teacher,
            progress=options.progress,
        )

    train, validation = taught("extractor", recipe.markets), taught("validation", recipe.validation_markets)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        recipe.write(options.out / RECIPE)
    extractor = fit_extractor(train, validation, layout, recipe.training, seed=recipe.seed, options=options)
    if options.out is not None:
        extractor.save(options.out / ARTIFACT)
    return extractor
