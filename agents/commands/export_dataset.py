"""`cryptoenv export-dataset`: episodes of policies, for offline learning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from agents.commands.options import Seed

POLICIES_HELP = (
    "Who trades, taking turns: oracle (the causal optimum), random, mixed (the oracle, the shipped extractor's actions "
    "and chance), or what `bench run --agent` takes: a run's folder, a clone's too, default, a .zip, MODULE:NAME."
)


def export_dataset(
    policies: Annotated[list[str], typer.Argument(help=POLICIES_HELP)],
    out: Annotated[Path, typer.Option(help="New folder; Minari's datasets are called by it: oracle-v0.")],
    form: Annotated[Literal["minari", "parquet"], typer.Option("--format", help="Of the files.")] = "minari",
    task: Annotated[Literal["easy", "standard", "hard"], typer.Option(help="Synthetic task.")] = "standard",
    split: Annotated[Literal["train", "validation"], typer.Option(help="Seed family of the markets.")] = "train",
    markets: Annotated[int, typer.Option(help="How many markets.", min=1)] = 64,
    days: Annotated[int, typer.Option(help="Tradable days of each.", min=1)] = 60,
    episodes: Annotated[int, typer.Option(help="In all.", min=1)] = 64,
    episode_bars: Annotated[int, typer.Option(help="Steps of each.", min=1)] = 960,
    observation: Annotated[
        Literal["window", "index", "flat"], typer.Option(help="What is written of what is seen.")
    ] = "window",
    window: Annotated[
        str | None, typer.Option(help="Bars per timeframe: 16,4,2.", show_default="the environment's", metavar="N,N,N")
    ] = None,
    continuous: Annotated[bool, typer.Option(help="Actions are exposures.")] = False,
    noise: Annotated[
        float, typer.Option(help="Share of actions that are drawn at random instead.", min=0.0, max=1.0)
    ] = 0.0,
    seed: Seed = 0,
    trust: Annotated[bool, typer.Option(help="Read a .zip although it holds pickles, which could run code.")] = False,
) -> None:
    """Let policies trade training markets, and write their episodes for offline learning."""
    from agents.evaluation.recording import record_episodes

    bars = None
    if window is not None:
        try:
            bars = tuple(int(part) for part in window.split(","))
        except ValueError as error:
            raise ValueError(f"--window {window!r}: whole numbers of bars with commas, one per timeframe") from error
    about = record_episodes(
        policies, task, out, form=form, trust=trust, split=split, markets=markets, days=days, episodes=episodes,
        episode_bars=episode_bars, observation=observation, window=bars, continuous=continuous, noise=noise, seed=seed,
    )  # fmt: skip
    for policy, mean in about["returns"].items():
        print(f"{policy}: {about['episodes'][policy]} episodes, mean sum of rewards {mean:+.4f}")
    print(f"dataset: {out}, {about['steps']:,} steps")
