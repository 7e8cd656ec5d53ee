"""A service of the extractor that ships, in this process, for what the documentation asks."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

from agents.live.serving.client import Client
from agents.live.serving.running import ServeOptions, new_service
from agents.web.guard import Guard
from agents.web.server import Address, running_server


@functools.cache
def default_service() -> Guard:
    """The service, without a socket."""
    return new_service(["default"], ServeOptions())[0]


@contextmanager
def default_client() -> Iterator[Client]:
    """A client of the service on a port of this machine; when it ends, the service does."""
    with running_server(default_service(), Address(port=0)) as address, Client(address.url) as client:
        yield client
    default_service.cache_clear()
