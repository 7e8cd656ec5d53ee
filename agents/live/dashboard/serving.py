"""Serves the page beside a trading loop: its key, its address, its thread."""

from __future__ import annotations

import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from agents.live.dashboard.app import OPEN_PATHS, dashboard_app
from agents.live.dashboard.board import Board
from agents.live.dashboard.controls import Account, Controls, Drift
from agents.live.dashboard.watcher import board_watcher, log_on
from agents.live.watching import Watcher
from agents.web.access import Keys, host_names, require_safe_bind, service_keys
from agents.web.guard import Guard, Rules
from agents.web.limits import Limits
from agents.web.server import Address, listening_socket, running_server
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.files.durable_files import make_file
from cryptoenv.live.environment import CryptoLiveEnv
from cryptoenv.live.feed import ReplayFeed

KEY_VARIABLE = "CRYPTOENV_DASHBOARD_KEY"  #: environment variable of the page's key
KEY_FILE = "dashboard.key"  #: in the folder of a journal: the page's key, made where there is none
LIMITS = Limits(body=10_000, rate=20.0, burst=100, inside=64, sockets=1)


@dataclass(frozen=True)
class PageWish:
    """Where the page is to be served.

    Attributes:
        port: 0 for any that is free. host: that is listened on; beyond this machine only with a key of one's own.
        hosts: further names that a proxy is reached by.
        drift: what a drift monitor says; None where there is none.
    """

    port: int = 8765
    host: str = "127.0.0.1"
    hosts: tuple[str, ...] = ()
    drift: Drift | None = None


def own_keys(wish: PageWish) -> Keys:
    """The key of the environment, or none; to be asked for before anything is made.

    Raises:
        AccessError: one that cannot be used; or none, and an address that others reach.
    """
    keys = service_keys(None, KEY_VARIABLE)
    require_safe_bind(wish.host, keys, KEY_VARIABLE)
    return keys


def require_servable(wish: PageWish) -> None:
    """Refuse a page that cannot be served, before anything is made.

    Raises:
        AccessError: as of `own_keys`. ServerError: the address cannot be listened on.
    """
    own_keys(wish)
    listening_socket(Address(wish.host, wish.port)).close()


def page_keys(wish: PageWish, folder: Path) -> Keys:
    """The key of the environment; on this machine alone that of the journal's folder, which is made where it has none.

    Raises:
        AccessError: a key that cannot be used; or none of one's own, and an address that others reach.
        PermissionError: others may read the key's file.
    """
    if keys := own_keys(wish):
        return keys
    file = folder / KEY_FILE
    if not file.exists():
        make_file(file, _write_key)
    return service_keys(file)


def _write_key(path: Path) -> None:
    path.chmod(0o600)
    path.write_text(secrets.token_urlsafe(24) + "\n", "ascii")


@contextmanager
def served(controls: Controls, wish: PageWish, keys: Keys) -> Iterator[Address]:
    """Serve the page in a thread while the block runs; the address, with its port.

    Raises:
        ServerError: the address cannot be listened on.
    """
    guards: list[Guard] = []
    app = dashboard_app(controls, lambda: any(guard.draining for guard in guards))
    rules = Rules(keys, LIMITS, host_names(wish.host, wish.hosts), OPEN_PATHS)
    guards.append(Guard(app, rules, app.state.metrics))
    with running_server(guards[0], Address(wish.host, wish.port)) as address:
        yield address


@contextmanager
def page_beside(
    env: CryptoLiveEnv, wish: PageWish, folder: Path, name: str, place: str, redact: Callable[[str], str]
) -> Iterator[tuple[Watcher, ...]]:
    """Serve a page on what a loop of `env` does, while the block runs; the watchers that the loop has to tell.

    At a terminal it stays after the loop has ended by itself, until Ctrl-C.

    Args:
        env: in front of the broker.
        wish: where.
        folder: of the journal.
        name: what decides. place: the market, or the bars of a replay.
        redact: takes secrets out of a text.

    Raises:
        AccessError, ServerError: the page cannot be served.
    """
    executor = env.executor
    live = executor.broker.is_live
    account = Account(
        name, place, "live" if live else "paper", isinstance(env.feed, ReplayFeed), executor.policies.limits, folder,
        executor.switch, executor.take_back if live else None, wish.drift,
    )  # fmt: skip
    board = Board(timeframe_ms(env.feed.timeframe))
    keys = page_keys(wish, folder)
    with ExitStack() as stack:
        stack.enter_context(log_on(board, redact))
        watcher = board_watcher(env, board)
        address = stack.enter_context(served(Controls(account, board), wish, keys))
        shown = replace(address, host="127.0.0.1") if address.host in ("0.0.0.0", "::") else address
        print(f"dashboard: {shown.url}/#key={keys.texts[0]}", flush=True)
        ended: list[str] = []
        yield (watcher, lambda event: ended.append(event.words) if event.what == "stopped" else None)
        if ended and ended[-1] != "interrupted" and sys.stdin is not None and sys.stdin.isatty():
            print(f"trading has ended: {ended[-1]}; the page stays until Ctrl-C", flush=True)
            with suppress(KeyboardInterrupt):
                threading.Event().wait()
