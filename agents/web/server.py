"""Starts and stops uvicorn: in the process's main thread until a signal, or in a thread beside something else."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn

from agents.web.guard import Guard

HEADER_SECONDS = 10.0  #: that a connection may take, or idle, until a request's headers are there
CONNECTIONS = 1_000  #: open at a time; more are answered with 503
TURN, QUIET_TURNS, MOST_TURNS = 0.02, 15, 500  #: seconds of a turn of draining; without a request until it ends; in all
BACKLOG = 2_048  #: connections that wait to be accepted


class ServerError(RuntimeError):
    """The address cannot be listened on."""


@dataclass(frozen=True)
class Address:
    """Where a server listens.

    Attributes:
        host: name or IP address. port: 0 in a request for any that is free.
    """

    host: str = "127.0.0.1"
    port: int = 8000

    @property
    def url(self) -> str:
        """`http://127.0.0.1:8000`."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


class DrainingServer(uvicorn.Server):
    """A uvicorn that answers all that it has accepted before it ends.

    Told to stop, it goes on accepting for `grace` seconds while each answer closes its connection; then it stops
    listening, gives what was accepted last the time to send its request, and waits for the answers.

    Args:
        config: of uvicorn.
        guard: that is told when draining begins.
        grace: seconds.
    """

    def __init__(self, config: uvicorn.Config, guard: Guard, grace: float) -> None:
        super().__init__(config)
        self._guard, self._grace = guard, grace
        self._idle: dict[object, tuple[object, float]] = {}
        self._taken: set[asyncio.Task[object]] = set()

    async def on_tick(self, counter: int) -> bool:
        """As of uvicorn, ten times a second; and connections are closed whose headers do not come."""
        if counter % 10 == 0:
            self._close_idle(time.monotonic())
        return await super().on_tick(counter)

    def _close_idle(self, now: float) -> None:
        idle: dict[object, tuple[object, float]] = {}
        for connection in list(self.server_state.connections):
            cycle = getattr(connection, "cycle", self)  # a websocket has none, and is not idle
            if cycle is None or getattr(cycle, "response_complete", False):
                before, since = self._idle.get(connection, (cycle, now))
                since = since if cycle is before else now  # a request came and was answered between two looks
                idle[connection] = cycle, since
                if now - since > HEADER_SECONDS:
                    connection.transport.close()
        self._idle = idle

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As of uvicorn, after everything that was accepted had its answer; what the system accepted, too."""
        self._guard.draining = True
        await asyncio.sleep(self._grace)
        for _ in range(QUIET_TURNS):  # of a process that was stopped meanwhile the seconds are over at once
            await asyncio.sleep(0.0)
        for listening in sockets or []:
            self._accept_waiting(listening)
            listening.close()  # in the same step: a connection that still waited would be reset
        for server in self.servers:
            server.close()
        await self._still()
        await super().shutdown(None)

    async def _still(self) -> None:
        """Come back once nothing was asked in some turns, which a process that stands still does not count."""
        quiet, before = 0, self.server_state.total_requests
        for _ in range(MOST_TURNS if self._grace > 0.0 else 0):
            await asyncio.sleep(TURN)
            now = self.server_state.total_requests
            quiet, before = (quiet + 1 if now == before and not self._guard.inside else 0), now
            if quiet == QUIET_TURNS:
                return

    def _accept_waiting(self, listening: socket.socket) -> None:
        """Take over the connections that the system has accepted and nobody has asked it for."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = listening.accept()
            except OSError:  # none is left
                return
            accepted.setblocking(False)
            self._taken.add(loop.create_task(loop.connect_accepted_socket(self._protocol, accepted)))

    def _protocol(self) -> asyncio.Protocol:
        made: Any = self.config.http_protocol_class
        found: asyncio.Protocol = made(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return found


def listening_socket(address: Address) -> socket.socket:
    """A socket that listens on an address.

    Raises:
        ServerError: the address is in use, not this machine's, or not allowed.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(place)
        made.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        raise ServerError(f"{address.host}:{address.port} cannot be listened on: {error}") from error
    return made


def _server(guard: Guard, grace: float, seconds: float) -> DrainingServer:
    config = uvicorn.Config(
        guard, http="h11", ws="websockets-sansio", lifespan="on", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, limit_concurrency=CONNECTIONS, ws_max_size=1_000_000,
        ws_max_queue=4, timeout_graceful_shutdown=int(seconds) + 1, h11_max_incomplete_event_size=32_768,
    )  # fmt: skip
    return DrainingServer(config, guard, grace)


def run_server(
    guard: Guard, address: Address, *, grace: float = 1.0, seconds: float = 30.0, started: Callable[[Address], None]
) -> None:
    """Serve in this thread, the process's main one, until SIGTERM or Ctrl-C; then drain and return.

    Args:
        guard: with the application behind it.
        address: to listen on.
        grace: seconds that connections are still accepted for after the signal.
        seconds: that answers may take then.
        started: called with the address, its port known, once it listens.

    Raises:
        ServerError: the address cannot be listened on.
    """
    with contextlib.closing(listening_socket(address)) as bound:
        server = _server(guard, grace, seconds)
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            for number in before:  # uvicorn's own stand before these while it runs, and raise the signal again after
                signal.signal(number, lambda *_: setattr(server, "should_exit", True))
            started(Address(address.host, bound.getsockname()[1]))
            server.run([bound])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def running_server(guard: Guard, address: Address, *, grace: float = 0.0) -> Iterator[Address]:
    """Serve in a thread while the block runs.

    Args:
        guard: with the application behind it.
        address: to listen on; port 0 takes one that is free.
        grace: seconds of draining when the block ends.

    Yields:
        The address, with its port.

    Raises:
        ServerError: the address cannot be listened on, or the application does not start.
    """
    with contextlib.closing(listening_socket(address)) as bound:
        server = _server(guard, grace, 5.0)
        thread = threading.Thread(target=server.run, args=([bound],), name="web server", daemon=True)
        thread.start()
        while thread.is_alive() and not server.started:
            time.sleep(0.01)
        if not server.started:
            raise ServerError("the server did not start; the log says why")
        try:
            yield Address(address.host, bound.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(timeout=15.0)
