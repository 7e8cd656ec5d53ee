"""`cryptoenv data clean`: bars from a file as people have it to a file that everything here takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agents.new_outputs import require_new_file, write_new_file


def clean_file(
    file: Annotated[Path, typer.Argument(help="CSV, JSON, Parquet or Feather; gzip and zip too.")],
    out: Annotated[Path, typer.Option(help="Cleaned bars: .parquet, .feather, .csv or .csv.gz.")],
    report: Annotated[Path | None, typer.Option(help="All findings as CSV, a row each.")] = None,
    timeframe: Annotated[str | None, typer.Option(help='Of the bars, e.g. "1h"; detected without it.')] = None,
    time: Annotated[str | None, typer.Option(help="Column of the time at which each bar opens.")] = None,
    volume: Annotated[str | None, typer.Option(help="Column of the base volume (coins).")] = None,
    columns: Annotated[str | None, typer.Option(help="All columns in order, comma-separated, if not named.")] = None,
    keep: Annotated[list[str] | None, typer.Option(help="A further column to keep; may be given again.")] = None,
    time_zone: Annotated[str | None, typer.Option(help='Of times that do not say theirs, e.g. "UTC".')] = None,
    day_first: Annotated[bool | None, typer.Option("--day-first/--month-first", help="How to read 03/04/2021.")] = None,
    drop_unusable: Annotated[bool, typer.Option(help="Leave out rows that no market takes: gaps.")] = False,
) -> None:
    """Read a file, repair what is certain, report everything, write bars. Prints what was guessed and found."""
    import cryptoenv
    from cryptoenv.store_export import SUFFIXES, export_rows

    _check_targets(file, out, report, SUFFIXES)
    names = tuple(name.strip() for name in columns.split(",")) if columns else None
    bars, imported = cryptoenv.import_bars(
        file, time=time, volume=volume, columns=names, keep=keep or (), time_zone=time_zone, day_first=day_first
    )
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


def _check_targets(file: Path, out: Path, report: Path | None, suffixes: tuple[str, ...]) -> None:
    if out.exists() and file.exists() and out.samefile(file):
        raise ValueError(f"--out {out} is the file to be read; allowed: a name that is free")
    require_new_file(out, *suffixes)
    if report is not None:
        require_new_file(report)
        if report.absolute() == out.absolute():
            raise ValueError(f"--report and --out are both {out}; allowed: two names")
