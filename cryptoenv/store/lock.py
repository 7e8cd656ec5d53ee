"""One writer per series of the store."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptoenv.files.folder_lock import folder_lock
from cryptoenv.store.key import SeriesKey, StoreError


class StoreLockedError(StoreError):
    """Another writer has the series."""


@contextmanager
def series_lock(folder: Path, key: SeriesKey) -> Iterator[None]:
    """Holds the series for writing.

    Raises:
        StoreLockedError: another writer has it, and the message names its process; or its lock file is none.
        OSError: the lock file cannot be opened.
    """
    with folder_lock(folder, str(key), StoreLockedError):
        yield
