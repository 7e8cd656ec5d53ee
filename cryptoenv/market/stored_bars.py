"""Bars, and other values by time, from wherever people keep them: a file, a saved market, a series of a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cryptoenv.bar_files.reading import file_stem, import_bars, read_bars
from cryptoenv.bar_files.values import read_values
from cryptoenv.market.files import MARKET_FILE
from cryptoenv.market.market import Market
from cryptoenv.store.key import FUNDING
from cryptoenv.store.manifest import MANIFEST
from cryptoenv.store.places import series_at


def bars_at(path: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Bars of a file, the base bars of a saved market, or those of a store's series (STORE/EXCHANGE/SYMBOL/TIMEFRAME).

    Args:
        path: of the file or folder.
        columns: further columns to keep where the file has them.

    Raises:
        ValueError: bars that cannot be used. FileNotFoundError: no such file.
    """
    if not path.is_dir():
        found = read_bars(path)
        if not columns:
            return found
        there = [name for name in columns if name in import_bars(path)[1].left_aside]
        return found.join(import_bars(path, keep=there)[0][there]) if there else found
    if (path / MARKET_FILE).is_file():
        return Market.load(path).bars
    store, key = series_at(path)
    return store.read(key)


def name_of_place(path: Path) -> str:
    """What a file or folder of bars is called, wherever it lies: EXCHANGE/SYMBOL/TIMEFRAME, or the file's own name."""
    is_series = path.is_dir() and (path / MANIFEST).is_file()
    return "/".join(path.absolute().parts[-3:]) if is_series else file_stem(path)


def values_at(path: Path, time_zone: str | None = None) -> tuple[pd.DataFrame, str | None]:
    """Values by time of a file or of a store's series, for `join_exogenous`.

    `time_zone`: of a file's times that do not say theirs, e.g. "UTC".

    Returns:
        Columns of numbers on a UTC index; and, of a store's bars, which are stamped with their open and known when they
        close, their timeframe, else None.

    Raises:
        ValueError: values that cannot be used. FileNotFoundError: no such file.
    """
    if not path.is_dir():
        return read_values(path, time_zone=time_zone), None
    store, key = series_at(path, funding=path.absolute().name == FUNDING)
    return store.read(key), None if key.is_funding else key.timeframe
