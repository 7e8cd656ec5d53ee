"""The encoder and its heads: shapes, scaling, order, causality."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cryptoenv.market.market import Market
from pretrain.data.scaler import RobustScaler
from pretrain.data.windows import Batch, WindowDataset, WindowSource
from pretrain.extractor.artifact import Extractor
from pretrain.extractor.model import ExtractorModel, Predictions
from pretrain.extractor.task import action_accuracy, head_losses
from pretrain.fitting.provenance import Provenance
from tests.pretrain.conftest import TIMEFRAMES, WINDOW, planted, random_bars, small_config


def untrained(market: Market, **changes: object) -> Extractor:
    config = small_config(**changes).for_market(market)
    dataset = WindowDataset([planted(market)], WINDOW, config.horizons)
    scaler = RobustScaler.fit(config.timeframes, config.feature_names, dataset.feature_rows())
    torch.manual_seed(0)
    return Extractor(ExtractorModel(config, scaler), scaler, Provenance("none", ""))


def test_shapes_and_ordered_quantiles(markets: tuple[Market, ...]) -> None:
    model = untrained(markets[0], regimes=5).model
    rows = np.arange(len(markets[0]) - 7, len(markets[0]))
    windows = WindowSource(markets, WINDOW).gather(np.zeros_like(rows), rows)
    embeddings = model(windows)
    predictions = model.predict(embeddings)
    assert embeddings.shape == (7, 16)
    assert predictions.action_logits.shape == (7, 3, 3)
    assert predictions.direction_logits.shape == (7, 2)
    assert predictions.return_quantiles.shape == (7, 2, 3)
    assert predictions.regime_logits is not None
    assert predictions.regime_logits.shape == (7, 5)
    assert bool((predictions.return_quantiles.diff(dim=-1) > 0).all())
    by_name = model(dict(zip(TIMEFRAMES, windows, strict=True)) | {"account": torch.zeros(7, 5)})
    assert by_name.equal(embeddings)


def test_embedding_in_batches_equals_a_direct_forward(markets: tuple[Market, ...]) -> None:
    market, extractor = markets[0], untrained(markets[0])
    first = market.first_decision(WINDOW)
    table = extractor.embed(market)
    rows = np.arange(first, len(market))
    with torch.inference_mode():
        direct = extractor.model(WindowSource([market], WINDOW).gather(np.zeros_like(rows), rows))
        logits = extractor.model.action_logits(direct)
    assert table.dtype == np.float32
    assert table.shape == (len(market), extractor.width)
    assert not table[:first].any()
    np.testing.assert_allclose(table[first:], direct.numpy(), atol=1e-5)
    np.testing.assert_allclose(extractor.action_logits(market)[first:], logits.numpy(), atol=1e-5)


def test_embeddings_do_not_see_the_future() -> None:
    bars = random_bars(5)
    cut = len(bars) - 200
    poisoned = bars.copy()
    noise = np.random.default_rng(1).uniform(0.5, 2.0, len(bars) - cut)
    poisoned.iloc[cut:, :4] = poisoned.iloc[cut:, :4].mul(noise, axis=0)
    poisoned.iloc[cut:, 4] *= noise
    before, after = (Market.from_bars(b, timeframes=TIMEFRAMES) for b in (bars, poisoned))
    extractor = untrained(before)
    a, b = extractor.embed(before), extractor.embed(after)
    np.testing.assert_array_equal(a[:cut], b[:cut])
    assert (np.abs(a[cut:] - b[cut:]).max(axis=1) > 1e-4).all()


def test_every_bar_and_feature_of_the_windows_matters(markets: tuple[Market, ...]) -> None:
    extractor = untrained(markets[0])
    rows = np.array([len(markets[0]) - 1])
    windows = WindowSource(markets, WINDOW).gather(np.zeros_like(rows), rows)
    for block in windows:
        block.requires_grad_(True)
        # Away from the bound, where the gradient of a clipped feature is zero by design.
        block.data.clamp_(-1.0, 1.0)
    extractor.model(windows).square().sum().backward()
    for k, block in enumerate(windows):
        assert block.grad is not None
        inside = np.abs(block.detach().numpy() - extractor.scaler.median[k]) < 8 * extractor.scaler.scale(k)
        assert (block.grad.numpy()[inside] != 0.0).all()


def test_losses_ignore_unknown_targets(markets: tuple[Market, ...]) -> None:
    extractor = untrained(markets[0], regimes=4)
    dataset = WindowDataset([planted(markets[0])], WINDOW, extractor.config.horizons)
    batch = dataset.batch(np.arange(32))
    predictions = extractor.model.predict(extractor.model(batch.windows))
    quantiles = extractor.config.quantiles
    blank = batch._replace(labels=batch.labels.clone(), returns=batch.returns.clone())
    blank.labels[::2], blank.returns[::2] = -1, torch.nan
    halved = head_losses(predictions, blank, quantiles)
    odd = Batch(tuple(w[1::2] for w in batch.windows), *(x[1::2] for x in batch[1:]))
    kept = head_losses(type(predictions)(*(None if x is None else x[1::2] for x in predictions)), odd, quantiles)
    for name, value in halved.items():
        assert value.item() == pytest.approx(kept[name].item(), rel=1e-5), name
    assert halved["regime"].item() == 0.0
    nothing = blank._replace(
        labels=torch.full_like(batch.labels, -1), returns=torch.full_like(batch.returns, torch.nan)
    )
    assert all(value.item() == 0.0 for value in head_losses(predictions, nothing, quantiles).values())


def test_losses_are_those_of_their_formulas() -> None:
    logits = torch.tensor([[[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]]])
    labels = torch.tensor([[0, 2]])
    assert action_accuracy(logits, labels).item() == 0.5
    assert action_accuracy(logits, torch.tensor([[0, -1]])).item() == 1.0
    predictions = Predictions(logits, torch.zeros(1, 1), torch.tensor([[[-1.0, 0.0, 1.0]]]), None)
    batch = Batch((), labels, torch.tensor([[2.0]]), torch.zeros(1, 0))
    losses = head_losses(predictions, batch, (0.1, 0.5, 0.9))
    expected = -np.mean([2.0 - np.log(np.exp([2.0, 0.0, -1.0]).sum()), -np.log(3.0)])
    assert losses["action"].item() == pytest.approx(expected, rel=1e-6)
    assert losses["quantile"].item() == pytest.approx((0.1 * 3.0 + 0.5 * 2.0 + 0.9 * 1.0) / 3, rel=1e-6)
    assert losses["direction"].item() == pytest.approx(np.log(2.0), rel=1e-6)
    # of three regimes the teacher believes in two, and of the second row it says nothing
    believed = batch._replace(beliefs=torch.tensor([[0.75, 0.25], [0.0, 0.0]]))
    regimes = torch.tensor([[1.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
    losses = head_losses(predictions._replace(regime_logits=regimes), believed, (0.1, 0.5, 0.9))
    assert losses["regime"].item() == pytest.approx(np.log(np.e + 2.0) - 0.75, rel=1e-6)


def test_a_scaler_of_other_features_is_refused(markets: tuple[Market, ...]) -> None:
    extractor = untrained(markets[0])
    names = tuple(tuple(reversed(n)) for n in extractor.config.feature_names)
    other = RobustScaler(TIMEFRAMES, names, extractor.scaler.median, extractor.scaler.iqr)
    with pytest.raises(ValueError, match="scaler"):
        ExtractorModel(extractor.config, other)
    with pytest.raises(ValueError, match="feature_names"):
        ExtractorModel(small_config(), extractor.scaler)
