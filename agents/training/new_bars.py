"""New bars of the series that a recipe names, from their exchange into their store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cryptoenv.store.key import key_of
from cryptoenv.store.store import BarStore


def fetch_new(
    sources: Sequence[str], *, progress: bool = True, client: Callable[[str], Any] | None = None
) -> list[str]:
    """Download what has closed since, of every source that is a store's series; files and saved markets are left alone.

    Args:
        sources: paths, as a recipe names its markets.
        progress: show progress bars.
        client: makes the ccxt client of an exchange; the usual one where None.

    Returns:
        A line per series.

    Raises:
        StoreError: a damaged series. ExchangeDownError and the like: what was stored stays.
    """
    said = []
    for source in dict.fromkeys(sources):
        place = Path(source).absolute()
        if not (place / "manifest.json").is_file():
            continue
        exchange, symbol, timeframe = place.parts[-3:]
        key = key_of(exchange, symbol, timeframe)
        if key is None:
            continue
        from cryptoenv.exchange.client import new_client
        from cryptoenv.exchange.downloader import DownloadRequest, download

        store = BarStore(place.parents[2])
        covered = store.manifest(key).covered
        if not covered:
            continue
        since = pd.Timestamp(covered[0][0], unit="ms", tz="UTC")
        request = DownloadRequest(key.exchange, (key.symbol,), key.timeframe, since)
        (report,) = download(store, request, progress=progress, client=client or new_client)
        said.append(f"{key}: {report.bars:,} new bars")
    return said
