"""Puts a service together: models behind a guard, streams, new versions, and the server."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agents.live.serving.app import Service, new_app
from agents.live.serving.batching import Batching
from agents.live.serving.shelf import ServingFigures, Shelf, Watcher
from agents.live.serving.sources import Stream
from agents.web.access import Keys, host_names, require_safe_bind
from agents.web.guard import Guard, Rules
from agents.web.limits import Limits
from agents.web.metrics import Metrics
from agents.web.server import Address, run_server
from cryptoenv.live.feed import Feed
from pretrain import MarketLayout, Predictor

SWITCH = 0.00005  #: seconds that a thread may keep the interpreter while others wait: the event loop, and the model

LAST = 10.0  #: seconds that threads which read a model may take to end


@dataclass(frozen=True)
class ServeOptions:
    """How a service is run.

    Attributes:
        address: that is listened on.
        keys: that open it.
        limits: of requests. batching: how they are put together.
        hosts: further names of the machine, as behind a proxy.
        watch: seconds between two looks for new versions; 0 looks only on SIGHUP.
        device: where models predict.
        feed: makes the feed of the stream's bars, or None.
    """

    address: Address = field(default_factory=Address)
    keys: Keys = field(default_factory=Keys)
    limits: Limits = field(default_factory=Limits)
    batching: Batching = field(default_factory=Batching)
    hosts: tuple[str, ...] = ()
    watch: float = 2.0
    device: str = "cpu"
    feed: Callable[[MarketLayout], Feed] | None = None


def new_service(places: Sequence[str | Path], options: ServeOptions) -> tuple[Guard, Service]:
    """A service that is not listening yet.

    Args:
        places: folders of artifacts and runs.
        options: how it is run.

    Raises:
        AccessError: an address that others reach, without a key. ArtifactError, ValueError: nothing to serve.
    """
    require_safe_bind(options.address.host, options.keys)
    metrics = Metrics()
    rules = Rules(options.keys, options.limits, host_names(options.address.host, options.hosts))
    guards: list[Guard] = []
    shelf = Shelf(
        places, batching=options.batching, figures=ServingFigures(metrics), device=options.device,
        coming=lambda: guards[0].inside if guards else 0,
    )  # fmt: skip
    service = Service(shelf, metrics, _streams(shelf, options.feed), lambda: guards[0].draining)
    guards.append(Guard(new_app(service), rules, metrics))
    return guards[0], service


def _streams(shelf: Shelf, feed: Callable[[MarketLayout], Feed] | None) -> dict[str, Stream]:
    if feed is None:
        return {}
    reading = [name for name in shelf.names if isinstance(shelf.slot(name).answering.model, Predictor)]
    if not reading:
        raise ValueError("no model that reads bars is served: leave the stream's bars out")
    return {name: Stream(shelf, name, feed) for name in reading}


def serve(places: Sequence[str | Path], options: ServeOptions, *, started: Callable[[Address, Service], None]) -> None:
    """Serve until SIGTERM or Ctrl-C, then answer what was asked, and return. SIGHUP looks for new versions.

    Args:
        places, options: as `new_service`.
        started: called once it listens.

    Raises:
        ServerError: the address cannot be listened on; else as `new_service`.
    """
    guard, service = new_service(places, options)
    sys.setswitchinterval(SWITCH)
    gc.collect()
    gc.freeze()  # what is loaded by now stays: going through it again and again would hold up every answer
    watcher = Watcher(service.shelf, options.watch or None)
    before = signal.signal(signal.SIGHUP, watcher.look_now)
    try:
        run_server(
            guard, options.address, seconds=options.limits.seconds,
            started=lambda address: started(address, service),
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGHUP, before)
        watcher.close()
        service.close()
        service.join(LAST)
