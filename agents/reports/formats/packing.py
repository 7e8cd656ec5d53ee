"""Series of numbers for a page: whole numbers of a decimal place, as differences, by byte plane, gzipped, in base64.

A value is `(base + unit * n) / divisor` with whole numbers throughout, so that prices come out with the digits that
they went in with. What has no such form within 8 significant digits is rounded to them.
"""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_DIGITS = 10  #: after the point, that are looked for
SIGNIFICANT = 8
LEVEL = 6  #: of gzip
_LIMIT = 2**31 - 1


class Packer:
    """Collects arrays and specifications, and gives them as one text."""

    def __init__(self) -> None:
        self._arrays: list[dict[str, Any]] = []
        self._bytes: list[bytes] = []
        self._length = 0
        self.content: dict[str, Any] = {}

    def add(self, values: NDArray[Any]) -> int:
        """Keep an array (n,), NaN included; returns its number."""
        array = np.asarray(values)
        if array.dtype.kind in "iu":
            return self._whole(array.astype(np.int64), 1)
        array = array.astype(np.float64)
        if not np.isfinite(array).all():
            return self._raw(array)
        digits = decimals(array)
        with np.errstate(over="ignore"):
            scaled = np.rint(array * 10.0**digits)
        if np.abs(scaled).max(initial=0.0) > 2.0**52:
            return self._raw(array)
        return self._whole(scaled.astype(np.int64), 10**digits)

    def words(self, values: NDArray[Any]) -> dict[str, Any]:
        """Keep a column of text (n,): its different words, and their numbers by row."""
        found, numbers = np.unique(np.asarray(values, dtype=str), return_inverse=True)
        return {"words": found.tolist(), "codes": self.add(numbers.astype(np.int64))}

    def candles(self, prices: tuple[NDArray[np.float64], ...]) -> dict[str, int]:
        """Keep open, high, low, close (n,) each: close by difference, the others from what is near."""
        digits = max(decimals(column) for column in prices)
        scale = 10**digits
        o, h, low, c = (np.rint(column * float(scale)).astype(np.int64) for column in prices)
        before = np.concatenate((o[:1], c[:-1]))
        return {
            "close": self._whole(c, scale), "open": self._whole(o - before, scale),
            "high": self._whole(h - np.maximum(o, c), scale), "low": self._whole(np.minimum(o, c) - low, scale),
            "divisor": scale, "first": int(o[0]),
        }  # fmt: skip

    def text(self) -> str:
        """Everything as base64 of gzip: length of the JSON (uint32, little-endian), JSON, bytes of the arrays."""
        content = {"arrays": self._arrays, **self.content}
        head = json.dumps(content, allow_nan=False, separators=(",", ":"), default=scalar).encode()
        head += b" " * (-len(head) % 4)
        whole = np.array([len(head)], dtype="<u4").tobytes() + head + b"".join(self._bytes)
        return packed(whole)

    def _whole(self, values: NDArray[np.int64], divisor: int) -> int:
        base = int(values[0]) if len(values) else 0
        steps = np.diff(values, prepend=base)
        unit = int(np.gcd.reduce(steps)) if len(steps) else 1
        steps = steps // max(unit, 1)
        if np.abs(steps).max(initial=0) > _LIMIT:
            return self._raw(values / divisor)
        planes = np.ascontiguousarray(steps.astype("<i4").view(np.uint8).reshape(-1, 4).T)
        return self._keep({"n": len(values), "base": base, "unit": max(unit, 1), "divisor": divisor}, planes.tobytes())

    def _raw(self, values: NDArray[np.float64]) -> int:
        planes = np.ascontiguousarray(values.astype("<f8").view(np.uint8).reshape(-1, 8).T)
        return self._keep({"n": len(values), "raw": True}, planes.tobytes())

    def _keep(self, said: dict[str, Any], data: bytes) -> int:
        self._arrays.append({**said, "at": self._length})
        self._bytes.append(data)
        self._length += len(data)
        return len(self._arrays) - 1


def scalar(value: Any) -> Any:
    """NumPy's scalar as Python's, for `json.dumps(..., default=scalar)`; nothing else is taken."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def packed(data: bytes) -> str:
    """Bytes as base64 of gzip, the same for the same bytes."""
    return base64.b64encode(gzip.compress(data, LEVEL, mtime=0)).decode("ascii")


def decimals(values: NDArray[np.float64]) -> int:
    """Digits after the point that say all values (n,) exactly, or those of `SIGNIFICANT` significant ones."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0.0:
        return 0
    for digits in range(MOST_DIGITS + 1):
        with np.errstate(over="ignore", invalid="ignore"):  # of numbers so large that no digit after the point is left
            scaled = values * 10.0**digits
            exact = np.abs(scaled - np.rint(scaled)) <= 1e-14 * np.maximum(np.abs(scaled), 1.0)
        if exact.all():
            return digits
    return max(0, min(SIGNIFICANT - 1 - int(np.floor(np.log10(largest))), 15))
