"""Stretches: the same decisions as windows, with the memory run once; nothing later is seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cryptoenv import Market
from pretrain import Extractor, ExtractorConfig, PretrainingConfig, fit_extractor
from pretrain.data.labelled_market import LabelledMarket
from pretrain.data.scaler import RobustScaler
from pretrain.data.stretches import ROWS, STRETCH, OrderedStretches, ShuffledStretches, StretchDataset
from pretrain.data.teachers import labelled_samples
from pretrain.data.windows import WindowDataset
from pretrain.extractor.model import ExtractorModel
from synthetic import regime_market

WINDOW = (64, 4, 2)
CONFIG = ExtractorConfig(window=WINDOW, patches=(16, 4, 2), memory=8, width=8, feedforward=8, regimes=16)


@pytest.fixture(scope="module")
def items() -> tuple[LabelledMarket, ...]:
    return labelled_samples("easy", "extractor", 2, 12, CONFIG.timeframes, WINDOW, progress=False)


@pytest.fixture(scope="module")
def dataset(items: tuple[LabelledMarket, ...]) -> WindowDataset:
    return WindowDataset(items, WINDOW, CONFIG.horizons)


def model_for(items: tuple[LabelledMarket, ...], dataset: WindowDataset) -> ExtractorModel:
    config = CONFIG.for_market(items[0].market)
    torch.manual_seed(0)
    scaler = RobustScaler.fit(config.timeframes, config.feature_names, dataset.feature_rows())
    return ExtractorModel(config, scaler).eval()


def test_the_first_decision_of_a_stretch_is_embedded_as_its_window_is(
    items: tuple[LabelledMarket, ...], dataset: WindowDataset
) -> None:
    model, stretches = model_for(items, dataset), StretchDataset(dataset)
    rows = stretches.starts[[0, 7, -1]]
    batch = stretches.batch(rows, np.zeros((3, 1), np.int64))
    with torch.inference_mode():
        found, states = model.over_stretches(batch.bars, batch.places, batch.decisions.windows)
        expected = model(dataset.batch(rows).windows)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert states.shape == (3, STRETCH, CONFIG.memory)


def test_every_decision_of_a_stretch_comes_with_its_own_labels_and_bars(
    items: tuple[LabelledMarket, ...], dataset: WindowDataset
) -> None:
    stretches = StretchDataset(dataset)
    row = int(stretches.starts[-1])
    places = np.array([[0, 5, STRETCH - 1]])
    batch = stretches.batch(np.array([row]), places)
    market, t = items[int(dataset.market[row])], int(dataset.t[row])
    assert batch.bars.shape == (1, WINDOW[0] - 1 + STRETCH, len(market.market.feature_names[0]))
    for i, place in enumerate(places[0]):
        window = batch.bars[0, place : place + WINDOW[0]].numpy()
        np.testing.assert_array_equal(window, market.market.features[0][t + place + 1 - WINDOW[0] : t + place + 1])
        np.testing.assert_array_equal(batch.decisions.labels[i].numpy(), market.labels[t + place])
        np.testing.assert_array_equal(batch.labels[0, place].numpy(), market.labels[t + place])
        assert market.beliefs is not None
        np.testing.assert_array_equal(batch.beliefs[0, place].numpy(), market.beliefs[t + place])
        np.testing.assert_array_equal(batch.decisions.beliefs[i].numpy(), market.beliefs[t + place])


def test_no_stretch_crosses_from_one_market_to_the_next_or_over_a_hole(items: tuple[LabelledMarket, ...]) -> None:
    labels = items[0].labels.copy()
    hole = items[0].start + 600
    labels[hole] = -1
    dataset = WindowDataset((replace(items[0], labels=labels), items[1]), WINDOW, CONFIG.horizons)
    stretches = StretchDataset(dataset)
    last = stretches.starts + STRETCH - 1
    np.testing.assert_array_equal(dataset.market[stretches.starts], dataset.market[last])
    np.testing.assert_array_equal(dataset.t[last] - dataset.t[stretches.starts], STRETCH - 1)
    first = dataset.t[stretches.starts[dataset.market[stretches.starts] == 0]]
    assert not ((first <= hole) & (hole < first + STRETCH)).any()
    short = WindowDataset((replace(items[0], stop=items[0].start + STRETCH - 1),), WINDOW, CONFIG.horizons)
    with pytest.raises(ValueError, match=f"{STRETCH} consecutive"):
        StretchDataset(short)


def test_batches_are_drawn_by_the_seed_and_go_on_where_they_stood(dataset: WindowDataset) -> None:
    def batches(seed: int) -> ShuffledStretches:
        return ShuffledStretches(StretchDataset(dataset), 4 * ROWS, 3, seed)

    first, again, other = list(batches(1)), list(batches(1)), list(batches(2))
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.bars, b.bars)
        assert torch.equal(a.places, b.places)
    assert not torch.equal(first[0].bars, other[0].bars)
    resumed = batches(1)
    resumed.load_state_dict({"given": 2})
    (rest,) = list(resumed)
    assert torch.equal(rest.bars, first[2].bars)
    assert first[0].places.shape == (4, ROWS)
    held = list(OrderedStretches(StretchDataset(dataset), 10 * ROWS))
    assert sum(len(batch.bars) for batch in held) == 10


@pytest.fixture(scope="module")
def trained(items: tuple[LabelledMarket, ...]) -> Extractor:
    training = PretrainingConfig(steps=6, batch=4 * ROWS, validate_every=3, validation_windows=4 * ROWS)
    return fit_extractor(items[:1], items[1:], CONFIG, training, seed=3)


def test_training_is_a_function_of_the_seed(trained: Extractor, items: tuple[LabelledMarket, ...]) -> None:
    training = PretrainingConfig(steps=6, batch=4 * ROWS, validate_every=3, validation_windows=4 * ROWS)
    assert fit_extractor(items[:1], items[1:], CONFIG, training, seed=3).hash == trained.hash
    assert fit_extractor(items[:1], items[1:], CONFIG, training, seed=4).hash != trained.hash
    assert "validation/memory" in trained.provenance.metrics


def test_embeddings_do_not_depend_on_later_bars_or_on_earlier_ones_out_of_reach(trained: Extractor) -> None:
    bars = regime_market("easy", 12, 5).bars
    whole = Market.from_bars(bars, timeframes=CONFIG.timeframes)
    cut_at = len(bars) - 300
    early = Market.from_bars(bars.iloc[:cut_at], timeframes=CONFIG.timeframes)
    late = Market.from_bars(bars.iloc[96 * 4 :], timeframes=CONFIG.timeframes)
    found = trained.embed(whole)
    np.testing.assert_allclose(trained.embed(early), found[:cut_at], rtol=1e-5, atol=1e-6)
    shared = late.first_decision(WINDOW) + WINDOW[0] + STRETCH
    np.testing.assert_allclose(trained.embed(late)[shared:], found[96 * 4 + shared :], rtol=1e-5, atol=1e-6)
    first = whole.first_decision(WINDOW)
    assert not found[:first].any()
    assert np.isfinite(found).all()
    assert found[first:].any(axis=1).all()


def test_a_memory_needs_the_transformer(items: tuple[LabelledMarket, ...], dataset: WindowDataset) -> None:
    with pytest.raises(ValueError, match="memory=8 is not allowed: 0 but for the encoder 'transformer'"):
        replace(CONFIG, encoder="lstm")
    plain = replace(CONFIG, memory=0).for_market(items[0].market)
    scaler = RobustScaler.fit(plain.timeframes, plain.feature_names, dataset.feature_rows())
    batch = StretchDataset(dataset).batch(np.array([0]), np.zeros((1, 1), np.int64))
    with pytest.raises(TypeError, match="memory=0"):
        ExtractorModel(plain, scaler).over_stretches(batch.bars, batch.places, batch.decisions.windows)
