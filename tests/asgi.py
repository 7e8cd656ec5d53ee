"""Asks an ASGI application in this process, message by message, without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Reply:
    """An answer; `read`: how many bytes of the body were asked for."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    read: int = 0

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


async def asked(
    app: Callable[..., Any],
    method: str,
    path: str,
    *,
    body: bytes | Iterable[bytes] | Any = b"",
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
) -> Reply:
    """The answer to one request; a body that is no bytes nor an iterator of them is sent as JSON."""
    if isinstance(body, dict | list):
        body = json.dumps(body).encode()
    parts = iter([body] if isinstance(body, bytes) else body)
    given = list(headers.items() if isinstance(headers, Mapping) else headers)
    if not any(name.lower() == "host" for name, _ in given):
        given.append(("Host", "127.0.0.1:8000"))
    path, _, query = path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in given],
        "client": ("127.0.0.1", 50000), "server": ("127.0.0.1", 8000), "state": {},
    }  # fmt: skip
    reply, ended, whole = Reply(), asyncio.Event(), asyncio.Event()

    async def receive() -> dict[str, Any]:
        part = next(parts, None)
        if part is None:
            if not whole.is_set():
                whole.set()
                return {"type": "http.request", "body": b"", "more_body": False}
            await ended.wait()
            return {"type": "http.disconnect"}
        reply.read += len(part)
        return {"type": "http.request", "body": part, "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            reply.status = message["status"]
            reply.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            reply.body += message.get("body", b"")
            if not message.get("more_body", False):
                ended.set()

    await app(scope, receive, send)
    return reply


def ask(app: Callable[..., Any], method: str, path: str, **given: Any) -> Reply:
    """As `asked`, in an event loop of its own."""
    return asyncio.run(asked(app, method, path, **given))
