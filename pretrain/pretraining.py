"""From a recipe to an artifact: pretraining on synthetic markets, fine-tuning on real bars; the run folder of both."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from cryptoenv.market import Market
from pretrain.artifact import Extractor
from pretrain.fitting import FitOptions
from pretrain.lessons import Teacher, bar_lessons, lessons
from pretrain.recipe import Recipe
from pretrain.splits import Splits
from pretrain.training import fit_extractor
from pretrain.windows import LabelledMarket

ARTIFACT, RECIPE, PICTURES, LOG = "artifact", "recipe.yaml", "pictures", "tensorboard"


def pretrain_extractor(recipe: Recipe, options: FitOptions) -> Extractor:
    """Pretrain what `recipe` describes; on the same machine, the same recipe gives the same artifact, bit for bit.

    Where `options.out` is given, that folder gets `recipe.yaml`, logs, checkpoints, `artifact/` and `pictures/`.

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
    _write_recipe(recipe, options)
    extractor = fit_extractor(train, validation, layout, recipe.training, seed=recipe.seed, options=options)
    _keep(extractor, validation, options)
    return extractor


def finetune_extractor(
    start: Extractor, markets: Sequence[Market], splits: Splits, recipe: Recipe, options: FitOptions
) -> Extractor:
    """Go on from `start` on real bars, with labels that need no truth; the test part is not looked at.

    Args:
        start: brings architecture and scaler.
        markets: of its timeframes and features.
        splits: of these markets, by `pretrain.splits.split_markets`.
        recipe: its teacher ("path" or "horizon"), training and seed count.
        options: as for `pretrain_extractor`.

    Raises:
        ValueError: a teacher that needs the truth. ArtifactError: a market does not fit `start`.
    """
    for market in markets:
        start.require(market)
    teacher = cast(Teacher, recipe.teacher)
    positions = start.config.positions
    train, validation = (
        bar_lessons(markets, part, teacher=teacher, positions=positions) for part in (splits.train, splits.validation)
    )
    _write_recipe(recipe, options)
    extractor = fit_extractor(train, validation, None, recipe.training, seed=recipe.seed, options=options, start=start)
    _keep(extractor, validation, options)
    return extractor


def _write_recipe(recipe: Recipe, options: FitOptions) -> None:
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        recipe.write(options.out / RECIPE)


def _keep(extractor: Extractor, held_out: Sequence[LabelledMarket], options: FitOptions) -> None:
    """Save the artifact and, where matplotlib is installed, the pictures."""
    if options.out is None:
        return
    extractor.save(options.out / ARTIFACT)
    try:
        from pretrain.pictures import draw_run

        draw_run(extractor, held_out, Path(options.out) / PICTURES, Path(options.out) / LOG)
    except ModuleNotFoundError as error:
        warnings.warn(f'no pictures without {error.name}: pip install "cryptoenv[report]"', stacklevel=3)
