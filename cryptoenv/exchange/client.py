"""A ccxt client that can be trusted with history: no answer without JSON, no request before the venue allows it.

ccxt hands an HTML page on as rows of None and an empty body as no bars at all, and keeps `Retry-After` to itself. The
client made here refuses such answers as they arrive and waits before it sends. ccxt is imported when a client is made.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from synthetic.installation import install_hint

FORBIDDEN = (401, 403, 451)  #: statuses that no waiting mends
BUSY = (418, 429)
WAIT_UNSAID = 60.0  #: seconds to wait where a busy venue does not say how long
WAIT_LONGEST = 120.0  #: seconds to wait at most, whatever a venue says; it is asked again then
log = logging.getLogger(__name__)


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


def new_client(
    exchange: str,
    urls: Mapping[str, Any] | None = None,
    timeout: float = 20.0,
    *,
    keys: Mapping[str, str] | None = None,
    sandbox: bool = False,
    streams: bool = False,
) -> Any:
    """An asynchronous ccxt client of `exchange` with its rate limit on.

    Args:
        exchange: ccxt's id, such as "binance".
        urls: other addresses of its API, by ccxt's names; all of them must be named (a partial override leaves the
            rest on the real exchange).
        timeout: seconds for one request.
        keys: of an account, by ccxt's names (`apiKey`, `secret`, `password`, ...); none for public data.
        sandbox: the exchange's own sandbox, where it has one.
        streams: a client of ccxt pro, which hears websockets, too.

    Raises:
        ImportError: ccxt is missing, with the line that installs it. UnknownMarketError: ccxt has no such exchange.
        ValueError: `urls` leaves out an address.
    """
    try:
        import ccxt.async_support as ccxt
    except ModuleNotFoundError as error:
        raise ImportError(f"the downloader needs ccxt: {install_hint('data')}") from error
    if exchange not in ccxt.exchanges:
        raise UnknownMarketError(f"exchange {exchange!r} is unknown to ccxt; see ccxt.exchanges")
    options: dict[str, Any] = {"enableRateLimit": True, "timeout": int(1000 * timeout), **(keys or {})}
    if exchange.startswith("binance"):
        options["options"] = {"fetchCurrencies": False, "fetchMargins": False}
    client = _careful(_streaming(exchange) if streams else getattr(ccxt, exchange))(options)
    if sandbox:
        client.set_sandbox_mode(True)  # before other addresses are set: it would put its own in their place
    logging.getLogger("ccxt").setLevel(max(logging.INFO, logging.getLogger("ccxt").level))  # DEBUG shows keys
    if urls is not None:
        api = client.urls["api"]
        if missing := sorted(set(api) - set(urls)):
            raise ValueError(f"urls leave out {missing[0]!r} of {exchange}: name every one of {sorted(api)}")
        client.urls["api"] = dict(urls)
    return client


def _streaming(exchange: str) -> type[Any]:
    """ccxt pro's class of an exchange; the plain one where it has none."""
    import ccxt.async_support as plain
    import ccxt.pro as streaming

    return getattr(streaming, exchange) if exchange in streaming.exchanges else getattr(plain, exchange)


def _careful(base: type[Any]) -> type[Any]:
    """`base`, a ccxt exchange, with checks of every answer and waits before every request."""
    from ccxt.base.errors import ExchangeError, PermissionDenied

    class CarefulExchange(base):  # type: ignore[misc, valid-type]
        """Refuses answers that are no JSON; sends nothing while the venue asks to wait."""

        wait_until = 0.0  # of the event loop's clock
        refusals = 0
        heard_ms: int | None = None  # the `Date` of its last answer

        async def fetch(self, url: str, *arguments: Any, **named: Any) -> Any:
            while (left := self.wait_until - asyncio.get_running_loop().time()) > 0.0:
                await asyncio.sleep(left)
            return await super().fetch(url, *arguments, **named)

        def handle_errors(self, code: int, reason: str, url: str, method: str, headers: Any, body: str, response: Any,
                          *rest: Any) -> Any:  # fmt: skip
            self.heard_ms = _date_ms(headers) or self.heard_ms
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
    """What `Retry-After` asks for, in seconds or as a date; at most `WAIT_LONGEST`, and then it is said."""
    text = _header(headers, "retry-after")
    try:
        asked = float(text) if text else WAIT_UNSAID
    except ValueError:
        then, now = _http_ms(text), _date_ms(headers) or int(1000 * time.time())
        asked = WAIT_UNSAID if then is None else (then - now) / 1000.0
    if math.isnan(asked):
        asked = WAIT_UNSAID
    if asked > WAIT_LONGEST:
        log.warning("the exchange asks to wait %s s (Retry-After); asked again in %.0f s", text, WAIT_LONGEST)
    return min(max(asked, 0.0), WAIT_LONGEST)


def _header(headers: Mapping[str, str] | None, name: str) -> str:
    return next((str(value) for known, value in (headers or {}).items() if known.lower() == name), "")


def _date_ms(headers: Mapping[str, str] | None) -> int | None:
    return _http_ms(_header(headers, "date"))


def _http_ms(text: str) -> int | None:
    try:
        return int(1000 * parsedate_to_datetime(text).timestamp()) if text else None
    except (ValueError, TypeError, OverflowError):
        return None


def page_rows(client: Any, symbol: str, method: str, default: int, most: int) -> int:
    """Rows that a venue serves at once: what the client's `features` state for the market, at most `most`.

    Args:
        client: of ccxt, its markets loaded.
        symbol: ccxt's name.
        method: ccxt's, such as "fetchOHLCV".
        default: where nothing is stated.
        most: upper bound.
    """
    market = client.markets[symbol]
    kind = "swap" if market.get("swap") else "future" if market.get("future") else "spot"
    side = None if kind == "spot" else "inverse" if market.get("inverse") else "linear"
    stated = (client.features or {}).get(kind)
    stated = stated.get(side) if side is not None and isinstance(stated, dict) else stated
    about = stated.get(method) if isinstance(stated, dict) else None
    limit = about.get("limit") if isinstance(about, dict) else None
    return min(int(limit), most) if isinstance(limit, (int, float)) and limit >= 1 else min(default, most)


def unresolved(error: BaseException | None) -> bool:
    """Whether an error came of a host name that does not resolve: this machine is offline, most likely."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        inner = getattr(error, "os_error", None)
        if isinstance(error, socket.gaierror) or isinstance(inner, socket.gaierror) or "DNS" in type(error).__name__:
            return True
        error = error.__cause__ or error.__context__
    return False
