"""What is packed in a file, unpacked within a bound: gzip, zip, Parquet, Feather. A small file may hold a vast one."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cryptoenv.bars.errors import BarsError

MOST_UNPACKED = 2**30
"""Bytes that a file may unpack to, unless told otherwise."""
_RECORD_BATCH, _DICTIONARY_BATCH = 3, 2  # types of Arrow's messages
_BATCH_ROWS = 65_536


def unpacked(content: bytes, most: int) -> bytes:
    """The file within gzip or zip; other contents as they are.

    Raises:
        BarsError: more than `most` bytes, an encrypted zip, or not one file in it.
    """
    if content[:2] == b"\x1f\x8b":
        return _gunzipped(content, most)
    if content[:4] != b"PK\x03\x04":
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1:
            raise BarsError(f"not a table (a zip with {len(members)} files: {[m.filename for m in members[:5]]})")
        if members[0].flag_bits & 1:
            raise BarsError(f"the zip is encrypted ({members[0].filename}); allowed: one without a password; unpack it")
        with archive.open(members[0]) as inner:
            return _whole(inner.read(most + 1), most)


def _gunzipped(content: bytes, most: int) -> bytes:
    # Member by member, each in one call: `gzip.GzipFile` copies pieces of a few hundred kilobytes.
    pieces: list[bytes] = []
    size = 0
    while content:
        member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        pieces.append(member.decompress(content, most + 1 - size))
        size += len(pieces[-1])
        _require(size, most)
        if not member.eof:
            raise EOFError("the gzip ends before its end: it was cut short")
        content = member.unused_data.lstrip(b"\0")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _whole(content: bytes, most: int) -> bytes:
    _require(len(content), most)
    return content


def _require(size: int, most: int) -> None:
    if size > most:
        raise BarsError(
            f"it unpacks to more than {most:,} bytes; allow more with max_unpacked= if the file is one you trust"
        )


def parquet_table(content: bytes, most: int) -> pd.DataFrame:
    """A Parquet file's flat columns, T rows.

    Raises:
        BarsError: more than `most` bytes.
    """
    schema = pq.read_schema(pa.BufferReader(content))
    flat = [field.name for field in schema if not pa.types.is_nested(field.type)]
    texts = [field.name for field in schema if _is_text(field.type)]
    file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=texts)
    groups = (file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
    _require(max(sum(groups), file.metadata.num_rows * 8 * len(schema)), most)
    return _table(file.schema_arrow, flat, file.iter_batches(_BATCH_ROWS, columns=flat), most)


def feather_table(content: bytes, most: int) -> pd.DataFrame:
    """A Feather file's flat columns, T rows.

    Raises:
        BarsError: more than `most` bytes.
    """
    if content[:4] == b"FEA1":  # without compression: no larger than the file
        return pd.read_feather(io.BytesIO(content))
    # Read as a stream, message by message: the index at the file's end may say anything.
    stream = pa.py_buffer(content)[8:]
    _require(sum(_stated_sizes(stream)), most)
    with pa.ipc.open_stream(stream) as reader:
        flat = [field.name for field in reader.schema if not pa.types.is_nested(field.type)]
        return _table(reader.schema, flat, (batch.select(flat) for batch in reader), most)


def _table(schema: pa.Schema, flat: list[str], batches: Iterator[pa.RecordBatch], most: int) -> pd.DataFrame:
    kept, size = [], 0
    for batch in batches:
        size += batch.num_rows * 8 * batch.num_columns + sum(map(_text_bytes, batch.columns))
        _require(size, most)
        kept.append(batch)
    if not kept:
        return pa.schema([schema.field(name) for name in flat], schema.metadata).empty_table().to_pandas()
    table = pa.Table.from_batches(kept).replace_schema_metadata(schema.metadata)
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type) and _is_text(field.type.value_type):
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))
    return table.to_pandas()


def _is_text(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary))


def _text_bytes(column: pa.Array) -> int:
    if isinstance(column, pa.DictionaryArray):
        if not _is_text(column.type.value_type):
            return 0
        lengths = pc.fill_null(pc.binary_length(column.dictionary), 0).cast(pa.int64())
        return pc.sum(lengths.take(column.indices)).as_py() or 0
    return column.nbytes if _is_text(column.type) else 0


def _stated_sizes(stream: pa.Buffer) -> Iterator[int]:
    # Bytes that each buffer of each message unpacks to: a compressed one says so in its first eight bytes.
    for message in pa.ipc.MessageReader.open_stream(stream):
        meta, body = memoryview(message.metadata), memoryview(message.body or b"")
        root = _Fields(meta, struct.unpack_from("<I", meta)[0])
        kind = root.number(1, "<B")
        if kind not in (_RECORD_BATCH, _DICTIONARY_BATCH):
            continue
        batch = root.table(2) if kind == _RECORD_BATCH else root.table(2).table(1)
        packed = batch.offset(3) != 0
        for offset, length in batch.pairs(2):
            stated = struct.unpack_from("<q", body, offset)[0] if packed and length >= 8 else -1
            yield length if stated < 0 else stated


class _Fields:
    """A table of a flatbuffer, in which Arrow keeps its metadata."""

    def __init__(self, data: memoryview, position: int) -> None:
        self._data, self._position = data, position
        self._fields = position - struct.unpack_from("<i", data, position)[0]

    def offset(self, field: int) -> int:
        """Where a field is, from the table's position; 0 where it is not set."""
        size = struct.unpack_from("<H", self._data, self._fields)[0]
        at = 4 + 2 * field
        return int(struct.unpack_from("<H", self._data, self._fields + at)[0]) if at < size else 0

    def number(self, field: int, form: str) -> int:
        """A number; 0 where it is not set."""
        offset = self.offset(field)
        return int(struct.unpack_from(form, self._data, self._position + offset)[0]) if offset else 0

    def table(self, field: int) -> "_Fields":
        """The table that a field refers to."""
        at = self._position + self.offset(field)
        return _Fields(self._data, at + struct.unpack_from("<I", self._data, at)[0])

    def pairs(self, field: int) -> Iterator[tuple[int, int]]:
        """A vector of pairs of 64 bits."""
        if not self.offset(field):
            return iter(())
        at = self._position + self.offset(field)
        start = at + struct.unpack_from("<I", self._data, at)[0]
        count = struct.unpack_from("<I", self._data, start)[0]
        return struct.iter_unpack("<qq", self._data[start + 4 : start + 4 + 16 * count])  # type: ignore[return-value]
