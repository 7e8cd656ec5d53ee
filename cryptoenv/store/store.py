"""The store: bars and funding rates on disk, complete, checked and safe against crashes.

    <store>/<exchange>/<symbol>/<timeframe>/manifest.json, <period>-<SHA-256>.parquet ..., quarantine/

An append writes the parts it touches under new names, then the manifest, and the manifest is the commit: whatever
kills the process, the series is as before or as after, and what was left over is removed when the next writer starts.
Equal contents are equal bytes, whatever the order of the appends and the time zone of the machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from cryptoenv.files.durable_files import TEMPORARY, sync_folder, write_file
from cryptoenv.files.posix_files import require_posix
from cryptoenv.store.key import SeriesKey, StoreError, key_of
from cryptoenv.store.lock import StoreLockedError, series_lock
from cryptoenv.store.manifest import (
    MANIFEST,
    CorruptManifestError,
    Manifest,
    NewerManifestError,
    read_manifest,
    write_manifest,
)
from cryptoenv.store.parts import (
    CorruptPartError,
    Part,
    describe_part,
    named_part,
    part_bytes,
    period_span,
    periods_of,
    rows_of,
)
from cryptoenv.store.ranges import gaps_between, merged, not_covered, seen_empty, settled, subtracted, without
from cryptoenv.store.repair import problems_of, repaired
from cryptoenv.store.rows import Rows, checked_rows, frame_of, instant_ms, joined, merged_rows, no_rows

__all__ = [
    "BarStore",
    "CorruptManifestError",
    "CorruptPartError",
    "Manifest",
    "NewerManifestError",
    "Part",
    "SeriesKey",
    "SeriesWriter",
    "StoreError",
    "StoreLockedError",
]


class BarStore:
    """Series of bars and funding rates in a folder. Many readers and, per series, one writer at a time.

    Args:
        folder: of the store; it is made when the first series is written.

    Raises:
        OSError: the system has no file locks (Windows).
    """

    def __init__(self, folder: Path | str) -> None:
        require_posix()
        self.folder = Path(folder)

    def series(self) -> tuple[SeriesKey, ...]:
        """The series there are, sorted."""
        keys = (key_of(*path.relative_to(self.folder).parts) for path in self.folder.glob("*/*/*") if _is_series(path))
        return tuple(sorted(key for key in keys if key is not None))

    @contextmanager
    def writer(self, key: SeriesKey) -> Iterator[SeriesWriter]:
        """Holds a series for writing; it is made where it is new. What a crash left over is removed.

        Raises:
            StoreLockedError: another writer has it; the message names its process.
            StoreError: a link in the store leads elsewhere.
            CorruptManifestError: the manifest is damaged; nothing is removed then. NewerManifestError: it is of a later
                release.
            OSError: the folder cannot be written.
        """
        folder = key.folder(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        with series_lock(folder, key):
            writer = SeriesWriter(folder, key)
            try:
                yield writer
            finally:
                writer.close()

    def manifest(self, key: SeriesKey) -> Manifest:
        """What the series holds.

        Raises:
            StoreError: no such series, or a link in the store leads elsewhere.
            CorruptManifestError: the manifest is damaged. NewerManifestError: it is of a later release.
        """
        folder = key.folder(self.folder)
        if not _is_series(folder):
            there = ", ".join(map(str, self.series())) or "none"
            raise StoreError(f"no series {key} in {self.folder}; there are: {there}")
        return read_manifest(folder, key)

    def read(
        self, key: SeriesKey, since: str | int | datetime | None = None, until: str | int | datetime | None = None
    ) -> pd.DataFrame:
        """The rows that open in [since, until), checksums verified; all of them where both are None.

        Args:
            key: the series.
            since: text (UTC unless it names an offset), milliseconds since the epoch, or an aware datetime.
            until: the same, exclusive.

        Returns:
            Bars (T, 5) float64 or funding rates (T, 1) float64, index `timestamp` in UTC. Gaps stay gaps.

        Raises:
            StoreError: no such series, or a time that is none.
            CorruptPartError: a file is missing or not what was written; the message names it and the way out.
            CorruptManifestError: the same of the manifest.
        """
        start = None if since is None else instant_ms(since, "since")
        end = None if until is None else instant_ms(until, "until")
        rows = self._rows(key, start, end)
        first = rows.opens[0] if start is None and len(rows) else start or 0
        last = rows.opens[-1] + 1 if end is None and len(rows) else end or 0
        return frame_of(key, rows.between(int(first), int(last)))

    def _rows(self, key: SeriesKey, start: int | None, end: int | None) -> Rows:
        """Rows of the parts that reach into [start, end); a writer may replace parts meanwhile."""
        folder = key.folder(self.folder)
        while True:
            manifest = self.manifest(key)
            parts = [
                part
                for part in manifest.parts
                if (start is None or part.last_ms >= start) and (end is None or part.first_ms < end)
            ]
            try:
                return joined(key, [rows_of(key, folder / part.name, part.sha256) for part in parts])
            except FileNotFoundError as error:
                if self.manifest(key) == manifest:
                    raise CorruptPartError(
                        f"{error.filename} is missing; `cryptoenv data repair` marks its time as missing, so that "
                        "the next download fetches it again"
                    ) from error

    def validate(self, key: SeriesKey) -> tuple[str, ...]:
        """What is wrong with the files of a series, one line each; nothing is changed.

        Raises:
            StoreError: no such series.
        """
        with suppress(CorruptManifestError, NewerManifestError):
            self.manifest(key)
        return problems_of(key.folder(self.folder), key)

    def repair(self, key: SeriesKey) -> tuple[str, ...]:
        """Moves damaged files to `quarantine/` and takes their time out of `covered`; no file is deleted.

        Returns:
            What was done, one line each; () where nothing had to be.

        Raises:
            StoreError: no such series, or a link in the store leads elsewhere.
            StoreLockedError: a writer has it.
            NewerManifestError: the manifest is of a later release; nothing was moved.
            OSError: the folder cannot be written.
        """
        with suppress(CorruptManifestError):
            self.manifest(key)
        folder = key.folder(self.folder)
        with series_lock(folder, key):
            return repaired(folder, key)


class SeriesWriter:
    """Writes one series; made by `BarStore.writer`, which holds the lock."""

    def __init__(self, folder: Path, key: SeriesKey) -> None:
        self._folder = folder
        self._key = key
        self._owner: int | None = os.getpid()  # None: closed
        self._latest: tuple[Part, Rows] | None = None  # a download appends to the same part again and again
        if not _is_series(folder):
            # An empty manifest first: parts without one are then always damage, never a first append cut short.
            write_manifest(folder, Manifest(key))
            for parent in list(folder.parents)[:3]:
                sync_folder(parent)
        self._manifest = read_manifest(folder, key)
        self._key = self._manifest.key  # with the venue's grid
        self._sweep()

    @property
    def manifest(self) -> Manifest:
        """What the series holds now."""
        return self._manifest

    def close(self) -> None:
        """Refuses appends from now on: the lock is gone."""
        self._owner = None

    def missing(self, since_ms: int, until_ms: int, *, gaps: str = "none") -> list[tuple[int, int]]:
        """The ranges of [since_ms, until_ms) to ask for, half-open, in order.

        Args:
            since_ms: start.
            until_ms: end.
            gaps: "none": what is not covered; "young": gaps that were found empty at one time only, too; "all".
        """
        held = self._manifest
        again = held.gaps if gaps == "all" else tuple((a, b) for a, b, _ in held.young) if gaps == "young" else ()
        inside = ((max(a, since_ms), min(b, until_ms)) for a, b in again)
        return list(merged((*not_covered(held.covered, since_ms, until_ms), *inside)))

    def found_empty(self, span: tuple[int, int], now_ms: int) -> bool:
        """Whether a range that an answer of its own left empty was so at an earlier time, and may be covered.

        Where not, it is noted, and stays uncovered.

        Raises:
            OSError: as `append`.
        """
        old = settled(self._manifest.young, span, now_ms)
        if old == (span,):
            return True
        known = merged((a, b) for a, b, _ in self._manifest.young)
        fresh = ((a, b, now_ms) for a, b in without((span,), known))
        young = tuple(sorted((*self._manifest.young, *fresh)))
        if young != self._manifest.young:
            self._commit(replace(self._manifest, young=young), {})
        return False

    def append(self, bars: pd.DataFrame, covered: tuple[int, int], *, now_ms: int | None = None) -> None:
        """Stores all bars that the venue has in a range, in one step: rows and manifest, or nothing.

        Args:
            bars: bars, or funding rates, that open in `covered`; none is allowed. A bar stored before is left out.
            covered: [start, end) in milliseconds since the epoch, on the grid: what is absent in it is a real gap
                (a bar that is stored already stays, and a later one closes the gap).
            now_ms: time of the answer, in milliseconds since the epoch; gaps are young then until a later answer lacks
                them too.

        Raises:
            BarsError: a row is wrong; nothing was stored.
            StoreError: a row differs from the one stored, `covered` is wrong, or the writer is closed.
            CorruptPartError: the stored part that would be added to is damaged.
            OSError: disk full, folder read-only, ...; the series is as before, or (where only the last fsync failed)
                as after.
        """
        if self._owner is None:
            raise StoreError(f"{self._key}: this writer is closed; allowed: appends inside `with store.writer(key)`")
        if self._owner != os.getpid():
            raise StoreError(
                f"{self._key}: this writer is process {self._owner}'s; a forked process opens one of its own when that "
                "has ended"
            )
        start, end = (int(moment) for moment in covered)
        new = checked_rows(self._key, bars, (start, end))
        changed, opens = self._merged_with_stored(new, start, end)
        gaps = () if self._key.is_funding else gaps_between(opens, self._key.step_ms, (start, end))
        young = self._manifest.young
        if now_ms is not None and not self._key.is_funding:
            young = seen_empty(young, (start, end), gaps, self._manifest.gaps, now_ms)
        elif self._key.is_funding:
            young = tuple(kept for kept in young if kept[1] <= start or kept[0] >= end)
        manifest = replace(
            self._manifest,
            young=young,
            covered=merged((*self._manifest.covered, (start, end))),
            gaps=merged((*subtracted(self._manifest.gaps, (start, end)), *gaps)),
        )
        if changed or manifest != self._manifest:
            self._commit(manifest, changed)

    def _merged_with_stored(self, new: Rows, start: int, end: int) -> tuple[dict[str, Rows], np.ndarray]:
        """The parts that change, by period, and the opens (T,) int64 of all rows in [start, end)."""
        periods = {part.period for part in self._manifest.parts if part.first_ms < end and part.last_ms >= start}
        periods |= {str(period) for period in np.unique(periods_of(self._key, new.opens))}
        changed, opens = {}, [np.empty(0, dtype=np.int64)]
        for period in sorted(periods):
            stored, span = self._stored(period), period_span(self._key, period)
            both = merged_rows(self._key, stored, new.between(*span), int(np.searchsorted(new.opens, span[0])))
            if both is not stored:
                changed[period] = both
            opens.append(both.between(start, end).opens)
        return changed, np.concatenate(opens)

    def _stored(self, period: str) -> Rows:
        part = self._manifest.part(period)
        if part is None:
            return no_rows(self._key)
        if self._latest is not None and self._latest[0] == part:
            return self._latest[1]
        try:
            return rows_of(self._key, self._folder / part.name, part.sha256)
        except FileNotFoundError as error:
            raise CorruptPartError(f"{error.filename} is missing; run `cryptoenv data repair`") from error

    def _commit(self, manifest: Manifest, changed: dict[str, Rows]) -> None:
        parts = []
        for period, rows in changed.items():
            content = part_bytes(self._key, rows)
            parts.append(describe_part(rows, period, content))
            write_file(self._folder / parts[-1].name, content)
            self._latest = parts[-1], rows
        manifest = manifest.with_parts(parts)
        try:
            write_manifest(self._folder, manifest)
        except OSError:
            self._manifest = read_manifest(self._folder, self._key)  # the one or the other: the disk says which
            raise
        replaced = {part.name for part in self._manifest.parts} - {part.name for part in manifest.parts}
        self._manifest = manifest
        for name in replaced:
            (self._folder / name).unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Removes what a writer that was killed left over."""
        kept = {part.name for part in self._manifest.parts}
        for path in self._folder.iterdir():
            left_over = path.name.startswith(TEMPORARY) or (named_part(path) and path.name not in kept)
            if left_over and (path.is_symlink() or not path.is_dir()):  # of a link the link alone goes
                path.unlink()


def _is_series(folder: Path) -> bool:
    return folder.is_dir() and any(p.name == MANIFEST or named_part(p) for p in folder.iterdir())
