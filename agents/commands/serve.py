"""`cryptoenv serve`: models and agents that answer over HTTP."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from agents.live.serving.running import ServeOptions


def serve(
    artifacts: Annotated[
        list[str],
        typer.Argument(
            metavar="ARTIFACT [ARTIFACT ...]",
            help="Folders of models, of agents' runs or of versions (`cryptoenv models`); `default` is the extractor "
            "that ships. The first one answers where a request names none.",
        ),
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that others reach needs a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes one that is free.", min=0, max=65_535)] = 8000,
    keys: Annotated[
        Path | None,
        typer.Option(help="File of keys, one a line, mode 600; else the environment's CRYPTOENV_SERVE_KEY, else none."),
    ] = None,
    host_name: Annotated[
        list[str] | None, typer.Option(help="Name that the service is reached by, as behind a proxy. Once per name.")
    ] = None,
    rate: Annotated[float, typer.Option(help="Requests a second of one key, in the long run; 0: any.", min=0)] = 100.0,
    burst: Annotated[int, typer.Option(help="Requests of one key at once, before the rate counts.", min=1)] = 200,
    inside: Annotated[int, typer.Option(help="Requests at work at a time.", min=1)] = 128,
    body: Annotated[int, typer.Option(help="Bytes of a request's body.", min=1)] = 8_000_000,
    seconds: Annotated[float, typer.Option(help="Until an answer must begin.", min=0.001)] = 30.0,
    batch: Annotated[int, typer.Option(help="Decisions that are read together; 1: each alone.", min=1)] = 32,
    wait: Annotated[float, typer.Option(help="Milliseconds that a request may wait for others.", min=0)] = 20.0,
    watch: Annotated[
        float, typer.Option(help="Seconds between two looks for new versions; 0: only on SIGHUP.", min=0)
    ] = 2.0,
    replay: Annotated[Path | None, typer.Option(help="Stream predictions of these bars, one after another.")] = None,
    speed: Annotated[float, typer.Option(help="Of --replay: times as fast as the market; 0 waits not.", min=0)] = 0.0,
    bars: Annotated[
        Path | None, typer.Option(help="Stream predictions as this file, or this store's series, grows.")
    ] = None,
    exchange: Annotated[str | None, typer.Option(help="Stream predictions of this exchange's bars (ccxt).")] = None,
    symbol: Annotated[str | None, typer.Option(help="Of --exchange: the market, by ccxt's name: BTC/USDT.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto for a GPU where there is one.")] = "cpu",
    stop_after: Annotated[
        float | None, typer.Option(help="Seconds until it stops by itself; for trying it.", min=0)
    ] = None,
) -> None:
    """Answer predictions of models and actions of agents over HTTP, until Ctrl-C or SIGTERM."""
    from agents.live.serving.batching import Batching
    from agents.live.serving.running import ServeOptions, serve
    from agents.web.access import service_keys
    from agents.web.limits import Limits
    from agents.web.server import Address
    from cryptoenv.files.json_log import json_log

    options = ServeOptions(
        Address(host, port), service_keys(keys), Limits(body, rate, burst, inside, seconds=seconds),
        Batching(batch, wait / 1000.0), tuple(host_name or ()), watch, device,
        _feed(replay, speed, bars, exchange, symbol),
    )  # fmt: skip
    logging = nullcontext() if _logged() else json_log("warning", "serve", secrets=options.keys.texts)
    with logging:
        serve(artifacts, options, started=lambda address, service: _started(address, service, options, stop_after))
    print("stopped: all that was asked is answered", flush=True)


def _logged() -> bool:
    """Whether `--log-level` has set up a log already."""
    import logging

    return bool(logging.getLogger("agents").handlers)


def _feed(
    replay: Path | None, speed: float, bars: Path | None, exchange: str | None, symbol: str | None
) -> Any:
    """What makes the feed of the stream's bars; None where no bars were named.

    Raises:
        ValueError: more than one source, or half of one.
    """
    from agents.live.serving.sources import GrowingFeed, exchange_feed, replay_feed

    if sum(one is not None for one in (replay, bars, exchange)) > 1:
        raise ValueError("--replay, --bars and --exchange: name one source of the stream")
    if (exchange is None) != (symbol is None):
        raise ValueError("--exchange and --symbol go together")
    for path in (replay, bars):
        if path is not None and not path.exists():
            raise FileNotFoundError(f"no such file or folder: {path}")
    if replay is not None:
        return lambda layout: replay_feed(replay, layout, speed or None)
    if bars is not None:
        return lambda layout: GrowingFeed(bars, layout)
    if exchange is not None and symbol is not None:
        return lambda layout: exchange_feed(exchange, symbol, layout)
    return None


def _started(address: Any, service: Any, options: ServeOptions, stop_after: float | None) -> None:
    for told in service.shelf.told():
        print(f"{told['name']}: {told['kind']}, version {told['version']}", flush=True)
    guarded = f"{len(options.keys.texts)} key(s)" if options.keys else "no key: this machine alone reaches it"
    print(f"listening on {address.url} ({guarded}); Ctrl-C stops it", flush=True)
    if options.feed is not None:
        print(f"stream: {address.url.replace('http', 'ws', 1)}/stream", flush=True)
    if stop_after is not None:
        _stop_later(stop_after)


def _stop_later(seconds: float) -> None:
    import os
    import signal
    import threading

    def stop() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    sys.stdout.flush()
