"""`cryptoenv tune`: Optuna over an extractor's recipe, or over an agent's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agents.commands.options import (
    Accelerator,
    Changes,
    Exogenous,
    Features,
    Funding,
    MLflow,
    Reference,
    Seed,
    SeveralBars,
    SplitFractions,
    Steps,
    Task,
    Timeframes,
    market_inputs,
    one_source,
    recipe_changes,
)
from agents.run_folders.new_outputs import told_when_interrupted

if TYPE_CHECKING:
    import pandas as pd


def tune(
    recipe: Annotated[str, typer.Option(help="Of an extractor, or with --agent of an agent.")] = "default",
    agent: Annotated[bool, typer.Option(help="Tune an agent's learning instead of an extractor.")] = False,
    task: Task = None,
    bars: SeveralBars = None,
    timeframes: Timeframes = None,
    features: Features = None,
    reference: Reference = None,
    exogenous: Exogenous = None,
    funding: Funding = None,
    split_fractions: SplitFractions = None,
    changes: Changes = None,
    trials: Annotated[int, typer.Option(help="Finished trials that the study shall have.", min=1)] = 20,
    workers: Annotated[int, typer.Option(help="Processes side by side.", min=1)] = 1,
    markets: Annotated[int | None, typer.Option(help="Training markets, instead of the recipe's.", min=1)] = None,
    seconds: Annotated[float | None, typer.Option(help="CPU seconds of each pretraining.", min=1.0)] = None,
    steps: Steps = None,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Of the study; one that exists goes on.")] = Path("runs/tune"),
    mlflow: MLflow = None,
    accelerator: Accelerator = None,
) -> None:
    """Search for a better recipe; pruned, resumable, several processes on one study."""
    from agents.run_folders.run_folder import refuse_earlier_run
    from pretrain.fitting.study import BEST_RECIPE, JOURNAL, Study

    study = Study(out, trials, workers, seed, mlflow=mlflow)
    inputs = market_inputs(timeframes, features, reference, exogenous, funding=funding, split_fractions=split_fractions)
    if not (out / JOURNAL).exists():
        refuse_earlier_run(out)
    if agent:
        from agents.training.recipe import AgentRecipe
        from agents.training.tuning import AgentObjective, tune_agent

        base = AgentRecipe.read("ppo" if recipe == "default" else recipe, recipe_changes(changes=changes))
        base = base.changed(market=one_source(task, bars), inputs=inputs.over(base.inputs)).with_steps(steps)
        base = base.with_accelerator(accelerator)
        base.require_inputs()
        with told_when_interrupted(lambda: _kept(out)):
            table = tune_agent(study, AgentObjective(base, markets))
    elif changes:
        raise ValueError("--set changes an agent's recipe: give --agent, too")
    else:
        from pretrain import Recipe
        from pretrain.extractor.recipe_runs import own_expert_markets
        from pretrain.extractor.tuning import ExtractorObjective, tune_extractor
        from pretrain.fitting.market_inputs import require_synthetic

        one_source(task, bars)  # one of them at most
        files = tuple(map(str, bars or ()))
        name = "horizon" if bars and recipe == "default" else recipe
        chosen = Recipe.read(name).changed(task=task, markets=markets).with_inputs(inputs)
        if accelerator is not None:
            chosen = chosen.changed(training=replace(chosen.training, accelerator=accelerator))
        if files:
            own_expert_markets(chosen, bars or ())  # what cannot be used is refused before a study begins
        else:
            require_synthetic(chosen.layout)
            chosen.inputs.require_own("synthetic markets have none")
        with told_when_interrupted(lambda: _kept(out)):
            table = tune_extractor(study, ExtractorObjective(chosen, seconds, files))
    print(table.head(10).to_string(index=False))
    print(_winner(table, agent=agent))
    print(f"best recipe: {out / BEST_RECIPE}\npictures:    {out}")


def _winner(table: pd.DataFrame, *, agent: bool) -> str:
    """The best of the completed trials in a line: its number, value and parameters, and which way is better."""
    done = table[table["state"] == "COMPLETE"]
    if not len(done):
        return "no trial was completed: there is no winner"
    best = done.iloc[0]
    meaning = "the validation loss of action labels"
    if agent:
        meaning = "minus the net log-return on validation markets, where 0 is what staying flat earns"
    values = {str(name): value for name, value in best.items() if str(name).startswith("params_") and value == value}
    chosen = ", ".join(f"{name.removeprefix('params_')} {value:.4g}" for name, value in values.items())
    flat = " The winner stays flat." if agent and best["value"] == 0.0 else ""
    return (
        f"winner: trial {best['number']}, value {best['value']:.4f} ({chosen}); lower is better: it is {meaning}.{flat}"
    )


def _kept(out: Path) -> str:
    return f"the trials that had ended are kept in {out}: the same command goes on"
