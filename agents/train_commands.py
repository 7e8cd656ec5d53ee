"""`cryptoenv train`, `evaluate` and `play`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agents.new_outputs import (
    require_new_file,
    require_new_folder,
    told_when_interrupted,
    write_new_file,
    write_new_folder,
)


def train(
    recipe: Annotated[str | None, typer.Option(help="One that ships (ppo, dqn, sac, ...), or a YAML file.")] = None,
    algo: Annotated[str | None, typer.Option(help="Instead of the recipe's algorithm: bc, ppo, dqn, sac, ...")] = None,
    market: Annotated[str | None, typer.Option(help="easy, standard, hard, or a file of bars.")] = None,
    extractor: Annotated[str | None, typer.Option(help="default, or the folder of an artifact.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything that is drawn.", min=0)] = None,
    steps: Annotated[int | None, typer.Option(help="Env steps after cloning.", min=1)] = None,
    dagger: Annotated[int | None, typer.Option(help="Rounds of DAgger before that.", min=0)] = None,
    seeds: Annotated[int, typer.Option(help="That many runs, from --seed on, side by side.", min=1)] = 1,
    ray: Annotated[bool, typer.Option(help="Side by side over Ray.")] = False,
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/train"),
    mlflow: Annotated[str | None, typer.Option(help="Also log to this MLflow experiment.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this interrupted run.", file_okay=False)] = None,
    force: Annotated[bool, typer.Option(help="Resume although configuration or data changed.")] = False,
) -> None:
    """Train an agent: demonstrations, clone, then reinforcement learning; saves a run folder."""
    from agents.agent_recipe import AgentRecipe
    from agents.multi_seed import train_one, train_seeds
    from agents.run_folder import Run, kept_of_run, read_json, read_recipe, refuse_earlier_run
    from agents.run_origin import trained_in_words

    given = {"algorithm": algo, "market": market, "extractor": extractor, "seed": seed}
    if resume is not None:
        if any(value is not None for value in (recipe, *given.values(), steps, dagger)) or seeds != 1:
            raise ValueError("--resume goes on with the run's own recipe and seeds: leave the other options out")
        chosen, seeds = read_recipe(resume)
        out = resume
    else:
        chosen = AgentRecipe.read(recipe or algo or "ppo")
        if algo is not None and chosen.algorithm != algo:
            raise ValueError(f"--algo {algo} does not fit the recipe, whose algorithm is {chosen.algorithm}")
        chosen = chosen.changed(**given).with_steps(steps).with_dagger(dagger)
        refuse_earlier_run(out)
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
        print(f"{run.folder}: {trained_in_words(run.agent.algorithm, run.agent.margin, metrics)}")


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder, or a folder of seeds.", exists=True, file_okay=False)],
    markets: Annotated[
        str | None, typer.Option(help="Synthetic task. Without it: what the run was trained on, bars too.")
    ] = None,
    bars: Annotated[Path | None, typer.Option(help="Bars instead: the last fifth of them.", dir_okay=False)] = None,
    split: Annotated[str, typer.Option(help="Seed family: validation to choose, test for final figures.")] = "test",
    count: Annotated[int, typer.Option(help="Markets.", min=1)] = 32,
    seeds: Annotated[list[int] | None, typer.Option(help="Markets by seed instead; give it once per market.")] = None,
    days: Annotated[int, typer.Option(help="Tradable days of each.", min=1)] = 60,
    out: Annotated[Path | None, typer.Option(help="Also write the table as CSV.")] = None,
) -> None:
    """Score a run's agent and clone beside the baselines on unseen markets."""
    from agents.evaluation import DEFAULT_TASK, charged_in_words, evaluate_on_bars, evaluate_runs
    from agents.report import print_table
    from agents.run_folder import load_runs
    from agents.run_origin import KEPT_CLONE, kept_clone, own_market

    if out is not None:
        require_new_file(out)
    runs = load_runs(run)
    if bars is not None and markets is not None:
        raise ValueError("--bars and --markets: judge on one of them at a time")
    chosen = bars or markets or own_market(runs[0])
    own = ", what it was trained on" if chosen is not None and bars is None and markets is None else ""
    if isinstance(chosen, Path):
        table = evaluate_on_bars(runs, chosen)
        title = f"{chosen.name}, the last fifth of the bars{own}"
    else:
        task = chosen or DEFAULT_TASK
        table = evaluate_runs(runs, market=task, split=split, markets=count, days=days, seeds=seeds or ())
        which = f"{len(seeds)} markets by seed" if seeds else f"{count} markets of {split!r}"
        title = f"{which}, task {task!r}{own}, {len(runs)} run(s)"
    if any(kept_clone(one) for one in runs):
        title += f"\n{KEPT_CLONE}" + (" (= clone)" if len(runs) > 1 else "")
    print_table(table, title, charged=charged_in_words(runs[0].agent.settings, real=isinstance(chosen, Path)))
    if out is not None:
        write_new_file(out, table.to_csv)
        print(f"table: {out}")


def play(
    run: Annotated[Path, typer.Argument(help="Run folder.", exists=True, file_okay=False)],
    render: Annotated[str, typer.Option(help="human, ansi, or rgb_array, which is saved.")] = "ansi",
    market: Annotated[str, typer.Option(help="Synthetic task, or a file of bars.")] = "standard",
    steps: Annotated[int, typer.Option(help="Bars to play.", min=1)] = 96,
    seed: Annotated[int, typer.Option(help="Of the episode.", min=0)] = 0,
    out: Annotated[Path, typer.Option(help="Of rgb_array: a film (.gif) or its last frame (.png).")] = Path("play.gif"),
) -> None:
    """Watch a trained agent trade."""
    from agents.playing import play_run
    from agents.run_folder import Run

    play_run(Run.load(run).agent, market, render, steps=steps, seed=seed, out=out)


def export(
    run: Annotated[Path, typer.Argument(help="Run folder.", exists=True, file_okay=False)],
    file: Annotated[Path, typer.Argument(help="Zip file to write.", dir_okay=False)],
) -> None:
    """Write a run's agent as a model of Stable-Baselines3, which observes windows."""
    from agents.run_folder import Run
    from agents.sb3_zip import export_zip

    agent = Run.load(run).agent
    file = export_zip(agent, file)
    kept = f"; the hysteresis of {agent.margin:g} is not part of it" if agent.margin else ""
    print(f"{file}: {agent.algorithm} for Stable-Baselines3{kept}")


def import_model(
    file: Annotated[Path, typer.Argument(help="PPO or DQN of Stable-Baselines3.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="Run folder to write.")] = Path("runs/imported"),
    extractor: Annotated[str, typer.Option(help="default, or the folder of an artifact.")] = "default",
    trust: Annotated[bool, typer.Option(help="The file holds pickles: read it although it could run code.")] = False,
) -> None:
    """Make a run folder from a model of Stable-Baselines3 that was trained on one of our extractors."""
    from agents.run_folder import Run
    from agents.sb3_zip import import_zip
    from pretrain import Extractor

    require_new_folder(out)
    agent = import_zip(file, Extractor.load(extractor), trust=trust)
    told = {"algorithm": agent.algorithm, "imported": file.name}
    write_new_folder(out, lambda folder: Run(folder, agent, agent).save(told, {}))
    print(f"{out}: {agent.algorithm}")
