"""`cryptoenv evaluate` of a pretrained model's run, where it is no agent's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.commands.evaluate_choice import Choice as Choice  # where it was before
from agents.commands.evaluate_extractor import evaluate_extractor
from synthetic import REGIME_NAMES, SEED_FAMILIES, TASKS, task_seeds

if TYPE_CHECKING:
    import pandas as pd

    from pretrain.fitting.market_inputs import MarketInputs

#: Columns that are printed, and their heads; the whole table is written with --out.
SHOWN = {
    "accuracy": "accuracy", "balanced_accuracy": "balanced", "macro_f1": "macro-F1", "log_loss": "log loss",
    "covering": "covering", "delay": "delay", "false_changes_per_1000": "false / 1,000",
}  # fmt: skip


def kind_of_run(run: Path) -> str | None:
    """The kind of model in a run's folder; None where it is none that is evaluated here, as an agent."""
    from pretrain.fitting.artifact_folder import CONFIG, ArtifactError, kind_of
    from pretrain.fitting.run_folder import ARTIFACT

    if not (run / ARTIFACT / CONFIG).is_file():
        return None
    try:
        kind = kind_of(run / ARTIFACT)
    except ArtifactError:
        return None
    return kind if kind in EVALUATIONS else None


def evaluate_segmenter(run: Path, choice: Choice, inputs: MarketInputs, out: Path | None) -> None:
    """Score a segmenter on unseen markets of a task, or on a part in time of bars of one's own.

    Raises:
        ValueError: markets that do not fit it, or an unknown split.
    """
    from agents.run_folders.new_outputs import write_table
    from pretrain.fitting.run_folder import RECIPE
    from pretrain.loading import load, read_recipe
    from pretrain.segmenter.judging import score_table

    model: Any = load(run)
    recipe: Any = read_recipe(run / RECIPE)
    inputs = inputs.over(recipe.inputs)
    inputs.require_fits(model.layout, str(run))
    source = recipe.task if choice.source is None else choice.source
    if isinstance(source, str) and source in TASKS:
        judged, title = _of_task(model, recipe, source, choice)
    else:
        files = [Path(source)] if isinstance(source, str) else [Path(one) for one in source]
        judged, title = _of_bars(model, recipe, files, inputs, choice.split)
    table = score_table(model, judged)
    _print(table, title)
    write_table(table, out)


def _of_task(model: Any, recipe: Any, task: str, choice: Choice) -> tuple[list[Any], str]:
    """Synthetic markets with their true classes, and what they are called."""
    from pretrain.data.teachers import OWN_LABELS
    from pretrain.segmenter.judging import judged_task

    if recipe.teacher == OWN_LABELS or not all(scale.regimes for scale in recipe.timescales):
        raise ValueError(f"the segmenter's classes are those of its own labels; task {task!r} has none of them")
    if choice.split not in SEED_FAMILIES:
        raise ValueError(f"--split {choice.split!r} is unknown; choose one of {SEED_FAMILIES}")
    chosen = choice.seeds or task_seeds(task, choice.split, choice.markets)
    found = list(judged_task(model, recipe.timescales, task, chosen, choice.days))
    return found, f"{len(chosen)} markets of {choice.split!r}, task {task!r}"


def _of_bars(model: Any, recipe: Any, files: Sequence[Path], inputs: MarketInputs, split: str) -> tuple[list[Any], str]:
    """A part in time of bars, with classes by hindsight within it, and what it is called."""
    from cryptoenv.bar_files.reading import file_stem
    from pretrain.data.splits import PARTS, split_markets
    from pretrain.data.teachers import OWN_LABELS
    from pretrain.extractor.recipe_runs import EMBARGO
    from pretrain.fitting.market_inputs import MarketMaker
    from pretrain.segmenter.classes import labelled_parts
    from pretrain.segmenter.judging import Judged

    if split not in PARTS:
        raise ValueError(f"--split {split!r} is unknown for bars; choose one of {PARTS}")
    if recipe.teacher == OWN_LABELS or set(model.config.classes) != set(REGIME_NAMES):
        raise ValueError(f"hindsight of bars knows {REGIME_NAMES}; the segmenter's classes are {model.config.classes}")
    maker = MarketMaker(model.layout, inputs)
    markets = [maker.market_at(file) for file in files]
    look_ahead = max(scale.minimum for scale in recipe.timescales)
    splits = split_markets(
        markets, model.layout.window, "time", fractions=inputs.over(recipe.inputs).fractions, look_ahead=look_ahead,
        embargo=EMBARGO, seed=recipe.seed,
    )  # fmt: skip
    parts = labelled_parts(markets, splits.part(split), recipe.timescales)
    names = ", ".join(file_stem(file) for file in files)
    return [Judged(item) for item in parts], f"{names}, the {split} part in time; labels by hindsight"


def evaluate_tokens(run: Path, choice: Choice, inputs: MarketInputs, out: Path | None) -> None:
    """Judge a forecaster of tokens on the held-out tokens and times of its run, as `tokens --test-mode` does.

    Raises:
        ValueError: bars, a task or inputs, which it does not read; no run with its data.
    """
    from agents.commands.tokens_testing import Asked, judged_in_test_mode
    from pretrain.fitting.run_folder import RECIPE
    from pretrain.tokens.recipe import TokenRecipe
    from pretrain.tokens.run import JudgingPlan

    if choice.source is not None or inputs.given or out is not None:
        told = "leave --task, --bars and --out out"
        raise ValueError(f"{run} holds a forecaster of tokens, judged on its own tokens: {told}")
    recipe = TokenRecipe.read(str(run / RECIPE))
    asked = Asked(run, None, "cpu", None, 5, None, None, None)
    judged_in_test_mode(recipe, {}, asked, JudgingPlan(seed=recipe.seed))


#: Kind of model -> how its run is evaluated: the run's folder, on what, with which inputs, and a table to write.
EVALUATIONS: dict[str, Callable[[Path, Choice, Any, Path | None], None]] = {
    "cryptoenv-segmenter": evaluate_segmenter, "cryptoenv-extractor": evaluate_extractor,
    "cryptoenv-tokens": evaluate_tokens,
}  # fmt: skip


def _print(table: pd.DataFrame, title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = [name for name in SHOWN if name in table.columns]
    drawn = Table(title=title, title_justify="left")
    for name in ("timescale", "method"):
        drawn.add_column(name, no_wrap=True)
    for name in shown:
        drawn.add_column(SHOWN[name], justify="right")
    rows: Any = table[shown].iterrows()
    for (scale, method), row in rows:
        drawn.add_row(scale, method, *("" if value != value else f"{value:.3f}" for value in row))
    Console().print(drawn)
