"""A decision after the last closed bar: which bar that is, what of its market is looked at, and what was decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.market.market import Market
from pretrain.data.stretches import STRETCH


@dataclass(frozen=True)
class Decision:
    """What an agent wants to hold from the next bar's open on.

    Attributes:
        bar: open (UTC) of the last closed bar, after which it was decided.
        close: when that bar closed, UTC.
        price: its close.
        held: exposure held until now, a fraction of equity.
        target: exposure to hold from the next open on.
        probabilities: by target exposure, adding up to 1: softmax of the agent's preferences. An agent that learned
            values prefers on a scale like that of log-odds; its numbers say how clear a choice is, not how likely.
            None of an agent whose actions are continuous.
    """

    bar: pd.Timestamp
    close: pd.Timestamp
    price: float
    held: float
    target: float
    probabilities: dict[float, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; times as ISO text, exposures as text where they are keys."""
        probabilities = {f"{target:g}": probability for target, probability in self.probabilities.items()}
        times = {"bar": self.bar.isoformat(), "close": self.close.isoformat()}
        return {**times, "price": self.price, "held": self.held, "target": self.target, "probabilities": probabilities}

    def __str__(self) -> str:
        shares = ", ".join(f"{target:+g}: {100.0 * share:.1f}%" for target, share in self.probabilities.items())
        when = f"{self.close:%Y-%m-%d %H:%M} UTC, close {self.price:g}"
        return f"{when}: target {self.target:+.4g} (held {self.held:+g})" + (f"; {shares}" if shares else "")


def closed_part(
    market: Market, window: Sequence[int], now: pd.Timestamp | None = None, *, whole: bool = False
) -> Market:
    """The latest bars of a market that had closed by `now` (the clock's time where None), enough for one decision; with
    `whole` all that had closed.

    Raises:
        ValueError: none had closed, or too few for the windows.
    """
    base = timeframe_ms(market.timeframes[0])
    at = pd.Timestamp.now("UTC") if now is None else now
    ended = min(int((at.value // 1_000_000 - market.start_ms) // base), len(market))
    if ended < 1:
        raise ValueError(
            f"no bar of {market.name or 'the market'} has closed by {at}: it begins {market.bars.index[0]}"
        )
    closed = market.part(0, ended)
    closed.first_decision(window)  # says how many bars are needed
    if whole:
        return closed
    # A recurrent memory starts one window before a block of STRETCH bars; a longer bar may begin after the cut.
    spans = [(bars + 1) * timeframe_ms(name) // base for name, bars in zip(market.timeframes, window, strict=True)]
    return closed.part(max(ended - 2 * (STRETCH + max(spans)), 0), ended)


def shares(preferences: NDArray[np.float32]) -> NDArray[np.float64]:
    """(A,) softmax of preferences (A,)."""
    lead = np.exp(preferences.astype(np.float64) - float(preferences.max()))
    return lead / lead.sum()
