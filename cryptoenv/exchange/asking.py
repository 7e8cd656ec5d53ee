"""Asking an exchange, and asking again where that may help."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from cryptoenv.exchange.client import BadPageError, DownloadError, ExchangeDownError, RefusedError, unresolved

MARGIN_MS = 60_000  #: by which clocks may differ
OFFLINE_ATTEMPTS = 3  #: where no host name resolves
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How often a page is asked for, and how long is waited in between: `first * 2^n` seconds, at most `longest`."""

    attempts: int = 8
    first: float = 0.5
    longest: float = 60.0


class Asker:
    """Asks, and asks again where that may help."""

    def __init__(self, client: Any, exchange: str, patience: Patience, seed: int) -> None:
        self.client, self.exchange, self.patience = client, exchange, patience
        self.now = 0  #: the exchange's time, ms
        self._rng = np.random.default_rng(seed)

    async def ask(self, what: str, call: Callable[..., Any], *arguments: Any, refused: list[str] | None = None) -> Any:
        """The answer of `call`, after as many attempts as patience allows.

        Raises:
            RefusedError, ExchangeDownError.
        """
        from ccxt.base import errors

        patience, name, last, unusable = self.patience, self.exchange, "", 0
        attempts = patience.attempts
        for attempt in range(patience.attempts):
            try:
                return await call(*arguments)
            except DownloadError:
                raise
            except (errors.AuthenticationError, errors.BadRequest, errors.NotSupported) as error:
                raise RefusedError(f"{name} refuses {what}: {error}") from error
            except (errors.BaseError, BadPageError, OSError) as error:
                last = f"{type(error).__name__}: {error}"
                unusable += isinstance(error, BadPageError)
                if offline := unresolved(error):
                    attempts = min(attempts, OFFLINE_ATTEMPTS)
                if refused is not None:
                    refused.append(last)
            if attempt + 1 >= attempts:
                break
            log.warning("%s %s: %s; retry %d of %d", name, what, last, attempt + 1, attempts - 1)
            wait = min(patience.first * 2.0**attempt, patience.longest)
            await asyncio.sleep(wait * self._rng.uniform(0.5, 1.0))
        again = "what was stored stays: run the same download again later"
        if offline:
            raise ExchangeDownError(f"no host of {name} resolves: is this machine offline? ({last}); {again}")
        if unusable == attempts:
            raise ExchangeDownError(f"{attempts} answers to {what} could not be used, the last for: {last}; {again}")
        raise ExchangeDownError(f"{name} failed {attempts} times at {what}, last with {last}; {again}")

    async def clock(self) -> int:
        """The time, ms, later than no clock that is heard: an open bar is never taken for a closed one."""
        from ccxt.base import errors

        here, told = wall_ms(), None
        if self.client.has.get("fetchTime"):
            with suppress(RefusedError, errors.NotSupported):
                told = int(await self.ask("fetch_time", self.client.fetch_time))
        told = told if told is not None else getattr(self.client, "heard_ms", None)
        if told is None:
            log.warning("%s tells no time: this machine's clock serves, less a minute", self.exchange)
            return here - MARGIN_MS
        if told > here + MARGIN_MS:
            ahead = (told - here) / 1000.0
            log.warning("%s is %.0f s ahead of this machine: the earlier clock serves", self.exchange, ahead)
        return min(told, here)


def wall_ms() -> int:
    """This machine's clock, ms since the epoch."""
    return int(1000 * time.time())
