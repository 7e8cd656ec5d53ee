"""The service's routes: predictions, actions, what is served, whether it lives, and predictions as bars close."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import orjson
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse

from agents.live.serving.answers import Decided, Traced
from agents.live.serving.batching import ClosedError
from agents.live.serving.bodies import Act, ActBatch, BodyError, One, PredictBatch, read_act, read_predict
from agents.live.serving.openapi import ACT, ANSWERS, DESCRIPTION, PREDICT, completed
from agents.live.serving.shelf import Shelf
from agents.live.serving.sources import Stream
from agents.web.metrics import Metrics

LARGE_BODY = 131_072  #: bytes; larger ones are parsed beside the event loop
AGAIN = 3  #: times that a request is asked again of the next version, when its model was exchanged
JSON = "application/json"


@dataclass
class Service:
    """What the routes answer from.

    Attributes:
        shelf: of models.
        metrics: of the service.
        streams: by the name of their model.
        draining: whether the server is about to end.
    """

    shelf: Shelf
    metrics: Metrics
    streams: dict[str, Stream] = field(default_factory=dict)
    draining: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="bars")  # two only fight for the interpreter
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    async def predict(self, asked: PredictBatch | One) -> dict[str, Any]:
        """The answer to a request, or to all of a batch.

        Raises:
            BodyError: the body does not fit; of a batch, the message names which.
        """
        if not isinstance(asked, PredictBatch):
            return await self._one(asked, "")
        items = enumerate(asked.batch)
        return {"predictions": await _all([self._one(one, f"batch[{number}]: ") for number, one in items])}

    async def act(self, asked: ActBatch | Act) -> dict[str, Any]:
        """What an agent does; as `predict`."""
        if isinstance(asked, Act):
            return await self._one(asked, "")
        items = enumerate(asked.batch)
        return {"actions": await _all([self._one(one, f"batch[{number}]: ") for number, one in items])}

    async def _one(self, asked: One | Act, where: str) -> dict[str, Any]:
        try:
            for _ in range(AGAIN):
                slot = self.shelf.slot(asked.model)
                answering, batcher = slot.answering, slot.batcher
                if hasattr(asked, "sequence"):
                    item = answering.prepared(asked)
                else:
                    item = await asyncio.get_running_loop().run_in_executor(self._pool, answering.prepared, asked)
                try:
                    found = await batcher.answer(item)
                except ClosedError:
                    continue
                told = {"model": slot.name, "version": answering.version}
                if isinstance(asked, Act):
                    assert isinstance(item, Decided | Traced)
                    return told | answering.action(asked, item, found)
                return told | answering.told_of(asked, item, found)
            raise ClosedError("the model is being exchanged over and over")
        except BodyError as error:
            raise BodyError(f"{where}{error}", error.needs) from None

    async def read(self, request: Request, read: Callable[[bytes], Any]) -> Any:
        """The body of a request as `read` makes it; a large one is read in the thread that makes features, too.

        Others are read one in each turn of the event loop: whoever asks for /health passes between them.
        """
        body = await request.body()
        if len(body) < LARGE_BODY:
            async with self._turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
                await asyncio.sleep(0)
                return read(body)
        return await asyncio.get_running_loop().run_in_executor(self._pool, read, body)

    def expected(self) -> dict[str, Any]:
        """What the first model needs, for who sent something else altogether."""
        return self.shelf.slot(None).answering.needs

    def close(self) -> None:
        """End streams and models."""
        for stream in self.streams.values():
            stream.close()
        self.shelf.close()
        self._pool.shutdown(wait=False)

    def join(self, seconds: float) -> None:
        """After `close`: wait until no thread reads a model; a process that ended meanwhile would be aborted."""
        for stream in self.streams.values():
            stream.join(seconds)
        self.shelf.join(seconds)


async def _all(answers: list[Any]) -> list[Any]:
    """All answers, in order; the first error in order is raised once all have ended."""
    found = await asyncio.gather(*answers, return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return found


def new_app(service: Service) -> FastAPI:
    """The application; it belongs behind an `agents.web.guard.Guard`."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for stream in service.streams.values():
            stream.start()
        yield
        service.close()

    app = FastAPI(
        title="cryptoenv serve", description=DESCRIPTION, version="1", lifespan=lifespan, docs_url=None,
        redoc_url=None, openapi_url="/openapi.json",
    )  # fmt: skip

    @app.exception_handler(BodyError)
    async def refused(_: Request, error: BodyError) -> Response:
        needs = service.expected() if error.needs is None else error.needs
        return _json({"detail": str(error), "needs": needs}, 422)

    @app.post("/predict", openapi_extra=PREDICT, responses=ANSWERS, summary="Predictions of bars or of a window")
    async def predict(request: Request) -> Response:
        asked = await service.read(request, read_predict)
        return _json(await service.predict(asked))

    @app.post("/act", openapi_extra=ACT, responses=ANSWERS, summary="What an agent asks for, with its account")
    async def act(request: Request) -> Response:
        asked = await service.read(request, read_act)
        return _json(await service.act(asked))

    @app.get("/health", summary="Whether the process answers", responses=_only(200))
    async def health() -> Response:
        return _json({"status": "ok"})

    @app.get("/ready", summary="Whether it takes requests: 503 once it is about to end", responses=_only(200, 503))
    async def ready() -> Response:
        draining = service.draining()
        return _json({"ready": not draining, "models": len(service.shelf)}, 503 if draining else 200)

    @app.get("/models", summary="What is served: kinds, versions, columns, and what each needs", responses=_only(200))
    async def models() -> Response:
        return _json({"models": service.shelf.told(), "streams": _streams(service)})

    @app.get(
        "/metrics", summary="Figures, as Prometheus reads them", responses=_only(200),
        response_class=PlainTextResponse,
    )  # fmt: skip
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=service.metrics.content_type)

    @app.websocket("/stream")
    async def stream(socket: WebSocket) -> None:
        await _streamed(service, socket)

    usual = app.openapi
    app.openapi = lambda: completed(usual())  # type: ignore[method-assign]
    return app


def _only(*codes: int) -> dict[int | str, dict[str, Any]]:
    named = {200: "It does.", 503: "It does not."}
    return {code: {"description": named[code]} for code in codes}


def _streams(service: Service) -> list[dict[str, str]]:
    return [{"model": name, "state": stream.state} for name, stream in service.streams.items()]


def _json(told: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(told), status, media_type=JSON)


async def _streamed(service: Service, socket: WebSocket) -> None:
    name = socket.query_params.get("model") or next(iter(service.streams), "")
    stream = service.streams.get(name)
    if stream is None:
        await socket.close(1008, "no such stream: /models names them")
        return
    await socket.accept()
    queue = stream.listen()
    gone = asyncio.create_task(_until_gone(socket))
    try:
        while True:
            said = asyncio.create_task(queue.get())
            done, _ = await asyncio.wait({said, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone in done:
                said.cancel()
                return
            message = said.result()
            if message is None:
                await socket.close(1001, "the stream has ended, or was read too slowly")
                return
            await socket.send_text(message)
    except WebSocketDisconnect:
        return
    finally:
        stream.leave(queue)
        gone.cancel()


async def _until_gone(socket: WebSocket) -> None:
    """Comes back when the listener has gone; what it says is not read."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
