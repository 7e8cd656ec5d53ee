"""`cryptoenv models`: versions of a model, the one in use, and changing it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from agents.run_folders.versions.models_folder import ModelsFolder
    from agents.run_folders.versions.version import Version

app = typer.Typer(no_args_is_help=True, help="Versions of a model: add, list, show, compare, promote, roll back.")

Folder = Annotated[Path, typer.Argument(help="Folder of versions.")]
Name = Annotated[str, typer.Argument(metavar="VERSION", help="Its name: 0001.")]
Reason = Annotated[str, typer.Option(help="Why, for who reads it later.")]


@app.command()
def add(
    folder: Folder,
    model: Annotated[Path, typer.Argument(help="Folder of an agent's run, or of a model.", exists=True)],
    why: Annotated[str, typer.Option(help="Why it is added.")] = "added by hand",
    drift: Annotated[
        bool, typer.Option("--drift/--no-drift", help="Of an agent: keep what live data are to be compared with.")
    ] = True,
) -> None:
    """Copy a model into a new version; nothing uses it until it is promoted."""
    from agents.run_folders.run_folder import Run
    from agents.run_folders.versions.models_folder import ModelsFolder
    from agents.run_folders.versions.version import AGENT_KIND, DRIFT, kind_of_model

    reference = None
    if kind_of_model(model) == AGENT_KIND and drift:
        from agents.training.drift_of_training import reference_of_run

        try:
            reference = reference_of_run(Run.load(model))
        except (OSError, ValueError) as error:
            print(f"cryptoenv: note: live data will not be compared with it: {error}", file=sys.stderr)

    def fill(place: Path) -> None:
        if reference is not None:
            reference.write(place / DRIFT)

    version = ModelsFolder(folder).add(model, why=why, fill=fill)
    print(f"version {version.name} ({version.kind}) of {model}; use it with "
          f"`cryptoenv models promote {folder} {version.name}`")  # fmt: skip
    if reference is not None:
        print(f"live data will be compared in {reference.words()}")


@app.command("list")
def list_versions(folder: Folder) -> None:
    """All versions with their states, and how the one in use came about."""
    from rich.console import Console
    from rich.table import Table

    models = _models(folder)
    table = Table("version", "state", "kind", "made", "learned until", "parent", "why")
    damaged = []
    for one in models.versions():
        told = one.version
        if told is None:
            table.add_row(one.name, one.state, *[""] * 5)
            damaged.append(one.words)
            continue
        last = "" if told.last_bar is None else f"{told.last_bar:%Y-%m-%d %H:%M}"
        table.add_row(one.name, one.state, told.kind, told.made_at[:16], last, told.parent, told.why)
    Console(width=max(Console().width, 100)).print(table)
    for words in damaged:
        print(words)
    for move in models.pointer().moves:
        reason = f" ({move.reason})" if move.reason else ""
        print(f"{move.at[:19]} {move.what} {move.before or 'none'} -> {move.version}{reason}")


@app.command()
def show(folder: Folder, version: Name) -> None:
    """Where a version comes from, its figures, and whether every byte of it is as it was written."""
    from agents.run_folders.versions.version import read_version, require_whole

    models = _models(folder)
    told = read_version(models.place(version))
    for line in _lines(models, told):
        print(line)
    require_whole(models.place(version))
    print(f"whole:     all {len(told.files)} files are as they were written, and it loads")


@app.command()
def compare(
    folder: Folder,
    first: Annotated[str, typer.Argument(metavar="FIRST", help="A version.")],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="Another one.")],
    bars: Annotated[Path | None, typer.Option(help="Trade both on these bars, after what either has seen.")] = None,
) -> None:
    """Two versions side by side: data, figures, and the difference on bars that neither has seen."""
    from agents.run_folders.versions.version import read_version

    models = _models(folder)
    told = [read_version(models.place(name)) for name in (first, second)]
    if bars is not None:
        from agents.training.comparing import compare_on

        found = compare_on(models, (first, second), bars)
        _print_table({name: _shown(figures) for name, figures in found.figures.items()})
        print(f"judged from {found.judged_from}; {second} less {first}: {difference_words(found.difference)}")
        return
    rows = {one.name: {**_flat(one.data), **_flat(one.metrics)} for one in told}
    _print_table(rows)
    for one, other in ((told[0], told[1]), (told[1], told[0])):
        record = _record(models, one)
        if record is not None and record["against"] == other.name:
            print(f"{one.name} against {other.name}, {record['judged_from'][:16]} to {record['judged_to'][:16]}: "
                  f"{record_words(record)}")  # fmt: skip


@app.command()
def promote(
    folder: Folder,
    version: Name,
    reason: Reason = "",
    expect: Annotated[str | None, typer.Option(help="Only where this version is in use now.")] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Begin a new history where the pointer is damaged.")] = False,
) -> None:
    """Use a version from now on; it is checked first. What serves follows at once, what trades at its next start."""
    moved = _models(folder).promote(version, reason=reason, expect=expect, anew=anew)
    print(f"{folder} uses version {moved.current}; before: {moved.moves[-1].before or 'none'}")


@app.command()
def rollback(folder: Folder, reason: Reason = "") -> None:
    """Use the version before again; it is checked first."""
    moved = _models(folder).roll_back(reason=reason)
    print(f"{folder} uses version {moved.current} again; before: {moved.moves[-1].before}")


def _models(folder: Path) -> ModelsFolder:
    from agents.run_folders.versions.models_folder import ModelsFolder

    return ModelsFolder.there(folder)


def _record(models: ModelsFolder, told: Version) -> dict[str, Any] | None:
    from agents.run_folders.run_folder import read_json
    from agents.run_folders.versions.version import RECORD

    path = models.place(told.name) / RECORD
    return read_json(path) if path.is_file() else None


def _lines(models: ModelsFolder, told: Version) -> list[str]:
    from agents.run_folders.versions.drift_file import ModelReference
    from agents.run_folders.versions.version import DRIFT

    found = [f"version:   {told.name} ({told.kind}), made {told.made_at[:19]} UTC: {told.why}",
             f"source:    {told.source}" + (f", to replace {told.parent}" if told.parent else "")]  # fmt: skip
    found += [f"data:      {name} {value}" for name, value in _flat(told.data).items()]
    found += [f"figure:    {name} {value}" for name, value in _flat(told.metrics).items()]
    if DRIFT in told.files:
        reference = ModelReference.read(models.place(told.name) / DRIFT)
        found.append(f"drift:     live data are compared in {reference.words()}")
    record = _record(models, told)
    if record is not None:
        found += [f"judged:    {record['judged_from'][:16]} to {record['judged_to'][:16]}, {record['folds']} fold(s), "
                  f"{record['seeds']} seed(s)"]  # fmt: skip
        for name in ("current", "proposed"):
            figures = ", ".join(f"{key} {value:.4g}" for key, value in record[name].items())
            found.append(f"{name + ':':10} {figures}")
        found.append(f"against {record['against']}: {record_words(record)}")
    return found


def record_words(record: dict[str, Any]) -> str:
    """What a proposal's table says of the difference: of an agent's returns, or of another model's losses."""
    if "figure" not in record:
        return difference_words(record["difference_per_day"])
    found = record["difference"]
    if found is None:
        return f"{record['figure']}: too few bars for an interval"
    says = "better" if found["low"] > 0.0 else "worse" if found["high"] < 0.0 else "no difference is shown"
    return (f"{record['figure']}: lower by {found['value']:+.4g} [{found['low']:+.4g}, {found['high']:+.4g}] over "
            f"{found['bars']:,.0f} bars: {says}")  # fmt: skip


def difference_words(difference: dict[str, Any] | None) -> str:
    """A paired difference as a person reads it."""
    if difference is None:
        return "too few bars for an interval"
    low, high = 100.0 * difference["low"], 100.0 * difference["high"]
    says = "better" if low > 0.0 else "worse" if high < 0.0 else "no difference is shown"
    return (f"{100.0 * difference['value']:+.3f}% a day [{low:+.3f}, {high:+.3f}] over {difference['bars']:,.0f} bars: "
            f"{says}")  # fmt: skip


def _flat(values: dict[str, Any]) -> dict[str, str]:
    return {name: f"{v:.6g}" if isinstance(v, float) else f"{v}"[:200] for name, v in values.items()}


def _shown(figures: dict[str, Any]) -> dict[str, str]:
    from agents.training.retraining import SHOWN

    return _flat({name: figures[name] for name in SHOWN if figures.get(name) is not None})


def _print_table(rows: dict[str, dict[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", *rows)
    for name in dict.fromkeys(key for row in rows.values() for key in row):
        table.add_row(name, *(row.get(name, "") for row in rows.values()))
    Console(width=max(Console().width, 100)).print(table)
