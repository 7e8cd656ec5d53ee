"""A series of a store by the folder that it lies in: STORE/EXCHANGE/SYMBOL/TIMEFRAME."""

from pathlib import Path

from cryptoenv.store.key import SeriesKey, StoreError, key_of
from cryptoenv.store.store import BarStore


def series_at(path: Path, *, funding: bool = False) -> tuple[BarStore, SeriesKey]:
    """The store and the key of a series of bars, or of funding rates, by its folder.

    Raises:
        StoreError: the folder is that of no such series.
    """
    whole = path.absolute()
    key = key_of(*whole.parts[-3:]) if len(whole.parts) > 3 else None
    if key is None or key.is_funding is not funding:
        kind, last = ("funding rates", "funding") if funding else ("bars", "TIMEFRAME")
        raise StoreError(f"{path} is no series of {kind} in a store: name STORE/EXCHANGE/SYMBOL/{last}")
    return BarStore(whole.parents[2]), key
