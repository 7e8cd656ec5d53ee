"""The real ccxt client of any venue, its HTTP layer answered by a function: no network."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from cryptoenv.exchange.client import new_client

Answer = Callable[[str, Mapping[str, str]], Any]


def market(ident: str, symbol: str, **more: Any) -> dict[str, Any]:
    """ccxt's market, such as BTC/USDT or the perpetual BTC/USDT:USDT."""
    base, rest = symbol.split("/")
    quote, _, settle = rest.partition(":")
    swap = bool(settle)
    known: dict[str, Any] = {
        "id": ident, "symbol": symbol, "base": base, "quote": quote, "baseId": base, "quoteId": quote,
        "settle": settle or None, "settleId": settle.lower() or None, "type": "swap" if swap else "spot",
        "spot": not swap, "margin": False, "swap": swap, "future": False, "option": False, "contract": swap,
        "active": True, "linear": swap or None, "inverse": False if swap else None, "contractSize": None,
        "precision": {"amount": 1e-8, "price": 0.01},
        "limits": {"amount": {}, "price": {}, "cost": {}, "leverage": {}}, "info": {},
    }  # fmt: skip
    return known | more


def client_of(exchange: str, listed: Mapping[str, Any], answer: Answer) -> Callable[[str], Any]:
    """Makes the client: `answer` gets path and query of each request for data."""

    def make(_: str) -> Any:
        client = new_client(exchange)
        client.set_markets([dict(listed)])
        client.enableRateLimit = False

        async def load_markets(reload: bool = False, params: Any = None) -> Any:
            return client.markets

        async def fetch_time(params: Any = None) -> int:
            return int(time.time() * 1000)

        async def fetch(url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
            parts = urlsplit(url)
            return answer(parts.path, dict(parse_qsl(parts.query)))

        client.load_markets, client.fetch, client.fetch_time = load_markets, fetch, fetch_time
        return client

    return make
