"""A websocket of bars on the loopback interface, for the real ccxt pro client: what is pushed is heard."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

from aiohttp import WSMsgType, web

from tests.loopback.exchange import STEPS


class BarStream:
    """The running server. Attributes: `listeners`, connections that have subscribed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self.listeners: list[web.WebSocketResponse] = []
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.refuses = False
        self.port = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(5.0)

    @property
    def url(self) -> str:
        """Its address; ccxt takes what has "stream" in it for spot."""
        return f"ws://127.0.0.1:{self.port}/stream"

    async def _serve(self) -> int:
        application = web.Application()
        application.router.add_get("/{tail:.*}", self._accept)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        sockets: Any = site._server
        return int(sockets.sockets[0].getsockname()[1])

    async def _accept(self, request: web.Request) -> web.StreamResponse:
        if self.refuses:
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type == WSMsgType.TEXT and "SUBSCRIBE" in message.data:
                await socket.send_str(json.dumps({"result": None, "id": json.loads(message.data)["id"]}))
                self.listeners.append(socket)
        if socket in self.listeners:
            self.listeners.remove(socket)
        return socket

    def push(self, opened: int, values: list[float], closed: bool = False, name: str = "1m") -> None:
        """Tell everybody of a bar as it is now."""
        step = STEPS[name]
        told = dict(zip("ohlcv", map(str, values), strict=True))
        kline = {"t": opened, "T": opened + step - 1, "s": "BTCUSDT", "i": name, "x": closed, "q": "0", "n": 1, **told}
        text = json.dumps({"e": "kline", "E": opened, "s": "BTCUSDT", "k": kline})

        async def send() -> None:
            for socket in list(self.listeners):
                await socket.send_str(text)

        asyncio.run_coroutine_threadsafe(send(), self._loop).result(5.0)

    def drop(self) -> None:
        """Cut every connection."""

        async def cut() -> None:
            for socket in list(self.listeners):
                await socket.close()

        asyncio.run_coroutine_threadsafe(cut(), self._loop).result(5.0)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
