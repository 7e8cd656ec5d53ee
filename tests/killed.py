"""Processes that are killed before a chosen call to the file system."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable

FORK = multiprocessing.get_context("fork")
CALLS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "ctypes.dlsym")


def killed_at(point: int, work: Callable[[], None]) -> bool:
    """Runs `work` in a process that is killed before its call number `point` to the file system; whether it was."""

    def run() -> None:
        left = [point]

        def hook(event: str, _: object) -> None:
            if event in CALLS:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        work()
        os._exit(0)

    process = FORK.Process(target=run)
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0
