"""`cryptoenv tokens`: the token forecaster, trained, tested and tuned."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from agents.commands.options import MLflow, RecipeSeed, Seed
from agents.run_folders.new_outputs import told_when_interrupted

if TYPE_CHECKING:
    from pretrain.data.splits import Splits
    from pretrain.tokens.artifact import TokenForecaster
    from pretrain.tokens.recipe import TokenRecipe
    from pretrain.tokens.run import JudgingPlan
    from pretrain.tokens.series import TokenSeries

app = typer.Typer(help="Which token pumps, when, how far: train, test and tune a forecaster of tokens.")

RECIPE_HELP = "tokens (the design's sizes and rates), tokens_trained (learns in minutes), or a YAML file."
DATA_HELP = "Real tokens: a store's folder, or a file of swaps or bars (CSV or Parquet)."
ACCELERATOR = {"auto": "auto", "cpu": "cpu", "cuda": "gpu"}
_FRACTIONS = re.compile(r"\s*([^,]+),([^,]+),([^,]+)\s*")

Data = Annotated[Path | None, typer.Option("--data", help=DATA_HELP)]
RecipeName = Annotated[str, typer.Option("--recipe", help=RECIPE_HELP)]
BarSeconds = Annotated[int, typer.Option("--bar-seconds", help="With --data: seconds of a row of swaps.", min=1)]


@app.callback(invoke_without_command=True)
def tokens(
    context: typer.Context,
    recipe: RecipeName = "tokens",
    out: Annotated[Path, typer.Option(help="Run folder: data, splits, log, artifact, pictures, figures.")] = Path(
        "runs/tokens"
    ),
    data: Data = None,
    bar_seconds: BarSeconds = 5,
    num_tokens: Annotated[int | None, typer.Option(help="Synthetic tokens.", min=1, show_default="5")] = None,
    timesteps: Annotated[int | None, typer.Option(help="Rows of each.", min=20, show_default="4000")] = None,
    seq_length: Annotated[int | None, typer.Option(help="Rows of a window.", min=2, show_default="500")] = None,
    embed_size: Annotated[int | None, typer.Option(help="Width of the network.", min=2, show_default="64")] = None,
    nhead: Annotated[int | None, typer.Option(help="Heads of attention.", min=1, show_default="4")] = None,
    dim_feedforward: Annotated[
        int | None, typer.Option(help="Units of a block's inner layer.", min=1, show_default="256")
    ] = None,
    dropout: Annotated[float | None, typer.Option(help="Share in [0, 1).", show_default="0.0")] = None,
    embedding: Annotated[
        Literal["conv", "linear"] | None, typer.Option(help="How rows are embedded.", show_default="conv")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the windows.", show_default="30")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows of a step.", min=1, show_default="1")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="AdamW's, at its highest.", show_default="2.2e-6")] = None,
    split_strategy: Annotated[
        Literal["time", "token", "mixed", "strict"] | None,
        typer.Option(help="time, token (other tokens), mixed (the last time of all) or strict.", show_default="time"),
    ] = None,
    split_fractions: Annotated[
        str | None, typer.Option(help="Train, validation and test.", show_default="0.4,0.2,0.4")
    ] = None,
    train_token_ratio: Annotated[
        float | None, typer.Option(help="With token or mixed: share of tokens that is learned from.")
    ] = None,
    show_data_splits: Annotated[bool, typer.Option(help="Print and draw the split, and stop.")] = False,
    save_model: Annotated[bool, typer.Option(help="Keep the artifact in the run folder.")] = True,
    load_model: Annotated[
        Path | None, typer.Option(help="An artifact, or a run, to go on from; with --test-mode, the one to test.")
    ] = None,
    test_mode: Annotated[bool, typer.Option(help="Test and forecast instead of training.")] = False,
    test_token_id: Annotated[int | None, typer.Option(help="With --test-mode: this token.")] = None,
    test_token_range: Annotated[
        str | None, typer.Option(help="With --test-mode: tokens A to B - 1, as A-B: 0-5.")
    ] = None,
    forecast: Annotated[int, typer.Option(help="Rows ahead of prediction_short.png.", min=1)] = 1000,
    forecast_extended: Annotated[int, typer.Option(help="Rows ahead of prediction_extended.png.", min=1)] = 3000,
    paths: Annotated[int, typer.Option(help="Sampled paths of a forecast.", min=2)] = 64,
    seed: RecipeSeed = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto: a GPU where there is one.")] = "auto",
    resume: Annotated[bool, typer.Option(help="Go on with an interrupted run.")] = False,
    mlflow: MLflow = None,
) -> None:
    """Train a forecaster of tokens; with --test-mode, test it and forecast.

    Without --data it learns from synthetic tokens. What is not given is the recipe's.
    """
    if context.invoked_subcommand is not None:
        return
    from pretrain.tokens.recipe import TokenRecipe
    from pretrain.tokens.run import JudgingPlan

    if (test_token_id is not None or test_token_range is not None) and not test_mode:
        raise ValueError("--test-token-id and --test-token-range go with --test-mode")
    if test_token_id is not None and test_token_range is not None:
        raise ValueError("--test-token-id and --test-token-range: give one of them")
    architecture = {
        "seq_length": seq_length, "embed_size": embed_size, "nhead": nhead, "dim_feedforward": dim_feedforward,
        "dropout": dropout, "embedding": embedding,
    }  # fmt: skip
    training = {"epochs": epochs, "batch": batch_size, "learning_rate": learning_rate}
    chosen = TokenRecipe.read(recipe)
    chosen = chosen.changed(
        num_tokens=num_tokens, timesteps=timesteps, split_strategy=split_strategy,
        split_fractions=None if split_fractions is None else fractions(split_fractions),
        train_token_ratio=train_token_ratio, seed=seed,
        architecture=replace(chosen.architecture, **_given(architecture)),
        training=replace(chosen.training, accelerator=ACCELERATOR[device], **_given(training)),
    )  # fmt: skip
    if test_mode:
        plan = JudgingPlan(forecast, forecast_extended, paths, seed=chosen.seed)
        _test(chosen, (data, bar_seconds), (out, load_model, device), (test_token_id, test_token_range), plan, mlflow)
        return
    _refuse_other_outputs(out, resume=resume)
    series = _read(chosen, data, bar_seconds)
    if show_data_splits:
        _show(series, chosen, out)
        return
    from pretrain import FitOptions
    from pretrain.tokens.run import ARTIFACT, train_tokens

    start = None if load_model is None else _loaded(load_model, "cpu")
    with told_when_interrupted(lambda: f"go on with the same command and --resume, if {out} holds checkpoints"):
        made = train_tokens(
            series, chosen, FitOptions(out, resume=resume, mlflow=mlflow), start=start, keep=save_model
        )  # fmt: skip
    for name, value in sorted(made.provenance.metrics.items()):
        print(f"{name:24s} {value:12.4f}")
    kept = f"in {out / ARTIFACT}" if save_model else "was not kept"
    print(f"artifact {made.hash[:16]} {kept}\ntest it with `cryptoenv tokens --test-mode --out {out}`")


@app.command("tune")
def tune_tokens(
    recipe: RecipeName = "tokens_trained",
    data: Data = None,
    bar_seconds: BarSeconds = 5,
    trials: Annotated[int, typer.Option(help="Finished trials that the study shall have.", min=1)] = 50,
    workers: Annotated[int, typer.Option(help="Processes side by side.", min=1)] = 1,
    seconds: Annotated[float | None, typer.Option(help="CPU seconds of each training.", min=1.0)] = None,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Of the study; one that exists goes on.")] = Path("runs/tune-tokens"),
) -> None:
    """Search for better sizes and rates of the forecaster; pruned, resumable, several processes on one study."""
    from agents.run_folders.run_folder import refuse_earlier_run
    from pretrain.fitting.study import BEST_RECIPE, JOURNAL, Study
    from pretrain.tokens import tuning
    from pretrain.tokens.recipe import TokenRecipe
    from pretrain.tokens.training import split_tokens

    study = Study(out, trials, workers, seed)
    if not (out / JOURNAL).exists():
        refuse_earlier_run(out)
    chosen = TokenRecipe.read(recipe)
    if data is not None:
        split_tokens(_read(chosen, data, bar_seconds), chosen)  # what cannot be split is told before the search
    objective = tuning.TokenObjective(chosen, seconds, None if data is None else str(data), bar_seconds)
    with told_when_interrupted(lambda: f"the trials that had ended are kept in {out}: the same command goes on"):
        table = tuning.tune_tokens(study, objective)
    print(table.head(10).to_string(index=False))
    winner = table.iloc[0]
    print(f"winner: trial {winner['number']}, validation loss {winner['value']:.4f}; lower is better")
    print(f"best recipe: {out / BEST_RECIPE}")


def fractions(text: str) -> tuple[float, float, float]:
    """Three shares of "0.4,0.2,0.4".

    Raises:
        ValueError: not three numbers.
    """
    found = _FRACTIONS.fullmatch(text)
    try:
        if found is not None:
            train, validation, test = (float(part) for part in found.groups())
            return train, validation, test
    except ValueError:
        pass
    raise ValueError(f"--split-fractions {text!r} is not allowed: three numbers that add up to 1, such as 0.4,0.2,0.4")


def token_range(text: str, count: int) -> range:
    """The ids of "A-B": A to B - 1.

    Raises:
        ValueError: no range, one that runs backwards or is empty, or one beyond the tokens there are.
    """
    found = re.fullmatch(r"\s*(\d+)\s*-\s*(\d+)\s*", text)
    allowed = f"A-B with 0 <= A < B <= {count} (tokens A to B - 1)"
    if found is None:
        raise ValueError(f"--test-token-range {text!r} is no range; allowed: {allowed}")
    first, last = int(found[1]), int(found[2])
    if first >= last:
        how = "runs backwards" if first > last else "is empty"
        raise ValueError(f"--test-token-range {text} {how}; allowed: {allowed}")
    if last > count:
        raise ValueError(f"--test-token-range {text} goes beyond the {count} tokens there are; allowed: {allowed}")
    return range(first, last)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _refuse_other_outputs(out: Path, *, resume: bool) -> None:
    """What is not a run of this command's is not to be mixed with one."""
    if resume:
        return
    for name in ("agent", "config.json", "seeds.json", "study.journal", "artifact", "checkpoints"):
        if (out / name).exists():
            raise FileExistsError(f"{out} holds an earlier run ({name}): choose another --out, or go on with --resume")


def _loaded(folder: Path, device: str) -> TokenForecaster:
    """The forecaster of an artifact, or of a run."""
    import pretrain

    found = pretrain.load(folder, device=device)
    if not isinstance(found, pretrain.TokenForecaster):
        raise ValueError(f"--load-model {folder} holds a model of something else than tokens")
    return found


def _read(recipe: TokenRecipe, data: Path | None, bar_seconds: int) -> tuple[TokenSeries, ...]:
    from pretrain.tokens.run import tokens_of
    from pretrain.tokens.swaps import read_tokens

    return tokens_of(recipe) if data is None else read_tokens(data, bar_seconds)


def _show(series: Sequence[TokenSeries], recipe: TokenRecipe, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from pretrain.tokens.run import SPLITS_PICTURE, prepared, split_table

    splits = prepared(out, series, recipe)
    table = Table("part", "token", "from", "to", "rows", title="data splits", title_justify="left")
    for row in split_table(series, splits):
        table.add_row(*row)
    Console().print(table)
    print(f"picture: {out / SPLITS_PICTURE}")


def _test(
    recipe: TokenRecipe,
    source: tuple[Path | None, int],
    model: tuple[Path, Path | None, str],
    wanted: tuple[int | None, str | None],
    plan: JudgingPlan,
    mlflow: str | None,
) -> None:
    """`source`: data and seconds of a row; `model`: run folder, artifact, device; `wanted`: token id, range of them."""
    from pretrain.fitting.mlflow_tracking import log_run
    from pretrain.tokens.hdf5_store import METADATA, SPLIT, TokenStore
    from pretrain.tokens.run import ARTIFACT, DATA, METRICS, judge_tokens

    out, artifact, device = model
    forecaster = _loaded(artifact or out / ARTIFACT, device)
    splits: Splits | None = None
    store = TokenStore(source[0] if source[0] is not None and source[0].is_dir() else out / DATA)
    if (source[0] is None or source[0].is_dir()) and (store.folder / METADATA).exists():
        if (store.folder / SPLIT).exists():
            splits = store.split()[0]
        series = store.read_all()
    else:
        series = _read(recipe, *source)
    chosen = _chosen(wanted, len(series), splits)
    if short := [n for n in chosen if len(series[n]) <= forecaster.config.seq_length]:
        need = f"seq_length={forecaster.config.seq_length} of the model"
        raise ValueError(f"token {short[0]} has {len(series[short[0]])} rows, which is too few for {need}")
    with told_when_interrupted(lambda: "the pictures that were drawn are kept; the same command draws them again"):
        found = judge_tokens(forecaster, series, chosen, splits, plan, out)
    print(f"tokens tested: {len(chosen)}, presents of each: {plan.origins}")
    for name, row in found["forecast"].items():
        print(f"{name:12s} " + "  ".join(f"{s} rows {_shown(value)}" for s, value in row.items()))
    for name in ("pump", "rise"):
        if name in found["pumps"]:
            figures = found["pumps"][name]
            print(f"{name:12s} average precision {_shown(figures['average_precision'])} "
                  f"(rows: {_shown(figures['share_of_rows'])})")  # fmt: skip
    if mlflow is not None:
        log_errors = found["forecast"]["log_error"].items()
        log_run(mlflow, out, {}, {f"test/log_error_{s}": value for s, value in log_errors if value is not None})
    print(f"figures: {out / METRICS}\npictures: {out / 'img'}, {out / 'predictions'}")


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _chosen(wanted: tuple[int | None, str | None], count: int, splits: Splits | None) -> list[int]:
    """The tokens to test: those asked for, else those of the test, else all."""
    number, text = wanted
    if number is not None:
        if not 0 <= number < count:
            raise ValueError(f"--test-token-id {number} is unknown; allowed: ids from 0 to {count - 1}")
        return [number]
    if text is not None:
        return list(token_range(text, count))
    return sorted({span.market for span in splits.test}) if splits is not None else list(range(count))
