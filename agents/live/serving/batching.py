"""Requests that come at the same time are answered together: a queue, and one thread that reads the model."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cryptoenv.files.typed_values import require, require_types


@dataclass(frozen=True)
class Batching:
    """How requests are put together.

    Attributes:
        most: decisions that are read together; 1 reads each alone.
        wait: seconds that a request may wait for others. It waits only while others are on their way.

    Raises:
        ConfigError: a value that is not allowed.
    """

    most: int = 32
    wait: float = 0.02

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))
        require(1 <= self.most <= 1024, "most", self.most, "1 to 1024 decisions")
        require(0.0 <= self.wait <= 1.0, "wait", self.wait, "0 to 1 second")


@dataclass
class _Waiting:
    item: Any
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class ClosedError(RuntimeError):
    """The model was exchanged for another one: ask again."""


class MicroBatcher:
    """One thread that answers what waits, as much of it at once as there is.

    Args:
        read: answers of items, in their order; an answer that is an exception is raised for its item alone.
        batching: how many, and how long to wait.
        coming: how many requests are at work in the server, waiting ones among them.
        told: called with the number of items and the seconds of each reading.
    """

    def __init__(
        self,
        read: Callable[[Sequence[Any]], Sequence[Any]],
        batching: Batching,
        coming: Callable[[], int] = lambda: 0,
        told: Callable[[int, float], None] = lambda _count, _seconds: None,
    ) -> None:
        self._read, self._batching, self._coming, self._told = read, batching, coming, told
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    async def answer(self, item: Any) -> Any:
        """The answer to one item.

        Raises:
            ClosedError: nobody answers any more. What `read` gave for the item, where that is an exception.
        """
        if self._closed:
            raise ClosedError("the model was exchanged")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._queue.put(_Waiting(item, future, loop))
        return await future

    def close(self) -> None:
        """Answer what waits, then end; comes back at once."""
        self._closed = True
        self._queue.put(None)

    def join(self, seconds: float) -> None:
        """Wait until its thread has ended."""
        self._thread.join(seconds)

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            waiting, ended = self._gathered(first)
            self._answer(waiting)
            if ended:
                break
        left = []
        while not self._queue.empty():
            if (late := self._queue.get()) is not None:
                left.append(late)
        if left:
            self._answer(left)

    def _gathered(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        """What waits, up to the most that is read together; and whether that is all there will be."""
        waiting, due = [first], time.monotonic() + self._batching.wait
        while len(waiting) < self._batching.most:
            left = due - time.monotonic() if len(waiting) < self._coming() else 0.0
            try:
                more = self._queue.get(timeout=left) if left > 0.0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if more is None:
                return waiting, True
            waiting.append(more)
        return waiting, False

    def _answer(self, waiting: list[_Waiting]) -> None:
        waiting = [one for one in waiting if not one.future.cancelled()]
        if not waiting:
            return
        began = time.perf_counter()
        try:
            answers = list(self._read([one.item for one in waiting]))
        except Exception as error:
            answers = [error] * len(waiting)
        self._told(len(waiting), time.perf_counter() - began)
        loops = {one.loop for one in waiting}
        for loop in loops:
            mine = [(one, answer) for one, answer in zip(waiting, answers, strict=True) if one.loop is loop]
            if not loop.is_closed():
                loop.call_soon_threadsafe(_deliver, mine)


def _deliver(answers: list[tuple[_Waiting, Any]]) -> None:
    for one, answer in answers:
        if one.future.done():
            continue
        if isinstance(answer, Exception):
            one.future.set_exception(answer)
        else:
            one.future.set_result(answer)
