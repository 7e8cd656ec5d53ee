"""MACD's signal line and histogram, Bollinger's bands, moving averages of any length, pursuit of any column."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryptoenv import BarsError, Market
from cryptoenv.bars.timeframe import DAY_MS, timeframe_ms
from cryptoenv.features import (
    FeatureSpec,
    Momentum,
    Pursuit,
    TimeframeFeatures,
    Trend,
    Volatility,
    pursuit,
)
from cryptoenv.features.families.windowed import rolling_volatility
from cryptoenv.features.pursuit.dictionary import dictionary, slowest_atoms
from cryptoenv.features.pursuit.features import PURSUIT_NAMES
from tests.naive.random_bars import random_bars

AVERAGES = (5, 10, 20, 50, 100, 200)
BARS = random_bars(12, seed=3)
SMALL: dict[str, Any] = {"window": 16, "sparsity": 4, "cycles": (0.5, 1.0, 2.0), "scales": (4.0,)}


def market_of(bars: pd.DataFrame = BARS, timeframe: str = "15m", **families: Any) -> Market:
    spec = replace(FeatureSpec.none(), single=TimeframeFeatures(**families), daily=TimeframeFeatures(**families))
    return Market.from_bars(bars, (timeframe,), features=spec)


def column(market: Market, name: str) -> np.ndarray:
    return market.features[0][:, market.feature_names[0].index(name)].astype(np.float64)


@pytest.mark.parametrize("timeframe", ["15m", "1d"])
@pytest.mark.parametrize("spans", [(12, 26, 9), (5, 8, 3)])
def test_macd_equals_talib_on_each_days_slice(timeframe: str, spans: tuple[int, int, int]) -> None:
    talib = pytest.importorskip("talib")
    bars = BARS if timeframe == "15m" else random_bars(260, seed=4, timeframe="1D")
    market = market_of(bars, timeframe, trend=Trend(None, spans[:2], (), spans[2]))
    close = market.bars["close"].to_numpy()
    v = rolling_volatility(market.bars.to_numpy(copy=True), 96)
    step, first = timeframe_ms(timeframe), market.valid_from[0]
    for row in sorted({first, len(close) - 1, *np.random.default_rng(0).integers(first, len(close), 40).tolist()}):
        into = 0 if timeframe == "1d" else (market.start_ms + row * step) % DAY_MS // step
        found = talib.MACD(close[row - into - 192 : row + 1], *spans)
        scale = close[row] * v[row]
        for name, value, unit in zip(("macd", "macd_signal", "macd_histogram"), found, (2, 2, 1), strict=True):
            wanted = min(max(value[-1] / (unit * scale), -8.0), 8.0)
            assert column(market, name)[row] == pytest.approx(wanted, rel=2e-5, abs=2e-5)


def test_bands_and_averages_equal_plain_pandas() -> None:
    market = market_of(trend=Trend(None, None, AVERAGES), volatility=Volatility(20, None, bands=True))
    close = market.bars["close"]
    v = np.sqrt((np.log(close).diff() ** 2).rolling(96).mean())
    rows = slice(market.valid_from[0], None)
    for bars in AVERAGES:
        wanted = np.log(close / close.rolling(bars).mean()) / (v * math.sqrt(bars))
        np.testing.assert_allclose(column(market, f"average_{bars}")[rows], wanted[rows], rtol=1e-4, atol=1e-5)
    middle, deviation = close.rolling(20).mean(), close.rolling(20).std(ddof=0)
    upper, lower = middle + 2 * deviation, middle - 2 * deviation
    for name, wanted in (
        ("bollinger", (close - middle) / ((upper - lower) / 2)),
        ("bollinger_middle", np.log(close / middle) / (v * math.sqrt(20))),
        ("bollinger_width", np.log((upper - lower) / (middle * v * math.sqrt(20)) + 0.01)),
    ):
        np.testing.assert_allclose(column(market, name)[rows], wanted[rows], rtol=1e-4, atol=1e-5)


def test_flat_prices_are_neutral_in_the_new_features_too() -> None:
    flat = BARS.assign(open=100.0, high=100.0, low=100.0, close=100.0)
    market = market_of(
        flat, trend=Trend(None, (12, 26), (5, 200), 9), volatility=Volatility(20, None, bands=True),
        pursuit=Pursuit(columns=("close", "macd_signal"), coefficients=4, **SMALL),
    )  # fmt: skip
    rows = dict(zip(market.feature_names[0], market.features[0][-1].tolist(), strict=True))
    assert rows.pop("volatility") == pytest.approx(math.log(0.001), abs=1e-5)
    assert set(rows.values()) == {0.0}


def test_pursuit_of_a_column_is_that_of_its_series() -> None:
    trades = np.random.default_rng(2).normal(size=len(BARS)).cumsum() - 50.0
    volume = np.where(np.arange(len(BARS)) % 7 == 0, 0.0, BARS["volume"])
    bars = BARS.assign(trades=trades, volume=volume)
    columns = ("close", "high", "volume", "trades", "rsi")
    pursued = Pursuit(columns=columns, coefficients=5, **SMALL)
    market = market_of(bars, pursuit=pursued, momentum=Momentum(9, None, None))
    config = Pursuit(**SMALL)
    atoms, words = slowest_atoms(config, 5), dictionary(config)
    series = {
        "close": np.log(bars["close"]), "high": np.log(bars["high"]), "volume": np.sqrt(volume), "trades": trades,
        "rsi": column(market_of(bars, momentum=Momentum(9, None, None)), "rsi"),
    }  # fmt: skip
    names = [words.kinds[d].label for d in atoms]
    assert names[:2] == ["sine_0.5", "cosine_0.5"]
    for row in (market.valid_from[0], 700, len(bars) - 1):
        for name, values in series.items():
            window = np.asarray(values, np.float64)[row - 15 : row + 1]
            centred = window - window.mean()
            found = pursuit.pursue((centred / np.linalg.norm(centred))[None], words, config.sparsity)
            weights = dict(zip(found.atoms[0].tolist(), found.coefficients[0].tolist(), strict=True))
            prefix = "pursuit_" if name == "close" else f"pursuit_{name}_"
            for d, label in zip(atoms, names, strict=True):
                wanted = 2.0 * weights.get(d, 0.0)
                assert column(market, prefix + label)[row] == pytest.approx(wanted, abs=1e-5), (name, label)
            error = 8.0 * (math.sqrt(found.error[0]) - 0.25)
            assert column(market, f"{prefix}error")[row] == pytest.approx(error, abs=1e-5)
    some = market.features[0][market.valid_from[0] :, market.feature_names[0].index("pursuit_sine_0.5")]
    assert some.min() < 0.0 < some.max()


def test_pursuit_alone_is_as_it_was() -> None:
    plain, more = Pursuit(**SMALL), Pursuit(columns=("volume", "close"), coefficients=3, **SMALL)
    assert plain.names(market_setting()) == tuple(f"pursuit_{name}" for name in PURSUIT_NAMES)
    market, other = market_of(pursuit=plain), market_of(pursuit=more)
    for name in market.feature_names[0]:
        assert column(market, name).tobytes() == column(other, name).tobytes()
    everything = Pursuit(coefficients=len(dictionary(plain).kinds), **SMALL)
    assert len(everything.names(market_setting())) == len(PURSUIT_NAMES) + len(dictionary(plain).kinds)


def market_setting() -> Any:
    from cryptoenv.features.view import Setting

    return Setting(timeframe_ms("15m"))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Trend(macd=None, macd_signal=9), "macd_signal is 9, but macd is None"),
        (lambda: Trend(macd_signal=0), "macd_signal is 0"),
        (lambda: Volatility(None, 14, bands=True), "bollinger is None"),
        (lambda: Pursuit(columns=()), "columns is"),
        (lambda: Pursuit(columns=("close", "close")), "each once"),
        (lambda: Pursuit(columns=("pursuit_trend",)), "no pursuit themselves"),
        (lambda: Pursuit(coefficients=-1), "coefficients is -1"),
        (lambda: Pursuit(coefficients=10_000), "coefficients is 10000; allowed: 0 to "),
        (lambda: FeatureSpec().with_timeframe("7x", TimeframeFeatures()), "timeframe '7x' is not known"),
        (lambda: FeatureSpec(timeframes=(("60m", TimeframeFeatures()), ("1h", TimeframeFeatures()))), "twice"),
        (lambda: FeatureSpec.from_dict({"timeframes": {"4h": {"trends": {}}}}), "4h: unknown key 'trends'"),
        (lambda: FeatureSpec.from_dict({"timeframes": ["4h"]}), "timeframes is"),
        (lambda: FeatureSpec.from_dict({"timeframes": {"4h": {"trend": {"macd_signal": "x"}}}}), "macd_signal"),
        (lambda: FeatureSpec.from_dict({"base": {"pursuit": {"columns": "rsi"}}}), "columns='rsi' is not allowed"),
    ],
)
def test_what_is_not_allowed_is_named(made: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made()


def test_a_column_that_is_nowhere_is_named() -> None:
    with pytest.raises(BarsError, match="column 'rsii', which the feature spec names"):
        market_of(pursuit=Pursuit(columns=("rsii",), **SMALL), momentum=Momentum())


def test_features_by_the_name_of_a_timeframe() -> None:
    own = replace(FeatureSpec().higher, trend=Trend(macd_signal=9, averages=(5,)))
    spec = FeatureSpec().with_timeframe("60m", own)
    market = Market.from_bars(random_bars(60, seed=1), ("15m", "1h", "4h", "1d"), features=spec)
    plain = Market.from_bars(random_bars(60, seed=1), ("15m", "1h", "4h", "1d"))
    assert [a == b for a, b in zip(market.feature_names, plain.feature_names, strict=True)] == [True, False, True, True]
    assert set(market.feature_names[1]) - set(plain.feature_names[1]) == {"macd_signal", "macd_histogram", "average_5"}
    for again in (FeatureSpec.from_yaml(spec.to_yaml()), FeatureSpec.from_dict(json.loads(json.dumps(spec.to_dict())))):
        assert again == spec
        assert again.hash == spec.hash != FeatureSpec().hash
    with pytest.raises(ValueError, match=r"names the timeframe '60m'; the market has \('15m', '4h'\)"):
        Market.from_bars(BARS, ("15m", "4h"), features=spec)
    assert spec.with_timeframe("1h", TimeframeFeatures()).timeframes == (("1h", TimeframeFeatures()),)


def test_specs_without_the_new_fields_are_what_they_were() -> None:
    assert FeatureSpec().hash == "fed0130b8ff8b7b5435086291eaa83f5ecc9e247835f7effe8b1e55eb8f60c86"
    text = json.dumps([FeatureSpec().to_dict(), replace(FeatureSpec().base, pursuit=Pursuit()).pursuit is not None])
    assert not any(word in text for word in ("macd_signal", "bands", "timeframes", "coefficients"))
