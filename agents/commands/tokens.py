"""`cryptoenv tokens`: the token forecaster, trained, tested and tuned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from agents.commands import tokens_options as options
from agents.commands.options import MLflow, RecipeSeed, Seed
from agents.commands.tokens_testing import Asked, judged_in_test_mode, loaded, read
from agents.run_folders.new_outputs import told_when_interrupted

if TYPE_CHECKING:
    from pretrain.tokens.artifact import TokenForecaster
    from pretrain.tokens.recipe import TokenRecipe
    from pretrain.tokens.series import TokenSeries

app = typer.Typer(help="Which token pumps, when, how far: train, test and tune a forecaster of tokens.")

ACCELERATOR = {"auto": "auto", "cpu": "cpu", "cuda": "gpu"}
TRAINED = Path("runs/tokens")


@app.callback(invoke_without_command=True)
def tokens(
    context: typer.Context,
    recipe: options.RecipeName = "tokens",
    out: options.Out = TRAINED,
    data: options.Data = None,
    bar_seconds: options.BarSeconds = 5,
    num_tokens: options.NumTokens = None,
    timesteps: options.Timesteps = None,
    seq_length: options.SeqLength = None,
    embed_size: options.EmbedSize = None,
    nhead: options.Heads = None,
    dim_feedforward: options.Feedforward = None,
    dropout: options.Dropout = None,
    embedding: options.Embedding = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    split_strategy: options.SplitStrategy = None,
    split_fractions: options.TokenFractions = None,
    train_token_ratio: options.TrainTokenRatio = None,
    show_data_splits: options.ShowDataSplits = False,
    save_model: options.SaveModel = True,
    load_model: options.LoadModel = None,
    test_mode: options.TestMode = False,
    test_token_id: options.TestTokenId = None,
    test_token_range: options.TestTokenRange = None,
    forecast: options.Forecast = 1000,
    forecast_extended: options.ForecastExtended = 3000,
    paths: options.Paths = 64,
    seed: RecipeSeed = None,
    device: options.Device = "auto",
    resume: options.Resume = False,
    mlflow: MLflow = None,
) -> None:
    """Train a forecaster of tokens; with --test-mode, test it and forecast.

    Without --data it learns from synthetic tokens. What is not given is the recipe's.
    """
    if context.invoked_subcommand is not None:
        return
    given = {name: value for name, value in context.params.items() if value is not None}
    chosen = _recipe(given)
    if test_mode:
        if show_data_splits or resume:
            raise ValueError(f"--{'resume' if resume else 'show-data-splits'} and --test-mode: give one of them")
        from pretrain.tokens.run import JudgingPlan

        plan = JudgingPlan(forecast, forecast_extended, paths, seed=chosen.seed)
        asked = Asked(out, load_model, device, data, bar_seconds, test_token_id, test_token_range, mlflow)
        judged_in_test_mode(chosen, _sizes(given), asked, plan)
        return
    if test_token_id is not None or test_token_range is not None:
        raise ValueError("--test-token-id and --test-token-range go with --test-mode")
    _refuse_other_outputs(out, resume=resume)
    if device == "cuda":
        from pretrain.fitting.predicting import chosen_device

        chosen_device(device)  # what is not there is told before a folder is begun
    start = None if load_model is None else loaded(load_model, "cpu", _sizes(given))
    if start is not None:
        chosen = replace(chosen, architecture=start.config)
    series = read(chosen, data, bar_seconds)
    if show_data_splits:
        _show(series, chosen, out)
        return
    from pretrain import FitOptions
    from pretrain.tokens.run import train_tokens

    with told_when_interrupted(lambda: f"go on with the same command and --resume, if {out} holds checkpoints"):
        made = train_tokens(
            series, chosen, FitOptions(out, resume=resume, mlflow=mlflow), start=start, keep=save_model
        )  # fmt: skip
    _report(made, out, kept=save_model)


@app.command("tune")
def tune_tokens(
    recipe: options.RecipeName = "tokens_trained",
    data: options.Data = None,
    bar_seconds: options.BarSeconds = 5,
    trials: options.Trials = 50,
    workers: options.Workers = 1,
    seconds: options.Seconds = None,
    seed: Seed = 0,
    out: options.StudyFolder = Path("runs/tune-tokens"),
) -> None:
    """Search for better sizes and rates of the forecaster; pruned, resumable, several processes on one study."""
    from agents.run_folders.run_folder import refuse_earlier_run
    from pretrain.fitting.study import BEST_RECIPE, JOURNAL, Study
    from pretrain.tokens import tuning
    from pretrain.tokens.recipe import TokenRecipe

    study = Study(out, trials, workers, seed)
    if not (out / JOURNAL).exists():
        refuse_earlier_run(out)
    chosen = TokenRecipe.read(recipe)
    objective = tuning.TokenObjective(chosen, seconds, None if data is None else str(data), bar_seconds)
    objective.require_splits()
    with told_when_interrupted(lambda: f"the trials that had ended are kept in {out}: the same command goes on"):
        table = tuning.tune_tokens(study, objective)
    print(table.head(10).to_string(index=False))
    winner = table.iloc[0]
    print(f"winner: trial {winner['number']}, validation loss {winner['value']:.4f}; lower is better")
    print(f"best recipe: {out / BEST_RECIPE}")


def _sizes(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for of the architecture."""
    names = ("seq_length", "embed_size", "nhead", "dim_feedforward", "dropout", "embedding")
    return {name: given[name] for name in names if name in given}


def _recipe(given: Mapping[str, Any]) -> TokenRecipe:
    """The recipe that was named, with the options that were given."""
    from pretrain.tokens.recipe import TokenRecipe

    base = TokenRecipe.read(given["recipe"])
    own = ("num_tokens", "timesteps", "split_strategy", "train_token_ratio", "seed")
    changes: dict[str, Any] = {name: given[name] for name in own if name in given}
    if "split_fractions" in given:
        changes["split_fractions"] = options.fractions(given["split_fractions"])
    names = {"epochs": "epochs", "batch_size": "batch", "learning_rate": "learning_rate"}
    training = {names[name]: given[name] for name in names if name in given}
    training["accelerator"] = ACCELERATOR[given["device"]]
    return base.changed(
        architecture=replace(base.architecture, **_sizes(given)), training=replace(base.training, **training), **changes
    )


def _refuse_other_outputs(out: Path, *, resume: bool) -> None:
    """What is not a run of this command's is not to be mixed with one."""
    if resume:
        return
    for name in ("agent", "config.json", "seeds.json", "study.journal", "artifact", "checkpoints"):
        if (out / name).exists():
            raise FileExistsError(f"{out} holds an earlier run ({name}): choose another --out, or go on with --resume")


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


def _report(made: TokenForecaster, out: Path, *, kept: bool) -> None:
    from pretrain.tokens.run import ARTIFACT

    for name, value in sorted(made.provenance.metrics.items()):
        print(f"{name:24s} {value:12.4f}")
    where = f"in {out / ARTIFACT}" if kept else "was not kept"
    print(f"artifact {made.hash[:16]} {where}")
    if kept:
        print(f"test it with `cryptoenv tokens --test-mode --out {out}`")
