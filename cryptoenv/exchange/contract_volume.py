"""Volume of derivatives in coins: which venues' candles tell it in contracts, as ccxt 4.5 hands them on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cryptoenv.exchange.client import DownloadError

Convert = Callable[[tuple[float, ...]], float]

#: venues whose volume ccxt hands on in coins (of inverse contracts too: it takes the column of the base currency)
IN_COINS = ("okx", "myokx", "okxus", "binance", "bybit", "bitget", "htx", "deribit", "hyperliquid", "bitfinex")
#: venues whose derivatives' volume it hands on in contracts
IN_CONTRACTS = ("gate", "gateio", "kucoin", "kucoinfutures", "mexc", "phemex", "krakenfutures")


def in_coins(exchange: str, market: Mapping[str, Any]) -> tuple[Convert, str]:
    """What makes coins of a bar's volume, and a note of what it does ("" where nothing has to be done).

    Contracts of coins are worth `contractSize` coins each. Inverse contracts are worth `contractSize` of the quote
    currency: divided by the bar's typical price, (high + low + close) / 3.

    Raises:
        DownloadError: the unit is not known, or the market tells no size of its contracts.
    """
    contract = market.get("contract") or market.get("swap") or market.get("future")
    if not contract or exchange in IN_COINS or exchange.startswith("binance"):
        return lambda row: row[4], ""
    size, inverse = market.get("contractSize"), bool(market.get("inverse"))
    if size == 1 and not inverse:
        return lambda row: row[4], ""
    if exchange not in IN_CONTRACTS or not isinstance(size, (int, float)) or not 0.0 < size < 1e12:
        raise DownloadError(
            f"{exchange} {market.get('symbol')} is a contract of size {size!r}: whether its volume is told in "
            "contracts or in coins is not known, so nothing is stored. Download the spot market, or another exchange's"
        )
    if inverse:
        note = f"volume: contracts of {size:g} {market.get('quote')} made coins at a bar's (high + low + close) / 3"
        return lambda row: row[4] * size * 3.0 / (row[1] + row[2] + row[3]), note
    return lambda row: row[4] * size, f"volume: contracts of {size:g} {market.get('base')} made coins"
