"""`cryptoenv data download`: from an exchange into the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agents.commands.options import earlier, hidden


def download_bars(
    exchange: Annotated[str, typer.Option(help="ccxt's name, e.g. binance.")],
    symbol: Annotated[list[str], typer.Option(help="ccxt's name, e.g. BTC/USDT; may be given several times.")],
    since: Annotated[str, typer.Option(help="First day or time, UTC, e.g. 2020-01-01.")],
    timeframe: Annotated[str, typer.Option(help='Of the bars; "funding" for funding rates instead.')] = "1m",
    until: Annotated[str | None, typer.Option(help="End (exclusive), UTC; the last closed bar without it.")] = None,
    store: Annotated[Path, typer.Option(help="Folder of the store.")] = Path("data"),
    recheck_gaps: Annotated[bool, typer.Option("--recheck-gaps", help="Ask for all recorded gaps again.")] = False,
    allow_jumps: Annotated[
        bool, typer.Option("--allow-jumps", help="Store prices that jump more than tenfold between two bars.")
    ] = False,
    funding: Annotated[bool, hidden("--funding")] = False,
) -> None:
    """Download what the store does not have yet; run it again to go on after an interruption, or for newer bars."""
    from cryptoenv.exchange.downloader import FUNDING, DownloadRequest, download, summary

    if funding:
        earlier("--funding", "--timeframe funding")
    request = DownloadRequest(
        exchange, tuple(symbol), FUNDING if funding else timeframe, _time("since", since),
        None if until is None else _time("until", until), recheck_gaps=recheck_gaps, allow_jumps=allow_jumps,
    )  # fmt: skip
    print(summary(download(store, request)).to_string())


def _time(name: str, text: str):  # type: ignore[no-untyped-def]  # a pandas Timestamp; pandas is imported when it runs
    import pandas as pd

    try:
        time = pd.Timestamp(text)
    except ValueError as error:
        raise ValueError(f"--{name} {text!r} is no time: write it as 2020-01-31 or 2020-01-31T12:00") from error
    return time.tz_localize("UTC") if time.tzinfo is None else time.tz_convert("UTC")
