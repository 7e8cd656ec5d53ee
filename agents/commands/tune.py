"""`cryptoenv tune`: Optuna over an extractor's recipe, or over an agent's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agents.commands.options import Seed, SeveralBars, Steps, Task, one_source
from agents.run_folders.new_outputs import told_when_interrupted


def tune(
    recipe: Annotated[str, typer.Option(help="Of an extractor, or with --agent of an agent.")] = "default",
    agent: Annotated[bool, typer.Option(help="Tune an agent's learning instead of an extractor.")] = False,
    task: Task = None,
    bars: SeveralBars = None,
    trials: Annotated[int, typer.Option(help="Finished trials that the study shall have.", min=1)] = 20,
    workers: Annotated[int, typer.Option(help="Processes side by side.", min=1)] = 1,
    markets: Annotated[int | None, typer.Option(help="Training markets, instead of the recipe's.", min=1)] = None,
    seconds: Annotated[float | None, typer.Option(help="CPU seconds of each pretraining.", min=1.0)] = None,
    steps: Steps = None,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Of the study; one that exists goes on.")] = Path("runs/tune"),
) -> None:
    """Search for a better recipe; pruned, resumable, several processes on one study."""
    from agents.run_folders.run_folder import refuse_earlier_run
    from pretrain.fitting.study import BEST_RECIPE, JOURNAL, Study

    if bars and not agent:
        raise ValueError("--bars tunes an agent on your own bars: give --agent, too; an extractor is tuned on a --task")
    study = Study(out, trials, workers, seed)
    if not (out / JOURNAL).exists():
        refuse_earlier_run(out)
    if agent:
        from agents.training.recipe import AgentRecipe
        from agents.training.tuning import AgentObjective, tune_agent

        base = (
            AgentRecipe.read("ppo" if recipe == "default" else recipe)
            .changed(market=one_source(task, bars))
            .with_steps(steps)
        )
        base.require_inputs()
        with told_when_interrupted(lambda: _kept(out)):
            table = tune_agent(study, AgentObjective(base, markets))
    else:
        from pretrain import Recipe
        from pretrain.extractor.tuning import ExtractorObjective, tune_extractor
        from synthetic import TASKS

        chosen = Recipe.read(recipe).changed(task=task, markets=markets)
        if chosen.task not in TASKS:
            raise ValueError(f"task={chosen.task!r} is unknown; choose one of {', '.join(TASKS)}")
        with told_when_interrupted(lambda: _kept(out)):
            table = tune_extractor(study, ExtractorObjective(chosen, seconds))
    print(table.head(10).to_string(index=False))
    if len(table):
        winner = table.iloc[0]
        meaning = "minus the net log-return on validation markets" if agent else "the validation loss of action labels"
        print(f"winner: trial {winner['number']}, value {winner['value']:.4f}; lower is better: it is {meaning}")
    print(f"best recipe: {out / BEST_RECIPE}\npictures:    {out}")


def _kept(out: Path) -> str:
    return f"the trials that had ended are kept in {out}: the same command goes on"
