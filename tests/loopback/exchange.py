"""A Binance-like exchange on the loopback interface, for the real ccxt client; its bars are a function of the time."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import numpy as np

MINUTE = 60_000
#: Weeks are counted from the epoch: they open on Thursdays.
MINUTES = {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "8h": 480, "1w": 10_080}
STEPS = {name: count * MINUTE for name, count in MINUTES.items()}
FUNDING_STEP = 480 * MINUTE
SYMBOLS = {"BTCUSDT": ("BTC", 30_000.0), "ETHUSDT": ("ETH", 2_000.0)}

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Market:
    """What the exchange has: from `listed` on, without the bars in `gaps`; `now` is its clock, in ms."""

    listed: int = 0
    gaps: frozenset[int] = frozenset()
    now: Callable[[], int] = lambda: int(time.time() * 1000)


def bar(symbol: str, opened: int, step: int) -> list[float]:
    """Open, high, low, close and volume of a closed bar: the same whoever asks, to 2 (volume 3) decimals."""
    scale = SYMBOLS[symbol][1]

    def price(at: int) -> float:
        return round(scale * (1.0 + 0.1 * math.sin(at / 9.7e8) + 0.002 * math.sin(at / 1.3e6)), 2)

    first, last = price(opened), price(opened + step)
    high, low = round(max(first, last) * 1.001, 2), round(min(first, last) * 0.999, 2)
    return [first, high, low, last, round(5.0 + 4.0 * math.sin(opened / 5.3e6), 3)]


@dataclass
class Loopback:
    """The running exchange.

    Attributes:
        market: what it has.
        fault: called with the number of a data request, its path and its query; what it returns is sent instead of the
            answer ("close": the connection is cut).
        limits_rate: whether the client waits between requests as the venue asks.
        requests: of data, as (arrival in seconds of `time.monotonic`, path, query).
    """

    market: Market = field(default_factory=Market)
    fault: Callable[[int, str, Mapping[str, str]], Answer | str | None] = lambda *_: None
    limits_rate: bool = True
    requests: list[tuple[float, str, dict[str, str]]] = field(default_factory=list)

    def __enter__(self) -> Self:
        exchange = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else an answer's body waits 40 ms for the client's word on its headers

            def do_GET(self) -> None:
                exchange.serve(self)

            do_POST = do_DELETE = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._lock = threading.Lock()
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def base(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        query = dict(parse_qsl(parts.query))
        answer: Answer | str | None = None
        if parts.path.endswith(("klines", "fundingRate")):
            with self._lock:
                self.requests.append((time.monotonic(), parts.path, query))
                number = len(self.requests) - 1
            answer = self.fault(number, parts.path, query)
        if answer == "close":
            handler.close_connection = True
            handler.connection.close()
            return
        if not isinstance(answer, tuple):
            answer = 200, {}, json.dumps(self.answer(parts.path, query)).encode()
        status, headers, body = answer
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    def answer(self, path: str, query: Mapping[str, str]) -> Any:
        """What a healthy exchange says."""
        if path.endswith("exchangeInfo"):
            return {"symbols": [_listing(symbol, "fapi" in path) for symbol in SYMBOLS]}
        if path.endswith("time"):
            return {"serverTime": self.market.now()}
        if path.endswith("klines"):
            return self.klines(query)
        if path.endswith("fundingRate"):
            return self.funding(query)
        return {"code": -1, "msg": f"unknown {path}"}

    def klines(self, query: Mapping[str, str]) -> list[list[Any]]:
        step, symbol, now = STEPS[query["interval"]], query["symbol"], self.market.now()
        first = max(int(query.get("startTime", 0)), self.market.listed)
        last = min(int(query.get("endTime", now)), now)
        rows: list[list[Any]] = []
        at = -(-first // step) * step
        while at <= last and len(rows) < min(int(query.get("limit", 500)), 1000):
            if at not in self.market.gaps:
                values = bar(symbol, at, step)
                if at + step > now:  # still open: what it holds will change
                    values = [values[0], values[0] * 1.5, values[0] * 0.5, values[0], 0.001]
                text = [f"{value:.3f}" for value in values]
                rows.append([at, *text, at + step - 1, "0", 1, "0", "0", "0"])
            at += step
        return rows

    def funding(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        first, last = int(query["startTime"]), min(int(query.get("endTime", 2**62)), self.market.now())
        times = range(-(-first // FUNDING_STEP) * FUNDING_STEP, last + 1, FUNDING_STEP)
        rows = [{"symbol": query["symbol"], "fundingTime": at, "fundingRate": f"{rate(at):.8f}"} for at in times]
        return rows[: min(int(query.get("limit", 100)), 1000)]

    def client(self, exchange: str) -> Any:
        """The real ccxt client, every address of it pointed here."""
        from cryptoenv.exchange.client import new_client

        probe = new_client(exchange)
        routes = {name: self.base + route(name) for name in probe.urls["api"]}
        client = new_client(exchange, urls=routes, timeout=2.0)
        client.enableRateLimit = self.limits_rate
        return client


def rate(at: int) -> float:
    """The funding rate that falls due at a time."""
    return round(1e-4 * np.sin(at / 1e9), 8)


def route(name: str) -> str:
    if name.startswith("fapi"):
        return "/fapi/v1"
    return "/api/v3" if name in ("public", "private", "v1") else f"/_blocked/{name}"


def _listing(symbol: str, perpetual: bool) -> dict[str, Any]:
    base = SYMBOLS[symbol][0]
    known: dict[str, Any] = {
        "symbol": symbol, "status": "TRADING", "baseAsset": base, "quoteAsset": "USDT", "baseAssetPrecision": 8,
        "quotePrecision": 8, "orderTypes": ["LIMIT", "MARKET"], "permissions": ["SPOT"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001"},
            {"filterType": "NOTIONAL", "minNotional": "5"},
        ],
    }  # fmt: skip
    if perpetual:
        known |= {"contractType": "PERPETUAL", "marginAsset": "USDT", "pair": symbol, "underlyingType": "COIN",
                  "pricePrecision": 2, "quantityPrecision": 3, "deliveryDate": 4133404800000}  # fmt: skip
    return known
