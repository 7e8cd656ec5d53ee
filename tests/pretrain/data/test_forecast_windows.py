"""Windows never see their horizon, and no return crosses the border of a part."""

from __future__ import annotations

import numpy as np
import pytest

from cryptoenv.bars.price_columns import CLOSE, SIGMA
from cryptoenv.market.market import Market
from pretrain.data.forecast_windows import ForecastDataset, Part
from tests.pretrain.conftest import TIMEFRAMES, random_bars

WINDOW, HORIZONS = (12, 6, 3), (1, 4, 8)


def test_windows_do_not_change_when_their_horizon_is_poisoned(markets: tuple[Market, ...]) -> None:
    bars = random_bars(0)
    t = 1500
    poisoned = bars.copy()
    poisoned.iloc[t + 1 :] *= np.random.default_rng(1).uniform(0.3, 3.0)
    other = Market.from_bars(poisoned, TIMEFRAMES)
    clean, dirty = (ForecastDataset([Part(m, t, t + 20)], WINDOW, HORIZONS, every=True) for m in (markets[0], other))
    row = np.array([0])
    assert clean.t[0] == t
    for a, b in zip(clean.batch(row).windows, dirty.batch(row).windows, strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()
    assert not np.array_equal(clean.batch(row).returns.numpy(), dirty.batch(row).returns.numpy())


def test_returns_are_those_that_came_from_every_bar_of_the_window(markets: tuple[Market, ...]) -> None:
    market, start, stop = markets[0], 1400, 1500
    dataset = ForecastDataset([Part(market, start, stop)], WINDOW, HORIZONS, every=True)
    for row in (0, 30, len(dataset) - 1):
        found, t = dataset.batch(np.array([row])).returns[0].numpy(), dataset.t[row]
        for j in range(WINDOW[0]):
            s = t - WINDOW[0] + 1 + j
            for h, horizon in enumerate(HORIZONS):
                if s < start or s + horizon >= stop:  # before the part, or past its end: nothing crosses a border
                    assert np.isnan(found[j, h])
                    continue
                close = market.prices[:, CLOSE]
                wanted = np.log(close[s + horizon] / close[s]) / (market.prices[s, SIGMA] * np.sqrt(horizon))
                assert found[j, h] == pytest.approx(wanted, rel=1e-5)


def test_the_last_row_is_the_one_whose_shortest_return_ends_inside(markets: tuple[Market, ...]) -> None:
    dataset = ForecastDataset([Part(markets[0], 1400, 1500)], WINDOW, HORIZONS)
    assert dataset.t[-1] == 1498
    assert dataset.batch(np.array([len(dataset) - 1])).returns.shape == (1, 1, 3)


def test_hash_knows_the_rows(markets: tuple[Market, ...]) -> None:
    hashes = {ForecastDataset([Part(m, a)], WINDOW, HORIZONS).hash for m in markets[:2] for a in (1400, 1401)}
    assert len(hashes) == 4


def test_a_part_without_a_row_is_refused(markets: tuple[Market, ...]) -> None:
    with pytest.raises(ValueError, match=r"part 0 holds no row with a full window and a known return: rows \[0, 20\)"):
        ForecastDataset([Part(markets[0], 0, 20)], WINDOW, HORIZONS)
    with pytest.raises(ValueError, match="not a range"):
        Part(markets[0], 50, 50)
