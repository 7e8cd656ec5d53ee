import json
import math
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from cryptoenv import BarsError, CryptoTradeEnv, Market
from cryptoenv.bars.bars import aggregate
from cryptoenv.bars.timeframe import DAY_MS
from cryptoenv.features import (
    AcrossTimeframes,
    Breakouts,
    Calendar,
    Exogenous,
    FeatureBars,
    FeatureSpec,
    Pursuit,
    Reference,
    Returns,
    SlowLevels,
    TimeframeFeatures,
    Trend,
    feature,
)
from cryptoenv.features.spec import ROLES
from tests.naive import features as naive
from tests.naive.random_bars import random_bars

BARS = random_bars(50, seed=1)


@feature("gap", bound=0.5, memory=1)
def gap(bars: FeatureBars) -> np.ndarray:
    """Distance between a bar's open and the close before it, in percent."""
    out = np.zeros(len(bars.close))
    out[1:] = 100.0 * (bars.open[1:] / bars.close[:-1] - 1.0)
    return out


def rich() -> FeatureSpec:
    base = replace(
        FeatureSpec().base, returns=Returns((2, 8), None, (1, 3)), trend=Trend(20, None, (50,)), calendar=Calendar(),
        exogenous=Exogenous(("trades",)), pursuit=Pursuit(),
    )  # fmt: skip
    return replace(FeatureSpec(), base=base).with_functions(gap)


@pytest.mark.parametrize("spec", [FeatureSpec(), FeatureSpec.none(), rich()])
def test_a_spec_survives_yaml_and_json(spec: FeatureSpec) -> None:
    for again in (
        FeatureSpec.from_yaml(spec.to_yaml(), [gap]),
        FeatureSpec.from_dict(json.loads(json.dumps(spec.to_dict())), [gap]),
        pickle.loads(pickle.dumps(spec)) if not spec.base.custom else spec,
    ):
        assert again == spec
        assert again.hash == spec.hash
    assert "!!" not in spec.to_yaml()  # readable, and nothing that safe_load would refuse


def test_the_hash_knows_every_parameter() -> None:
    @feature("gap", bound=0.5, memory=1)
    def other(bars: FeatureBars) -> np.ndarray:
        return bars.close - bars.close

    base = FeatureSpec().base
    specs = [FeatureSpec(), FeatureSpec.none(), rich(), FeatureSpec().with_functions(gap)]
    slow = (None, SlowLevels(19), SlowLevels(20, ()))
    specs += [replace(FeatureSpec(), base=replace(base, slow=given)) for given in slow]
    specs += [FeatureSpec().with_functions(other), FeatureSpec().with_functions(gap, roles=["daily"])]
    assert len({spec.hash for spec in specs}) == len(specs)
    assert FeatureSpec().hash == FeatureSpec().hash


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bases: {}", r"feature spec: unknown key 'bases', known are \['base', 'higher', 'daily', 'single'"),
        ("base: {trends: {}}", "base: unknown key 'trends', known are .*'volatility_bars', 'warm_up_bars', 'returns'"),
        ("base: {trend: {adx: 14, ma: 3}}", "base.trend: unknown key 'ma', known are .*'adx', 'macd', 'averages'"),
        ("base: {trend: {adx: -1}}", "base.trend: Trend.adx is -1; allowed: whole numbers of bars >= 1"),
        ("base: {returns: {horizons: [1, 2.5]}}", r"base.returns: horizons=\(1, 2.5\) is not allowed: it must"),
        ("base: {returns: {horizons: 4}}", r"base.returns: horizons=4 is not allowed: it must be tuple\[int"),
        ("base: {calendar: {hour: 3}}", "base.calendar: hour=3 is not allowed: it must be bool"),
        ("base: {breakouts: {decay: 0}}", "Breakouts.decay is 0; allowed: a number of days > 0"),
        ("base: {exogenous: {columns: [reference]}}", "names the reference's close; rename it"),
        ("base: {custom: [{name: gap}]}", "base.custom: 'bound' is missing"),
        ("base: {custom: [{name: Gap, bound: 1.0, memory: 1, digest: x}]}", "feature name 'Gap'; allowed: lower-case"),
        ("base: [1]", "base: expected keys and values, got list"),
        ("- base", "feature spec: expected keys and values, got list"),
        ("base: {", "the feature spec: no YAML"),
        ("base: !!python/object:os.system {}", "the feature spec: no YAML"),
    ],
)
def test_what_a_file_may_not_hold(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureSpec.from_yaml(text)


def test_a_short_file_has_what_it_names_and_no_more() -> None:
    spec = FeatureSpec.from_yaml("base: {returns: {horizons: [1, 5]}, candles: }\nhigher: {trend: {adx: 20}}")
    market = Market.from_bars(BARS, ("15m", "4h", "1d"), features=spec)
    assert market.feature_names == (("return_1", "return_5", "return_long", "range", "wick"), ("adx", "macd"), ())
    assert market.valid_from == (96, 192, 0)
    assert yaml.safe_load(spec.to_yaml())["base"]["returns"]["horizons"] == [1, 5]


@pytest.mark.parametrize(
    "made",
    [
        lambda: Returns((0,)),
        lambda: SlowLevels(days=True),
        lambda: AcrossTimeframes(level_bars=0),
        lambda: Breakouts(channel=0),
        lambda: Trend(macd=(12,)),  # type: ignore[arg-type]
        lambda: TimeframeFeatures(volatility_bars=0),
        lambda: feature("x", bound=9.0)(abs),
        lambda: feature("x", memory=-1)(abs),
        lambda: feature("Not a name")(abs),
        lambda: FeatureSpec().with_functions(gap, roles=["weekly"]),
    ],
)
def test_arguments_that_make_no_sense(made: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match="allowed"):
        made()


def test_markets_keep_their_spec(tmp_path: Path) -> None:
    spec = FeatureSpec().with_functions(gap)
    market = Market.from_bars(BARS, features=spec)
    assert market.hash != Market.from_bars(BARS).hash
    again = market.save(tmp_path / "m")
    assert again.hash == market.hash
    assert again.feature_spec == spec
    assert pickle.loads(pickle.dumps(again)).feature_spec == spec
    with pytest.raises(ValueError, match="feature 'gap' came from a file, which holds no code"):
        Market.from_bars(BARS, features=again.feature_spec)
    with_code = FeatureSpec.from_dict(again.feature_spec.to_dict(), [gap])
    assert Market.from_bars(BARS, features=with_code).hash == market.hash


def test_a_market_of_prices_only() -> None:
    market = Market.from_bars(BARS, features=FeatureSpec.none())
    assert [array.shape for array in market.features] == [(4800, 0), (300, 0), (50, 0)]
    assert market.valid_from == (0, 0, 0)
    assert market.first_decision((1, 1, 1)) == 95
    assert (market.prices == Market.from_bars(BARS).prices).all()
    assert Market.from_bars(BARS, features=FeatureSpec.none()).hash == market.hash


def test_a_users_feature_is_bounded_checked_and_seen_by_the_environment() -> None:
    market = Market.from_bars(BARS, features=FeatureSpec().with_functions(gap))
    for k, array in enumerate(market.features):
        assert market.feature_names[k][-1] == "gap"
        assert np.abs(array[:, -1]).max() <= 0.5
    wanted = 100.0 * (BARS["open"].to_numpy()[1:] / BARS["close"].to_numpy()[:-1] - 1.0)
    first = market.valid_from[0]
    np.testing.assert_allclose(market.features[0][first:, -1], np.clip(wanted[first - 1 :], -0.5, 0.5), atol=1e-6)
    observation, _ = CryptoTradeEnv(market, window=(8, 4, 2)).reset(seed=0)
    assert observation["15m"].shape == (8, len(market.feature_names[0]))

    @feature("short")
    def short(bars: FeatureBars) -> np.ndarray:
        return bars.close[1:]

    @feature("broken", memory=2)
    def broken(bars: FeatureBars) -> np.ndarray:
        return np.full(len(bars.close), np.nan)

    for wrong, message in (
        (short, r"feature 'short' returned shape \(159,\); allowed: one value per bar"),
        (broken, "feature 'broken' is nan at bar 2021-01-.*; allowed: finite"),
    ):
        with pytest.raises(ValueError, match=message):
            Market.from_bars(BARS, features=FeatureSpec.none().with_functions(wrong, roles=["base"]))
    with pytest.raises(TypeError, match="allowed: functions decorated with @feature"):
        FeatureSpec().with_functions(abs)  # type: ignore[arg-type]
    twice = feature("adx")(gap.function)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="two features of 15m are called 'adx'"):
        Market.from_bars(BARS, features=FeatureSpec().with_functions(twice))


def test_reference_features_equal_the_naive_ones() -> None:
    rng = np.random.default_rng(2)
    own = BARS.copy()
    market_wide = random_bars(51, seed=9, start="2020-12-31")
    noise = np.exp(np.cumsum(0.002 * rng.standard_normal(len(own))))
    scale = market_wide["close"].iloc[96:].to_numpy() * noise / own["close"].to_numpy()
    own[["open", "high", "low", "close"]] *= scale[:, None]
    own["open"] = own["open"].clip(own["low"], own["high"])
    market = Market.from_bars(own, reference=market_wide)
    slow = Market.from_bars(own, reference=aggregate(market_wide, "1h"))
    assert market.hash != slow.hash
    other = market_wide["close"].iloc[96:].to_list()
    close = own["close"].to_list()
    for k, (timeframe, ratio, bars) in enumerate((("15m", 1, 96), ("4h", 16, 96), ("1d", 96, 30))):
        names = market.feature_names[k]
        rows = market.features[k]
        picked = [names.index(f"reference_{name}") for name in ("correlation", "beta", "strength")]
        ends = close[ratio - 1 :: ratio], other[ratio - 1 :: ratio]
        for row in (market.valid_from[k], len(rows) - 1):
            v = naive.volatilities([(x, x, x, x, 1.0) for x in ends[0][: row + 1]], bars)[-1]
            wanted = naive.reference(ends[0][: row + 1], ends[1][: row + 1], v, bars)
            np.testing.assert_allclose(rows[row, picked], [*wanted.values()], rtol=1e-4, atol=1e-5, err_msg=timeframe)
    column = market.feature_names[0].index("reference_correlation")
    assert market.features[0][market.valid_from[0] :, column].mean() > 0.5


def test_a_reference_that_does_not_cover_the_bars() -> None:
    for wrong, message in (
        (BARS.iloc[:-2], "reference ends at 2021-02-19T23:30:00"),
        (BARS.iloc[5:], "reference is first known at 2021-01-01T01:30:00"),
        (BARS.drop(columns="high"), "reference: column 'high' is missing"),
    ):
        with pytest.raises(BarsError, match=message):
            Market.from_bars(BARS, reference=wrong)


def exogenous_market(bars: pd.DataFrame, timeframes: tuple[str, ...] = ("15m", "4h")) -> Market:
    role = TimeframeFeatures(exogenous=Exogenous(("trades",), bars=20))
    return Market.from_bars(bars, timeframes, features=FeatureSpec(role, role, role, role))


def test_further_columns_join_as_of_their_bars_close() -> None:
    values = np.random.default_rng(0).normal(size=len(BARS))
    values[np.random.default_rng(1).random(len(BARS)) < 0.4] = np.nan
    values[0] = 1.0
    market = exogenous_market(BARS.assign(trades=values))
    known = pd.Series(values).ffill().to_list()
    assert market.feature_names == (("z_trades",), ("z_trades",))
    for k, ratio in enumerate((1, 16)):
        ends = known[ratio - 1 :: ratio]
        for row in (market.valid_from[k], market.valid_from[k] + 7, len(ends) - 1):
            assert market.features[k][row, 0] == pytest.approx(naive.robust_z(ends[row - 19 : row + 1]), abs=1e-5)
    assert exogenous_market(BARS.assign(trades=3.0)).features[0].any() == np.False_


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (None, "column 'trades', which the feature spec names, is not there once"),
        ("text", "column 'trades' holds .*; allowed: numbers"),
        (math.inf, "row 0 .*column 'trades': infinite"),
        (math.nan, "column 'trades' is first known never"),
    ],
)
def test_further_columns_that_cannot_be_used(column: Any, message: str) -> None:
    with pytest.raises(BarsError, match=message):
        exogenous_market(BARS if column is None else BARS.assign(trades=column))


def test_roles() -> None:
    spec = FeatureSpec()
    hour = DAY_MS // 24
    assert spec.role(0, [hour]) is spec.single
    assert spec.role(0, [hour, DAY_MS]) is spec.base
    assert spec.role(1, [hour, 4 * hour, DAY_MS]) is spec.higher
    assert spec.role(0, [DAY_MS]) is spec.role(1, [DAY_MS, 7 * DAY_MS]) is spec.daily
    assert {*ROLES, "timeframes"} == set(vars(spec))
    assert spec.base.reference == Reference()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("base: {returns: {horizons: null}}", "horizons"),
        ("base: {returns: {long: [5]}}", "long"),
        ("base: {volume: {short: null}}", "short"),
        ("base: {volatility: {bollinger: [20]}}", "bollinger"),
        ("base: {momentum: {rsi: true}}", "rsi"),
        ("higher: {slow: {days: []}}", "days"),
        ("base: {breakouts: {quiet: x}}", "quiet"),
        ("base: {exogenous: {columns: [[a]]}}", "columns"),
        ("base: {volatility_bars: 9.5}", "base: volatility_bars=9.5"),
        ("base: {custom: 5}", "base.custom is 5; allowed: a list"),
        ("base: {custom: {a: 1}}", "base.custom is"),
        ("base: {custom: [{name: a, bound: 1, memory: 1, digest: [1]}]}", "digest is"),
        ("base: {custom: [{name: [a], bound: 1, memory: 1, digest: b}]}", "feature name"),
    ],
)
def test_values_are_of_the_type_that_their_parameter_has(text: str, named: str) -> None:
    """When the file is read, not by a raw error when a market is made."""
    with pytest.raises(ValueError, match=re.escape(named)):
        FeatureSpec.from_yaml(text)
