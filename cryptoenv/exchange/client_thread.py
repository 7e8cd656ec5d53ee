"""An asynchronous ccxt client in a thread of its own, called from code that waits for answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from typing import Any

GRACE = 5.0  #: seconds beyond a client's own limit after which a call counts as lost


class CallTimeoutError(OSError):
    """A call has not come back; what it asked for may have happened."""


class ClientThread:
    """Runs a client's coroutines on an event loop in a thread.

    Args:
        make: makes the client; called in the thread.
        timeout: seconds that a call may take.

    Attributes:
        client: of ccxt; its plain attributes may be read from any thread.
    """

    def __init__(self, make: Callable[[], Any], timeout: float = 20.0) -> None:
        self._timeout = timeout
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ccxt", daemon=True)
        self._thread.start()

        async def made() -> Any:
            return make()

        self.client = self.run(made())

    def run(self, coroutine: Coroutine[Any, Any, Any], timeout: float | None = None) -> Any:
        """What a coroutine comes to.

        Raises:
            CallTimeoutError: it takes too long; it is cancelled. Whatever it raises.
        """
        waiting = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        limit = (self._timeout if timeout is None else timeout) + GRACE
        try:
            return waiting.result(limit)
        except FutureTimeout as error:
            if waiting.done():
                raise
            waiting.cancel()
            raise CallTimeoutError(f"no answer within {limit:g} s") from error
        finally:
            # A future holds its error, whose traceback holds this frame: with the future in it, a ring that would keep
            # the client, and all that called it, until a full collection of garbage, which a large process seldom has.
            del waiting

    def call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """What a method of the client comes to; errors as `run`."""
        return self.run(getattr(self.client, method)(*arguments, **named))

    def start(self, coroutine: Coroutine[Any, Any, None]) -> Future[None]:
        """Let a coroutine run beside others until it ends or is cancelled."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def time(self) -> float:
        """The event loop's clock, seconds."""
        return self._loop.time()

    def close(self) -> None:
        """Close the client and end the thread; calling it again changes nothing."""
        if self._loop.is_closed():
            return
        with suppress(Exception):
            self.run(self.client.close(), timeout=5.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5.0)
        if not self._thread.is_alive():
            self._loop.close()
