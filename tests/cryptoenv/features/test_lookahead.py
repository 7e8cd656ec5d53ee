"""Future poison: with every bar after t randomised, nothing that a decision at t may see changes by a bit."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cryptoenv.market.market as market_building
from cryptoenv import Market
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.features import TimeframePlan
from tests.naive.random_bars import random_bars

BARS = random_bars(68, seed=5)
WINDOW = (32, 16, 8)


def poisoned(bars: pd.DataFrame, t: int, seed: int) -> pd.DataFrame:
    """The bars up to t, then bars that have nothing to do with them."""
    rng = np.random.default_rng(seed)
    later = random_bars(len(bars), seed=seed, timeframe="1D").iloc[: len(bars) - t - 1]
    later = later * np.array([10.0**3] * 4 + [float(rng.lognormal(0, 3))])
    return pd.concat([bars.iloc[: t + 1], later.set_index(bars.index[t + 1 :])])


def differences(clean: Market, other: Market, t: int) -> list[str]:
    """What a decision at t, or an earlier one, sees differently in the two markets."""
    found = []
    for name, a, b in (
        ("prices", clean.prices[: t + 1], other.prices[: t + 1]),
        ("align", clean.align[: t + 1], other.align[: t + 1]),
    ):
        if a.tobytes() != b.tobytes():
            found.append(name)
    for k, timeframe in enumerate(clean.timeframes):
        last = int(clean.align[t, k])
        if clean.features[k][: last + 1].tobytes() != other.features[k][: last + 1].tobytes():
            found.append(timeframe)
    return found


def random_decisions(count: int, seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    market = Market.from_bars(BARS)
    return rng.integers(market.first_decision(WINDOW), len(market) - 1, count).tolist()


def assert_no_future(count: int, seed: int) -> None:
    clean = Market.from_bars(BARS)
    for number, t in enumerate(random_decisions(count, seed)):
        other = Market.from_bars(poisoned(BARS, t, number))
        assert differences(clean, other, t) == [], f"decision {t}"


def test_the_future_is_not_seen() -> None:
    assert_no_future(250, seed=1)


@pytest.mark.slow
def test_the_future_is_not_seen_at_1000_decisions() -> None:
    assert_no_future(1000, seed=2)


def test_the_future_is_not_seen_through_finer_bars() -> None:
    fine = random_bars(60, seed=6, timeframe="5min")
    clean = Market.from_bars(fine)
    for number, t in enumerate(np.random.default_rng(0).integers(4800, len(clean) - 1, 25).tolist()):
        assert differences(clean, Market.from_bars(poisoned(fine, 3 * t + 2, number)), t) == []


def test_a_market_that_ends_at_t_sees_the_same() -> None:
    clean = Market.from_bars(BARS)
    for t in random_decisions(60, seed=3):
        short = Market.from_bars(BARS.iloc[: t + 1])
        assert (short.align[t] == clean.align[t]).all()
        assert differences(clean, short, t) == []
        for k in range(3):
            assert len(short.features[k]) == clean.align[t, k] + 1


def test_a_bar_is_visible_only_after_its_end() -> None:
    market = Market.from_bars(BARS)
    closes = market.bars.index + pd.Timedelta("15min")
    for k, duration in ((1, pd.Timedelta("4h")), (2, pd.Timedelta("1D"))):
        for t in random_decisions(200, seed=k):
            opened = market.bars.index[0] + market.align[t, k] * duration
            assert opened + duration <= closes[t] < opened + 2 * duration


def leaking_align(original: Callable[..., np.ndarray], higher_ms: int) -> Callable[..., np.ndarray]:
    def leak(start: int, base: int, rows: int, first: int, duration: int) -> np.ndarray:
        return original(start, base, rows, first, duration) + (1 if duration == higher_ms else 0)

    return leak


def leaking_features(original: Callable[..., tuple[np.ndarray, ...]], leaky: str) -> Callable[..., Any]:
    def leak(plans: Sequence[TimeframePlan], series: Any) -> tuple[np.ndarray, ...]:
        matrices = original(plans, series)
        for plan, features in zip(plans, matrices, strict=True):
            if plan.timeframe == leaky:
                features[:-1, 4] = features[1:, 4]
        return matrices

    return leak


@pytest.mark.parametrize("timeframe", ["4h", "1d"])
@pytest.mark.parametrize("kind", ["align", "features"])
def test_a_planted_leak_of_one_higher_bar_is_found(monkeypatch: pytest.MonkeyPatch, kind: str, timeframe: str) -> None:
    if kind == "align":
        leak = leaking_align(market_building.ended_rows, timeframe_ms(timeframe))
        monkeypatch.setattr(market_building, "ended_rows", leak)
    else:
        leak = leaking_features(market_building.feature_matrices, timeframe)
        monkeypatch.setattr(market_building, "feature_matrices", leak)
    clean = Market.from_bars(BARS)
    # The last day is left out: a leaking index would point past the end of the data there.
    decisions = [t for t in random_decisions(20, seed=4) if t < len(BARS) - 96]
    caught = [timeframe in differences(clean, Market.from_bars(poisoned(BARS, t, t)), t) for t in decisions]
    assert len(caught) > 10
    assert all(caught)
