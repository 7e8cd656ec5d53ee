"""`cryptoenv train`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from agents.commands.options import (
    Accelerator,
    Changes,
    Exogenous,
    Extractor,
    Features,
    Funding,
    Instrument,
    LearningDevice,
    MLflow,
    RecipeSeed,
    Reference,
    Reward,
    SeveralBars,
    SplitFractions,
    Steps,
    Task,
    Timeframes,
    hidden,
    market_inputs,
    of_earlier,
    one_source,
    recipe_changes,
)
from agents.run_folders.new_outputs import told_when_interrupted


def train(
    recipe: Annotated[str | None, typer.Option(help="One that ships (ppo, dqn, sac, ...), or a YAML file.")] = None,
    algo: Annotated[str | None, typer.Option(help="Instead of the recipe's algorithm: bc, ppo, dqn, sac, ...")] = None,
    task: Task = None,
    bars: SeveralBars = None,
    extractor: Extractor = None,
    timeframes: Timeframes = None,
    features: Features = None,
    reference: Reference = None,
    exogenous: Exogenous = None,
    funding: Funding = None,
    split_fractions: SplitFractions = None,
    instrument: Instrument = None,
    reward: Reward = None,
    changes: Changes = None,
    seed: RecipeSeed = None,
    steps: Steps = None,
    dagger: Annotated[int | None, typer.Option(help="Rounds of DAgger before that.", min=0)] = None,
    seeds: Annotated[int, typer.Option(help="That many runs, from --seed on, side by side.", min=1)] = 1,
    ray: Annotated[bool, typer.Option(help="Side by side over Ray.")] = False,
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/train"),
    mlflow: MLflow = None,
    accelerator: Accelerator = None,
    device: LearningDevice = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this interrupted run.", file_okay=False)] = None,
    force: Annotated[bool, typer.Option(help="Resume although something changed or is gone.")] = False,
    market: Annotated[str | None, hidden("--market")] = None,
) -> None:
    """Train an agent: demonstrations, clone, then reinforcement learning; saves a run folder."""
    from agents.run_folders.run_folder import Run, kept_of_run, read_json, refuse_earlier_run
    from agents.run_folders.run_origin import trained_in_words
    from agents.training.multi_seed import train_one, train_seeds
    from agents.training.pipeline import learning_device
    from agents.training.recipe import AgentRecipe, read_recipe

    task, bars = of_earlier(market, "--market", task, bars)
    given = {"algorithm": algo, "market": one_source(task, bars), "extractor": extractor, "seed": seed}
    changed = recipe_changes(instrument, reward, changes)
    inputs = market_inputs(
        timeframes, features, reference, exogenous, funding=funding, split_fractions=split_fractions
    )
    if resume is not None:
        if (
            any(value is not None for value in (recipe, *given.values(), steps, dagger))
            or seeds != 1
            or inputs.given
            or changed
        ):
            raise ValueError("--resume goes on with the run's own recipe and seeds: leave the other options out")
        chosen, seeds = read_recipe(resume)
        out = resume
    else:
        chosen = AgentRecipe.read(recipe or algo or "ppo", changed)
        if algo is not None and chosen.algorithm != algo:
            raise ValueError(f"--algo {algo} does not fit the recipe, whose algorithm is {chosen.algorithm}")
        chosen = chosen.changed(**given, inputs=inputs.over(chosen.inputs)).with_steps(steps).with_dagger(dagger)
        refuse_earlier_run(out)
    chosen = chosen.with_accelerator(accelerator).with_device(device)
    learning_device(chosen.algorithm, chosen.training)  # told before anything is begun
    if ray and seeds == 1:
        raise ValueError("--ray spreads several runs: give --seeds, too")
    with told_when_interrupted(lambda: kept_of_run(out)):
        if seeds == 1:
            runs = [Run.load(train_one(chosen, out, resume is not None, force, mlflow, progress=True))]
        else:
            runs = train_seeds(
                chosen, range(chosen.seed, chosen.seed + seeds), out, resume=resume is not None, force=force,
                mlflow=mlflow, ray=ray,
            )  # fmt: skip
    for run in runs:
        metrics = read_json(run.folder / "metrics.json")
        agent = run.agent
        said = trained_in_words(agent.algorithm, agent.margin, metrics, own_start=agent.answers_exposures)
        print(f"{run.folder}: {said}")
    print(f"report: cryptoenv report {shlex.quote(str(out))}")
