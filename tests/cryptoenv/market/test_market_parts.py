"""`Market.part`: what a market of some of the bars shows is what the whole one showed, and nothing that came later."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cryptoenv
from cryptoenv.bars.price_columns import FUNDING
from cryptoenv.features import FeatureSpec
from tests.naive.random_bars import random_bars

WEEKLY = ("1h", "4h", "1d", "1w")
WINDOW = (8, 4, 3)


@pytest.mark.parametrize(("start", "stop"), [(0, 1500), (1, 1499), (997, 1490), (24 * 7, 24 * 7 + 1200)])
def test_a_part_shows_what_the_whole_market_showed(start: int, stop: int) -> None:
    whole = cryptoenv.Market.from_bars(random_bars(90, seed=4), WEEKLY)
    part = whole.part(start, stop)
    assert part.bars.equals(whole.bars.iloc[start:stop])
    for t in range(stop - start):
        for k in range(len(WEEKLY)):
            row = part.align[t, k]
            if row >= 0:
                np.testing.assert_array_equal(part.features[k][row], whole.features[k][whole.align[start + t, k]])


def test_a_part_is_the_market_of_its_bars_wherever_that_one_can_decide() -> None:
    whole = cryptoenv.Market.from_bars(random_bars(330, seed=5), WEEKLY)
    part, fresh = whole.part(200, 7800), cryptoenv.Market.from_bars(whole.bars.iloc[200:7800], WEEKLY)
    np.testing.assert_array_equal(part.align, fresh.align)
    first = fresh.first_decision((1, 1, 1, 1))
    assert part.first_decision((1, 1, 1, 1)) <= first
    for k in range(len(WEEKLY)):
        rows = fresh.align[first:, k]
        np.testing.assert_array_equal(part.features[k][rows], fresh.features[k][rows])
        assert len(part.features[k]) == len(fresh.features[k])


def test_later_bars_leave_no_trace() -> None:
    bars = random_bars(90, seed=6)
    poisoned = bars.copy()
    poisoned.iloc[1800 * 4 :, :4] *= 3.0
    one, other = (cryptoenv.Market.from_bars(b, WEEKLY).part(100, 1800) for b in (bars, poisoned))
    assert one.hash == other.hash


def test_a_part_keeps_funding_features_and_name() -> None:
    bars = random_bars(70, seed=7)
    due = pd.date_range(bars.index[0].ceil("8h"), bars.index[-1] + pd.Timedelta("8h"), freq="8h")
    rates = pd.Series(np.linspace(-1e-3, 1e-3, len(due)), due)
    whole = cryptoenv.Market.from_bars(bars, ("1h", "4h"), features=FeatureSpec.none(), funding=rates, name="mine")
    part = whole.part(100, 900)
    np.testing.assert_array_equal(part.prices[:, FUNDING], whole.prices[100:900, FUNDING])
    assert part.funding_series and part.feature_spec == whole.feature_spec and part.name == "mine"


def test_a_part_is_traded_and_saved(tmp_path: Path) -> None:
    part = cryptoenv.Market.from_bars(random_bars(90, seed=8), WEEKLY[:3]).part(300, 2100)
    loaded = part.save(tmp_path / "part")
    assert loaded.hash == part.hash
    for market in (part, loaded):
        env = cryptoenv.CryptoTradeEnv(market, window=WINDOW)
        env.reset(seed=0)
        env.step(1)


@pytest.mark.parametrize(("start", "stop"), [(-1, 10), (5, 5), (0, 10**6)])
def test_no_part_of_the_market_is_refused(market: cryptoenv.Market, start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="is outside the market's"):
        market.part(start, stop)
