"""The manifest of a series: which parts count, what range is covered, where the real gaps are."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from cryptoenv.durable_files import write_file
from cryptoenv.store_key import SeriesKey, StoreError
from cryptoenv.store_parts import Part
from cryptoenv.store_ranges import Ranges

MANIFEST = "manifest.json"
_VERSION = 1


class CorruptManifestError(StoreError):
    """A manifest that is missing or not what was written."""


@dataclass(frozen=True)
class Manifest:
    """What a series holds.

    Attributes:
        key: the series.
        covered: half-open ranges (start_ms, end_ms) known to be complete, sorted, not touching.
        gaps: ranges inside `covered` in which the venue has no bars; () for funding rates, which have no grid.
        parts: the Parquet files, by period.
    """

    key: SeriesKey
    covered: Ranges = ()
    gaps: Ranges = ()
    parts: tuple[Part, ...] = ()

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(part.rows for part in self.parts)

    @property
    def first(self) -> pd.Timestamp | None:
        """Time (bar open, UTC) of the first row; None where there is none."""
        return pd.Timestamp(self.parts[0].first_ms, unit="ms", tz="UTC") if self.parts else None

    @property
    def last(self) -> pd.Timestamp | None:
        """Time (bar open, UTC) of the last row; None where there is none."""
        return pd.Timestamp(self.parts[-1].last_ms, unit="ms", tz="UTC") if self.parts else None

    @property
    def size(self) -> int:
        """Bytes of the parts."""
        return sum(part.size for part in self.parts)

    @property
    def missing_bars(self) -> int:
        """Bars that the venue does not have, inside `covered`."""
        return sum(end - start for start, end in self.gaps) // self.key.step_ms

    def part(self, period: str) -> Part | None:
        """The part of a period."""
        return next((part for part in self.parts if part.period == period), None)

    def with_parts(self, parts: Iterable[Part]) -> "Manifest":
        """The same with these parts in the place of those of their periods."""
        by_period = {part.period: part for part in (*self.parts, *parts)}
        return replace(self, parts=tuple(by_period[period] for period in sorted(by_period)))


def manifest_bytes(manifest: Manifest) -> bytes:
    """The manifest as a file: JSON with a SHA-256 of itself; equal manifests give equal bytes."""
    document: dict[str, Any] = {"version": _VERSION, **asdict(manifest)}
    document["sha256"] = hashlib.sha256(_canonical(document)).hexdigest()
    return _canonical(document)


def _canonical(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Makes `manifest` what counts: the commit.

    Raises:
        OSError: as `write_file`.
    """
    write_file(folder / MANIFEST, manifest_bytes(manifest))


def read_manifest(folder: Path, key: SeriesKey) -> Manifest:
    """The manifest in a folder, once its bytes are what was written.

    Raises:
        CorruptManifestError: missing, other bytes than those written, of another series, or of a later version.
    """
    path = folder / MANIFEST
    mend = "`cryptoenv data repair` moves it to quarantine and makes a new one of the parts"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CorruptManifestError(f"{path} is missing; {mend}") from None
    try:
        document = json.loads(content)
        version = document.pop("version")
        manifest = Manifest(
            key=SeriesKey(**document["key"]),
            covered=tuple((int(a), int(b)) for a, b in document["covered"]),
            gaps=tuple((int(a), int(b)) for a, b in document["gaps"]),
            parts=tuple(Part(**part) for part in document["parts"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptManifestError(f"{path}: not a manifest ({type(error).__name__}: {error}); {mend}") from error
    if version != _VERSION:
        raise CorruptManifestError(f"{path} has version {version!r}; this release reads version {_VERSION}")
    if manifest_bytes(manifest) != content:
        raise CorruptManifestError(f"{path}: the bytes are not those written; {mend}")
    if manifest.key != key:
        raise CorruptManifestError(f"{path} is of {manifest.key}, the folder of {key}; {mend}")
    return manifest
