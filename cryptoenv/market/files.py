"""A market's folder: one npy file per array, memory-mapped on loading (processes share one copy), and `market.json`."""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cryptoenv.bars.array_checks import MarketContentError, require_shapes, require_values
from cryptoenv.files.bounded_json import parse_json
from cryptoenv.files.durable_files import read_regular, recover_folder, write_file, write_folder
from cryptoenv.files.posix_files import require_posix

MARKET_FILE = "market.json"
FORMAT = 2


class MarketFileError(ValueError):
    """A market's folder that cannot be used; the message names the file and what is wrong with it."""


class StoredMarket(NamedTuple):
    """What a market's folder holds, all of it checked.

    Attributes:
        name: for people.
        header: plain values.
        arrays: memory-mapped, read-only: prices (T, 8), align (T, K) and the features (T_k, F_k) of each timeframe.
        hash: sha256 (hex) over header and arrays.
    """

    name: str
    header: dict[str, Any]
    arrays: dict[str, np.ndarray]
    hash: str


def content_hash(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """sha256 (hex) over a JSON header and the name, dtype, shape and bytes of each array (of any shape)."""
    entries = [[name, array.dtype.str, list(array.shape), array_digest(array)] for name, array in arrays.items()]
    return digests_hash(header, entries)


def digests_hash(header: Mapping[str, Any], entries: list[list[Any]]) -> str:
    """`content_hash` from the arrays' [name, dtype, shape, sha256] entries."""
    return hashlib.sha256(json.dumps([header, entries], sort_keys=True).encode()).hexdigest()


def array_digest(array: np.ndarray) -> str:
    """sha256 (hex) of the bytes of an array of any shape, C order."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def write_market(folder: Path, name: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the folder whole or not at all, synced to the disk; maps of a replaced market stay valid.

    Args:
        folder: of its own. name: for people. header: plain values.
        arrays: prices (T, 8) float64, align (T, K) int64, and the features (T_k, F_k) float32 of each timeframe.

    Raises:
        FileExistsError: the folder holds something else than a market, which would be lost.
        OSError: as `durable_files.write_folder`.
    """
    if folder.is_dir():
        _require_replaceable(folder, {MARKET_FILE, *(f"{array_name}.npy" for array_name in arrays)})
        folder = folder.resolve()  # a link of the user's to the folder stays one

    def make(place: Path) -> None:
        entries = []
        for array_name, array in arrays.items():
            np.save(place / f"{array_name}.npy", np.ascontiguousarray(array))
            entries.append([array_name, array.dtype.str, list(array.shape), array_digest(array)])
        content = {"name": name, "header": header, "arrays": entries, "hash": digests_hash(header, entries)}
        write_file(place / MARKET_FILE, json.dumps(content, indent=2) + "\n")

    write_folder(folder, make)


def read_market(folder: Path) -> StoredMarket:
    """A folder's market. Its hash proves that it is as it was written, the further checks that bars can give it.

    Raises:
        FileNotFoundError: no `market.json` there.
        MarketFileError: `market.json` is damaged or lies; an array is missing, is not the one that was saved, is no
            regular file, or holds what no market can.
    """
    require_posix()
    missing = f"{folder} holds no market: {MARKET_FILE} is missing; allowed: a folder written by Market.save"
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        if not recover_folder(folder):
            raise FileNotFoundError(missing) from error
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except NotADirectoryError as error:
        raise FileNotFoundError(missing) from error
    try:  # all files of one version, though a writer exchanges the folder meanwhile
        name, header, entries, digest = _description(folder, handle, missing)
        arrays = {entry[0]: _read_array(folder, handle, entry) for entry in entries}
    finally:
        os.close(handle)
    try:
        require_values(header, arrays)
    except MarketContentError as error:
        raise MarketFileError(f"{folder} is no market: {error}; build and save the market again") from error
    return StoredMarket(name, header, arrays, digest)


def _require_replaceable(folder: Path, written: set[str]) -> None:
    found = set(os.listdir(folder))
    if MARKET_FILE in found:
        written |= {entry for entry in found if entry.endswith(".npy")}  # a market of other timeframes
    if further := sorted(found - written):
        raise FileExistsError(
            f"{folder} holds {further[0]!r}, which is no part of a market and would be lost; save to another folder"
        )


def _description(folder: Path, handle: int, missing: str) -> tuple[str, dict[str, Any], list[list[Any]], str]:
    path = folder / MARKET_FILE
    try:
        content = parse_json(read_regular(Path(MARKET_FILE), inside=handle), str(path))
        name, header, entries, expected = content["name"], content["header"], content["arrays"], content["hash"]
        found = digests_hash(header, entries)
    except FileNotFoundError as error:
        raise FileNotFoundError(missing) from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise MarketFileError(
            f"{path} is damaged ({type(error).__name__}: {error}); build and save the market again"
        ) from error
    if found != expected:
        raise MarketFileError(
            f"{path} was changed after it was saved ({found[:12]}, not {str(expected)[:12]}); save the market again"
        )
    if not isinstance(name, str) or not isinstance(header, dict) or header.get("format") != FORMAT:
        version = header.get("format") if isinstance(header, dict) else header
        raise MarketFileError(f"{path} has format {version!r:.100}; allowed: {FORMAT}; save the market again")
    try:
        require_shapes(header, entries)
    except MarketContentError as error:
        raise MarketFileError(f"{path} describes no market: {error}; build and save the market again") from error
    return name, header, entries, found


def _read_array(folder: Path, inside: int, entry: list[Any]) -> np.ndarray:
    name, dtype, shape, digest = entry
    path = folder / f"{name}.npy"
    try:
        array = _mapped(path.name, inside, np.dtype(dtype), tuple(shape))
    except (OSError, ValueError) as error:
        raise MarketFileError(f"{path} cannot be read ({error}); build and save the market again") from error
    if array_digest(array) != digest:
        raise MarketFileError(
            f"{path} is not the array that was saved (its sha256 differs); build and save the market again"
        )
    return np.asarray(array)


def _mapped(name: str, inside: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    """A regular npy file of the open folder `inside`, mapped read-only once it is what was described."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(name, flags, dir_fd=inside), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is no regular file")
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("it is not of version 1.0 of the npy format")
        header = np.lib.format.read_array_header_1_0(file)
        if header != (shape, False, dtype):
            raise ValueError(f"it holds shape, Fortran order and dtype {header}; described are {(shape, False, dtype)}")
        offset, size = file.tell(), dtype.itemsize * int(np.prod(shape))
        if found.st_size != offset + size:
            raise ValueError(f"it has {found.st_size} bytes; allowed: {offset + size}")
        return np.memmap(file, dtype=dtype, mode="r", offset=offset, shape=shape)
