"""How much may be asked: sizes, rates and times."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from cryptoenv.files.typed_values import require, require_types


@dataclass(frozen=True)
class Limits:
    """What a service takes on.

    Attributes:
        body: bytes of a request's body.
        rate: requests a second of one key, in the long run (of all who ask, where there is no key); 0 for any number.
        burst: requests that may come at once before the rate counts.
        inside: requests at work at a time. sockets: websockets that are open at a time.
        seconds: until an answer must begin, the reading of the body included.

    Raises:
        ConfigError: a value that is not allowed.
    """

    body: int = 8_000_000
    rate: float = 100.0
    burst: int = 200
    inside: int = 128
    sockets: int = 32
    seconds: float = 30.0

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))
        for name in ("body", "burst", "inside", "sockets"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "a whole number >= 1")
        require(self.rate >= 0.0, "rate", self.rate, "requests a second, 0 for any number")
        require(self.seconds > 0.0, "seconds", self.seconds, "more than 0")


class RateLimit:
    """A bucket of tokens per key: `burst` at once, `rate` a second in the long run.

    Args:
        limits: with rate and burst.
        clock: seconds, increasing.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = limits.rate, float(limits.burst), clock
        self._left: dict[int, tuple[float, float]] = {}

    def wait(self, key: int) -> float:
        """Seconds until the next request of a key is allowed; 0 where it is now, and counted.

        Args:
            key: its number; keys are few, so that nothing grows.
        """
        if self._rate == 0.0:
            return 0.0
        now = self._clock()
        left, before = self._left.get(key, (self._burst, now))
        left = min(self._burst, left + (now - before) * self._rate)
        self._left[key] = (left - 1.0 if left >= 1.0 else left, now)
        return 0.0 if left >= 1.0 else (1.0 - left) / self._rate
