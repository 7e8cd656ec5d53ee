"""From a recipe to a forecaster: on synthetic markets, or on bars of one's own; the run folder of both."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

from cryptoenv.market.market import Market
from cryptoenv.progress import tqdm
from pretrain.data.forecast_windows import Part
from pretrain.data.splits import Span, Splits
from pretrain.fitting.artifact_folder import json_bytes
from pretrain.fitting.fitting import LOG, FitOptions
from pretrain.fitting.market_inputs import require_synthetic
from pretrain.fitting.mlflow_tracking import log_run
from pretrain.fitting.run_folder import ARTIFACT, INPUTS, PICTURES, RECIPE, held, write_once
from pretrain.forecaster.artifact import Forecaster
from pretrain.forecaster.recipe import ForecasterRecipe
from pretrain.forecaster.training import Start, fit_forecaster
from synthetic import regime_market, task_seeds
from synthetic.installation import install_hint


class ForecastParts(NamedTuple):
    """Parts of markets to learn from, and others to validate and calibrate on."""

    train: tuple[Part, ...]
    validation: tuple[Part, ...]


def synthetic_parts(recipe: ForecasterRecipe, *, progress: bool = True) -> ForecastParts:
    """The markets of a recipe: "extractor" seeds, and "validation" seeds.

    Raises:
        ConfigError: features read a reference or further columns: no synthetic market has such.
    """
    layout, found = recipe.layout, []
    require_synthetic(layout)
    for family, count in (("extractor", recipe.markets), ("validation", recipe.validation_markets)):
        seeds = tqdm(task_seeds(recipe.task, family, count), desc=f"markets ({family})", disable=not progress)
        samples = (regime_market(recipe.task, recipe.days, seed) for seed in seeds)
        markets = (layout.market(one.bars, name=one.name) for one in samples)
        found.append(tuple(map(Part, markets)))
    return ForecastParts(*found)


def parts_of(markets: Sequence[Market], spans: Sequence[Span]) -> tuple[Part, ...]:
    """The rows of one part of a split."""
    return tuple(Part(markets[span.market], span.start, span.stop) for span in spans)


def pretrain_forecaster(
    recipe: ForecasterRecipe,
    options: FitOptions,
    *,
    parts: ForecastParts | None = None,
    splits: tuple[Sequence[Market], Splits] | None = None,
    init: Path | None = None,
) -> Forecaster:
    """Pretrain what `recipe` describes; on the same machine, the same recipe gives the same artifact, bit for bit.

    Where `options.out` is given, that folder gets `recipe.yaml`, logs, checkpoints, `artifact/` and `pictures/`.

    Args:
        recipe: architecture, training, and what is learned from.
        options: what is written and shown, and whether an interrupted run goes on.
        parts: `synthetic_parts(recipe)` where they are at hand.
        splits: markets of one's own and their split, instead of synthetic ones; the test part is not looked at.
        init: folder of a GPT-2 to start from.

    Raises:
        ConfigError: the recipe does not fit its markets. FileExistsError: `options.out` holds another run.
        FolderLockedError: another pretraining writes there. CheckpointError: nothing good is left to resume from.
    """
    recipe.require_own()
    start = None if init is None else Start(init, recipe.frozen)
    if start is not None:  # before any market is made
        from pretrain.forecaster.gpt2_folder import like_gpt2

        like_gpt2(recipe.architecture, start.folder)
    with held(options):
        if splits is not None:
            parts = ForecastParts(parts_of(splits[0], splits[1].train), parts_of(splits[0], splits[1].validation))
        parts = parts or synthetic_parts(recipe, progress=options.progress)
        if options.out is not None:
            write_once(options.out / RECIPE, recipe.text(), options)
            if splits is not None:
                bars = [{"name": market.name, "hash": market.hash} for market in splits[0]]
                inputs = {"start": None if init is None else str(init), "markets": bars, "splits": asdict(splits[1])}
                write_once(options.out / INPUTS, json_bytes(inputs).decode(), options)
        trained = fit_forecaster(
            parts.train, parts.validation, recipe.architecture, recipe.training, seed=recipe.seed, options=options,
            start=start, calibrated=recipe.calibrate,
        )  # fmt: skip
        trained.provenance = replace(trained.provenance, recipe=recipe.digest)
        _keep(trained, parts.validation, options, calibrated=recipe.calibrate)
        if options.mlflow is not None and options.out is not None:
            log_run(options.mlflow, options.out, recipe.values, trained.provenance.metrics)
    return trained


def _keep(forecaster: Forecaster, held_out: Sequence[Part], options: FitOptions, *, calibrated: bool) -> None:
    """Save the artifact and, where matplotlib is installed, the pictures."""
    if options.out is None:
        return
    forecaster.save(options.out / ARTIFACT)
    try:
        from pretrain.forecaster.pictures import draw_run

        what = "validation rows, which the bands were put right on" if calibrated else "validation rows"
        draw_run(forecaster, held_out, options.out / PICTURES, options.out / LOG, rows_are=what)
    except ModuleNotFoundError as error:
        warnings.warn(f"no pictures without {error.name}: {install_hint('report')}", stacklevel=3)
