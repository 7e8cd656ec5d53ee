"""The middleware in front of every page and service: plain ASGI, so that it decides before a byte of a body is read."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from agents.web.access import Keys
from agents.web.limits import Limits, RateLimit
from agents.web.metrics import Metrics

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

STRICT_POLICY = "default-src 'none'; frame-ancestors 'none'"  #: of answers that are no page
OTHER = "other"  #: route of requests that none was found for
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rules:
    """What a guard holds requests to.

    Attributes:
        keys: that open it; none: open to whoever reaches it.
        limits: of sizes, rates and times.
        hosts: names that Host may have, without port; None for any.
        open_paths: answered without a key, and past the limits of rate and number: what says that the service lives.
        policy: the header Content-Security-Policy.
    """

    keys: Keys = field(default_factory=Keys)
    limits: Limits = field(default_factory=Limits)
    hosts: tuple[str, ...] | None = None
    open_paths: frozenset[str] = frozenset(("/health", "/ready"))
    policy: str = STRICT_POLICY


class Refusal(Exception):
    """A request that is answered at once.

    Args:
        status: of HTTP.
        said: in words.
        headers: further ones.
    """

    def __init__(self, status: int, said: str, **headers: str) -> None:
        super().__init__(said)
        self.status, self.said = status, said
        self.headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]


class Guard:
    """An ASGI application behind keys, limits and checks of where a request comes from.

    In this order: Host and Origin, key (`Authorization: Bearer KEY` or `X-API-Key: KEY`; in a header only), rate of the
    key, number at work, size of the body as it streams in, time. A refused body is not read: the connection is closed.
    Whatever goes wrong inside is logged and answered with 500 and no word of what it was.

    Args:
        app: behind it.
        rules: that requests are held to.
        metrics: where they are counted; None: nowhere.

    Attributes:
        draining: once True, every answer closes its connection: callers go elsewhere.
        inside: requests at work.
    """

    def __init__(self, app: App, rules: Rules, metrics: Metrics | None = None) -> None:
        self._app, self._rules, self._metrics = app, rules, metrics
        self._rate = RateLimit(rules.limits)
        self.inside = self._sockets = 0
        self.draining = False
        self._headers = [
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"no-referrer"),
            (b"cache-control", b"no-store"),
            (b"content-security-policy", rules.policy.encode()),
        ]

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _allow(self, scope: MutableMapping[str, Any]) -> None:
        """Check what a request's headers say.

        Raises:
            Refusal: it may not go on.
        """
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in (b"host", b"origin", b"authorization", b"x-api-key") and name in headers:
                raise Refusal(400, f"the header {name.decode()} stands twice")
            headers[name] = value
        if b"transfer-encoding" in headers and b"content-length" in headers:
            raise Refusal(400, "a body has a length or comes in pieces, not both")
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if self._rules.hosts is not None and without_port(host) not in self._rules.hosts:
            raise Refusal(421, "this server does not go by that name (Host)")
        origin = headers.get(b"origin")
        if origin is not None and urlsplit(origin.decode("latin-1")).netloc.lower() != host:
            raise Refusal(403, "requests from pages of others are refused (Origin)")
        if scope["path"] in self._rules.open_paths:
            return
        key = 0
        if self._rules.keys:
            number = self._rules.keys.number_of(given_key(headers))
            if number is None:
                said = "a key is needed: the header Authorization: Bearer KEY, or X-API-Key: KEY"
                raise Refusal(401, said, www_authenticate="Bearer")
            key = number
        wait = self._rate.wait(key)
        if wait > 0.0:
            raise Refusal(429, f"too many requests: {self._rules.limits.rate:g} a second are allowed",
                          retry_after=str(math.ceil(wait)))  # fmt: skip

    async def _request(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        answer = Answer(send, self._headers, self)
        start = time.perf_counter()
        counted = scope["path"] not in self._rules.open_paths
        held = False
        try:
            self._allow(scope)
            if counted and self.inside >= self._rules.limits.inside:
                raise Refusal(503, f"{self.inside} requests are at work: ask again", retry_after="1")
            self.inside += counted
            held = counted
            if self._metrics is not None:
                self._metrics.inside.set(self.inside)
            async with asyncio.timeout(self._rules.limits.seconds) as clock:
                answer.on_start = lambda: clock.reschedule(None)
                await self._app(scope, Body(receive, await self._body(scope, receive)), answer)
        except Refusal as refusal:
            await answer.refuse(refusal)
        except TimeoutError:
            log.warning("no answer within %g s", self._rules.limits.seconds)
            await answer.refuse(Refusal(504, f"no answer within {self._rules.limits.seconds:g} s"))
        except Exception:
            log.exception("a request failed")
            await answer.refuse(Refusal(500, "something went wrong in the server"))
        finally:
            self.inside -= held
            if self._metrics is not None:
                self._metrics.inside.set(self.inside)
                route = getattr(scope.get("route"), "path", OTHER)
                self._metrics.answered(str(route), answer.status, time.perf_counter() - start)

    async def _body(self, scope: MutableMapping[str, Any], receive: Receive) -> bytes:
        """The whole body, counted as it comes.

        Raises:
            Refusal: more bytes than are allowed, said or sent; or who asked went away.
        """
        limit = 0 if scope["path"] in self._rules.open_paths else self._rules.limits.body  # strangers may ask those
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if not said.isdigit() or int(said[:20]) > limit:
            raise Refusal(413, f"a body may have {limit:,} bytes", connection="close")
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refusal(499, "who asked went away")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                raise Refusal(413, f"a body may have {limit:,} bytes", connection="close")
            more = message.get("more_body", False)
        return b"".join(parts)

    async def _socket(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        try:
            self._allow(scope)
            if self._sockets >= self._rules.limits.sockets or self.draining:
                raise Refusal(503, f"{self._sockets} websockets are open", retry_after="1")
        except Refusal as refusal:
            await _refuse_socket(scope, send, refusal)
            return
        self._sockets += 1
        try:
            await self._app(scope, receive, send)
        except Exception:
            log.exception("a websocket failed")
            try:
                await send({"type": "websocket.close", "code": 1011})
            except Exception:
                log.debug("it was closed already")
        finally:
            self._sockets -= 1


class Body:
    """What an application receives: a body that was read, then what comes after it.

    Args:
        receive: of the server.
        content: of the body.
    """

    def __init__(self, receive: Receive, content: bytes) -> None:
        self._receive, self._content = receive, content
        self._given = False

    async def __call__(self) -> Message:
        """The next message."""
        if self._given:
            return await self._receive()
        self._given = True
        content, self._content = self._content, b""
        return {"type": "http.request", "body": content, "more_body": False}


class Answer:
    """What an application sends: with our headers, and known to have begun.

    Args:
        send: of the server.
        headers: of every answer, where the application does not set them itself.
        guard: that says whether connections are to close.
    """

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]], guard: Guard) -> None:
        self._send, self._headers, self._guard = send, headers, guard
        self.status, self._begun = 0, False
        self.on_start: Callable[[], None] = lambda: None

    async def __call__(self, message: Message) -> None:
        """Send a message."""
        if message["type"] == "http.response.start":
            self._begun, self.status = True, message["status"]
            self.on_start()
            given = list(message.get("headers", ()))
            own = {name.lower() for name, _ in given}
            given += [(name, value) for name, value in self._headers if name not in own]
            if self._guard.draining and b"connection" not in own:
                given.append((b"connection", b"close"))
            message = {**message, "headers": given}
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal, where no answer has begun; else break it off."""
        if self._begun or refusal.status == 499:
            self.status = self.status or refusal.status
            return
        self.on_start = lambda: None  # the clock has stopped
        body = json.dumps({"detail": refusal.said}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if not any(name == b"connection" for name, _ in refusal.headers) and refusal.status in (400, 401, 403, 421):
            headers.append((b"connection", b"close"))  # its body, if it has one, is read by nobody
        start = {"type": "http.response.start", "status": refusal.status, "headers": [*headers, *refusal.headers]}
        await self(start)
        await self({"type": "http.response.body", "body": body, "more_body": False})


async def _refuse_socket(scope: MutableMapping[str, Any], send: Send, refusal: Refusal) -> None:
    """Answer a handshake with a status of HTTP where the server can, else close it."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    body = json.dumps({"detail": refusal.said}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *refusal.headers]
    await send({"type": "websocket.http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})


def given_key(headers: MutableMapping[bytes, bytes]) -> bytes | None:
    """The key in a request's headers, by their lower-case names; None where there is none."""
    kind, _, key = headers.get(b"authorization", b"").partition(b" ")
    if kind.lower() == b"bearer" and key:
        return key.strip()
    return headers.get(b"x-api-key")


def without_port(host: str) -> str:
    """A Host header's name: "localhost" of "localhost:8000", "[::1]" of "[::1]:8000"."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
