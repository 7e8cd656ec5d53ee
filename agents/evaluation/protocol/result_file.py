"""A result as a file: what was done at every decision, and the figures that follow from it."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoenv.files.bounded_json import JsonError, parse_json
from cryptoenv.files.durable_files import read_regular

MOST_BYTES = 512 * 2**20  #: of unpacked actions: a file cannot make its reader run out of memory
MOST_FILE = 256 * 2**20
KEYS = frozenset(("protocol", "task", "agent", "version", "markets", "trading", "budget", "runs", "figures", "digest"))
DTYPES = {"int8": np.int8, "float32": np.float32}


class ResultError(ValueError):
    """A result that is damaged, of other rules, or not what its actions come to; it says which."""


@dataclass(frozen=True)
class Actions:
    """What one trained agent did.

    Attributes:
        seed: of its training.
        taken: (S, N) int8 numbers of positions, or float32 exposures, at decision s on market n.
    """

    seed: int
    taken: NDArray[Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain values; actions are zlib in base64, row by row."""
        packed = base64.b64encode(zlib.compress(np.ascontiguousarray(self.taken).tobytes(), 9)).decode("ascii")
        return {"seed": self.seed, "dtype": self.taken.dtype.name, "shape": list(self.taken.shape), "actions": packed}

    @classmethod
    def from_dict(cls, values: Any) -> Actions:
        """The inverse of `as_dict`.

        Raises:
            ResultError: damaged, or of no such form.
        """
        try:
            seed, dtype = int(values["seed"]), DTYPES[values["dtype"]]
            steps, markets = (int(size) for size in values["shape"])
            size = steps * markets * np.dtype(dtype).itemsize
            if not 0 < size <= MOST_BYTES:
                raise ResultError(f"actions of shape {steps} x {markets} are not allowed: at most {MOST_BYTES:,} bytes")
            reader = zlib.decompressobj()
            content = reader.decompress(base64.b64decode(values["actions"], validate=True), size + 1)
            if len(content) != size:
                raise ResultError(f"actions of seed {seed} unpack to {len(content):,} bytes or more, not {size:,}")
            return cls(seed, np.frombuffer(content, dtype=dtype).reshape(steps, markets))
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            if isinstance(error, ResultError):
                raise
            raise ResultError(f"the actions of a run cannot be read: {type(error).__name__} {error}") from error


def digest(values: dict[str, Any]) -> str:
    """sha256 (hex) of all values but "digest", written in one way: damage by accident is seen at once.

    It proves nothing about who wrote a file or whether its figures are right: for that actions are replayed.
    """
    plain = {name: value for name, value in values.items() if name != "digest"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_result(path: Path) -> dict[str, Any]:
    """The values of a result's file, after its digest was checked.

    Raises:
        ResultError: no result, or a damaged one. OSError: it cannot be read.
    """
    try:
        values = parse_json(read_regular(path, MOST_FILE), str(path), MOST_FILE)
    except JsonError as error:
        raise ResultError(str(error)) from error
    missing = sorted(KEYS - set(values)) if isinstance(values, dict) else sorted(KEYS)
    if missing:
        raise ResultError(f"{path} is no result of `cryptoenv bench run`: it lacks {', '.join(missing)}")
    if values["digest"] != digest(values):
        raise ResultError(f"{path} was changed after it was written: its digest is that of other content")
    found: dict[str, Any] = values
    return found


def result_text(values: dict[str, Any]) -> str:
    """What is written: keys in order, a line each but for lists."""
    return json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n"
