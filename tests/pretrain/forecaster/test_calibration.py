"""Calibration and tracking: bands hold what they say, means are believed as far as shown, nothing looks ahead."""

from __future__ import annotations

import numpy as np
import pytest

from cryptoenv.market.market import Market
from pretrain.data.forecast_windows import ForecastDataset, Part, divided
from pretrain.forecaster.artifact import Forecaster
from pretrain.forecaster.calibration import stretches, worth, worth_of_median
from pretrain.forecaster.model import normal_quantiles
from pretrain.forecaster.tracking import needed_widths, tracked_factors, widened_quantiles
from pretrain.forecaster.training import CHOOSING

LEVELS = np.array([0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95])
NORMAL = normal_quantiles(tuple(LEVELS))


def test_the_two_parts_of_validation_share_no_row_and_no_return(markets: tuple[Market, ...]) -> None:
    horizon, window = 8, (12, 3, 2)
    first, second = divided([Part(markets[0], 1200, 1700), Part(markets[1])], window, CHOOSING, horizon)
    for one, other in zip(first, second, strict=True):
        chosen, apart = (ForecastDataset([part], window, (1, horizon)) for part in (one, other))
        last = chosen.t[np.isfinite(chosen.returns(np.arange(len(chosen)))[0][:, 0, 1])].max() + horizon
        assert last < one.end < other.start == one.end + horizon <= apart.t.min()
    assert [part.end for part in second] == [1700, len(markets[1])]
    assert first[0].end == 1200 + int(CHOOSING * 500)
    with pytest.raises(ValueError, match="too few for two parts of them with 8 bars between"):
        divided([Part(markets[0], 1690, 1700)], window, CHOOSING, horizon)


def test_stretched_bands_hold_what_they_say_and_lean_to_no_side() -> None:
    """Normal bands that are half as wide as they should be, on returns that drifted up: stretched evenly."""
    rng = np.random.default_rng(0)
    missed = rng.normal(0.1, 2.0, 20_000)
    around = np.tile(NORMAL, (len(missed), 1))
    factors = stretches(missed, around, LEVELS)
    np.testing.assert_allclose(factors, factors[::-1])
    np.testing.assert_allclose(factors[[0, 1, 2]], 2.0, rtol=0.03)
    bands = around * factors
    for k, share in ((0, 0.9), (1, 0.8), (2, 0.5)):
        inside = (missed >= bands[:, k]) & (missed <= bands[:, -1 - k])
        assert abs(inside.mean() - share) < 1e-3


def test_means_are_believed_as_far_as_rows_show() -> None:
    rng = np.random.default_rng(1)
    said, blocks = rng.normal(size=4000), np.arange(4000) // 40
    noise = rng.normal(size=4000)
    assert worth(said, noise, blocks) == 0.0
    assert worth(said, -said + noise, blocks) == 0.0
    assert worth(np.zeros(4000), noise, blocks) == 0.0
    assert worth(said, 0.5 * said + 0.1 * noise, blocks) == pytest.approx(0.5, abs=0.01)
    assert 0.1 < worth(said, 0.2 * said + 3.0 * noise, blocks) < 0.3
    assert worth(said, 3.0 * said, blocks) == 1.0
    # one move of a block, told many times, is one fact: eight weeks that all went up prove little
    weeks = np.repeat(rng.normal(size=9), 500)
    assert worth(np.repeat(rng.normal(size=9), 500), weeks, np.arange(4500) // 500) < 0.3
    assert worth(weeks[:500], weeks[:500], np.zeros(500, np.int64)) == 0.0  # one block shows nothing


def test_a_mean_is_shrunk_by_the_share_of_its_worth_that_is_error() -> None:
    rng = np.random.default_rng(6)
    said, blocks = rng.normal(size=600), np.arange(600) // 20
    came = 0.3 * said + rng.normal(size=600)
    total = float((said**2).sum())
    slope = float((said * came).sum()) / total
    missed = [float((said * (came - slope * said))[blocks == block].sum()) for block in range(30)]
    error = np.sqrt(sum(value**2 for value in missed) * 30 / 29) / total
    assert 0.1 < error / slope < 1.0 / 2.326
    assert worth(said, came, blocks) == pytest.approx(slope * (1.0 - (error / slope) ** 2), rel=1e-9)


def test_medians_are_believed_where_bands_around_them_are_better_beyond_doubt() -> None:
    rng = np.random.default_rng(4)
    medians, blocks = rng.normal(size=3000), np.arange(3000) // 30
    noise = rng.standard_t(3, size=3000)
    bands = medians[:, None] + 1.2 * np.tile(NORMAL, (3000, 1))
    told = (LEVELS, bands, medians)
    assert worth_of_median(told, noise, blocks) == 0.0
    assert worth_of_median(told, medians + noise, blocks) >= 0.75
    assert 0.25 <= worth_of_median(told, 0.4 * medians + noise, blocks) <= 0.5
    assert worth_of_median(told, medians + noise, np.zeros(3000, np.int64)) == 0.0


def test_a_fitted_forecaster_believes_no_noise(forecaster: Forecaster) -> None:
    """The markets are random walks: beyond the calibration's own error, means and medians are persistence's."""
    assert float(forecaster.model.get_buffer("trust").max()) < 0.3


def test_tracked_bands_hold_after_volatility_doubles() -> None:
    rng = np.random.default_rng(2)
    count, horizons = 8_000, (1, 16)
    moves = rng.normal(0.0, np.where(np.arange(count + 16) < count // 4, 1.0, 2.0))
    walk = np.concatenate([[0.0], np.cumsum(moves)])
    returns = np.column_stack([walk[h : count + h] - walk[:count] for h in horizons])
    bands = np.sqrt(np.array(horizons))[None, :, None] * np.tile(NORMAL, (count, 2, 1))
    needed = needed_widths(LEVELS, bands, returns)
    factors = tracked_factors(np.arange(count), needed, horizons, rate=0.01)
    later = slice(count // 2, None)
    assert ((needed <= 1.0)[later].mean(axis=0) < 0.6).all()
    np.testing.assert_allclose((needed <= factors)[later].mean(axis=0), 0.8, atol=0.03)
    wider = widened_quantiles(LEVELS, bands, factors)
    held = (returns >= wider[..., 1]) & (returns <= wider[..., -2])
    np.testing.assert_allclose(held.mean(axis=0), (needed <= factors).mean(axis=0))


def test_an_outcome_counts_for_the_bars_since_the_one_before() -> None:
    """By hand: two that missed, after one bar and after five, then one that held."""
    missed = np.array([[9.0], [9.0], [0.5], [0.5]])
    factors = tracked_factors(np.array([0, 5, 6, 10]), missed, (1,), rate=0.01)
    np.testing.assert_allclose(np.log(factors[:, 0]), [0.0, 0.008, 0.048, 0.046])


def test_a_factor_knows_only_what_had_come_by_its_row() -> None:
    rng = np.random.default_rng(3)
    rows, horizons = np.cumsum(rng.integers(1, 4, 300)), (1, 8)
    needed = rng.exponential(1.0, (300, 2))
    factors = tracked_factors(rows, needed, horizons)
    assert np.ptp(factors) > 0.0
    for i in (0, 17, 160):
        for h, horizon in enumerate(horizons):
            poisoned = needed.copy()
            poisoned[rows + horizon > rows[i], h] = np.nan
            assert tracked_factors(rows, poisoned, horizons)[i, h] == factors[i, h]
    with pytest.raises(ValueError, match="rows must increase"):
        tracked_factors(rows[::-1], needed, horizons)


def test_a_table_is_tracked_the_same_as_it_grows(forecaster: Forecaster, markets: tuple[Market, ...]) -> None:
    market, config = markets[2], forecaster.config
    table = forecaster.predict(market)
    found = forecaster.track(market, table)
    short = market.part(0, len(market) - 30)
    assert forecaster.track(short, table.iloc[:-30]).equals(found.iloc[:-30])
    names = [f"return_8_q{100.0 * level:g}" for level in config.quantiles]
    assert not found[names].equals(table[names])
    assert (np.diff(found[names].to_numpy(), axis=1) >= 0.0).all()
    others = [name for name in table.columns if "_q" not in name]
    assert found[others].equals(table[others])
    with pytest.raises(ValueError, match="no columns"):
        forecaster.track(market, table[others])
    with pytest.raises(ValueError, match="is no bar of the market"):
        forecaster.track(short, table)
