"""Load on a server over plain sockets: connections that ask again once they are answered, and how long that took."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

PATIENCE = 60.0  #: seconds that an answer may take


@dataclass
class Answers:
    """What was answered: seconds each, by status; and requests that were sent and had no whole answer."""

    seconds: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    dropped: int = 0
    whole: float = 0.0  #: seconds of the load

    def figures(self) -> dict[str, Any]:
        """Per second, and milliseconds of the median and of the 99th percentile."""
        if not self.seconds:
            return {"answers": 0, "dropped": self.dropped}
        median, high = np.percentile(np.array(self.seconds) * 1e3, (50.0, 99.0))
        return {
            "per_second": round(len(self.seconds) / self.whole, 1), "p50_ms": round(float(median), 2),
            "p99_ms": round(float(high), 2), "answers": len(self.seconds), "dropped": self.dropped,
            "statuses": {str(code): count for code, count in sorted(self.statuses.items())},
        }  # fmt: skip


def request_bytes(method: str, path: str, body: bytes = b"", key: str | None = None) -> bytes:
    """A request of HTTP/1.1, its connection kept open."""
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    head += ["Content-Type: application/json"] if body else []
    head += [f"X-API-Key: {key}"] if key else []
    return "\r\n".join([*head, "", ""]).encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Status and body of an answer, and whether the connection closes after it."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
    body = await reader.readexactly(int(length)) if length.strip() else b""
    return int(head.split()[1]), body, b"connection: close" in head


async def _loop(port: int, request: bytes, until: float, found: Answers, pause: float) -> None:
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None
    while time.perf_counter() < until:
        if reader is None or writer is None:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return  # it no longer listens: nothing was sent
        began = time.perf_counter()
        try:
            writer.write(request)
            await writer.drain()
            status, _, closes = await asyncio.wait_for(answer(reader), PATIENCE)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            found.dropped += 1
            reader = writer = None
            continue
        found.seconds.append(time.perf_counter() - began)
        found.statuses[status] = found.statuses.get(status, 0) + 1
        if closes:
            writer.close()
            reader = writer = None
        if pause:
            await asyncio.sleep(pause)
    if writer is not None:
        writer.close()


async def load(port: int, request: bytes, connections: int, seconds: float, pause: float = 0.0) -> Answers:
    """Answers to one request, asked over so many connections for so long.

    Args:
        port: on this machine.
        request: as `request_bytes` makes it.
        connections: each asks again as soon as it is answered.
        seconds: until no new request is sent.
        pause: seconds between an answer and the next request.
    """
    found, began = Answers(), time.perf_counter()
    await asyncio.gather(*(_loop(port, request, began + seconds, found, pause) for _ in range(connections)))
    found.whole = time.perf_counter() - began
    return found


async def once(port: int, request: bytes) -> tuple[int, bytes]:
    """Status and body of one answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    status, body, _ = await asyncio.wait_for(answer(reader), PATIENCE)
    writer.close()
    return status, body
