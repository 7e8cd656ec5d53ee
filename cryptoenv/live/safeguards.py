"""What is checked before an order: the signal's sanity, limits of risk, breakers. Each failure is no order."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from cryptoenv.files.typed_values import Range, require_numbers
from cryptoenv.trading.account import CLOSE_PRICE, EQUITY, QUANTITY


@dataclass(frozen=True)
class Signal:
    """What a model, an agent or a file asks for.

    Attributes:
        target: signed exposure, a fraction of equity.
        confidence: 0 to 1; sizes the order where sizing by confidence is on.
        probabilities: of the classes that the target was chosen from, where there are some.
        decided_ms: close of the bar that it was decided at, ms since the epoch; the newest where None.
        strain: share of the features that stand outside what training saw.
        prediction: what the model said, to the last bit, where there are no probabilities.
    """

    target: float
    confidence: float = 1.0
    probabilities: tuple[float, ...] | None = None
    decided_ms: int | None = None
    strain: float = 0.0
    prediction: bytes | None = None


@dataclass(frozen=True)
class SanityLimits:
    """When a prediction is not believed.

    Attributes:
        lowest, highest: of the targets seen in validation.
        sum_error: by how much probabilities may miss 1.
        constant_bars: so many predictions in a row that are the same to the last bit are a frozen model; None: any.
        strain: share of features outside training bounds that is too much.
        age_bars: bars that may have closed since it was decided; 1: the next bar must not have closed.
    """

    lowest: float = -1.0
    highest: float = 1.0
    sum_error: float = 1e-3
    constant_bars: int | None = 96
    strain: float = 0.5
    age_bars: float = 1.0

    def __post_init__(self) -> None:
        require_numbers(self, {
            "lowest": Range(-125.0, 125.0), "highest": Range(-125.0, 125.0), "sum_error": Range(0.0, 1.0),
            "constant_bars": Range(2), "strain": Range(0.0, 1.0), "age_bars": Range(0.0, 1e6, above=True),
        })  # fmt: skip


@dataclass(frozen=True)
class TradeLimits:
    """What may be risked. `None` switches a limit off.

    Attributes:
        exposure: largest absolute exposure that an order may lead to, a multiple of equity.
        order_value: largest order, quote currency.
        orders_per_hour: more are a loop gone wrong.
        daily_loss: fraction of the day's first equity (UTC) that may be lost before the breaker trips.
        drawdown: fraction below the highest equity on record at which the breaker trips.
        clock_skew_ms: by how much this machine's clock and the venue's may differ.
        flatten: where a breaker has tripped, close the position (orders that reduce it alone) instead of holding it.
    """

    exposure: float = 1.0
    order_value: float | None = None
    orders_per_hour: int | None = 60
    daily_loss: float | None = 0.1
    drawdown: float | None = 0.25
    clock_skew_ms: int = 5_000
    flatten: bool = False

    def __post_init__(self) -> None:
        shares = dict.fromkeys(("daily_loss", "drawdown"), Range(0.0, 1.0, above=True))
        require_numbers(self, shares | {
            "exposure": Range(0.0, 125.0, above=True), "order_value": Range(0.0, 1e15, above=True),
            "orders_per_hour": Range(1), "clock_skew_ms": Range(1),
        })  # fmt: skip
        if not isinstance(self.flatten, bool):
            raise TypeError(f"flatten={self.flatten!r} must be True or False")

    @property
    def as_dict(self) -> dict[str, object]:
        """Plain values by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


class SanityCheck:
    """Looks at signals one after the other.

    Args:
        limits: when one is not believed.
        step_ms: length of a bar.
    """

    def __init__(self, limits: SanityLimits, step_ms: int) -> None:
        self._limits, self._step = limits, step_ms
        self._last: tuple[float, ...] | bytes | None = None
        self._same = 0

    def objection(self, signal: Signal, close_ms: int, now_ms: int) -> str | None:
        """Why a signal is not believed, in words; None where it is.

        Args:
            signal: the newest.
            close_ms: when the newest bar closed. now_ms: what time it is.
        """
        limits = self._limits
        if not math.isfinite(signal.target):
            return f"target {signal.target} is not finite"
        if not (math.isfinite(signal.confidence) and 0.0 <= signal.confidence <= 1.0):
            return f"confidence {signal.confidence} is not within 0 to 1"
        if not limits.lowest <= signal.target <= limits.highest:
            return f"target {signal.target:g} is outside {limits.lowest:g} to {limits.highest:g}, seen in validation"
        shares = signal.probabilities
        if shares is not None:
            if not all(math.isfinite(share) and -1e-9 <= share <= 1.0 + limits.sum_error for share in shares):
                return f"probabilities {shares} are not all within 0 to 1"
            if abs(math.fsum(shares) - 1.0) > limits.sum_error:
                return f"probabilities add up to {math.fsum(shares):g}, not to 1"
        if (said := signal.prediction if shares is None else shares) is not None:
            self._same = self._same + 1 if said == self._last else 1
            self._last = said
            if limits.constant_bars is not None and self._same >= limits.constant_bars:
                return f"the prediction has been the same to the last bit for {self._same} bars: a frozen model"
        if not signal.strain <= limits.strain:
            return f"{100.0 * signal.strain:.0f}% of the features stand outside training bounds"
        decided = close_ms if signal.decided_ms is None else signal.decided_ms
        if decided > close_ms:
            return f"it was decided at a close {(decided - close_ms) / 1000.0:g} s after the newest: it saw the future"
        if now_ms - decided > limits.age_bars * self._step:
            return f"it was decided {(now_ms - decided) / 1000.0:.0f} s ago; a bar lasts {self._step / 1000.0:g} s"
        return None


class Breakers:
    """Circuit breakers over the account: they fail closed, and whoever keeps them latches what they return.

    Args:
        limits: when they trip.
        peak: highest equity on record. day, day_equity: the UTC day, counted from 1970, and its first equity.
    """

    def __init__(self, limits: TradeLimits, peak: float = 0.0, day: int = -1, day_equity: float = math.nan) -> None:
        self._limits = limits
        self.peak, self.day, self.day_equity = peak, day, day_equity

    def tripped(self, account: NDArray[np.float64], close_ms: int) -> tuple[str, str] | None:
        """Name of the breaker that trips and why; None where none does. `account`: (36,) float64."""
        try:
            return self._tripped(account, close_ms)
        except Exception as error:  # whatever goes wrong here must stop trading, not the check
            return "calculation", f"the breakers could not be computed: {type(error).__name__}: {error}"

    def _tripped(self, account: NDArray[np.float64], close_ms: int) -> tuple[str, str] | None:
        equity, price, held = (float(account[column]) for column in (EQUITY, CLOSE_PRICE, QUANTITY))
        if not math.isfinite(equity):
            return "equity", f"equity is {equity}"
        if not (math.isfinite(price) and price > 0.0):
            return "price", f"the price is {price}"
        if not math.isfinite(held):
            return "position", f"the position is {held}"
        day = close_ms // 86_400_000
        if day != self.day:
            self.day, self.day_equity = day, equity
        self.peak = max(self.peak, equity)
        limits = self._limits
        if limits.daily_loss is not None and not equity > self.day_equity * (1.0 - limits.daily_loss):
            return "daily_loss", f"equity is {equity:.2f}, the day began with {self.day_equity:.2f}"
        if limits.drawdown is not None and not equity > self.peak * (1.0 - limits.drawdown):
            return "drawdown", f"equity is {equity:.2f}, its highest was {self.peak:.2f}"
        return None
