"""`cryptoenv pretrain`: a recipe becomes an artifact; with bars, a pretrained extractor is fine-tuned on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from agents.commands.data_splits import shown_splits
from agents.commands.options import (
    Accelerator,
    Exogenous,
    Features,
    MLflow,
    RecipeSeed,
    Reference,
    SeveralBars,
    SplitFractions,
    Steps,
    Task,
    Timeframes,
    earlier,
    hidden,
    market_inputs,
)
from agents.run_folders.new_outputs import told_when_interrupted

if TYPE_CHECKING:
    from agents.training.model_trainings import Training
    from cryptoenv import Market
    from pretrain import FitOptions, LabelledMarket

FORECASTER = "forecaster"  #: what a recipe of a forecaster says its model is


def pretrain(
    recipe: Annotated[
        str | None,
        typer.Option(
            help="One of default, easy, finetune, bars, patterns (extractors), forecaster, forecaster_seed, hybrid "
            "(forecasters), segmenter, segmenter_anew, segmenter_seed (segmenters), or a YAML file.",
            show_default="default",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Run folder: logs, checkpoints, artifact.")] = Path("runs/pretrain"),
    seed: RecipeSeed = None,
    task: Task = None,
    steps: Steps = None,
    devices: Annotated[int | None, typer.Option(help="Processes that share each batch.", min=1)] = None,
    accelerator: Accelerator = None,
    resume: Annotated[bool, typer.Option(help="Go on with an interrupted run.")] = False,
    mlflow: MLflow = None,
    bars: SeveralBars = None,
    timeframes: Timeframes = None,
    features: Features = None,
    reference: Reference = None,
    exogenous: Exogenous = None,
    split_fractions: SplitFractions = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option(help="With --bars: learn these labels of your own (CSV or Parquet); give it once per market."),
    ] = None,
    from_artifact: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="With --bars: the artifact to go on from, or none for a new one.",
            metavar="ARTIFACT",
            show_default="default, none where options or recipe say what a market is made of",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="With --bars: time, token (other markets), mixed or strict (both).", show_default="time"),
    ] = None,
    embargo: Annotated[
        int | None,
        typer.Option(help="With --bars: base bars left out after a border of time.", min=0, show_default="96"),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(help="Of a forecaster: begin with the GPT-2 in this folder (config.json, model.safetensors)."),
    ] = None,
    show_data_splits: Annotated[bool, typer.Option(help="With --bars: print and draw the split, and stop.")] = False,
    start: Annotated[str | None, hidden("--start")] = None,
) -> None:
    """Pretrain a model on synthetic markets, or with --bars on your own: an extractor that exists is fine-tuned.

    The same recipe gives the same artifact on the same machine.
    """
    from pretrain import FitOptions

    if start is not None:
        earlier("--start", "--from")
        from_artifact = from_artifact or start
    of_bars = {
        "show-data-splits": show_data_splits or None, "from": from_artifact, "split": split, "embargo": embargo,
        "labels": labels, "split-fractions": split_fractions,
    }  # fmt: skip
    _require_bars(of_bars, bars or [], labels or [], task)
    inputs = market_inputs(timeframes, features, reference, exogenous, split_fractions=split_fractions)
    budget: dict[str, Any] = {"steps": steps, "devices": devices, "accelerator": accelerator}
    from agents.training.model_trainings import chosen_recipe

    chosen, begin = chosen_recipe(recipe, from_artifact, inputs, bars=bool(bars))
    chosen = chosen.changed(seed=seed, task=task, teacher=_teacher(chosen, bool(bars), bool(labels)))
    chosen = chosen.changed(
        training=replace(chosen.training, **{name: value for name, value in budget.items() if value is not None})
    )
    training = _training(chosen, begin, init)
    options = FitOptions(out, resume=resume, mlflow=mlflow)
    if not resume:
        _refuse_other_outputs(out)
    with told_when_interrupted(lambda: _kept(out)):
        if bars:
            _on_bars(training, (bars, labels or []), (split, embargo), options, only_show=show_data_splits)
        else:
            _report(training.on_task(options), options)


def _require_bars(of_bars: dict[str, Any], bars: list[Path], labels: list[Path], task: str | None) -> None:
    """Options that are of bars alone, by name and None where not given, and bars; labels for each, and no task.

    Raises:
        ValueError: names what does not go together.
    """
    for name, given in of_bars.items():
        if given is not None and not bars:
            raise ValueError(f"--{name} needs --bars: synthetic markets are split by seed family, never by time")
    if task is not None and bars:
        raise ValueError("--task names synthetic markets: leave it out where --bars are learned from")
    if labels and len(labels) != len(bars):
        counts = f"--labels is given {len(labels)} times, --bars {len(bars)} times"
        raise ValueError(f"{counts}: give each bars file its labels, in the same order")


def _training(recipe: Any, begin: Any, init: Path | None) -> Training:
    """How a model of the recipe's kind is trained."""
    from agents.training.model_trainings import TRAININGS, ForecasterTraining

    if init is None:
        return TRAININGS[recipe.model](recipe, begin)
    if recipe.model != FORECASTER:
        raise ValueError("--init needs a recipe of a GPT forecaster (--recipe forecaster)")
    return ForecasterTraining(recipe, begin, init)


def _teacher(recipe: Any, bars: bool, labels: bool) -> str | None:
    """What labels come from, where it is not what the recipe says."""
    from pretrain.data.teachers import OWN_LABELS

    if labels and recipe.model == FORECASTER:
        raise ValueError("--labels are of other models: a forecaster learns the returns of the bars themselves")
    if labels:
        return OWN_LABELS
    return "bars" if bars and recipe.model == "segmenter" else None


def _refuse_other_outputs(out: Path) -> None:
    """An artifact, an agent's run or a study in the folder is not to be mixed with a new pretraining."""
    names = ("artifact", "agent", "config.json", "seeds.json", "study.journal")
    held = [name for name in names if (out / name).exists()]
    if held:
        raise FileExistsError(f"{out} holds an earlier run ({held[0]}): choose another --out")


def _kept(out: Path) -> str:
    steps = [int(path.name.removeprefix("step-")) for path in (out / "checkpoints").glob("step-" + "[0-9]" * 12)]
    if not steps:
        return "nothing was kept: give the same command again"
    return f"kept in {out}: the training as of {max(steps):,} steps; go on with the same command and --resume"


def _report(extractor: Any, options: FitOptions) -> None:
    for name, value in sorted(extractor.provenance.metrics.items()):
        print(f"{name:24s} {value:10.4f}")
    assert options.out is not None
    print(f"artifact {extractor.hash[:16]} in {options.out / 'artifact'}")
    if (options.out / "pictures").is_dir():
        print(f"pictures in {options.out / 'pictures'}")


def _on_bars(
    training: Training,
    files: tuple[list[Path], list[Path]],
    how: tuple[str | None, int | None],
    options: FitOptions,
    *,
    only_show: bool,
) -> None:
    """Train on bars of one's own.

    `files`: of bars, and of their labels where there are any; `how`: the kind of split, and its embargo in bars, where
    they are given.
    """
    from pretrain.data.splits import How, SplitRule
    from pretrain.extractor.recipe_runs import EMBARGO
    from pretrain.fitting.market_inputs import MarketMaker

    maker = MarketMaker(training.layout, training.recipe.inputs)
    markets = [maker.market_at(file) for file in files[0]]
    own = _labelled(markets, files[1], training.positions)
    assert options.out is not None
    fractions, seed = training.recipe.inputs.fractions, training.recipe.seed
    embargo = EMBARGO if how[1] is None else how[1]
    rule = SplitRule(cast(How, how[0] or "time"), fractions, training.look_ahead, embargo, seed)
    splits = shown_splits(markets, training.layout.window, rule, options.out)
    if training.said:
        print(training.said)
    if not only_show:
        _report(training.on_bars(own or markets, splits, options), options)


def _labelled(markets: list[Market], files: list[Path], positions: tuple[float, ...]) -> list[LabelledMarket]:
    """The markets with the labels of their files; the first file says which classes there are."""
    from pretrain.data.own_labels import classes_of, labelled_market

    found: list[LabelledMarket] = []
    for market, file in zip(markets, files, strict=False):  # no files: no labels
        classes = classes_of(found[0]) if found else None
        found.append(labelled_market(market, file, positions=positions, classes=classes))
        for column in found[-1].columns:
            kind = f"classes {', '.join(column.classes)}" if column.classes else "numbers"
            print(f"labels {file.name}: {column.name}: {int(column.known.sum()):,} of {len(market):,} bars, {kind}")
    return found
