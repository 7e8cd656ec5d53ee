"""An artifact carries the whole feature spec: another one is refused by name, and raw bars become the right market."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pretrain
from cryptoenv import Market
from cryptoenv.features import FeatureBars, FeatureSpec, feature
from pretrain import ArtifactError, Extractor
from pretrain.extractor.artifact import CONFIG
from tests.pretrain.conftest import TIMEFRAMES, planted, random_bars
from tests.pretrain.extractor.test_artifact import edit
from tests.pretrain.extractor.test_predictions import untrained

DEFAULT = FeatureSpec()
OTHERS: dict[str, FeatureSpec] = {
    "base.volatility_bars is 96 and 48": replace(DEFAULT, base=replace(DEFAULT.base, volatility_bars=48)),
    "higher.warm_up_bars is 192 and 200": replace(DEFAULT, higher=replace(DEFAULT.higher, warm_up_bars=200)),
    "daily.volatility_bars is 30 and 20": replace(DEFAULT, daily=replace(DEFAULT.daily, volatility_bars=20)),
}


@feature("gap", memory=4)
def gap(bars: FeatureBars) -> np.ndarray:
    return (bars.open - np.append(bars.open[:1], bars.close[:-1])) / bars.close


@feature("gap", memory=4)
def other_gap(bars: FeatureBars) -> np.ndarray:
    return (bars.close - bars.open) / bars.close


@pytest.mark.parametrize("difference", OTHERS)
def test_a_market_of_other_features_with_the_same_names_is_refused(difference: str) -> None:
    bars, spec = random_bars(0), OTHERS[difference]
    model = untrained(Market.from_bars(bars, TIMEFRAMES))
    other = Market.from_bars(bars, TIMEFRAMES, features=spec)
    assert other.feature_names == model.config.feature_names
    for use in (model.embed, model.predict, model.action_logits, model.require):
        with pytest.raises(ArtifactError, match=f"features differ.*{difference}.*artifact.market"):
            use(other)
    assert model.market(bars).hash == Market.from_bars(bars, TIMEFRAMES).hash
    theirs = untrained(other)
    assert theirs.market(bars).hash == other.hash and theirs.hash != model.hash


def test_the_shipped_extractor_refuses_other_features() -> None:
    model = pretrain.load("default")
    bars = random_bars(0)
    spec = replace(DEFAULT, base=replace(DEFAULT.base, volatility_bars=48))
    with pytest.raises(ArtifactError, match=r"base\.volatility_bars is 96 and 48"):
        model.require(Market.from_bars(bars.asfreq("15min").ffill(), features=spec))


def test_learning_takes_one_kind_of_features() -> None:
    bars = random_bars(0)
    markets = [
        Market.from_bars(random_bars(1), TIMEFRAMES),
        Market.from_bars(bars, TIMEFRAMES, features=next(iter(OTHERS.values()))),
    ]
    with pytest.raises(ValueError, match=r"validation\[0\]: features differ"):
        pretrain.fit_extractor([planted(markets[0])], [planted(markets[1])], untrained(markets[0]).config)


def test_features_and_data_come_back_from_the_folder(tmp_path: Path) -> None:
    spec = next(iter(OTHERS.values()))
    model = untrained(Market.from_bars(random_bars(0), TIMEFRAMES, features=spec))
    loaded = pretrain.load(model.save(tmp_path / "a"))
    assert isinstance(loaded, Extractor) and loaded.features == spec and loaded.hash == model.hash
    kept = json.loads((tmp_path / "a" / CONFIG).read_text("utf-8"))
    assert kept["market"]["features"] == spec.to_dict() and kept["market"]["features_hash"] == spec.hash
    assert kept["target"]["classes"] == ["-1", "0", "+1"]
    shipped = pretrain.load("default")
    assert isinstance(shipped, Extractor) and shipped.provenance.data[0].markets == 960


def test_the_users_own_features_are_refused_unless_their_code_is_passed(tmp_path: Path) -> None:
    bars = random_bars(0)
    spec = DEFAULT.with_functions(gap, roles=("base",))
    model = untrained(Market.from_bars(bars, TIMEFRAMES, features=spec))
    folder = model.save(tmp_path / "a")
    with pytest.raises(ArtifactError, match=r"feature 'gap' \(base\) is the user's own.*functions=\[...\]"):
        pretrain.load(folder)
    with pytest.raises(ArtifactError, match="feature 'gap' was"):
        pretrain.load(folder, functions=[other_gap])
    assert pretrain.load(folder, functions=[gap]).predict(bars).equals(model.predict(bars))


def as_before(folder: Path) -> None:
    """The folder as the version before wrote it: names of features alone."""

    def change(config: dict) -> None:
        for key in ("market", "target", "data"):
            config.pop(key)
        config["format_version"] = 5

    edit(folder, CONFIG, change)


def test_an_artifact_of_the_version_before_says_what_is_taken(tmp_path: Path) -> None:
    bars = random_bars(0)
    model = untrained(Market.from_bars(bars, TIMEFRAMES))
    folder = model.save(tmp_path / "a")
    as_before(folder)
    with pytest.warns(UserWarning, match="before artifacts kept their features.*the default ones are taken"):
        earlier = pretrain.load(folder)
    assert earlier.predict(bars).equals(model.predict(bars))
    earlier.save(folder)  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pretrain.load(folder).hash == model.hash  # type: ignore[attr-defined]


def test_an_artifact_of_the_version_before_with_features_of_its_own_says_what_to_do(tmp_path: Path) -> None:
    bars = random_bars(0)
    few = replace(DEFAULT, base=replace(DEFAULT.base, calendar=None))
    model = untrained(Market.from_bars(bars, TIMEFRAMES, features=few))
    folder = model.save(tmp_path / "a")
    as_before(folder)
    with pytest.raises(ArtifactError, match=r"load it with features=FeatureSpec\(...\)"):
        pretrain.load(folder)
    assert Extractor.load(folder, features=few).hash == model.hash


@pytest.mark.parametrize(
    ("break_it", "named"),
    [
        (lambda folder: edit(folder, CONFIG, lambda c: c.update(format="cryptoenv-oracle")), "known are"),
        (lambda folder: edit(folder, CONFIG, lambda c: c.pop("format")), "names no format"),
        (lambda folder: (folder / CONFIG).unlink(), "config.json is missing"),
        (lambda folder: (folder / CONFIG).write_bytes(b"{" * 9), CONFIG),
    ],
)
def test_what_is_no_model_is_named(tmp_path: Path, break_it: Callable[[Path], object], named: str) -> None:
    folder = untrained(Market.from_bars(random_bars(0), TIMEFRAMES)).save(tmp_path / "a")
    break_it(folder)
    with pytest.raises(ArtifactError, match=named):
        pretrain.load(folder)
    with pytest.raises(ArtifactError, match="no such folder"):
        pretrain.load(tmp_path / "nowhere")


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="device='gpu'"):
        pretrain.load("default", device="gpu")
    with pytest.raises(ValueError, match='device="meta"'):
        pretrain.load("default", device="meta")
    assert pretrain.load("default", device="auto").device.type in ("cpu", "cuda")
