"""Damage to the files of a series: finding it, and setting it aside so that the downloader fetches it again."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cryptoenv.bars.timeframe import DAY_MS
from cryptoenv.files.durable_files import sync_folder
from cryptoenv.store.key import SeriesKey, refuse_link
from cryptoenv.store.manifest import (
    MANIFEST,
    CorruptManifestError,
    Manifest,
    NewerManifestError,
    read_manifest,
    write_manifest,
)
from cryptoenv.store.parts import CorruptPartError, Part, described_part, named_part, period_span, rows_of
from cryptoenv.store.ranges import Ranges, merged, runs_of, subtracted, without
from cryptoenv.store.rows import Rows, checked_rows, frame_of, iso

QUARANTINE = "quarantine"


def problems_of(folder: Path, key: SeriesKey) -> tuple[str, ...]:
    """What is wrong in the folder of a series, one line each."""
    while True:
        try:
            manifest = read_manifest(folder, key)
            problems = _problems_in(folder, manifest)
            # A writer may have replaced a part meanwhile: what counts is then another manifest.
            if not problems or read_manifest(folder, key) == manifest:
                return problems
        except (CorruptManifestError, NewerManifestError) as error:
            return (str(error),)


def _problems_in(folder: Path, manifest: Manifest) -> tuple[str, ...]:
    problems, held = _looked_at(folder, manifest)
    if problems:
        return tuple(problems.values())
    lies = _lies(manifest, held, _hidden(folder, manifest))
    mend = "`cryptoenv data repair` corrects it, and the next download fetches what is missing"
    return tuple(f"{folder / MANIFEST} says what is not so: {lie}; {mend}" for lie in lies)


def _lies(manifest: Manifest, held: Ranges, hidden: Ranges) -> list[str]:
    """What a manifest says of its times that its parts do not bear out: a foreign one is sealed as well as any."""
    found = [
        (without(manifest.gaps, without(manifest.gaps, held)), "a gap, with bars in it"),
        (hidden, "without a part, with a file that has rows"),
    ]
    if not manifest.key.is_funding:  # rates have no grid: a span may hold none, and after a repair none is covered
        found += [
            (without(manifest.covered, merged((*held, *manifest.gaps))), "covered, with neither a bar nor a gap"),
            (without(held, manifest.covered), "not covered, with bars"),
        ]
    return [
        f"{what}, at {len(ranges)} times, first [{iso(ranges[0][0])}, {iso(ranges[0][1])})"
        for ranges, what in found
        if ranges
    ]


def _looked_at(folder: Path, manifest: Manifest) -> tuple[dict[Part, str], Ranges]:
    """What is wrong with parts, and the times at which the rows of the others are."""
    problems: dict[Part, str] = {}
    held: list[tuple[int, int]] = []
    for part in manifest.parts:
        found = _runs_or_problem(folder, manifest.key, part)
        if isinstance(found, str):
            problems[part] = found
        else:
            held += found
    return problems, merged(held)


def _hidden(folder: Path, manifest: Manifest) -> Ranges:
    """The covered times of whole parts whose period the manifest leaves out; a writer that is killed covers none."""
    times: list[tuple[int, int]] = []
    for path in _left_out(folder, manifest):
        with suppress(ValueError, FileNotFoundError):  # damaged, or swept away
            times += runs_of(_whole_rows(manifest.key, path).opens, manifest.key.step_ms)
    return without(merged(times), without(merged(times), manifest.covered))


def _whole_rows(key: SeriesKey, path: Path) -> Rows:
    """The rows of a file with the name of a part, of whose rows no manifest tells.

    Raises:
        ValueError: it is not what was written, or holds what may not be in a store.
    """
    period, sha256 = named_part(path) or ("", "")
    rows = rows_of(key, path, sha256)
    return checked_rows(key, frame_of(key, rows), period_span(key, period))


def _left_out(folder: Path, manifest: Manifest) -> list[Path]:
    named = {path: named_part(path) for path in sorted(folder.iterdir())}
    return [path for path, name in named.items() if name is not None and manifest.part(name[0]) is None]


def _runs_or_problem(folder: Path, key: SeriesKey, part: Part) -> Ranges | str:
    """The times of a part's rows, or what is wrong: missing, other bytes, or rows that may not be in a store."""
    path = folder / part.name
    try:
        rows = rows_of(key, path, part.sha256)
        checked_rows(key, frame_of(key, rows), period_span(key, part.period))
    except FileNotFoundError:
        return f"{path} is missing"
    except ValueError as error:
        return str(error) if isinstance(error, CorruptPartError) else f"{path}: {error}"
    if (len(rows), rows.opens[0], rows.opens[-1]) != (part.rows, part.first_ms, part.last_ms):
        return f"{path} is not as the manifest describes it: {part}"
    return runs_of(rows.opens, key.step_ms)


def repaired(folder: Path, key: SeriesKey) -> tuple[str, ...]:
    """Sets damaged files aside; the caller holds the lock. What was done, one line each.

    Raises:
        NewerManifestError: the manifest is of a later release. StoreError: the quarantine is a link.
        OSError: the folder cannot be written.
    """
    refuse_link(folder / QUARANTINE)
    try:
        manifest = read_manifest(folder, key)
    except CorruptManifestError as error:
        return _with_new_manifest(folder, key, str(error))
    damaged, held = _looked_at(folder, manifest)
    if not damaged:
        return _without_lies(folder, manifest, held)
    spans = [period_span(manifest.key, part.period) for part in damaged]
    kept = replace(manifest, parts=tuple(part for part in manifest.parts if part not in damaged))
    for span in spans:
        kept = replace(kept, covered=subtracted(kept.covered, span), gaps=subtracted(kept.gaps, span))
    # The files first: cut short, a repair finds them missing the next time. The other way round, a writer would sweep
    # away what was to be kept in quarantine.
    done = [
        f"{_set_aside(folder / part.name)}; [{iso(span[0])}, {iso(span[1])}) is to be downloaded again"
        for part, span in zip(damaged, spans, strict=True)
    ]
    write_manifest(folder, kept)
    return (*done, *_without_lies(folder, kept, held))


def _without_lies(folder: Path, manifest: Manifest, held: Ranges) -> tuple[str, ...]:
    """Of what is covered, what the parts bear out: bars that are there, and gaps in which none is."""
    hidden = _hidden(folder, manifest)
    lies = _lies(manifest, held, hidden)
    if not lies:
        return ()
    # A writer would sweep the files away that are left out.
    done = [_set_aside(path) for path in _left_out(folder, manifest)] if hidden else []
    gaps = without(without(manifest.gaps, held), hidden)
    known = without(manifest.covered, hidden) if manifest.key.is_funding else gaps
    write_manifest(folder, replace(manifest, covered=merged((*held, *known)), gaps=gaps))
    return (*done, *(f"{folder / MANIFEST} corrected; it said: {lie}" for lie in lies))


def _with_new_manifest(folder: Path, key: SeriesKey, problem: str) -> tuple[str, ...]:
    """A manifest of the parts that are whole. Only bars that are there count as covered: what was a gap is asked for
    again, and so is all of a funding series, which has no grid; no row is lost.
    """
    done = [_set_aside(folder / MANIFEST)]
    key = _with_own_grid(folder, key)
    whole: dict[str, tuple[Part, Rows]] = {}
    for path in sorted(folder.iterdir()):
        name = named_part(path)
        if name is None:
            continue
        try:
            rows = _whole_rows(key, path)
        except ValueError:
            done.append(_set_aside(path))
            continue
        # Of two versions, of which one was being replaced, the later one has more rows.
        if name[0] not in whole or len(rows) > len(whole[name[0]][1]):
            whole[name[0]] = described_part(rows, *name, path.stat().st_size), rows
    opens = [rows.opens for _, rows in whole.values()]
    covered = () if key.is_funding else merged(run for part in opens for run in runs_of(part, key.step_ms))
    manifest = Manifest(key, covered=covered).with_parts(part for part, _ in whole.values())
    write_manifest(folder, manifest)
    done.append(f"{folder / MANIFEST}: made anew of {len(manifest.parts)} parts, {manifest.rows} rows ({problem})")
    return tuple(done)


def _with_own_grid(folder: Path, key: SeriesKey) -> SeriesKey:
    """The series with the grid that the rows of its parts are on; bars up to a day have one grid everywhere."""
    for path in sorted(folder.iterdir()) if not key.is_funding and key.step_ms > DAY_MS else ():
        if (name := named_part(path)) is not None:
            with suppress(ValueError, FileNotFoundError):
                first = int(rows_of(key, path, name[1]).opens[0]) % key.step_ms
                return key if first == key.grid_ms else replace(key, offset_ms=first)
    return key


def _set_aside(path: Path) -> str:
    """Moves a file to the quarantine, under a name that is free."""
    if not os.path.lexists(path):
        return f"{path} was missing"
    quarantine = path.parent / QUARANTINE
    refuse_link(quarantine)
    quarantine.mkdir(exist_ok=True)
    target, count = quarantine / path.name, 1
    while os.path.lexists(target):
        target, count = quarantine / f"{path.name}.{count}", count + 1
    os.replace(path, target)
    sync_folder(quarantine)
    sync_folder(path.parent)
    return f"{path} moved to {target}"
