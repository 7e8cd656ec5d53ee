"""Simulated time, for loopback exchanges and what stands in front of them."""

from __future__ import annotations

from tests.loopback.exchange import MINUTE

START = 1_700_000_040_000 // MINUTE * MINUTE


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = START + 200

    def __call__(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(int(1000 * seconds), 1)
