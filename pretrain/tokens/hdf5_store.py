"""`TokenStore`: a data set of tokens in a folder, one HDF5 file a token; every file is whole or absent.

    sequences/token_N.h5       columns of float64, compressed; schema and sha256 as attributes
    token_metadata.json        address <-> id, supply, source, rows, pumps, sha256 of every token
    split_info.json            strategy, seed, ratios, every span
    normalization_params.npy   fitted on the rows of training (no pickle)

A token is there once `token_metadata.json` names it: its file is written first, so that whatever kills the writer
leaves the tokens of before, whole, and perhaps a file that nothing names. Another version of a data set is another
folder. What a file says of itself is checked when it is read, and nothing outside the file is followed.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryptoenv.files.bounded_json import JsonError, parse_json
from cryptoenv.files.durable_files import make_folder, read_regular, write_file
from cryptoenv.files.folder_lock import folder_lock
from pretrain.data.splits import PARTS, How, Span, SplitRule, Splits
from pretrain.tokens.series import FEATURES, SeriesError, TokenSeries
from synthetic.installation import install_hint

SCHEMA: Final = "cryptoenv-token/1"
SEQUENCES, METADATA = "sequences", "token_metadata.json"
SPLIT, NORMALIZATION = "split_info.json", "normalization_params.npy"
MOST_TOKENS: Final = 100_000
LARGEST: Final = 2 * 1024**3  #: bytes of a file that is read
_ROW_KEYS = ("id", "address", "supply", "source", "rows", "pumps", "sha256")


class StoreError(ValueError):
    """A store, or a file of it, that cannot be used; the message names the file, and what is allowed."""


@dataclass(frozen=True)
class TokenEntry:
    """What the store says of a token: `id`, `address`, `supply`, `source`, `rows`, `pumps` and the `sha256` of its
    content (times, then columns)."""

    id: int
    address: str
    supply: float
    source: str
    rows: int
    pumps: tuple[tuple[int, int, int], ...] | None
    sha256: str


class TokenStore:
    """A data set of tokens.

    >>> from tempfile import TemporaryDirectory
    >>> from pretrain.tokens.hdf5_store import TokenStore
    >>> from pretrain.tokens.series import synthetic_tokens
    >>> from synthetic.tokens.market import TokenConfig
    >>> with TemporaryDirectory() as folder:
    ...     store = TokenStore(folder + "/v1")
    ...     numbers = store.add(synthetic_tokens(TokenConfig(tokens=2, bars=100), seed=0))
    ...     numbers, store.read(1).values.shape
    ((0, 1), (100, 6))

    Args:
        folder: of the data set; made with the first token.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def file(self, token: int) -> Path:
        """The file of a token."""
        return self.folder / SEQUENCES / f"token_{token}.h5"

    def entries(self) -> tuple[TokenEntry, ...]:
        """What the store holds, by id.

        Raises:
            StoreError: the metadata cannot be read, or is not what it should be.
        """
        path = self.folder / METADATA
        if not path.exists():
            if (self.folder / SEQUENCES).is_dir() and any((self.folder / SEQUENCES).glob("token_*.h5")):
                raise StoreError(f"{path} is missing: without it no file of {SEQUENCES}/ is a token; put it back")
            return ()
        rows = _listed(_json(path), "tokens", path)
        return tuple(_entry(row, number, path) for number, row in enumerate(rows))

    def __len__(self) -> int:
        return len(self.entries())

    def id_of(self, address: str) -> int:
        """The id of the token of an address.

        Raises:
            StoreError: no such token.
        """
        for entry in self.entries():
            if entry.address == address:
                return entry.id
        raise StoreError(f"{self.folder} holds no token of the address {address!r:.80}")

    def add(self, tokens: Sequence[TokenSeries]) -> tuple[int, ...]:
        """Write tokens; all of them are in the store afterwards, or none.

        Returns:
            Their ids, which go on from those that are there.

        Raises:
            StoreError: an address is there already, or twice, or there are too many.
            FolderLockedError: another writer is at work. OSError: the disk is full, ...; what was there still is.
        """
        make_folder(self.folder / SEQUENCES)
        with folder_lock(self.folder, f"the tokens in {self.folder}"):
            entries = list(self.entries())
            taken = {entry.address for entry in entries}
            if len(entries) + len(tokens) > MOST_TOKENS:
                raise StoreError(f"{self.folder}: more than {MOST_TOKENS:,} tokens are not kept in one store")
            for token in tokens:
                if token.address in taken:
                    raise StoreError(f"{self.folder} holds a token of the address {token.address!r:.80} already")
                taken.add(token.address)
            new = []
            for number, token in enumerate(tokens, start=len(entries)):
                content, digest = _packed(token, number)
                write_file(self.file(number), content)
                pumps = None if token.pumps is None else tuple(tuple(pump) for pump in token.pumps)
                new.append(
                    TokenEntry(number, token.address, token.supply, token.source, len(token), pumps, digest)  # type: ignore[arg-type]
                )
            self._write(METADATA, {"schema": SCHEMA, "tokens": [vars(entry) for entry in (*entries, *new)]})
        return tuple(entry.id for entry in new)

    def read(self, token: int) -> TokenSeries:
        """A token, after every check.

        Raises:
            StoreError: no such id, a file that is missing or changed, or one that is not of the schema.
        """
        return self._read(self._known(token))

    def read_all(self, tokens: Sequence[int] | None = None) -> tuple[TokenSeries, ...]:
        """Several tokens, all of them where none are named; as `read`."""
        entries = self.entries()
        chosen = range(len(entries)) if tokens is None else tokens
        return tuple(self._read(self._known(number, entries)) for number in chosen)

    def __iter__(self) -> Iterator[TokenSeries]:
        for entry in self.entries():
            yield self._read(entry)

    def write_split(self, splits: Splits, rule: SplitRule) -> None:
        """Write how the rows are split; `Span.market` is the token's id.

        Raises:
            FolderLockedError: another writer is at work.
        """
        spans = {
            name: [{"token": s.market, "start": s.start, "stop": s.stop} for s in splits.part(name)] for name in PARTS
        }
        told = {
            "schema": SCHEMA, "strategy": rule.how, "seed": rule.seed, "fractions": list(rule.fractions),
            "train_token_ratio": rule.train_share, "look_ahead": rule.look_ahead, "embargo": rule.embargo,
            "spans": spans,
        }  # fmt: skip
        with folder_lock(self.folder, f"the tokens in {self.folder}"):
            self._write(SPLIT, told)

    def split(self) -> tuple[Splits, SplitRule]:
        """The split that was written, and its rule.

        Raises:
            StoreError: there is none, or not of this store's tokens.
        """
        path = self.folder / SPLIT
        values = _json(path)
        entries = self.entries()
        try:
            how: How = values["strategy"]
            a, b, c = (float(share) for share in values["fractions"])
            rule = SplitRule(
                how, (a, b, c), int(values["look_ahead"]), int(values["embargo"]), int(values["seed"]),
                values["train_token_ratio"],
            )  # fmt: skip
            parts = [
                tuple(Span(int(s["token"]), int(s["start"]), int(s["stop"])) for s in values["spans"][name])
                for name in PARTS
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{path} is no split of tokens: {error}") from error
        for span in (span for part in parts for span in part):
            if not (0 <= span.market < len(entries) and 0 <= span.start < span.stop <= entries[span.market].rows):
                raise StoreError(f"{path}: {span} is not within the {len(entries)} tokens of the store")
        return Splits(*parts), rule

    def write_normalization(self, parameters: NDArray[np.float64]) -> None:
        """Write what features are normalised by, (2, 6) float64: centres and spreads."""
        buffer = io.BytesIO()
        np.save(buffer, parameters, allow_pickle=False)
        with folder_lock(self.folder, f"the tokens in {self.folder}"):
            write_file(self.folder / NORMALIZATION, buffer.getvalue())

    def normalization(self) -> NDArray[np.float64]:
        """What `write_normalization` wrote.

        Raises:
            StoreError: it is missing, or no (2, 6) float64 array of finite numbers.
        """
        path = self.folder / NORMALIZATION
        try:
            found = np.load(io.BytesIO(_bytes(path)), allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise StoreError(f"{path} is no array: {error}") from error
        if not isinstance(found, np.ndarray) or found.shape != (2, len(FEATURES)) or found.dtype != np.float64:
            raise StoreError(f"{path} must hold float64 (2, {len(FEATURES)})")
        if not np.isfinite(found).all():
            raise StoreError(f"{path} holds a number that is not finite")
        return found

    def _known(self, token: int, entries: Sequence[TokenEntry] | None = None) -> TokenEntry:
        held = self.entries() if entries is None else entries
        if not 0 <= token < len(held):
            allowed = f"ids from 0 to {len(held) - 1}" if held else "none: it is empty"
            raise StoreError(f"{self.folder} holds no token {token}; allowed: {allowed}")
        return held[token]

    def _read(self, entry: TokenEntry) -> TokenSeries:
        path = self.file(entry.id)
        times, values = _unpacked(_bytes(path), entry, path)
        try:
            return TokenSeries(entry.address, times, values, entry.supply, entry.source, entry.pumps)
        except SeriesError as error:
            raise StoreError(f"{path}: {error}") from error

    def _write(self, name: str, value: dict[str, Any]) -> None:
        write_file(self.folder / name, json.dumps(value, indent=1, allow_nan=False) + "\n")


def versions(folder: str | Path) -> tuple[str, ...]:
    """Names of the data sets in a folder that holds several, sorted."""
    return tuple(sorted(path.parent.name for path in Path(folder).glob(f"*/{METADATA}")))


def _digest(times: NDArray[np.int64], values: NDArray[np.float64]) -> str:
    """sha256 over little-endian times, then every column."""
    digest = hashlib.sha256(times.astype("<i8").tobytes())
    for column in range(values.shape[1]):
        digest.update(np.ascontiguousarray(values[:, column]).astype("<f8").tobytes())
    return digest.hexdigest()


def _h5py() -> Any:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ImportError(f"a store of tokens needs h5py: {install_hint('pretrain')}") from error
    return h5py


def _packed(token: TokenSeries, number: int) -> tuple[bytes, str]:
    """The bytes of a token's file, and the sha256 of its content."""
    digest = _digest(token.times, token.values)
    buffer = io.BytesIO()
    options = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
    with _h5py().File(buffer, "w", track_order=False) as file:
        file.attrs["schema"], file.attrs["sha256"], file.attrs["token"] = SCHEMA, digest, number
        file.create_dataset("timestamp", data=token.times.astype("<i8"), **options)
        for column, name in enumerate(FEATURES):
            file.create_dataset(name, data=token.values[:, column].astype("<f8"), **options)
    return buffer.getvalue(), digest


def _unpacked(data: bytes, entry: TokenEntry, path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Times and values of a token's file, if they are what the store's metadata says."""
    h5py = _h5py()
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            if file.attrs.get("schema") != SCHEMA:
                raise StoreError(f"{path}: schema is {file.attrs.get('schema')!r}, expected {SCHEMA!r}")
            if set(file) != {"timestamp", *FEATURES}:
                raise StoreError(f"{path} must hold the columns {['timestamp', *FEATURES]}, it has {sorted(file)}")
            columns = [_column(file, name, entry.rows, path, h5py) for name in ("timestamp", *FEATURES)]
            kept = str(file.attrs.get("sha256"))
    except StoreError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise StoreError(f"{path} is no HDF5 file of a token, or it is damaged: {error}") from error
    times, values = columns[0].astype(np.int64), np.column_stack([c.astype(np.float64) for c in columns[1:]])
    if not _digest(times, values) == kept == entry.sha256:
        raise StoreError(f"{path} does not have the sha256 in {METADATA}: changed, or of another store")
    return times, values


def _column(file: Any, name: str, rows: int, path: Path, h5py: Any) -> NDArray[Any]:
    """A column that lies in the file itself."""
    found = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external:
        raise StoreError(f"{path}: {name} is no column of the file itself")
    kind = "i8" if name == "timestamp" else "f8"
    if found.shape != (rows,) or found.dtype.str[1:] != kind:
        raise StoreError(f"{path}: {name} is {found.dtype} {found.shape}, expected {kind} ({rows},)")
    return np.asarray(found[:])


def _bytes(path: Path) -> bytes:
    try:
        return read_regular(path, LARGEST)
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing: the store is not whole; put it back") from error
    except ValueError as error:
        raise StoreError(str(error)) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        value = parse_json(_bytes(path), str(path), most_bytes=256 * 1024**2)
    except JsonError as error:
        raise StoreError(str(error)) from error
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        raise StoreError(f"{path} is not of the schema {SCHEMA!r}")
    return value


def _listed(values: dict[str, Any], name: str, path: Path) -> list[Any]:
    found = values.get(name)
    if not isinstance(found, list):
        raise StoreError(f"{path}: {name!r} must be a list")
    return found


def _entry(row: Any, number: int, path: Path) -> TokenEntry:
    if not isinstance(row, dict) or set(row) != set(_ROW_KEYS) or row["id"] != number:
        raise StoreError(f"{path}: entry {number} must have the id {number} and the keys {list(_ROW_KEYS)}")
    try:
        pumps = None if row["pumps"] is None else tuple((int(a), int(b), int(c)) for a, b, c in row["pumps"])
        return TokenEntry(
            number, str(row["address"]), float(row["supply"]), str(row["source"]), int(row["rows"]), pumps,
            str(row["sha256"]),
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise StoreError(f"{path}: entry {number}: {error}") from error
