"""From a recipe to a segmenter: on synthetic markets, or on bars of one's own; the run folder of both."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from cryptoenv.files.typed_values import ConfigError
from cryptoenv.market.market import Market
from pretrain.data.labelled_market import LabelledMarket
from pretrain.data.own_labels import labelled_spans
from pretrain.data.splits import Splits
from pretrain.data.teachers import OWN_LABELS
from pretrain.fitting.artifact_folder import json_bytes
from pretrain.fitting.fitting import LOG, FitOptions
from pretrain.fitting.market_inputs import require_synthetic
from pretrain.fitting.mlflow_tracking import log_run
from pretrain.fitting.run_folder import ARTIFACT, INPUTS, PICTURES, RECIPE, held, write_once
from pretrain.segmenter.artifact import Segmenter
from pretrain.segmenter.beginning import Start, loaded_start, require_start
from pretrain.segmenter.classes import labelled_parts, labelled_task, with_certain_labels
from pretrain.segmenter.recipe import SegmenterRecipe
from pretrain.segmenter.training import fit_segmenter
from synthetic.installation import install_hint

Parts = tuple[tuple[LabelledMarket, ...], tuple[LabelledMarket, ...]]  #: to learn from, and to validate on


def task_parts(recipe: SegmenterRecipe, *, progress: bool = True) -> Parts:
    """The synthetic markets of a recipe with its teacher's classes: "extractor" seeds, and "validation" seeds.

    Raises:
        ConfigError: the teacher is the user's own labels, which no synthetic market has.
    """
    if recipe.teacher == OWN_LABELS:
        raise ConfigError(f"teacher={OWN_LABELS!r} needs bars and labels of your own: give --bars and --labels")
    layout = recipe.layout
    require_synthetic(layout)
    train, validation = (
        labelled_task(
            recipe.task, family, count, recipe.days, timescales=recipe.timescales, layout=layout,
            teacher=recipe.teacher, progress=progress,
        )
        for family, count in (("extractor", recipe.markets), ("validation", recipe.validation_markets))
    )  # fmt: skip
    return train, validation


def bar_parts(markets: Sequence[Market] | Sequence[LabelledMarket], splits: Splits, recipe: SegmenterRecipe) -> Parts:
    """Train and validation parts of bars of one's own: with their labels, where the markets bring some, else by
    hindsight within each span (`synthetic.regime_labels`). The test part is not looked at.

    Raises:
        ConfigError: some markets have labels and some do not. LabelsError: a span without a label.
    """
    own = [item for item in markets if isinstance(item, LabelledMarket)]
    plain = [market for market in markets if isinstance(market, Market)]
    if own and plain:
        raise ConfigError(f"{len(own)} of {len(markets)} markets have labels of their own; allowed: all, or none")

    def part(name: str) -> tuple[LabelledMarket, ...]:
        if own:
            return tuple(with_certain_labels(item) for item in labelled_spans(own, splits.part(name)))
        return labelled_parts(plain, splits.part(name), recipe.timescales)

    return part("train"), part("validation")


def start_of(recipe: SegmenterRecipe) -> Start | None:
    """What the network of a recipe begins with; None where it begins anew.

    Raises:
        ConfigError: it does not fit the recipe's architecture and features. ArtifactError: it cannot be loaded.
    """
    if recipe.start is None:
        return None
    start, layout = loaded_start(recipe.start), recipe.layout
    require_start(replace(recipe.architecture, feature_names=layout.feature_names), layout.features, start)
    return start


def pretrain_segmenter(
    recipe: SegmenterRecipe, options: FitOptions, *, parts: Parts | None = None, inputs: dict[str, object] | None = None
) -> Segmenter:
    """Train what `recipe` describes; on the same machine, the same recipe gives the same artifact, bit for bit.

    Where `options.out` is given, that folder gets `recipe.yaml`, logs, checkpoints, `artifact/` and `pictures/`.

    Args:
        recipe: classes, features, architecture, training, machines.
        options: what is written and shown, and whether an interrupted run goes on.
        parts: what is learned from and validated on; `task_parts(recipe)` where None.
        inputs: what `inputs.json` says of them.

    Raises:
        ConfigError: the recipe does not fit its markets or its start. FileExistsError: `options.out` holds another run.
        FolderLockedError: another training writes there. CheckpointError: nothing good is left to resume from.
    """
    start = start_of(recipe)
    with held(options):
        train, validation = parts or task_parts(recipe, progress=options.progress)
        if options.out is not None:
            write_once(options.out / RECIPE, recipe.text(), options)
            if inputs is not None:
                write_once(options.out / INPUTS, json_bytes(inputs).decode(), options)
        trained = fit_segmenter(
            train, validation, recipe.architecture, recipe.training, choice=recipe.machine, balance=recipe.balance,
            seed=recipe.seed, options=options, start=start,
        )  # fmt: skip
        trained.provenance = replace(trained.provenance, recipe=recipe.digest)
        _keep(trained, validation, options)
        if options.mlflow is not None and options.out is not None:
            log_run(options.mlflow, options.out, recipe.values, trained.provenance.metrics)
    return trained


def segment_bars(
    markets: Sequence[Market] | Sequence[LabelledMarket], splits: Splits, recipe: SegmenterRecipe, options: FitOptions
) -> Segmenter:
    """`pretrain_segmenter` on bars of one's own; arguments as `bar_parts`, `inputs.json` says which bars they are."""
    plain = [market.market if isinstance(market, LabelledMarket) else market for market in markets]
    bars = [{"name": market.name, "hash": market.hash} for market in plain]
    parts = bar_parts(markets, splits, recipe)
    return pretrain_segmenter(recipe, options, parts=parts, inputs={"markets": bars, "splits": asdict(splits)})


def _keep(segmenter: Segmenter, held_out: Sequence[LabelledMarket], options: FitOptions) -> None:
    """Save the artifact and, where matplotlib is installed, the pictures."""
    if options.out is None:
        return
    segmenter.save(options.out / ARTIFACT)
    try:
        from pretrain.segmenter.pictures import draw_run

        draw_run(segmenter, held_out, Path(options.out) / PICTURES, Path(options.out) / LOG)
    except ModuleNotFoundError as error:
        warnings.warn(f"no pictures without {error.name}: {install_hint('report')}", stacklevel=3)
