"""Jobs side by side, in a process each: what one ends with is known when it ends, and Ctrl-C ends them all."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

LONG = 10.0  #: seconds that a process gets to end after it was told to


class WorkerDied(RuntimeError):
    """A process ended without a word: killed, or out of memory."""


def side_by_side(
    job: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], workers: int, *, every: float | None = None
) -> Iterator[tuple[int, Any] | None]:
    """Call `job` once per tuple of arguments, each in a process of its own; it must be picklable.

    Args:
        job: what to call.
        arguments: of each call.
        workers: processes at a time.
        every: seconds after which None comes in between, for who wants to look around meanwhile.

    Yields:
        The number of a call and what it returned, or the exception that it raised (`WorkerDied` where its process was
        killed), as soon as it has ended.

    Whatever ends the iteration early (an exception, Ctrl-C, a kill) ends the processes, too.
    """
    context = multiprocessing.get_context("spawn")
    left = list(enumerate(arguments))[::-1]
    running: dict[Connection, tuple[int, Any]] = {}
    try:
        while left or running:
            while left and len(running) < workers:
                number, given = left.pop()
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(sender, job, given))
                running[receiver] = number, process
                with _interrupts_ignored():  # by the process as well, from its first moment on
                    process.start()
                sender.close()
            ready: Any = wait(list(running), every)
            for ended in ready:
                number, process = running.pop(ended)
                yield number, _received(ended, process)
            if not ready:
                yield None
    finally:
        for _, process in running.values():
            if process.pid is not None:
                process.terminate()
        for receiver, (_, process) in running.items():
            if process.pid is not None:
                process.join(LONG)
            receiver.close()


def _received(receiver: Connection, process: Any) -> Any:
    try:
        found = receiver.recv()
    except EOFError:
        process.join(LONG)
        found = WorkerDied(f"its process ended without a word (exit code {process.exitcode}): killed, or out of memory")
    except Exception as error:  # an exception whose class cannot be made again from what was pickled
        found = RuntimeError(f"what it ended with cannot be told: {error!r}")
    process.join(LONG)
    receiver.close()
    return found


def _work(sender: Connection, job: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        found = job(*arguments)
    except Exception as error:
        found = error
    try:
        sender.send(found)
    except (pickle.PicklingError, TypeError, AttributeError):
        sender.send(RuntimeError(f"{type(found).__name__}: {found}"))
    sender.close()


def _end_with_the_parent() -> None:
    """Nobody waits for what a killed process asked for: its locks are let go, so that it can be started again."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ctrl-C reaches all processes of a terminal: those that work leave it to the one that started them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
