"""CoinGecko's and CryptoCompare's histories on the loopback interface; their prices are a function of the time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

LISTED = 1_704_067_200  #: when trading of the pair began: 2024-01-01
Fault = Callable[[int], tuple[int, dict[str, str], bytes] | None]


def price(second: int) -> float:
    return 100.0 + second % 86_400 / 864.0


def gecko(query: dict[str, str]) -> dict[str, Any]:
    moments = range(int(query["from"]) + 7, int(query["to"]), 3_607)  # at odd seconds, as there
    return {
        "prices": [[1000 * s, price(s)] for s in moments],
        "market_caps": [[1000 * s, 1e9 * price(s)] for s in moments],
        "total_volumes": [[1000 * s, 1e6] for s in moments],
    }


def compare(query: dict[str, str]) -> dict[str, Any]:
    if query["fsym"] == "NONE":
        return {"Response": "Error", "Message": "no such coin", "Data": {}}
    last = int(query["toTs"]) // 3_600 * 3_600
    bars = [_bar(last - 3_600 * back) for back in range(int(query["limit"]), -1, -1)]
    return {"Response": "Success", "Data": {"TimeFrom": bars[0]["time"], "TimeTo": last, "Data": bars}}


def _bar(second: int) -> dict[str, Any]:
    if second < LISTED:
        return dict.fromkeys(("open", "high", "low", "close", "volumefrom", "volumeto"), 0) | {"time": second}
    value = price(second)
    told = {"open": value, "high": value + 2.0, "low": value - 1.0, "close": value + 1.0, "volumefrom": 5.0}
    return told | {"time": second, "volumeto": 500.0}


@contextmanager
def price_sources(fault: Fault = lambda number: None) -> Iterator[tuple[str, list[str]]]:
    """The server's address and the paths it was asked for; `fault` may answer a request, by its number, instead."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            asked.append(self.path)
            answer = fault(len(asked) - 1)
            if answer is None:
                found = (gecko if "market_chart" in parts.path else compare)(dict(parse_qsl(parts.query)))
                answer = 200, {}, json.dumps(found).encode()
            status, headers, body = answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
