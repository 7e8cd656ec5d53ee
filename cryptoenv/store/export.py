"""Rows of a series as a file that other programs read."""

import io
from pathlib import Path

import pandas as pd

from cryptoenv.files.durable_files import write_file
from cryptoenv.store.key import StoreError

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".feather")


def export_rows(frame: pd.DataFrame, path: Path) -> None:
    """Writes rows by the file's suffix, `timestamp` as the first column, floats exact; all of the file or none of it.

    Args:
        frame: T rows of a series, as `BarStore.read` returns them.
        path: ends in .csv, .csv.gz, .parquet or .feather; its folder exists.

    Raises:
        StoreError: another suffix.
        OSError: the file cannot be written; one that was there still is.
    """
    suffix = next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)
    if suffix is None:
        raise StoreError(f"cannot tell the format of {path}; allowed: a name that ends in {', '.join(SUFFIXES)}")
    buffer = io.BytesIO()
    table = frame.reset_index()
    if suffix == ".parquet":
        table.to_parquet(buffer, index=False)
    elif suffix == ".feather":
        table.to_feather(buffer)
    elif suffix == ".csv":
        table.to_csv(buffer, index=False)
    else:
        table.to_csv(buffer, index=False, compression={"method": "gzip", "mtime": 0})  # equal rows, equal bytes
    write_file(path, buffer.getvalue())
