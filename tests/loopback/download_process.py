"""`python -m tests.loopback.download_process FOLDER ADDRESS`: a download that a test kills."""

import sys
from typing import Any

import pandas as pd

from cryptoenv.exchange.client import new_client
from cryptoenv.exchange.downloader import DownloadRequest, download
from tests.loopback.exchange import route


def main() -> None:
    """Download 60,000 minutes of BTC/USDT from the loopback exchange at ADDRESS into FOLDER."""
    folder, address = sys.argv[1:3]
    since = pd.Timestamp("2024-01-01", tz="UTC")
    asked = DownloadRequest("binance", ("BTC/USDT",), "1m", since, since + pd.Timedelta(minutes=60_000))

    def client(exchange: str) -> Any:
        names = new_client(exchange).urls["api"]
        return new_client(exchange, urls={name: address + route(name) for name in names}, timeout=2.0)

    download(folder, asked, client=client, progress=False)


if __name__ == "__main__":
    main()
