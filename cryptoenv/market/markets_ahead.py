"""Markets made in a thread before they are needed: who needs one gets the same market, made ahead or not."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptoenv.market.market import Market

MOST_AHEAD = 64  #: markets that wait or are being made; about 2.5 MB each


@dataclass(eq=False)
class _Job:
    number: int
    begun: bool = False
    market: Market | None = None
    done: threading.Event = field(default_factory=threading.Event)


class MarketsAhead:
    """Makes markets by number in a daemon thread, which lives only while there is something to make.

    Args:
        draw: makes the market of a number; the same one whenever it is called.
        most: markets that may be ahead.
    """

    def __init__(self, draw: Callable[[int], Market], most: int = MOST_AHEAD) -> None:
        self._draw, self._most = draw, most
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._jobs: dict[int, _Job] = {}  # by the row that will need it, in the order in which they are made
        self._thread: threading.Thread | None = None

    @property
    def room(self) -> int:
        """How many more may be ahead."""
        self._look_at_process()
        return self._most - len(self._jobs)

    def __contains__(self, row: int) -> bool:
        return row in self._jobs

    def _look_at_process(self) -> None:
        # A forked child has neither the thread nor, if the thread held it, a lock that will ever be free.
        if self._process != os.getpid():
            self._begin_anew()

    def expect(self, row: int, number: int) -> None:
        """Row `row` will need market `number`."""
        self._look_at_process()
        with self._lock:
            self._jobs[row] = _Job(number)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="markets ahead", daemon=True)
                self._thread.start()

    def take(self, row: int, number: int) -> Market:
        """Market `number`, which row `row` needs now: the one made ahead for it, or a new one."""
        self._look_at_process()
        with self._lock:
            job = self._jobs.pop(row, None)
            begun = job is not None and job.begun
        if job is not None and job.number == number and begun:
            job.done.wait()
            if job.market is not None:
                return job.market
        return self._draw(number)

    def _next(self) -> _Job | None:
        """A job nobody has begun, now begun; None, and the thread is over, where there is none."""
        with self._lock:
            for job in self._jobs.values():
                if not job.begun:
                    job.begun = True
                    return job
            self._thread = None
            return None

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                job.market = self._draw(job.number)
            except Exception:
                pass  # whoever takes it makes it again, and meets the error where it can be shown
            finally:
                job.done.set()
