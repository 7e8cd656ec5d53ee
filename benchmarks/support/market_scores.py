"""What a series of exposures earns on a generated market: realised, and expected given the truth. `T` bars."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthetic import BARS_PER_DAY, WARMUP_DAYS, Oracle, RegimeSample

FIRST = WARMUP_DAYS * BARS_PER_DAY - 1
"""The first bar that a decision is taken at: the last one of the warm-up."""


class Earned(NamedTuple):
    """Net log-return of each tradable bar, realised and expected, and what was held over it, (n,) each."""

    realised: NDArray[np.float64]
    expected: NDArray[np.float64]
    held: NDArray[np.float64]


def earned(sample: RegimeSample, exposure: NDArray[np.float64], cost: float) -> Earned:
    """Trade `exposure` (T,), chosen at the close of each bar and held over the next, from flat at the warm-up's end.

    The expected return replaces the realised one by its mean given regime and past, with log growth to second order.
    """
    held = exposure[FIRST:-1]
    simple = (sample.bars["close"] / sample.bars["open"] - 1.0).to_numpy()[FIRST + 1 :]
    truth = sample.truth.iloc[FIRST + 1 :]
    paid = cost * np.abs(np.diff(held, prepend=0.0))
    mean, square = truth["drift"].to_numpy(), truth["second_moment"].to_numpy()
    expected = held * mean + 0.5 * (held - held**2) * square
    return Earned(np.log1p(held * simple) - paid, expected - paid, held)


def oracle_exposure(oracle: Oracle) -> NDArray[np.float64]:
    """(T,) targets of a plan that is flat until the warm-up ends."""
    held = int(np.flatnonzero(oracle.positions == 0.0)[0])
    exposure = np.zeros(len(oracle.actions))
    for t in range(FIRST, len(exposure)):
        held = int(oracle.actions[t, held])
        exposure[t] = oracle.positions[held]
    return exposure


def sharpe(realised: NDArray[np.float64]) -> float:
    """Annualised Sharpe ratio of the daily net log-returns of (M, n) markets, all days pooled."""
    days = realised.reshape(-1, BARS_PER_DAY).sum(axis=1)
    return float(days.mean() / days.std() * np.sqrt(365.0))
