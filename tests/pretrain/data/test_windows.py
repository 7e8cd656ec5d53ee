"""Windows equal a naive loop over samples; splits and targets never cross a border."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cryptoenv.bars.price_columns import CLOSE, SIGMA
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.market.market import Market
from pretrain.data.labelled_market import LabelledMarket
from pretrain.data.windows import OrderedBatches, ShuffledBatches, WindowDataset, WindowSource
from tests.pretrain.conftest import TIMEFRAMES, WINDOW, planted

HORIZONS = (4, 8)


def naive_window(market: Market, t: int, k: int) -> list[list[float]]:
    """The last bars of a timeframe that have ended when base bar t closes; bars start on the first base bar's grid."""
    index = market.bars.index
    now = index[t] + pd.Timedelta(timeframe_ms(TIMEFRAMES[0]), unit="ms")
    length = pd.Timedelta(timeframe_ms(TIMEFRAMES[k]), unit="ms")
    closed = [j for j in range(len(market.features[k])) if index[0] + (j + 1) * length <= now]
    return [[float(x) for x in market.features[k][j]] for j in closed[-WINDOW[k] :]]


def test_gathered_windows_equal_a_naive_loop(markets: tuple[Market, ...]) -> None:
    rng = np.random.default_rng(0)
    number = rng.integers(0, len(markets), 60)
    t = np.array([rng.integers(markets[m].first_decision(WINDOW), len(markets[m])) for m in number])
    windows = WindowSource(markets, WINDOW).gather(number, t)
    for k, block in enumerate(windows):
        expected = [naive_window(markets[m], int(row), k) for m, row in zip(number, t, strict=True)]
        assert block.shape == (60, WINDOW[k], len(markets[0].feature_names[k]))
        np.testing.assert_array_equal(block.numpy(), np.array(expected, np.float32))


def test_the_naive_loop_would_notice_a_bar_that_has_not_closed(markets: tuple[Market, ...]) -> None:
    t = markets[0].first_decision(WINDOW) + 5
    later = WindowSource(markets, WINDOW).gather(np.array([0]), np.array([t + 4]))[1]
    assert not np.array_equal(later[0].numpy(), np.array(naive_window(markets[0], t, 1), np.float32))


def test_memory_mapped_markets_give_the_same_windows(markets: tuple[Market, ...], tmp_path: Path) -> None:
    markets[0].save(tmp_path / "market")
    mapped = Market.load(tmp_path / "market")
    number, t = np.zeros(8, np.int64), np.arange(len(mapped) - 8, len(mapped))
    for a, b in zip(*(WindowSource([m], WINDOW).gather(number, t) for m in (markets[0], mapped)), strict=True):
        assert a.equal(b)


def test_a_row_without_a_full_window_is_refused(markets: tuple[Market, ...]) -> None:
    source, first = WindowSource(markets, WINDOW), markets[1].first_decision(WINDOW)
    for t in (first - 1, len(markets[1])):
        with pytest.raises(IndexError, match=f"t={t} of market 1"):
            source.gather(np.array([0, 1]), np.array([first, t]))


def test_ordered_batches_show_every_labelled_row_once(markets: tuple[Market, ...]) -> None:
    dataset = WindowDataset([planted(m) for m in markets], WINDOW, HORIZONS)
    expected = sum(len(m) - 1 - m.first_decision(WINDOW) for m in markets)
    assert len(dataset) == expected
    batches = OrderedBatches(dataset, 100, np.arange(expected))
    seen = [batch.labels for batch in batches]
    assert len(seen) == len(batches)
    assert torch.cat(seen).equal(dataset.batch(np.arange(expected)).labels)


def test_shuffled_batches_pass_over_the_rows_in_ever_new_orders(markets: tuple[Market, ...]) -> None:
    market, rows = markets[0], 400
    items = [LabelledMarket(market, planted(market).labels, start=len(market) - 1 - rows)]
    dataset = WindowDataset(items, WINDOW, HORIZONS)
    shuffled = ShuffledBatches(dataset, 100, 10, seed=1)
    last_bars = [batch.windows[0][:, -1] for batch in shuffled]
    assert len(last_bars) == len(shuffled) == 10
    passes = [torch.cat(last_bars[:4]), torch.cat(last_bars[4:8])]
    assert not passes[0].equal(passes[1])
    every = market.features[0][dataset.t]
    for shown in passes:
        np.testing.assert_array_equal(np.unique(shown.numpy(), axis=0), np.unique(every, axis=0))
    assert last_bars[0].equal(next(iter(shuffled)).windows[0][:, -1])


def test_targets_of_a_batch_are_those_of_its_rows(markets: tuple[Market, ...]) -> None:
    items = [planted(m) for m in markets]
    dataset = WindowDataset(items, WINDOW, HORIZONS)
    rows = np.array([0, len(dataset) // 2, len(dataset) - 1])
    batch = dataset.batch(rows)
    for i, row in enumerate(rows):
        item, t = items[dataset.market[row]], int(dataset.t[row])
        np.testing.assert_array_equal(batch.labels[i].numpy(), item.labels[t])
        assert batch.beliefs[i].shape == (0,)
        for h, horizon in enumerate(HORIZONS):
            prices = item.market.prices
            if t + horizon >= len(item.market):
                assert np.isnan(batch.returns[i, h].item())
                continue
            change = np.log(prices[t + horizon, CLOSE] / prices[t, CLOSE]) / (prices[t, SIGMA] * horizon**0.5)
            assert batch.returns[i, h].item() == pytest.approx(change, rel=1e-5)


def test_returns_do_not_cross_the_end_of_a_range(markets: tuple[Market, ...]) -> None:
    labels, stop = planted(markets[0]).labels, len(markets[0]) - 100
    dataset = WindowDataset([LabelledMarket(markets[0], labels, stop=stop)], WINDOW, HORIZONS)
    returns = dataset.batch(np.arange(len(dataset))).returns.numpy()
    assert dataset.t[-1] == stop - 1
    for h, horizon in enumerate(HORIZONS):
        np.testing.assert_array_equal(np.isnan(returns[:, h]), dataset.t + horizon >= stop)


def test_labels_that_do_not_fit_are_refused(markets: tuple[Market, ...]) -> None:
    market, good = markets[0], planted(markets[0]).labels
    high = good.copy()
    high[7, 1] = 3
    for labels, beliefs, start, stop in (
        (good[:-1], None, 0, None),
        (good.astype(np.int64), None, 0, None),
        (high, None, 0, None),
        (good, np.zeros((3, 2), np.float16), 0, None),
        (good, np.zeros((len(good), 2), np.float32), 0, None),
        (good, None, 50, 50),
        (good, None, 0, len(market) + 1),
    ):
        with pytest.raises(ValueError, match=r"labels|beliefs|rows"):
            LabelledMarket(market, labels, beliefs, start, stop)
    unlabelled = LabelledMarket(market, np.full_like(good, -1))
    with pytest.raises(ValueError, match="no labelled decision"):
        WindowDataset([unlabelled], WINDOW, HORIZONS)
