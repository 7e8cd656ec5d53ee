"""A ccxt client that can be trusted with history: no answer without JSON, no request before the venue allows it.

ccxt hands an HTML page on as rows of None and an empty body as no bars at all, and keeps `Retry-After` to itself. The
client made here refuses such answers as they arrive and waits before it sends. ccxt is imported when a client is made.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

EXTRA = 'the downloader needs ccxt: pip install "cryptoenv[data]"'
FORBIDDEN = (401, 403, 451)  #: statuses that no waiting mends
BUSY = (418, 429)
WAIT_UNSAID = 60.0  #: seconds to wait where a busy venue does not say how long


class DownloadError(OSError):
    """A download that cannot go on; what was stored until then stays. The message says what to do."""


class UnknownMarketError(DownloadError):
    """The exchange, symbol or timeframe does not exist."""


class RefusedError(DownloadError):
    """The exchange refuses the request (forbidden, blocked region, bad request): asking again is of no use."""


class ExchangeDownError(DownloadError):
    """The exchange failed, or answered nonsense, more often than it was asked again."""


class BadPageError(Exception):
    """An answer that cannot be what was asked for; it is asked for again."""


def new_client(exchange: str, urls: Mapping[str, str] | None = None, timeout: float = 20.0) -> Any:
    """An asynchronous ccxt client of `exchange` with its rate limit on.

    Args:
        exchange: ccxt's id, such as "binance".
        urls: other addresses of its API, by ccxt's names; all of them must be named (a partial override leaves the
            rest on the real exchange).
        timeout: seconds for one request.

    Raises:
        ImportError: ccxt is missing, with the line that installs it. UnknownMarketError: ccxt has no such exchange.
        ValueError: `urls` leaves out an address.
    """
    try:
        import ccxt.async_support as ccxt
    except ModuleNotFoundError as error:
        raise ImportError(EXTRA) from error
    if exchange not in ccxt.exchanges:
        raise UnknownMarketError(f"exchange {exchange!r} is unknown to ccxt; see ccxt.exchanges")
    options: dict[str, Any] = {"enableRateLimit": True, "timeout": int(1000 * timeout)}
    if exchange.startswith("binance"):
        options["options"] = {"fetchCurrencies": False, "fetchMargins": False}
    client = _careful(getattr(ccxt, exchange))(options)
    logging.getLogger("ccxt").setLevel(max(logging.INFO, logging.getLogger("ccxt").level))  # DEBUG shows keys
    if urls is not None:
        api = client.urls["api"]
        if missing := sorted(set(api) - set(urls)):
            raise ValueError(f"urls leave out {missing[0]!r} of {exchange}: name every one of {sorted(api)}")
        client.urls["api"] = dict(urls)
    return client


def _careful(base: type[Any]) -> type[Any]:
    """`base`, a ccxt exchange, with checks of every answer and waits before every request."""
    from ccxt.base.errors import ExchangeError, PermissionDenied

    class CarefulExchange(base):  # type: ignore[misc, valid-type]
        """Refuses answers that are no JSON; sends nothing while the venue asks to wait."""

        wait_until = 0.0  # of the event loop's clock
        refusals = 0

        async def fetch(self, url: str, *arguments: Any, **named: Any) -> Any:
            while (left := self.wait_until - asyncio.get_running_loop().time()) > 0.0:
                await asyncio.sleep(left)
            return await super().fetch(url, *arguments, **named)

        def handle_errors(self, code: int, reason: str, url: str, method: str, headers: Any, body: str, response: Any,
                          *rest: Any) -> Any:  # fmt: skip
            if code in BUSY:
                self.refusals += 1
                wait = _seconds(headers)
                self.wait_until = max(self.wait_until, asyncio.get_running_loop().time() + wait)
            if code in FORBIDDEN:
                raise PermissionDenied(f"{self.id} answers {code} {reason} to {url.partition('?')[0]}")
            if code < 400 and response is None:
                raise ExchangeError(f"{self.id} answers {code} with {len(body or '')} bytes that are no JSON")
            return super().handle_errors(code, reason, url, method, headers, body, response, *rest)

    return CarefulExchange


def _seconds(headers: Mapping[str, str] | None) -> float:
    """What `Retry-After` asks for, in seconds."""
    for name, value in (headers or {}).items():
        if name.lower() == "retry-after":
            try:
                return max(float(value), 0.0)
            except ValueError:
                break
    return WAIT_UNSAID
