"""How each kind of model is trained: on a synthetic task, and on bars of one's own, for `pretrain` and `retrain`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from cryptoenv import Market
    from pretrain import FitOptions, LabelledMarket, MarketLayout, Predictor
    from pretrain.data.splits import Splits
    from pretrain.fitting.market_inputs import MarketInputs

SEGMENTER = "segmenter"  #: the recipe that begins with the extractor that ships
NOTHING = "none"  #: what `--from` calls a beginning without an artifact


class Training(Protocol):
    """How the model of a recipe is trained.

    Attributes:
        recipe: a `ModelRecipe` with `inputs`, `training` and `seed`.
        layout: of the markets that it reads.
        look_ahead: base bars that its labels look ahead, purged before borders in time.
        positions: exposures that labels of exposures are the nearest of.
        said: what is trained, where it is new; else "".
    """

    recipe: Any
    layout: MarketLayout
    look_ahead: int
    positions: tuple[float, ...]
    said: str

    def on_task(self, options: FitOptions) -> Predictor:
        """Train on the recipe's synthetic markets."""

    def on_bars(
        self, markets: Sequence[Market] | Sequence[LabelledMarket], splits: Splits, options: FitOptions
    ) -> Predictor:
        """Train on bars of one's own, with their labels where the markets bring some."""


class ExtractorTraining:
    """An extractor, a new one or one that goes on from an artifact (on bars)."""

    def __init__(self, recipe: Any, start: str) -> None:
        from pretrain import Extractor

        self.recipe, self._start = recipe, None if start == NOTHING else Extractor.load(start)
        if self._start is not None:
            recipe.inputs.require_fits(self._start.layout, f"the extractor {start}")
        config = recipe.architecture if self._start is None else self._start.config
        self.layout = recipe.layout if self._start is None else self._start.layout
        self.look_ahead, self.positions = max(config.horizons), config.positions
        self.said = f"a new extractor, on {', '.join(config.timeframes)}" if self._start is None else ""

    def on_task(self, options: FitOptions) -> Predictor:
        """As `Training.on_task`."""
        from pretrain import pretrain_extractor

        return pretrain_extractor(self.recipe, options)

    def on_bars(
        self, markets: Sequence[Market] | Sequence[LabelledMarket], splits: Splits, options: FitOptions
    ) -> Predictor:
        """As `Training.on_bars`."""
        from pretrain.extractor.recipe_runs import finetune_extractor

        return finetune_extractor(self._start, markets, splits, self.recipe, options)


class SegmenterTraining:
    """A segmenter, which begins with the encoder that `--from` or its recipe names, or anew."""

    positions: tuple[float, ...] = (-1.0, 0.0, 1.0)

    def __init__(self, recipe: Any, start: str) -> None:
        from pretrain.segmenter.recipe_runs import start_of

        if start:
            recipe = replace(recipe, start=None if start == NOTHING else start)
        self.recipe, self.layout = recipe, recipe.layout
        self.look_ahead = max((scale.minimum for scale in recipe.timescales), default=0)
        start_of(recipe)
        begins = "" if recipe.start is None else f", beginning with {recipe.start}"
        self.said = f"a new segmenter, on {', '.join(self.layout.timeframes)}{begins}"

    def on_task(self, options: FitOptions) -> Predictor:
        """As `Training.on_task`."""
        from pretrain.segmenter.recipe_runs import pretrain_segmenter

        return pretrain_segmenter(self.recipe, options)

    def on_bars(
        self, markets: Sequence[Market] | Sequence[LabelledMarket], splits: Splits, options: FitOptions
    ) -> Predictor:
        """As `Training.on_bars`."""
        from pretrain.segmenter.recipe_runs import segment_bars

        return segment_bars(markets, splits, self.recipe, options)


class ForecasterTraining:
    """A forecaster, always a new one; `init`: the folder of a GPT-2 that it begins with, or None."""

    positions: tuple[float, ...] = (-1.0, 0.0, 1.0)
    look_ahead: int = 0  # a return that ends beyond a border is no target: nothing is left to purge

    def __init__(self, recipe: Any, start: str, init: Path | None = None) -> None:
        if start not in ("", NOTHING):
            raise ValueError(f"--from {start}: a forecaster is trained anew; leave it out")
        recipe.require_own()
        if init is not None:  # before bars are read and their splits drawn
            from pretrain.forecaster.gpt2_folder import like_gpt2

            like_gpt2(recipe.architecture, init)
        self.recipe, self.layout, self._init = recipe, recipe.layout, init
        self.said = f"a new forecaster, on {', '.join(self.layout.timeframes)}"

    def on_task(self, options: FitOptions) -> Predictor:
        """As `Training.on_task`."""
        from pretrain import pretrain_forecaster

        return pretrain_forecaster(self.recipe, options, init=self._init)

    def on_bars(
        self, markets: Sequence[Market] | Sequence[LabelledMarket], splits: Splits, options: FitOptions
    ) -> Predictor:
        """As `Training.on_bars`."""
        from pretrain import pretrain_forecaster

        plain: Any = markets
        return pretrain_forecaster(self.recipe, options, splits=(plain, splits), init=self._init)


#: Model, as a recipe names it -> how it is trained; called with the recipe and what `--from` says.
TRAININGS: dict[str, Callable[[Any, str], Training]] = {
    "extractor": ExtractorTraining,
    "segmenter": SegmenterTraining,
    "forecaster": ForecasterTraining,
}


def chosen_recipe(recipe: str | None, start: str | None, inputs: MarketInputs, *, bars: bool) -> tuple[Any, str]:
    """The recipe of a pretraining, and what it goes on from: an artifact or NOTHING.

    Args:
        recipe: its name or file; the usual one where None.
        start: what `--from` says; of models but extractors "" where it says nothing, the recipe's own start.
        inputs: what the command's options say of markets.
        bars: whether it is on bars of one's own.

    Raises:
        ConfigError: no such recipe, or values that are not allowed.
    """
    from pretrain.data.rewards import REWARDS
    from pretrain.fitting.recipe import EXTRACTOR
    from pretrain.loading import read_recipe

    named: Any = None if recipe is None else read_recipe(recipe)
    if named is not None and named.model != EXTRACTOR:
        start = start or (NOTHING if named.with_inputs(inputs).inputs.makes else "")
        if (recipe, start) == (SEGMENTER, NOTHING):
            named = read_recipe("segmenter_anew")  # what is learned anew needs another budget
        return named.with_inputs(inputs), start
    if start is None:
        anew = inputs.makes or (named is not None and named.inputs.makes)
        by_rewards = named is not None and named.teacher == REWARDS
        start = NOTHING if anew or not bars else "bars" if by_rewards else "default"
    usual = "default" if not bars else "horizon" if start == NOTHING else "finetune"
    chosen: Any = named or read_recipe(usual)
    return chosen.with_inputs(inputs), start
