"""Damage to the files of a series: finding it, and setting it aside so that the downloader fetches it again."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from cryptoenv.durable_files import sync_folder
from cryptoenv.store_key import SeriesKey
from cryptoenv.store_manifest import MANIFEST, CorruptManifestError, Manifest, read_manifest, write_manifest
from cryptoenv.store_parts import (
    CorruptPartError,
    Part,
    describe_part,
    named_part,
    period_span,
    rows_of,
)
from cryptoenv.store_ranges import merged, runs_of, subtracted
from cryptoenv.store_rows import Rows, checked_rows, frame_of, iso

QUARANTINE = "quarantine"


def problems_of(folder: Path, key: SeriesKey) -> tuple[str, ...]:
    """What is wrong in the folder of a series, one line each."""
    while True:
        try:
            manifest = read_manifest(folder, key)
            problems = tuple(problem for part in manifest.parts if (problem := _problem_of(folder, key, part)))
            # A writer may have replaced a part meanwhile: what counts is then another manifest.
            if not problems or read_manifest(folder, key) == manifest:
                return problems
        except CorruptManifestError as error:
            return (str(error),)


def _problem_of(folder: Path, key: SeriesKey, part: Part) -> str | None:
    """What is wrong with a part: missing, other bytes, or rows that may not be in a store."""
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
    return None


def repaired(folder: Path, key: SeriesKey) -> tuple[str, ...]:
    """Sets damaged files aside; the caller holds the lock. What was done, one line each.

    Raises:
        OSError: the folder cannot be written.
    """
    try:
        manifest = read_manifest(folder, key)
    except CorruptManifestError as error:
        return _with_new_manifest(folder, key, str(error))
    damaged = [part for part in manifest.parts if _problem_of(folder, key, part)]
    if not damaged:
        return ()
    spans = [period_span(key, part.period) for part in damaged]
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
    return tuple(done)


def _with_new_manifest(folder: Path, key: SeriesKey, problem: str) -> tuple[str, ...]:
    """A manifest of the parts that are whole. Only bars that are there count as covered: what was a gap is asked for
    again, and so is all of a funding series, which has no grid; no row is lost.
    """
    done = [_set_aside(folder / MANIFEST)]
    whole: dict[str, tuple[Part, Rows]] = {}
    for path in sorted(folder.iterdir()):
        name = named_part(path)
        if name is None:
            continue
        try:
            rows = rows_of(key, path, name[1])
            checked_rows(key, frame_of(key, rows), period_span(key, name[0]))
        except ValueError:
            done.append(_set_aside(path))
            continue
        # Of two versions, of which one was being replaced, the later one has more rows.
        if name[0] not in whole or len(rows) > len(whole[name[0]][1]):
            whole[name[0]] = describe_part(rows, name[0], path.read_bytes()), rows
    opens = [rows.opens for _, rows in whole.values()]
    covered = () if key.is_funding else merged(run for part in opens for run in runs_of(part, key.step_ms))
    manifest = Manifest(key, covered=covered).with_parts(part for part, _ in whole.values())
    write_manifest(folder, manifest)
    done.append(f"{folder / MANIFEST}: made anew of {len(manifest.parts)} parts, {manifest.rows} rows ({problem})")
    return tuple(done)


def _set_aside(path: Path) -> str:
    """Moves a file to the quarantine, under a name that is free."""
    if not path.exists():
        return f"{path} was missing"
    quarantine = path.parent / QUARANTINE
    quarantine.mkdir(exist_ok=True)
    target, count = quarantine / path.name, 1
    while target.exists():
        target, count = quarantine / f"{path.name}.{count}", count + 1
    os.replace(path, target)
    sync_folder(quarantine)
    sync_folder(path.parent)
    return f"{path} moved to {target}"
