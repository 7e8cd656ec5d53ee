"""`cryptoenv features`: what the features of a market are worth, and whether they stay what they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agents.commands.options import (
    Bars,
    Exogenous,
    Features,
    Reference,
    Seed,
    Task,
    Timeframes,
    earlier,
    hidden,
    market_inputs,
)
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
    timeframes: Timeframes = "15m,4h,1d",
    features: Features = None,
    reference: Reference = None,
    exogenous: Exogenous = None,
    days: Annotated[int, typer.Option(help="Days of the synthetic market.", min=10)] = 120,
    seed: Seed = 0,
    file: Annotated[Path | None, typer.Argument(hidden=True)] = None,
    spec: Annotated[Path | None, hidden("--spec")] = None,
) -> None:
    """Print a table of the features and write tables and pictures: correlation, lags, mutual information, drift.

    Without --bars it is a synthetic market.
    """
    import synthetic
    from cryptoenv.analysis.features import inspect_features
    from cryptoenv.market.pool import DEFAULT_TIMEFRAMES
    from pretrain.fitting.market_inputs import MarketMaker

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
    inputs = market_inputs(timeframes, features, reference, exogenous)
    names = inputs.timeframes or DEFAULT_TIMEFRAMES
    maker = MarketMaker(inputs.new_layout(names, (1,) * len(names)), inputs)
    if bars is not None:
        market = maker.market_at(bars)
    else:
        market = maker.market(synthetic.regime_market(task, days=days, seed=seed).bars)
    tables: list[pd.DataFrame] = []
    write_new_folder(out, lambda folder: tables.append(inspect_features(market, folder, seed=seed)))
    print(tables[0].to_string(float_format=lambda value: f"{value:.3f}"))
    print(f"tables and pictures: {out}")
