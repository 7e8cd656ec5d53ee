"""`cryptoenv data series`: prices of CoinGecko and CryptoCompare, beside what exchanges have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from agents.run_folders.new_outputs import require_new_file, write_new_file


def series(
    source: Annotated[Literal["coingecko", "cryptocompare"], typer.Argument(help="Where from.")],
    name: Annotated[str, typer.Argument(help="CoinGecko: an id (bitcoin); CryptoCompare: a pair (BTC/USD).")],
    since: Annotated[str, typer.Option(help="First moment, UTC.")],
    out: Annotated[Path, typer.Option(help="Parquet or CSV file to write.")],
    until: Annotated[str | None, typer.Option(help="End, UTC.", show_default="now")] = None,
    timeframe: Annotated[Literal["1m", "1h", "1d"], typer.Option(help="CryptoCompare: of the bars.")] = "1h",
    url: Annotated[str | None, typer.Option(help="Another address of the same interface.")] = None,
) -> None:
    """Write bars (CryptoCompare), or closes without bars (CoinGecko), which are joined with --exogenous FILE@0s."""
    import pandas as pd

    from cryptoenv.exchange.web_series import COINGECKO, CRYPTOCOMPARE, asker, coingecko_series, cryptocompare_bars

    require_new_file(out, ".parquet", ".csv")
    try:
        begin, end = (pd.Timestamp(text) if text else pd.Timestamp.now("UTC") for text in (since, until))
    except ValueError as error:
        raise ValueError(f"--since {since!r} or --until {until!r} is no moment: say 2024-01-01") from error
    begin, end = (one.tz_localize("UTC") if one.tzinfo is None else one.tz_convert("UTC") for one in (begin, end))
    if begin >= end:
        raise ValueError(f"--since {begin} is not before --until {end}")
    if source == "coingecko":
        table = coingecko_series(name, begin, end, asker(url or COINGECKO))
    else:
        table = cryptocompare_bars(name, timeframe, begin, end, asker(url or CRYPTOCOMPARE))
    write_new_file(out, table.to_parquet if out.suffix.lower() == ".parquet" else table.to_csv)
    print(f"{out}: {len(table):,} rows, {table.index[0]} to {table.index[-1]}, columns {', '.join(table.columns)}")
