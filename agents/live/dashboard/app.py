"""The page's server: the page, its stream of events, halt and resume, metrics; behind `agents.web`'s guard."""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from importlib import resources
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field
from starlette.types import Message, Send

from agents.live.dashboard.board import packed
from agents.live.dashboard.controls import Controls
from agents.live.dashboard.metrics import TradeCollector
from agents.live.dashboard.present import present
from agents.reports.formats.html_page import page_style, plotly_script, template_text
from agents.web.metrics import Metrics

log = logging.getLogger(__name__)
TICK_SECONDS, BEAT_TICKS = 0.25, 4  #: between two looks at the inbox; of them, between two beats
STALLED_SECONDS = 20.0  #: for which a page may take nothing
STREAMS = 16  #: pages that may listen at a time
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: Answered without a key: nothing of the account is in them.
OPEN_PATHS = frozenset(("/", "/page.css", "/page.js", "/plotly.js", "/health"))
REASON = 200  #: characters of a reason


class Reason(BaseModel):
    """Why trading is halted."""

    reason: str = Field("", max_length=REASON)


class Nothing(BaseModel):
    """An empty object."""


class Hub:
    """Takes in what trading leaves on the board, four times a second, and wakes the pages that listen.

    Args:
        controls: of the page.
    """

    def __init__(self, controls: Controls) -> None:
        self.controls = controls
        self.beat = b"{}"
        self.beats = 0
        self.streams = 0
        self.over = False
        self._turn = asyncio.Event()

    async def run(self) -> None:
        """Until it is cancelled; what fails is logged, and tried again."""
        tick, quiet = 0, False
        while True:
            try:
                fresh = self.controls.board.take()
                if tick % BEAT_TICKS == 0:
                    self.look()
                elif fresh:
                    self.wake()
                quiet = False
            except Exception as error:
                if not quiet:
                    log.exception("the page's server failed, and goes on: %s", error)
                quiet = True
            tick += 1
            await asyncio.sleep(TICK_SECONDS)

    def look(self) -> None:
        """Read everything, and tell."""
        self.controls.read()
        self.controls.board.take()
        self.beat = packed(present(self.controls))
        self.beats += 1
        self.wake()

    def wake(self) -> None:
        """Wake whoever waits."""
        turn, self._turn = self._turn, asyncio.Event()
        turn.set()

    async def wait(self) -> None:
        """Until there may be something new."""
        await self._turn.wait()


class Events(StreamingResponse):
    """A stream that is broken off when its reader takes nothing for too long, or the server ends meanwhile.

    Args:
        stream: of events.
        closing: whether the server ends.
    """

    def __init__(self, stream: AsyncIterator[bytes], closing: Callable[[], bool]) -> None:
        super().__init__(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._closing = closing

    async def stream_response(self, send: Send) -> None:
        """See Starlette."""
        with suppress(StalledError):
            await super().stream_response(lambda message: self._bounded(send, message))

    async def _bounded(self, send: Send, message: Message) -> None:
        work = asyncio.ensure_future(send(message))
        waited = 0.0
        try:
            while not (await asyncio.wait({work}, timeout=TICK_SECONDS))[0]:
                waited += TICK_SECONDS
                if waited > STALLED_SECONDS or self._closing():
                    raise StalledError
            await work
        finally:
            work.cancel()


class StalledError(Exception):
    """Who listens takes nothing."""


async def told(hub: Hub, boot: str, number: int, closing: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Server-sent events from a place on: "whole" where that is not known any more, "news" with ids, "beat" without.

    Args:
        hub: that is listened to.
        boot, number: place, of `Board.place`; ("", 0) for the beginning.
        closing: whether the server ends.
    """
    board, beats = hub.controls.board, -1
    hub.streams += 1
    try:
        yield b"retry: 1000\n\n"
        while not closing():
            news = board.news_after(boot, number)
            if news is None:
                boot, number = board.place
                yield sent("whole", board.whole(), f"{boot}:{number}")
            else:
                for number, data in news:
                    yield sent("news", data, f"{boot}:{number}")
            if beats != hub.beats:
                beats = hub.beats
                yield sent("beat", hub.beat)
            await hub.wait()
    finally:
        hub.streams -= 1


def sent(kind: str, data: bytes, place: str = "") -> bytes:
    """One event; `data` is JSON on one line."""
    return b"event: " + kind.encode() + (b"\nid: " + place.encode() if place else b"") + b"\ndata: " + data + b"\n\n"


def place_of(last: str) -> tuple[str, int]:
    """Of a Last-Event-ID; the beginning where it is none of ours."""
    boot, colon, number = last.partition(":")
    return (boot, int(number)) if colon and number.isascii() and number.isdigit() and len(number) < 16 else ("", 0)


def dashboard_app(controls: Controls, closing: Callable[[], bool]) -> FastAPI:
    """The application.

    Args:
        controls: what the page reads and does.
        closing: whether the server ends; streams end then.
    """
    metrics = Metrics("cryptoenv_dashboard")
    metrics.registry.register(TradeCollector(controls))
    hub = Hub(controls)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        work = asyncio.create_task(hub.run())
        try:
            yield
        finally:
            work.cancel()
            controls.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.metrics = metrics
    _add_page(app)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/events")
    async def events(request: Request) -> Response:
        if hub.streams >= STREAMS:
            return JSONResponse({"detail": f"{STREAMS} pages listen already"}, 503)
        boot, number = place_of(request.headers.get("last-event-id", ""))
        return Events(told(hub, boot, number, closing), closing)

    @app.get("/state")
    async def state() -> Response:
        hub.look()
        both = b'{"now":' + hub.beat + b',"whole":' + controls.board.whole() + b"}"
        return Response(both, media_type="application/json")

    @app.get("/metrics")
    async def figures() -> Response:
        return Response(metrics.text(), media_type=Metrics.content_type)

    @app.post("/halt")
    async def halt(given: Reason) -> Response:
        try:
            controls.halt(" ".join(given.reason.split()))
        except OSError as error:
            log.error("the halt could not be written down: %s", error)
            words = f"trading is halted while this process lasts, but not beyond: {error.strerror or error}"
            return JSONResponse({"detail": words}, 500)
        finally:
            hub.look()
        failed = await asyncio.to_thread(controls.take_back)
        return JSONResponse({"halted": controls.account.switch.reason, "failed": failed})

    @app.post("/resume")
    async def resume(given: Nothing) -> Response:
        try:
            released = controls.resume()
        except OSError as error:
            log.error("not resumed: %s", error)
            return JSONResponse({"detail": "not resumed: what halts it cannot be taken away; the log says why"}, 500)
        finally:
            hub.look()
        return JSONResponse({"released": released})

    return app


def _add_page(app: FastAPI) -> None:
    """The page and what it loads: nothing of the account is in them."""

    @app.get("/")
    async def page() -> Response:
        return Response(own_text("page.html"), media_type="text/html; charset=utf-8",
                        headers={"Content-Security-Policy": PAGE_POLICY})  # fmt: skip

    @app.get("/page.css")
    async def style() -> Response:
        return Response(page_style() + own_text("page.css"), media_type="text/css; charset=utf-8")

    @app.get("/page.js")
    async def script() -> Response:
        parts = [template_text("charts.js"), own_text("live.js"), own_text("show.js")]
        return Response("\n".join(parts), media_type="text/javascript; charset=utf-8")

    @app.get("/plotly.js")
    async def library(request: Request) -> Response:
        headers = {"Cache-Control": "private, max-age=86400", "Vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            content: Any = await asyncio.to_thread(packed_library)
            headers["Content-Encoding"] = "gzip"
        else:
            content = plotly_script()
        return Response(content, media_type="text/javascript; charset=utf-8", headers=headers)


@lru_cache(maxsize=1)
def packed_library() -> bytes:
    """Plotly's script, gzipped."""
    return gzip.compress(plotly_script().encode(), 6)


def own_text(name: str) -> str:
    """A file of the page."""
    return (resources.files("agents.live.dashboard") / "page" / name).read_text("utf-8")
