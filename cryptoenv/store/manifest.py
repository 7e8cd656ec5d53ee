"""The manifest of a series: which parts count, what range is covered, where the real gaps are."""

import hashlib
import itertools
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from cryptoenv.files.durable_files import NotRegularError, read_regular, write_file
from cryptoenv.store.key import SeriesKey, StoreError
from cryptoenv.store.parts import Part, part_problem
from cryptoenv.store.ranges import Ranges, Seen, merged, without

MANIFEST = "manifest.json"
_VERSION = 1
_LONGEST = 256 << 20  # bytes: ten million gaps
_LATEST_MS = 9_000_000_000_000  # year 2255: pandas ends in 2262
_MEND = "`cryptoenv data repair` moves it to quarantine and makes a new one of the parts"


class CorruptManifestError(StoreError):
    """A manifest that is missing or not what was written."""


class NewerManifestError(StoreError):
    """A manifest of a later release: nothing is wrong with it, and nothing of this release may touch it."""


@dataclass(frozen=True)
class Manifest:
    """What a series holds.

    Attributes:
        key: the series, with the grid that its venue has.
        covered: half-open ranges (start_ms, end_ms) known to be complete, sorted, not touching.
        gaps: ranges inside `covered` in which the venue has no bars; () for funding rates, which have no grid.
        parts: the Parquet files, by period.
        young: ranges (start_ms, end_ms, seen_ms) that were found empty once, covered (then they are gaps) or not: the
            next download asks for them again.
    """

    key: SeriesKey
    covered: Ranges = ()
    gaps: Ranges = ()
    parts: tuple[Part, ...] = ()
    young: Seen = ()

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
    if not manifest.young:  # as it was written before there were any
        del document["young"]
    if manifest.key.offset_ms is None:
        del document["key"]["offset_ms"]
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
    """The manifest in a folder, once its bytes are what was written and what it says can be.

    Whether it says the truth of the rows is a question for `store_repair`.

    Raises:
        CorruptManifestError: missing, other bytes than those written, of another series, or of what cannot be.
        NewerManifestError: of a later release.
    """
    path = folder / MANIFEST
    try:
        content = read_regular(path, _LONGEST)
    except FileNotFoundError:
        raise CorruptManifestError(f"{path} is missing; {_MEND}") from None
    except NotRegularError as error:
        raise CorruptManifestError(f"{error}; {_MEND}") from error
    try:
        document = json.loads(content)
        _refuse_newer(path, document)
        version = document.pop("version")
        manifest = Manifest(
            key=SeriesKey(**document["key"]),
            covered=tuple((int(a), int(b)) for a, b in document["covered"]),
            gaps=tuple((int(a), int(b)) for a, b in document["gaps"]),
            parts=tuple(Part(**part) for part in document["parts"]),
            young=tuple((int(a), int(b), int(seen)) for a, b, seen in document.get("young", ())),
        )
    except NewerManifestError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise CorruptManifestError(f"{path}: not a manifest ({type(error).__name__}: {error}); {_MEND}") from error
    if version != _VERSION or manifest_bytes(manifest) != content:
        raise CorruptManifestError(f"{path}: the bytes are not those written; {_MEND}")
    if manifest.key != key:
        raise CorruptManifestError(f"{path} is of {manifest.key}, the folder of {key}; {_MEND}")
    if problem := _impossible(manifest):
        raise CorruptManifestError(f"{path}: {problem}; {_MEND}")
    return manifest


def _refuse_newer(path: Path, document: Any) -> None:
    """Raises NewerManifestError for a later version, but not for this one with its number changed by damage."""
    version = document.get("version") if isinstance(document, dict) else None
    if type(version) is not int or version <= _VERSION:
        return
    ours = {name: value for name, value in document.items() if name != "sha256"} | {"version": _VERSION}
    if hashlib.sha256(_canonical(ours)).hexdigest() == document.get("sha256"):
        return
    raise NewerManifestError(
        f"{path} has version {version}, of a later release of cryptoenv; this one reads version {_VERSION}: install "
        "the later one (nothing was changed)"
    )


def _impossible(manifest: Manifest) -> str | None:
    """What cannot be in a manifest, whatever the parts hold: a foreign one is sealed as well as any."""
    key = manifest.key
    for part in manifest.parts:
        if problem := part_problem(key, part):
            return problem
    periods = [part.period for part in manifest.parts]
    if periods != sorted(set(periods)):
        return f"its parts are of the periods {periods}, not one of each in order"
    offset = key.grid_ms
    young = tuple((start, end) for start, end, _ in manifest.young)
    if any(first[1] > second[0] for first, second in itertools.pairwise(young)) or any(a >= b for a, b in young):
        return "young is not in order, or overlaps itself"
    for name, ranges in (("covered", manifest.covered), ("gaps", manifest.gaps), ("young", merged(young))):
        if any((edge - offset) % key.step_ms or abs(edge) > _LATEST_MS for pair in ranges for edge in pair):
            return f"{name} has times off the grid of {key.timeframe}"
        if merged(ranges) != ranges:
            return f"{name} is not in order, or overlaps itself"
    if without(manifest.gaps, manifest.covered):
        return "gaps is not inside covered"
    return "gaps of funding rates, which have no grid" if key.is_funding and manifest.gaps else None
