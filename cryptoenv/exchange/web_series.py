"""Prices of CoinGecko and CryptoCompare: what is a bar becomes bars, a close alone becomes a series beside them.

CoinGecko's public history is one price per moment, with market value and volume: a series for `join_exogenous`, never
bars with an open, high and low that nobody saw. CryptoCompare's has all of a bar, by the day, hour or minute.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any

import numpy as np
import pandas as pd

from cryptoenv.bars.bars import validate_bars
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.exchange.client import BadPageError, DownloadError, ExchangeDownError, RefusedError

COINGECKO, CRYPTOCOMPARE = "https://api.coingecko.com/api/v3", "https://min-api.cryptocompare.com/data/v2"
PAGES = {"1m": "histominute", "1h": "histohour", "1d": "histoday"}
PAGE = 2_000  #: bars of one answer
ATTEMPTS, FIRST_WAIT, LONGEST_WAIT, TIMEOUT = 5, 0.5, 60.0, 30.0
MOST_BYTES = 64 * 1024**2
Ask = Callable[[str, dict[str, str]], Any]


def asker(base: str, *, first_wait: float = FIRST_WAIT, attempts: int = ATTEMPTS) -> Ask:
    """A function of path and query that gives the JSON at an address; asks again where that may help.

    Raises (when called):
        RefusedError: the source says no (a 4xx answer but 429). ExchangeDownError: it does not answer, again and again.
        BadPageError: what it answers is no JSON.
    """

    def ask(path: str, query: dict[str, str]) -> Any:
        url = f"{base}/{path}?{urllib.parse.urlencode(query)}"
        wait, last = first_wait, ""
        for attempt in range(attempts):
            if attempt:
                time.sleep(min(wait, LONGEST_WAIT))
                wait *= 2.0
            try:
                request = urllib.request.Request(url, headers={"Accept": "application/json", "User-Agent": "cryptoenv"})
                with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                    return json.loads(answer.read(MOST_BYTES))
            except urllib.error.HTTPError as error:
                last = f"HTTP {error.code}"
                if 400 <= error.code < 500 and error.code != 429:
                    raise RefusedError(f"{base} refuses {path}: {last}") from error
                told = error.headers.get("Retry-After", "")
                wait = max(wait, float(told)) if told.isdigit() else wait
            except (OSError, HTTPException) as error:  # timeouts, half an answer
                last = f"{type(error).__name__}: {error}"
            except ValueError as error:
                raise BadPageError(f"{base}/{path}: no JSON") from error
        raise ExchangeDownError(f"{base} did not answer {path} in {attempts} attempts: {last}")

    return ask


def coingecko_series(coin: str, since: pd.Timestamp, until: pd.Timestamp, ask: Ask | None = None) -> pd.DataFrame:
    """Prices of a coin as CoinGecko has them: closes, no bars.

    Args:
        coin: its id there, such as "bitcoin".
        since, until: UTC.
        ask: `asker` of another address.

    Returns:
        (n, 3) float64 columns `COIN_price` (US dollars), `COIN_market_cap`, `COIN_volume_24h`, on a UTC index of the
        moments that they were taken at, increasing; a moment given twice counts once.

    Raises:
        RefusedError, ExchangeDownError, BadPageError: as `asker`; an answer that is no history, or has a price that is
            none.
    """
    found = (ask or asker(COINGECKO))(
        f"coins/{urllib.parse.quote(coin)}/market_chart/range",
        {"vs_currency": "usd", "from": str(int(since.timestamp())), "to": str(int(until.timestamp()))},
    )
    columns = {}
    for key, name in (("prices", "price"), ("market_caps", "market_cap"), ("total_volumes", "volume_24h")):
        try:
            table = np.array(found[key], np.float64).reshape(-1, 2)
        except (KeyError, TypeError, ValueError) as error:
            raise BadPageError(f"CoinGecko's {key} of {coin!r} are no pairs of a time and a number") from error
        index = pd.DatetimeIndex(table[:, 0].astype("datetime64[ms]"), name="timestamp").tz_localize("UTC")
        series = pd.Series(table[:, 1], index)
        columns[f"{coin}_{name}"] = series[~series.index.duplicated(keep="last")].sort_index()
    out = pd.DataFrame(columns)
    price = out[f"{coin}_price"].dropna()
    if len(price) == 0:
        raise BadPageError(f"CoinGecko has no price of {coin!r} from {since} to {until}")
    if not (np.isfinite(price) & (price > 0.0)).all():
        raise BadPageError(f"CoinGecko's prices of {coin!r} hold a value that is no price")
    return out


def cryptocompare_bars(
    symbol: str, timeframe: str, since: pd.Timestamp, until: pd.Timestamp, ask: Ask | None = None
) -> pd.DataFrame:
    """Bars of a pair as CryptoCompare has them, page by page from the newest back.

    Args:
        symbol: such as "BTC/USD".
        timeframe: "1m", "1h" or "1d".
        since, until: UTC; bars that open in [since, until).
        ask: `asker` of another address.

    Returns:
        Bars: open, high, low, close, volume (in the base coin) on a UTC index of opens. Hours before the pair was
        traded, which it fills with zeros, are left out.

    Raises:
        ValueError: another timeframe or symbol. RefusedError, ExchangeDownError, BadPageError: as `asker`; an answer
            that is no bars. BarsError: bars that cannot be.
    """
    if timeframe not in PAGES:
        raise ValueError(f"timeframe {timeframe!r} is not there; CryptoCompare has {sorted(PAGES)}")
    base, slash, quote = symbol.partition("/")
    if not (base and slash and quote):
        raise ValueError(f"symbol {symbol!r} is no pair: say BTC/USD")
    ask, step = ask or asker(CRYPTOCOMPARE), timeframe_ms(timeframe) // 1000
    first, newest, pages = int(since.timestamp()), int(until.timestamp()) - step, []
    while newest >= first:
        query = {"fsym": base, "tsym": quote, "limit": str(PAGE), "toTs": str(newest)}
        page = _page(ask(PAGES[timeframe], query), symbol)
        pages.append(page)
        oldest = int(page[0, 0])
        if oldest > newest:
            raise BadPageError(f"CryptoCompare's bars of {symbol} until {newest} begin after it")
        if not page[:, 1:].any():  # nothing was traded yet: nothing is before it either
            break
        newest = oldest - step
    rows = np.concatenate(pages) if pages else np.empty((0, 6))
    rows = rows[(rows[:, 0] >= first) & (rows[:, 0] < until.timestamp()) & (rows[:, 4] > 0.0)]
    if len(rows) == 0:
        raise DownloadError(f"CryptoCompare has no bars of {symbol} from {since} to {until}")
    rows = rows[np.unique(rows[:, 0], return_index=True)[1]]
    index = pd.DatetimeIndex((rows[:, 0] * 1000).astype("datetime64[ms]"), name="timestamp").tz_localize("UTC")
    bars = pd.DataFrame(rows[:, 1:], index, columns=["open", "high", "low", "close", "volume"])
    return validate_bars(bars, timeframe)


def _page(answer: Any, symbol: str) -> np.ndarray:
    """(n, 6) float64: time in seconds, open, high, low, close, volume."""
    if isinstance(answer, dict) and answer.get("Response") == "Error":
        raise RefusedError(f"CryptoCompare refuses {symbol}: {str(answer.get('Message'))[:200]}")
    try:
        listed = answer["Data"]["Data"]
        names = ("time", "open", "high", "low", "close", "volumefrom")
        page = np.array([[float(bar[name]) for name in names] for bar in listed], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise BadPageError(f"CryptoCompare's answer for {symbol} holds no bars") from error
    if len(page) == 0 or not np.isfinite(page).all() or (np.diff(page[:, 0]) <= 0.0).any():
        raise BadPageError(f"CryptoCompare's bars of {symbol} are empty, out of order, or no numbers")
    return page
