"""`cryptoenv features`: what the features of a market are worth, and whether they stay what they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agents.commands.options import Bars, Seed, Task, earlier, hidden
from agents.run_folders.new_outputs import require_new_folder, write_new_folder

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(help="Features: what they are worth, and whether they stay what they are.", no_args_is_help=True)


@app.callback()
def about() -> None:
    """Features: what they are worth, and whether they stay what they are."""


@app.command()
def inspect(
    bars: Bars = None,
    task: Task = None,
    out: Annotated[Path, typer.Option(help="Folder for tables and pictures.")] = Path("runs/features"),
    timeframes: Annotated[str, typer.Option(help="Base first, separated by commas.")] = "15m,4h,1d",
    features: Annotated[Path | None, typer.Option(help="Feature spec (YAML). Without it: the default set.")] = None,
    reference: Annotated[Path | None, typer.Option(help="Bars of a reference market, such as BTC.")] = None,
    days: Annotated[int, typer.Option(help="Days of the synthetic market.", min=10)] = 120,
    seed: Seed = 0,
    file: Annotated[Path | None, typer.Argument(hidden=True)] = None,
    spec: Annotated[Path | None, hidden("--spec")] = None,
) -> None:
    """Print a table of the features and write tables and pictures: correlation, lags, mutual information, drift.

    Without --bars it is a synthetic market.
    """
    import synthetic
    from agents.markets.own_markets import bars_at
    from cryptoenv import Market
    from cryptoenv.analysis.features import inspect_features
    from cryptoenv.features import FeatureSpec

    require_new_folder(out)
    if file is not None:
        earlier("a file without a name", "--bars")
        bars = bars or file
    if spec is not None:
        earlier("--spec", "--features")
        features = features or spec
    if bars is not None and task is not None:
        raise ValueError("--task and --bars: name one of them at a time")
    task = task or "easy"
    if task not in synthetic.TASKS:
        raise ValueError(f"task {task!r} is unknown; allowed: {', '.join(synthetic.TASKS)}")
    source = synthetic.regime_market(task, days=days, seed=seed).bars if bars is None else bars_at(bars)
    market = Market.from_bars(
        source,
        tuple(timeframes.split(",")),
        features=None if features is None else FeatureSpec.from_yaml(features.read_text(encoding="utf-8")),
        reference=None if reference is None else bars_at(reference),
    )
    tables: list[pd.DataFrame] = []
    write_new_folder(out, lambda folder: tables.append(inspect_features(market, folder, seed=seed)))
    print(tables[0].to_string(float_format=lambda value: f"{value:.3f}"))
    print(f"tables and pictures: {out}")
