"""A market's folder: one npy file per array, memory-mapped on loading (processes share one copy), and `market.json`."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

MARKET_FILE = "market.json"


class MarketFileError(ValueError):
    """A market's folder that cannot be used; the message names the file and what is wrong with it."""


def content_hash(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """sha256 (hex) over a JSON header and the name, dtype, shape and bytes of each array."""
    entries = [[name, array.dtype.str, list(array.shape), array_digest(array)] for name, array in arrays.items()]
    return digests_hash(header, entries)


def digests_hash(header: Mapping[str, Any], entries: list[list[Any]]) -> str:
    """`content_hash` from the arrays' [name, dtype, shape, sha256] entries."""
    return hashlib.sha256(json.dumps([header, entries], sort_keys=True).encode()).hexdigest()


def array_digest(array: np.ndarray) -> str:
    """sha256 (hex) of the bytes of an array, C order."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def write_market(folder: Path, name: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the arrays, then `market.json`; files appear whole or not at all, and maps of replaced ones stay valid."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for array_name, array in arrays.items():
        target = folder / f"{array_name}.npy"
        partial = target.with_suffix(".npy.partial")
        with partial.open("wb") as file:
            np.save(file, np.ascontiguousarray(array))
        os.replace(partial, target)
        entries.append([array_name, array.dtype.str, list(array.shape), array_digest(array)])
    text = json.dumps(
        {"name": name, "header": header, "arrays": entries, "hash": digests_hash(header, entries)}, indent=2
    )
    partial = folder / f"{MARKET_FILE}.partial"
    partial.write_text(text + "\n", encoding="utf-8")
    os.replace(partial, folder / MARKET_FILE)


def read_market(folder: Path) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """Name, header and memory-mapped arrays of a folder, all checked against the hashes in it.

    Raises:
        FileNotFoundError: no `market.json` there.
        MarketFileError: `market.json` is damaged, or an array is missing or is not the one that was saved.
    """
    path = folder / MARKET_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no market: {MARKET_FILE} is missing; allowed: a folder written by Market.save"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        name, header, entries, expected = content["name"], content["header"], content["arrays"], content["hash"]
        found = digests_hash(header, entries)
    except (ValueError, KeyError, TypeError) as error:
        raise MarketFileError(
            f"{path} is damaged ({type(error).__name__}: {error}); build and save the market again"
        ) from error
    if found != expected:
        raise MarketFileError(
            f"{path} was changed after it was saved (hash {found[:12]}, not {expected[:12]}); save the market again"
        )
    return name, header, {entry[0]: _read_array(folder, *entry) for entry in entries}


def _read_array(folder: Path, name: str, dtype: str, shape: list[int], digest: str) -> np.ndarray:
    path = folder / f"{name}.npy"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise MarketFileError(f"{path} cannot be read ({error}); build and save the market again") from error
    if array.dtype.str != dtype or list(array.shape) != shape or array_digest(array) != digest:
        raise MarketFileError(
            f"{path} is not the array that was saved (its sha256 differs); build and save the market again"
        )
    return np.asarray(array)
