"""`cryptoenv data clean` and `data import`: a file as people have it to one that everything takes, or to the store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agents.run_folders.new_outputs import require_new_file, write_new_file

if TYPE_CHECKING:
    import pandas as pd

    from cryptoenv.cleaning.report import CleaningReport

MOST_UNPACKED = 2**30


def clean_file(
    file: Annotated[Path, typer.Argument(help="CSV, JSON, Parquet or Feather; gzip and zip too.")],
    out: Annotated[Path, typer.Option(help="Cleaned bars: .parquet, .feather, .csv or .csv.gz.")],
    report: Annotated[Path | None, typer.Option(help="All findings as CSV, a row each.")] = None,
    timeframe: Annotated[str | None, typer.Option(help='Of the bars, e.g. "1h"; detected without it.')] = None,
    time: Annotated[str | None, typer.Option(help='Column of the bars\' open; two, "Date,Time", are joined.')] = None,
    volume: Annotated[str | None, typer.Option(help="Column of the base volume (coins).")] = None,
    columns: Annotated[str | None, typer.Option(help="All columns in order, comma-separated, if not named.")] = None,
    keep: Annotated[list[str] | None, typer.Option(help="A further column to keep; may be given again.")] = None,
    time_zone: Annotated[str | None, typer.Option(help='Of times that do not say theirs, e.g. "UTC".')] = None,
    day_first: Annotated[bool | None, typer.Option("--day-first/--month-first", help="How to read 03/04/2021.")] = None,
    decimal: Annotated[str | None, typer.Option(help='Mark before decimals, "." or ",".')] = None,
    thousands: Annotated[str | None, typer.Option(help="Mark between thousands.")] = None,
    max_unpacked: Annotated[int, typer.Option(help="Bytes that the file may unpack to.")] = MOST_UNPACKED,
    drop_unusable: Annotated[bool, typer.Option(help="Leave out rows that no market takes: gaps.")] = False,
) -> None:
    """Read a file, repair what is certain, report everything, write bars. Prints what was guessed and found."""
    import cryptoenv
    from cryptoenv.store.export import SUFFIXES, export_rows

    _check_targets(file, out, report, SUFFIXES)
    names = tuple(name.strip() for name in columns.split(",")) if columns else None
    bars, imported = cryptoenv.import_bars(
        file, time=_time_columns(time), volume=volume, columns=names, keep=keep or (), time_zone=time_zone,
        day_first=day_first, decimal=decimal, thousands=thousands, max_unpacked=max_unpacked,
    )  # fmt: skip
    print(imported)
    cleaned, found = cryptoenv.clean(bars, timeframe)
    print(found)
    if report is not None:
        write_new_file(report, lambda path: found.table.to_csv(path, index=False))
        print(f"{len(found.table)} findings: {report}")
    if len(found.unusable) and not drop_unusable:
        raise ValueError(
            f"{file}: {len(found.unusable)} rows cannot be used, the first at {found.unusable[0].isoformat()}; "
            f"nothing was written; mend the file, or leave gaps there with --drop-unusable"
        )
    usable = cleaned.drop(found.unusable)
    write_new_file(out, lambda path: export_rows(usable, path))
    print(f"{len(usable)} bars: {out}")


def import_file(
    file: Annotated[Path, typer.Argument(help="CSV, JSON, Parquet or Feather; gzip and zip too.")],
    exchange: Annotated[str, typer.Option(help="Where the bars are from, e.g. binance.")],
    symbol: Annotated[str, typer.Option(help="e.g. BTC/USDT; BTC/USDT:USDT for the perpetual.")],
    store: Annotated[Path, typer.Option(help="Folder of the store.")] = Path("data"),
    timeframe: Annotated[str | None, typer.Option(help='Of the bars, e.g. "1h"; detected without it.')] = None,
    time: Annotated[str | None, typer.Option(help='Column of the bars\' open; two, "Date,Time", are joined.')] = None,
    volume: Annotated[str | None, typer.Option(help="Column of the base volume (coins).")] = None,
    columns: Annotated[str | None, typer.Option(help="All columns in order, comma-separated, if not named.")] = None,
    time_zone: Annotated[str | None, typer.Option(help='Of times that do not say theirs, e.g. "UTC".')] = None,
    day_first: Annotated[bool | None, typer.Option("--day-first/--month-first", help="How to read 03/04/2021.")] = None,
    decimal: Annotated[str | None, typer.Option(help='Mark before decimals, "." or ",".')] = None,
    thousands: Annotated[str | None, typer.Option(help="Mark between thousands.")] = None,
    max_unpacked: Annotated[int, typer.Option(help="Bytes that the file may unpack to.")] = MOST_UNPACKED,
    drop_unusable: Annotated[bool, typer.Option(help="Leave out rows that no market takes: gaps.")] = False,
    accept_alarms: Annotated[bool, typer.Option(help="Take bars that are likely wrong, as the table says.")] = False,
) -> None:
    """Clean a file and put all of its bars into the store, or none. Bars that it lacks are gaps of the series."""
    import cryptoenv

    names = tuple(name.strip() for name in columns.split(",")) if columns else None
    bars, imported = cryptoenv.import_bars(
        file, time=_time_columns(time), volume=volume, columns=names, time_zone=time_zone, day_first=day_first,
        decimal=decimal, thousands=thousands, max_unpacked=max_unpacked,
    )  # fmt: skip
    print(imported)
    cleaned, found = cryptoenv.clean(bars, timeframe)
    print(found)
    usable = cleaned.drop(found.unusable)
    _require_storable(file, usable, found, drop_unusable=drop_unusable, accept_alarms=accept_alarms)
    _store(store, exchange, symbol, usable, found.timeframe)


_NEVER_STORED = ("bar still open", "bar of the future", "two timeframes", "time before 2009")


def _require_storable(
    file: Path, usable: pd.DataFrame, report: CleaningReport, *, drop_unusable: bool, accept_alarms: bool
) -> None:
    alarms = report.alarms[~report.alarms["first"].isin(report.unusable)]
    never = alarms[alarms["kind"].isin(_NEVER_STORED)]
    if len(never):
        first = never.iloc[0]
        raise ValueError(
            f"{file}: {first['kind']} at {first['first'].isoformat()} ({first['detail']}); nothing was stored; "
            "take such rows out of the file"
        )
    if len(report.unusable) and not drop_unusable:
        raise ValueError(
            f"{file}: {len(report.unusable)} rows cannot be used, the first at {report.unusable[0].isoformat()}; "
            "nothing was stored; mend the file, or leave gaps there with --drop-unusable"
        )
    if len(alarms) and not accept_alarms:
        kinds = ", ".join(alarms["kind"].unique())
        raise ValueError(
            f"{file}: likely wrong: {kinds}, the first at {alarms['first'].iloc[0].isoformat()}; nothing was stored; "
            "mend the file, or take the bars as they are with --accept-alarms"
        )
    if len(usable) == 0:
        raise ValueError(f"{file}: no bar of it can be used; nothing was stored")


def _store(store: Path, exchange: str, symbol: str, usable: pd.DataFrame, timeframe: str) -> None:
    from cryptoenv.bars.bars import bar_opens_ms, validate_bars
    from cryptoenv.bars.timeframe import own_offset_ms
    from cryptoenv.store.key import SeriesKey
    from cryptoenv.store.store import BarStore

    valid = validate_bars(usable, timeframe)
    opens = bar_opens_ms(valid)
    key = SeriesKey(exchange, symbol, timeframe)
    offset = own_offset_ms(opens, key.step_ms)
    key = key if offset == key.grid_ms else replace(key, offset_ms=offset)
    with BarStore(store).writer(key) as writer:
        before = writer.manifest.rows
        writer.append(valid, (int(opens[0]), int(opens[-1]) + key.step_ms))
        added, gaps = writer.manifest.rows - before, writer.manifest.missing_bars
    known = len(valid) - added
    print(f"{store}: {key}: {added:,} bars added, {known:,} were there already; the series lacks {gaps:,} bars")


def _time_columns(time: str | None) -> str | tuple[str, ...] | None:
    return tuple(name.strip() for name in time.split(",")) if time and "," in time else time


def _check_targets(file: Path, out: Path, report: Path | None, suffixes: tuple[str, ...]) -> None:
    if out.exists() and file.exists() and out.samefile(file):
        raise ValueError(f"--out {out} is the file to be read; allowed: a name that is free")
    require_new_file(out, *suffixes)
    if report is not None:
        require_new_file(report)
        if report.absolute() == out.absolute():
            raise ValueError(f"--report and --out are both {out}; allowed: two names")
