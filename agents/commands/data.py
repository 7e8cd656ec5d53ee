"""`cryptoenv data`: the store on the command line. It needs the `data` extra and nothing of the learning ones."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agents.commands.data_clean import clean_file, import_file
from agents.commands.data_download import download_bars
from agents.commands.data_sentiment import sentiment
from agents.commands.data_web import series
from agents.run_folders.new_outputs import require_new_file, write_new_file

if TYPE_CHECKING:
    from cryptoenv.store.key import SeriesKey
    from cryptoenv.store.store import BarStore

app = typer.Typer(
    help="Market data: download, list, validate, repair, export; clean or import files.", no_args_is_help=True
)
app.command("clean")(clean_file)
app.command("import")(import_file)
app.command("download")(download_bars)
app.command("sentiment")(sentiment)
app.command("series")(series)

DAMAGED = 1
_TABLE_WIDTH = 130  # a narrow terminal wraps the lines; nothing is cut off

StoreFolder = Annotated[Path, typer.Option("--store", help="Folder of the store.")]
DEFAULT_STORE = Path("data")
Exchange = Annotated[str | None, typer.Option(help="Only this exchange, e.g. binance.")]
Symbol = Annotated[str | None, typer.Option(help="Only this symbol, e.g. BTC/USDT.")]
Timeframe = Annotated[str | None, typer.Option(help='Only this timeframe, e.g. 1m; "funding" for funding rates.')]


@app.command("list")
def list_series(store: StoreFolder = DEFAULT_STORE) -> None:
    """What the store holds: rows, first and last, gaps, size."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from cryptoenv.store.manifest import CorruptManifestError, NewerManifestError
    from cryptoenv.store.store import BarStore

    held = BarStore(store)
    keys = _chosen(held, None, None, None)
    table = Table(title=str(store), box=SIMPLE)
    for column in ("exchange", "symbol", "timeframe"):
        table.add_column(column, no_wrap=True)
    for column in ("rows", "first", "last", "gaps", "size"):
        table.add_column(column, justify="right", no_wrap=True)
    damaged = 0
    for key in keys:
        names = key.exchange, key.symbol, key.timeframe
        try:
            manifest = held.manifest(key)
        except CorruptManifestError:
            table.add_row(*names, "damaged")
            damaged += 1
            continue
        except NewerManifestError:
            table.add_row(*names, "of a later release")
            continue
        first, last = (time.strftime("%Y-%m-%d %H:%M") if time else "-" for time in (manifest.first, manifest.last))
        gaps = f"{len(manifest.gaps)} ({manifest.missing_bars:,} bars)" if manifest.gaps else "0"
        table.add_row(*names, f"{manifest.rows:,}", first, last, gaps, _size(manifest.size))
    Console(width=max(Console().width, _TABLE_WIDTH)).print(table)
    if damaged:
        print(f"{damaged} series damaged: run `cryptoenv data validate`, then `cryptoenv data repair`")


@app.command()
def validate(
    store: StoreFolder = DEFAULT_STORE, exchange: Exchange = None, symbol: Symbol = None, timeframe: Timeframe = None
) -> None:
    """Check every file against its SHA-256 and every row against the rules; exit code 1 where something is wrong."""
    from cryptoenv.store.store import BarStore

    held = BarStore(store)
    keys = _chosen(held, exchange, symbol, timeframe)
    problems = [f"{key}: {problem}" for key in _progress(keys, "validate") for problem in held.validate(key)]
    for problem in problems:
        print(problem)
    print(f"{len(keys)} series checked, {len(problems)} problem(s)")
    if problems:
        raise typer.Exit(DAMAGED)


@app.command()
def repair(
    store: StoreFolder = DEFAULT_STORE, exchange: Exchange = None, symbol: Symbol = None, timeframe: Timeframe = None
) -> None:
    """Move damaged files to quarantine and mark their time as missing, so that the next download fetches it again."""
    from cryptoenv.store.store import BarStore

    held = BarStore(store)
    keys = _chosen(held, exchange, symbol, timeframe)
    done = [f"{key}: {line}" for key in _progress(keys, "repair") for line in held.repair(key)]
    for line in done:
        print(line)
    print(f"{len(keys)} series checked, " + ("repaired" if done else "nothing to repair"))


@app.command()
def export(
    exchange: Annotated[str, typer.Option(help="e.g. binance")],
    symbol: Annotated[str, typer.Option(help="e.g. BTC/USDT")],
    timeframe: Annotated[str, typer.Option(help='e.g. 1m, or "funding"')],
    out: Annotated[Path, typer.Option(help="File to write: .csv, .csv.gz, .parquet or .feather.")],
    store: StoreFolder = DEFAULT_STORE,
    since: Annotated[str | None, typer.Option(help="First time, UTC, e.g. 2024-01-01.")] = None,
    until: Annotated[str | None, typer.Option(help="Time to stop before, UTC.")] = None,
) -> None:
    """Write one series to a file."""
    from cryptoenv.store.export import SUFFIXES, export_rows
    from cryptoenv.store.key import SeriesKey
    from cryptoenv.store.store import BarStore

    require_new_file(out, *SUFFIXES)
    rows = BarStore(store).read(SeriesKey(exchange, symbol, timeframe), since, until)
    write_new_file(out, lambda path: export_rows(rows, path))
    print(f"{out}: {len(rows):,} rows")


def _chosen(held: BarStore, exchange: str | None, symbol: str | None, timeframe: str | None) -> tuple[SeriesKey, ...]:
    """The series of a store that the options leave; an error where there are none."""
    from cryptoenv.store.key import StoreError

    there = held.series()
    wanted = tuple(
        key
        for key in there
        if exchange in (None, key.exchange) and symbol in (None, key.symbol) and timeframe in (None, key.timeframe)
    )
    if not wanted:
        names = ", ".join(map(str, there)) or "none"
        raise StoreError(f"no such series in {held.folder}; there are: {names}")
    return wanted


def _progress(keys: tuple[SeriesKey, ...], what: str) -> Iterable[SeriesKey]:
    from rich.console import Console
    from rich.progress import track

    return track(keys, description=what, console=Console(stderr=True), transient=True)


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
