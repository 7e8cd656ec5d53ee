"""A segmenter that begins with another encoder says what that one says, however many features it reads beside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cryptoenv.features import FeatureSpec
from cryptoenv.market.market import Market
from pretrain import ArtifactError, ConfigError, Extractor, ExtractorConfig
from pretrain.data.labelled_market import LabelledMarket
from pretrain.data.scaler import RobustScaler
from pretrain.data.windows import WindowDataset
from pretrain.extractor.model import ExtractorModel
from pretrain.fitting.provenance import Provenance
from pretrain.segmenter.artifact import Segmenter
from pretrain.segmenter.beginning import (
    _emissions,
    begin_with,
    fit_emissions,
    loaded_start,
    require_start,
    started_scaler,
)
from pretrain.segmenter.model import SegmenterModel
from pretrain.segmenter.recipe import SegmenterRecipe
from pretrain.segmenter.recipe_runs import start_of
from pretrain.segmenter.training import fit_segmenter
from tests.pretrain.conftest import TIMEFRAMES, random_bars
from tests.pretrain.segmenter.conftest import HOURS, QUIET, quick_training, small_segmenter_config

SIZES = {
    "timeframes": TIMEFRAMES, "window": (8, 4, 4), "patches": (4, 2, 1), "width": 16, "layers": 1, "heads": 2,
    "feedforward": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def plain() -> Market:
    return Market.from_bars(random_bars(0, HOURS), TIMEFRAMES)


def untrained(market: Market, **changes: object) -> Extractor:
    config = ExtractorConfig(**(SIZES | changes)).for_market(market)  # type: ignore[arg-type]
    scaler = RobustScaler.fit(config.timeframes, config.feature_names, market.features)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = ExtractorModel(config, scaler)
    return Extractor(model, scaler, Provenance("none", "", "", {}, {}, ()), market.feature_spec)


@pytest.mark.parametrize("memory", [{}, {"memory": 12}, {"bar_width": 6}], ids=["patches", "memory", "bar width"])
def test_more_features_change_nothing_at_the_beginning(
    plain: Market, pursued: tuple[LabelledMarket, ...], memory: dict[str, int]
) -> None:
    start = untrained(plain, **memory)
    market = pursued[0].market
    config = small_segmenter_config(patches=(4, 2, 1), **memory).for_market(market).for_labels(pursued[0].columns)
    require_start(config, market.feature_spec, start)
    fitted = RobustScaler.fit(config.timeframes, config.feature_names, [2.0 * rows for rows in market.features])
    model = SegmenterModel(config, started_scaler(fitted, start))
    begin_with(model, start)
    rng = np.random.default_rng(1)
    wide = [torch.from_numpy(rng.normal(size=(5, w, f.shape[1])).astype(np.float32)) for w, f in
            zip(config.window, market.features, strict=True)]  # fmt: skip
    narrow = [
        window[:, :, [own.index(name) for name in had]]
        for window, own, had in zip(wide, config.feature_names, start.config.feature_names, strict=True)
    ]
    with torch.inference_mode():
        assert torch.allclose(model(wide), start.model.eval()(narrow), atol=1e-5)
        changed = [window + 1.0 for window in wide]
        assert not torch.allclose(model(wide), model(changed), atol=1e-3)


def test_hidden_states_are_the_regimes_of_the_extractor_and_say_the_classes_seen_in_them(
    plain: Market, pursued: tuple[LabelledMarket, ...]
) -> None:
    start = untrained(plain, regimes=5)
    market = pursued[0].market
    config = small_segmenter_config(patches=(4, 2, 1), hidden=5).for_market(market).for_labels(pursued[0].columns)
    fitted = RobustScaler.fit(config.timeframes, config.feature_names, market.features)
    model = SegmenterModel(config, started_scaler(fitted, start)).eval()
    begin_with(model, start)
    dataset = WindowDataset(pursued[:1], config.window, ())
    batch = dataset.batch(np.arange(0, 600, 3))
    fit_emissions(model, [batch])
    with torch.inference_mode():
        embeddings = model(batch.windows)
        regimes = start.model.predict(embeddings).regime_logits
        assert regimes is not None
        states = regimes.softmax(dim=1)
        assert torch.allclose(model.hidden_states(embeddings), states, atol=1e-6)
        said = model.logits(embeddings).softmax(dim=-1)
    with torch.inference_mode():  # what a state says of a timescale are chances, whatever its logits add up to
        model.emission.data += torch.arange(10.0).reshape(5, 2).repeat_interleave(3, dim=1)
        assert torch.allclose(model.logits(embeddings).softmax(dim=-1), said, atol=1e-4)
    of_state = model.emission.data.unflatten(1, (2, 3)).softmax(dim=-1)
    assert said.numpy() == pytest.approx(torch.einsum("bk,ksc->bsc", states, of_state).numpy(), abs=1e-4)


def test_emissions_are_found_again() -> None:
    rng = np.random.default_rng(5)
    states = torch.from_numpy(rng.dirichlet(np.full(4, 0.3), 4_000))
    true = torch.from_numpy(rng.dirichlet(np.full(3, 0.5), (4, 2)))
    beliefs = (states @ true.flatten(1)).clone()
    found = _emissions(states, beliefs, (2, 3))
    assert found.numpy() == pytest.approx(true.numpy(), abs=0.02)
    once = (states.T @ beliefs).unflatten(1, (2, 3))
    assert abs((once / once.sum(dim=2, keepdim=True) - true).numpy()).max() > 0.1, "one step does not do"


def test_what_does_not_fit_is_named(plain: Market, pursued: tuple[LabelledMarket, ...]) -> None:
    market = pursued[0].market
    config = small_segmenter_config(patches=(4, 2, 1)).for_market(market).for_labels(pursued[0].columns)
    for changes, words in (({"width": 8}, "its width is 8"), ({"patches": (2, 2, 1)}, "patches"),
                           ({"layers": 2}, "layers")):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            require_start(config, market.feature_spec, untrained(plain, **changes))
    with pytest.raises(ConfigError, match="join"):
        require_start(replace(config, join="separate"), market.feature_spec, untrained(plain))
    base = market.feature_spec.role(0, [3_600_000, 14_400_000, 86_400_000])
    other = market.feature_spec.with_timeframe("1h", replace(base, volatility_bars=48))
    with pytest.raises(ConfigError, match="volatility_bars differs"):
        require_start(config, other, untrained(plain))
    few = FeatureSpec().with_timeframe("1h", replace(base, pursuit=None, momentum=None))
    lean = Market.from_bars(random_bars(0, HOURS), TIMEFRAMES, features=few)
    with pytest.raises(ConfigError, match="reads the feature 'rsi' of 1h"):
        require_start(small_segmenter_config(patches=(4, 2, 1)).for_market(lean), few, untrained(plain))


def test_training_goes_on_from_an_artifact(
    segmenter: Segmenter, pursued: tuple[LabelledMarket, ...], plain: Market, tmp_path: Path
) -> None:
    folder = segmenter.save(tmp_path / "run" / "artifact").parent
    start = loaded_start(folder)
    training = quick_training(steps=1, validate_every=1, learning_rate=1e-9)
    again = fit_segmenter(pursued[:2], pursued[2:], segmenter.config, training, seed=5, options=QUIET, start=start)
    for scale in ("1h", "4h"):
        name = f"validation/accuracy_{scale}"
        assert again.provenance.metrics[name] == pytest.approx(segmenter.provenance.metrics[name], abs=2e-3)
    assert again.provenance.label_kind == "planted, then planted" and len(again.provenance.data) == 2
    extractor = untrained(plain).save(tmp_path / "extractor")
    assert isinstance(loaded_start(extractor), Extractor)
    assert isinstance(loaded_start("default"), Extractor)
    with pytest.raises(ArtifactError, match="no such folder"):
        loaded_start(tmp_path / "nothing")


def test_the_recipe_fits_the_extractor_that_ships() -> None:
    assert isinstance(start_of(SegmenterRecipe.read("segmenter")), Extractor)
    assert start_of(SegmenterRecipe.read("segmenter_seed")) is None
