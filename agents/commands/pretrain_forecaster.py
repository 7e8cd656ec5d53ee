"""`cryptoenv pretrain` with a recipe of a forecaster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from agents.commands.data_splits import shown_splits
from cryptoenv.files.typed_values import ConfigError

if TYPE_CHECKING:
    from pretrain import FitOptions
    from pretrain.fitting.market_inputs import MarketInputs


def pretrain_forecaster_command(
    recipe: str, given: Mapping[str, Any], inputs: MarketInputs, budget: Mapping[str, Any], options: FitOptions
) -> Any:
    """Trains what the recipe says; the forecaster, or None where only the split was to be shown.

    Args:
        recipe: name or file.
        given: what the command line says: seed, task, bars, init, split, embargo, show_data_splits; labels and from,
            which a forecaster has no use for.
        inputs: of the command line.
        budget: changes of the training.
        options: where to, and whether to go on.

    Raises:
        ConfigError: an option that says nothing of a forecaster.
    """
    from pretrain.forecaster.recipe import ForecasterRecipe
    from pretrain.forecaster.recipe_runs import pretrain_forecaster

    for name in ("labels", "from"):
        if given.get(name):
            raise ConfigError(f"--{name} is of extractors: a forecaster learns the returns of the bars themselves")
    chosen = ForecasterRecipe.read(recipe).changed(seed=given["seed"], task=given["task"]).with_inputs(inputs)
    chosen = chosen.changed(training=replace(chosen.training, **budget))
    assert options.out is not None
    splits = None
    if given["bars"]:
        from pretrain.data.splits import How, SplitRule
        from pretrain.fitting.market_inputs import MarketMaker

        maker = MarketMaker(chosen.layout, chosen.inputs)
        markets = [maker.market_at(file) for file in given["bars"]]
        kind = cast(How, given["split"] or "time")
        rule = SplitRule(kind, chosen.inputs.fractions, 0, given["embargo"] or 0, chosen.seed)
        splits = markets, shown_splits(markets, maker.layout.window, rule, options.out)
        print(f"a new forecaster, on {', '.join(maker.layout.timeframes)}")
        if given["show_data_splits"]:
            return None
    init = given["init"]
    return pretrain_forecaster(chosen, options, splits=splits, init=None if init is None else Path(init))
