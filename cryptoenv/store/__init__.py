"""The local store of bars and funding rates: crash-safe, checksummed, one writer per series."""

from cryptoenv.store.key import SeriesKey, StoreError
from cryptoenv.store.lock import StoreLockedError
from cryptoenv.store.manifest import CorruptManifestError, NewerManifestError
from cryptoenv.store.parts import CorruptPartError
from cryptoenv.store.store import BarStore, SeriesWriter

__all__ = [
    "BarStore",
    "CorruptManifestError",
    "CorruptPartError",
    "NewerManifestError",
    "SeriesKey",
    "SeriesWriter",
    "StoreError",
    "StoreLockedError",
]
