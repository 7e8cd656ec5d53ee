"""`cryptoenv features`: what the features of a market are worth, and whether they stay what they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agents.run_folders.new_outputs import require_new_folder, write_new_folder

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(help="Features: what they are worth, and whether they stay what they are.", no_args_is_help=True)


@app.callback()
def features() -> None:
    """Features: what they are worth, and whether they stay what they are."""


@app.command()
def inspect(
    bars: Annotated[
        Path | None, typer.Argument(help="Bars: CSV or Parquet, gzip too. Without them: a synthetic market.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for tables and pictures.")] = Path("runs/features"),
    timeframes: Annotated[str, typer.Option(help="Base first, separated by commas.")] = "15m,4h,1d",
    spec: Annotated[Path | None, typer.Option(help="Feature spec (YAML). Without it: the default set.")] = None,
    reference: Annotated[Path | None, typer.Option(help="Bars of a reference market, such as BTC.")] = None,
    task: Annotated[str, typer.Option(help="Synthetic task, where no bars are given.")] = "easy",
    days: Annotated[int, typer.Option(help="Days of the synthetic market.", min=10)] = 120,
    seed: Annotated[int, typer.Option(help="Seed of the synthetic market and of drawn rows.", min=0)] = 0,
) -> None:
    """Print a table of the features and write tables and pictures: correlation, lags, mutual information, drift."""
    import synthetic
    from cryptoenv import Market, read_bars
    from cryptoenv.analysis.features import inspect_features
    from cryptoenv.features import FeatureSpec

    require_new_folder(out)
    if task not in synthetic.TASKS:
        raise ValueError(f"task {task!r} is unknown; allowed: {', '.join(synthetic.TASKS)}")
    source = synthetic.regime_market(task, days=days, seed=seed).bars if bars is None else read_bars(bars)
    market = Market.from_bars(
        source,
        tuple(timeframes.split(",")),
        features=None if spec is None else FeatureSpec.from_yaml(spec.read_text(encoding="utf-8")),
        reference=None if reference is None else read_bars(reference),
    )
    tables: list[pd.DataFrame] = []
    write_new_folder(out, lambda folder: tables.append(inspect_features(market, folder, seed=seed)))
    print(tables[0].to_string(float_format=lambda value: f"{value:.3f}"))
    print(f"tables and pictures: {out}")
