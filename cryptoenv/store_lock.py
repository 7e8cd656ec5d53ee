"""One writer per series: an advisory lock of the kernel's, which dies with its process, so none is ever stale."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptoenv.store_key import SeriesKey, StoreError

_LOCK = ".lock"


class StoreLockedError(StoreError):
    """Another writer has the series."""


@contextmanager
def series_lock(folder: Path, key: SeriesKey) -> Iterator[None]:
    """Holds the series for writing.

    Raises:
        StoreLockedError: another writer has it; the message names its process.
        OSError: the lock file cannot be opened.
    """
    path = folder / _LOCK
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise StoreLockedError(
                f"{key} is being written by process {holder} (lock {path}); wait until it has finished, or stop it"
            ) from None
        os.ftruncate(handle, 0)
        with suppress(OSError):  # a full disk: only the name of the holder is lost, and what to write fails by itself
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(handle, 0)  # the file stays: removing it would let two writers lock two files of one name
    finally:
        os.close(handle)
