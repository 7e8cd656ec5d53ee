"""While the packages' functions compile: quicker, and not in silence.

Compiling makes millions of short-lived objects, and the garbage collector's walks over them take a seventh of the time:
it rests meanwhile. Numba makes each function callable from C as well, which nobody does here: it is spared that.

The first process after an installation or an update compiles for seconds, all later ones read the cache. Once a process
has compiled for longer than a glance it says so, and how it is avoided: on a terminal, and in the log of "cryptoenv".
"""

import gc
import logging
import sys
import time
from typing import Any

from numba.core import event

PACKAGES = ("synthetic", "cryptoenv", "pretrain", "agents", "benchmarks")
SILENT_SECONDS = 0.4  #: of compiling, before anything is said: one function more is not worth a line
NOTICE = (
    "cryptoenv compiles its functions for this machine: about 10 s, once; later processes read them from the cache "
    "(`cryptoenv warm` does it beforehand)"
)


class _Compiling(event.Listener):  # type: ignore[misc]
    """What is done around each compilation; numba compiles under a lock of its own, one function at a time."""

    def __init__(self) -> None:
        self.depth = 0  #: functions that are being compiled, each because the one before it calls it
        self.collects = False  #: whether the collector was on before
        self.began, self.seconds = 0.0, 0.0
        self.said = False

    def on_start(self, event: Any) -> None:
        dispatcher = event.data["dispatcher"]
        own = dispatcher.py_func.__module__.partition(".")[0] in PACKAGES
        if self.depth or own:
            self.depth += 1
        if own:
            dispatcher.targetoptions.setdefault("no_cfunc_wrapper", True)
        if self.depth == 1:
            self.began = time.perf_counter()
            self.collects = gc.isenabled()
            gc.disable()
        if self.depth and not self.said and self.seconds + time.perf_counter() - self.began > SILENT_SECONDS:
            self.said = True
            _say(NOTICE)

    def on_end(self, event: Any) -> None:
        if not self.depth:
            return
        self.depth -= 1
        if self.depth == 0:
            self.seconds += time.perf_counter() - self.began
            if self.collects:
                gc.enable()


def _say(notice: str) -> None:
    log = logging.getLogger("cryptoenv")
    if log.isEnabledFor(logging.INFO) and log.hasHandlers():
        log.info(notice)
    elif sys.stderr is not None and sys.stderr.isatty():
        print(notice, file=sys.stderr, flush=True)


LISTENER = _Compiling()
event.register("numba:compile", LISTENER)
