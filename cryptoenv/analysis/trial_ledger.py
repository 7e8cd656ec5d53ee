"""The ledger of trials: what was tried on which data, one line each, appended and never taken back.

A Sharpe ratio can only be deflated by the number of trials if somebody counted them. Whatever searches (`cryptoenv
tune`, `walk-forward`, a sweep of a rule) writes one line per trial as it ends, so the number that deflation uses is the
true one, over all searches and all days. A trial that is run again (a killed one that resumes) is the same trial: its
identity says so, and it counts once.

A line is a JSON object with a checksum over it and over the line before, so that lines cannot be changed or taken out
in between unnoticed. A last line that a power cut left half-written is cut off by the next writer.
"""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cryptoenv.files.bounded_json import JsonError, parse_json
from cryptoenv.files.durable_files import make_folder, read_regular, sync_folder
from cryptoenv.files.posix_files import lock, require_posix

LEDGER = "trials.jsonl"  #: beside the folders of the searches that write into it
MOST_BYTES = 2**30


class LedgerError(ValueError):
    """A ledger that was changed, or that is none."""


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        kind: what made it: "tune", "walk-forward", "sweep".
        data: what it was judged on; trials on the same data are deflated together.
        what: a digest or the words of its configuration, seed included; with `kind` and `data` its identity.
        sharpe: Sharpe ratio per observation of what it earned there, where it is known.
        observations: how many it rests on.
    """

    kind: str
    data: str
    what: str
    sharpe: float | None = None
    observations: int = 0

    @property
    def identity(self) -> str:
        """sha256 (hex) over kind, data and configuration: a trial that is run again has the same."""
        return hashlib.sha256(json.dumps([self.kind, self.data, self.what]).encode()).hexdigest()


@dataclass(frozen=True)
class Tried:
    """What a ledger knows of some data.

    Attributes:
        trials: how many different ones.
        variance: of the Sharpe ratios that are known, per observation; None where fewer than two are.
        kinds: trials by what made them.
    """

    trials: int
    variance: float | None
    kinds: dict[str, int]


def ledger_beside(out: Path) -> Path:
    """The ledger that a search with the folder `out` writes into: `trials.jsonl` beside it."""
    return out.absolute().parent / LEDGER


def record_trials(ledger: Path, trials: Sequence[Trial]) -> int:
    """Append trials that the ledger does not hold yet, and make sure that they reach the disk.

    Several processes may write at once.

    Args:
        ledger: its file, made where there is none, with its folder.
        trials: in order; a Sharpe ratio that is not finite is left out.

    Returns:
        How many were new.

    Raises:
        LedgerError: the file is no ledger, or was changed.
    """
    require_posix()
    make_folder(ledger.parent)
    handle = os.open(ledger, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        lock(handle, wait=True)
        content = _content(handle, ledger)
        whole = content[: content.rfind(b"\n") + 1]
        known, last = _lines(whole, ledger)
        seen = {trial.identity for trial in known}
        lines = []
        for trial in trials:
            if trial.identity not in seen:
                seen.add(trial.identity)
                line = _line(trial, last)
                last = line["check"]
                lines.append(json.dumps(line, sort_keys=True, allow_nan=False) + "\n")
        if len(whole) < len(content):
            os.ftruncate(handle, len(whole))  # what a power cut left of a line
        if lines:
            os.lseek(handle, len(whole), os.SEEK_SET)
            _write_all(handle, "".join(lines).encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    sync_folder(ledger.parent)
    return len(lines)


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _content(handle: int, ledger: Path) -> bytes:
    size = os.fstat(handle).st_size
    if size > MOST_BYTES:
        raise LedgerError(f"{ledger} has {size:,} bytes; a ledger has at most {MOST_BYTES:,}")
    return os.pread(handle, size, 0) if size else b""


def _line(trial: Trial, last: str) -> dict[str, Any]:
    told = asdict(trial)
    if trial.sharpe is None or not math.isfinite(trial.sharpe):
        told["sharpe"] = None
    told["time"] = datetime.now(UTC).isoformat(timespec="seconds")
    return told | {"check": _check(told, last)}


def _check(told: dict[str, Any], last: str) -> str:
    return hashlib.sha256((last + json.dumps(told, sort_keys=True)).encode()).hexdigest()


def _lines(content: bytes, ledger: Path) -> tuple[list[Trial], str]:
    """The trials, and the checksum of the last line."""
    found, last = [], ""
    names = {item.name for item in fields(Trial)}
    for number, raw in enumerate(content.splitlines(), 1):
        try:
            told = parse_json(raw, f"{ledger}, line {number}")
            check = told.pop("check")
            good = check == _check(told, last) and set(told) == names | {"time"}
        except (JsonError, AttributeError, KeyError, TypeError) as error:
            raise LedgerError(f"{ledger}, line {number} is no line of a ledger: {error}") from error
        if not good:
            raise LedgerError(f"{ledger}, line {number} was changed, or one before it is gone: its count means nothing")
        found.append(Trial(**{name: told[name] for name in names}))
        last = check
    return found, last


def read_trials(ledger: Path) -> list[Trial]:
    """All trials of a ledger, oldest first; none where there is no file.

    Raises:
        LedgerError: the file is no ledger, or was changed.
    """
    if not os.path.lexists(ledger):
        return []
    content = read_regular(ledger, MOST_BYTES)
    return _lines(content[: content.rfind(b"\n") + 1], ledger)[0]


def tried(ledger: Path, data: str) -> Tried:
    """How many different trials were made on `data`, and how their Sharpe ratios scatter."""
    mine = [trial for trial in read_trials(ledger) if trial.data == data]
    ratios = np.array([trial.sharpe for trial in mine if trial.sharpe is not None], dtype=np.float64)
    kinds: dict[str, int] = {}
    for trial in mine:
        kinds[trial.kind] = kinds.get(trial.kind, 0) + 1
    return Tried(len(mine), float(ratios.var(ddof=1)) if len(ratios) > 1 else None, kinds)
