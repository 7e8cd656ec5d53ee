"""What recipes say of markets: read from files and words, refused by name, joined without looking ahead."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptoenv.bars.errors import BarsError
from cryptoenv.features import FeatureSpec
from cryptoenv.features.families.columns import Exogenous, Reference
from cryptoenv.files.typed_values import ConfigError
from cryptoenv.market.market import Market
from cryptoenv.market.stored_bars import bars_at, values_at
from cryptoenv.store.key import SeriesKey, StoreError
from cryptoenv.store.store import BarStore
from pretrain import ArtifactError, ExogenousSource, ExtractorConfig, MarketInputs, Recipe
from pretrain.fitting.market_inputs import MarketMaker, read_features, require_synthetic
from tests.pretrain.conftest import TIMEFRAMES, WINDOW, random_bars

BARS = random_bars(0)
DAYS = pd.date_range(BARS.index[0] - pd.Timedelta("3D"), BARS.index[-1], freq="1D", name="timestamp")
GREED = pd.DataFrame({"greed": np.arange(len(DAYS), dtype=np.float64)}, DAYS)


@pytest.fixture
def greed(tmp_path: Path) -> str:
    GREED.to_csv(tmp_path / "greed.csv")
    return str(tmp_path / "greed.csv")


def store_of(folder: Path, bars: pd.DataFrame) -> Path:
    key = SeriesKey("venue", "ETH/USDT", "1h")
    first, last = (int(bars.index[at].value // 1_000_000) for at in (0, -1))
    with BarStore(folder).writer(key) as writer:
        writer.append(bars, (first, last + 3_600_000))
    return key.folder(folder)


def test_values_of_any_file_and_of_a_store(tmp_path: Path, greed: str) -> None:
    found, timeframe = values_at(Path(greed))
    pd.testing.assert_frame_equal(found, GREED, check_freq=False)
    assert timeframe is None
    mixed = GREED.assign(said="high", more=2)[::-1].reset_index()
    mixed.to_parquet(tmp_path / "mixed.parquet")
    assert list(values_at(tmp_path / "mixed.parquet")[0].columns) == ["greed", "more"]
    assert values_at(tmp_path / "mixed.parquet")[0].index.is_monotonic_increasing
    series = store_of(tmp_path / "store", BARS)
    assert values_at(series)[1] == "1h"
    pd.testing.assert_frame_equal(bars_at(series), BARS, check_freq=False)
    for words, said in (
        ({"other": [1.0]}, "no column of times"),
        ({"time": ["2020-01-01T00:00:00Z"], "a": ["x"]}, "of numbers"),
    ):
        pd.DataFrame(words).to_csv(tmp_path / "wrong.csv", index=False)
        with pytest.raises(BarsError, match=f"wrong.csv: .*{said}"):
            values_at(tmp_path / "wrong.csv")
    with pytest.raises(StoreError, match="no series of bars in a store"):
        values_at(tmp_path)


def test_a_day_is_known_when_it_has_ended(greed: str) -> None:
    joined = MarketInputs(exogenous=(ExogenousSource.read(f"{greed}@1d"),)).joined(BARS)
    # the bar of 22:00 closes at 23:00, the one of 23:00 at midnight, when the day's figure is known
    assert joined["greed"].iloc[22:25].tolist() == [2.0, 3.0, 3.0]
    with pytest.raises(BarsError, match=r"greed\.csv: values come at regular times"):
        MarketInputs(exogenous=(ExogenousSource(greed),)).joined(BARS)


def test_a_stores_bars_are_known_when_they_close(tmp_path: Path) -> None:
    series = str(store_of(tmp_path / "store", BARS))
    source = ExogenousSource(series, columns={"close": "eth"})
    joined = MarketInputs(exogenous=(source,)).joined(BARS)
    assert joined["eth"].equals(BARS["close"].rename("eth"))  # known at the close, not one bar before
    early = replace(source, known_after="30min")
    with pytest.raises(BarsError, match="known when they close, 1h later"):
        MarketInputs(exogenous=(early,)).joined(BARS)
    with pytest.raises(BarsError, match="no column 'eth'"):
        MarketInputs(exogenous=(ExogenousSource(series, columns=("eth",)),)).joined(BARS)
    again = MarketInputs.read(MarketInputs(exogenous=(source,)).given, "again")
    assert again == MarketInputs(exogenous=(source,)) and hash(again) == hash(MarketInputs(exogenous=(source,)))


def test_default_features_read_exogenous_columns_on_the_base(greed: str) -> None:
    inputs = MarketInputs(exogenous=(ExogenousSource(greed, "1d"),))
    layout = inputs.new_layout(TIMEFRAMES, WINDOW)
    assert layout.columns == ("greed",)
    assert ["z_greed" in names for names in layout.feature_names] == [True, False, False]
    assert MarketMaker(layout, inputs).market(BARS).feature_names == layout.feature_names
    with pytest.raises(ConfigError, match="'greed' is read by none"):
        replace(inputs, features=FeatureSpec()).new_layout(TIMEFRAMES, WINDOW)
    with pytest.raises(ConfigError, match="columns greed, which synthetic markets do not have"):
        require_synthetic(layout)
    with pytest.raises(BarsError, match="read 'greed', which the bars do not have"):
        MarketMaker(layout).market(BARS)
    assert inputs.joined(BARS.reset_index()).equals(inputs.joined(BARS))
    other = MarketMaker(layout, inputs).market(BARS.assign(greed=np.sin(np.arange(len(BARS)))))
    assert other.hash != MarketMaker(layout, inputs).market(BARS).hash  # what bars bring themselves is read
    BARS.assign(greed=1.0).to_csv(Path(greed).with_name("bars.csv"))  # but not what their file has, where one is named
    assert MarketMaker(layout, inputs).market_at(Path(greed).with_name("bars.csv")).hash == (
        MarketMaker(layout, inputs).market(BARS).hash
    )
    own = MarketMaker(layout).market(inputs.joined(BARS))
    assert own.hash == MarketMaker(layout, inputs).market(BARS).hash


def test_columns_of_the_bars_own_file_are_read(tmp_path: Path) -> None:
    BARS.assign(trades=np.arange(len(BARS), dtype=np.float64), other=1.0).to_csv(tmp_path / "bars.csv")
    role = replace(FeatureSpec().higher, exogenous=Exogenous(columns=("trades",)))
    inputs = MarketInputs(features=replace(FeatureSpec(), single=role))
    market = MarketMaker(inputs.new_layout(("1h",), (4,)), inputs).market_at(tmp_path / "bars.csv")
    assert "z_trades" in market.feature_names[0] and market.name == "bars"


def test_a_reference_is_used_or_refused(tmp_path: Path) -> None:
    random_bars(1).to_csv(tmp_path / "reference.csv")
    inputs = MarketInputs(reference=str(tmp_path / "reference.csv"))
    layout = inputs.new_layout(TIMEFRAMES, WINDOW)
    assert layout.reference
    made = MarketMaker(layout, inputs).market(BARS)
    assert made.hash == Market.from_bars(BARS, TIMEFRAMES, reference=random_bars(1)).hash
    with pytest.raises(BarsError, match="--reference"):
        MarketMaker(layout).market(BARS)
    none = replace(
        FeatureSpec(), **{r: replace(FeatureSpec().higher, reference=None) for r in ("base", "higher", "daily")}
    )
    with pytest.raises(ConfigError, match="none of the features is taken against one"):
        replace(inputs, features=none).new_layout(TIMEFRAMES, WINDOW)
    plain = MarketInputs().new_layout(TIMEFRAMES, WINDOW)
    with pytest.raises(ArtifactError, match="the model takes no feature against one"):
        inputs.require_fits(plain, "the model")
    assert Reference() == FeatureSpec().base.reference


def test_features_from_a_mapping_yaml_or_json(tmp_path: Path) -> None:
    spec = replace(FeatureSpec(), base=replace(FeatureSpec().base, volatility_bars=48))
    (tmp_path / "spec.yaml").write_text(spec.to_yaml(), "utf-8")
    (tmp_path / "spec.json").write_text(json.dumps(spec.to_dict()), "utf-8")
    for given in (spec, spec.to_dict(), str(tmp_path / "spec.yaml"), tmp_path / "spec.json"):
        assert read_features(given, "here") == spec
    (tmp_path / "wrong.yaml").write_text("base: {returns: {short: no}}", "utf-8")
    for wrong, said in (
        (str(tmp_path / "none.yaml"), "no such file"), (str(tmp_path / "wrong.yaml"), "wrong.yaml: base.returns"),
        ([1], "list"), ({"bass": {}}, "bass"), ({}, "dict"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=f"here: features: .*{said}"):
            read_features(wrong, "here")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"timeframes": "15m,20m"}, "20m"), ({"timeframes": [15]}, "timeframes"), ({"reference": 3}, "reference"),
        ({"exogenous": {"path": "a.csv", "known_after": "soon"}}, "known_after='soon' is no duration"),
        ({"exogenous": [{"file": "a.csv"}]}, "'file'"), ({"exogenous": 7}, "exogenous"),
    ],
)  # fmt: skip
def test_what_no_recipe_can_say(given: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        MarketInputs.read(given, "here")


def test_a_recipe_of_a_pretraining(tmp_path: Path, greed: str) -> None:
    plain = tmp_path / "plain.yaml"
    plain.write_text("seed: 3", "utf-8")
    path = tmp_path / "recipe.yaml"
    path.write_text(f"timeframes: [1m, 15m]\nexogenous: {greed}@1d\nseed: 3\n", "utf-8")
    recipe = Recipe.read(path)
    assert recipe.architecture.timeframes == ("1m", "15m") == recipe.layout.timeframes
    assert recipe.architecture.window == ExtractorConfig().window[:2]
    assert recipe.digest != Recipe.read(plain).digest and "exogenous" not in Recipe.read(plain).text()
    path.with_name("again.yaml").write_text(recipe.text(), "utf-8")
    assert Recipe.read(path.with_name("again.yaml")) == recipe
    longer = Recipe.read("default").with_inputs(MarketInputs(timeframes=("1h", "4h", "1d", "1w")))
    assert longer.architecture.window == (256, 16, 8, 8) and longer.inputs.timeframes == longer.architecture.timeframes
    path.write_text("timeframes: [1m, 15m]\narchitecture: {timeframes: [1h, 4h, 1d]}\n", "utf-8")
    with pytest.raises(ConfigError, match="timeframes"):
        Recipe.read(path)
