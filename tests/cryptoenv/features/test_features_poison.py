"""No feature knows the future, over the full set; and the check finds every leak that is planted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryptoenv import Market
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.features import (
    Exogenous,
    FeatureBars,
    FeatureFunction,
    FeatureSpec,
    LookAheadError,
    Pursuit,
    TimeframeFeatures,
    check_causal,
    feature,
    feature_plans,
)
from cryptoenv.features.spec import ROLES
from cryptoenv.features.view import Family, Setting, View
from tests.cryptoenv.features.test_features_live import bars_and_reference, every_family, gap
from tests.naive.random_bars import random_bars

FAMILIES = (
    "returns", "candles", "volume", "volatility", "trend", "momentum", "calendar", "slow", "breakouts", "across",
    "reference", "exogenous", "pursuit", "custom",
)  # fmt: skip


def with_trades(days: float, timeframe: str = "15min", seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    bars = random_bars(days, seed, timeframe)
    trades = np.random.default_rng(0).normal(size=len(bars))
    return bars.assign(trades=trades), random_bars(days, seed + 50, timeframe)


def test_the_full_set_does_not_know_the_future() -> None:
    bars, reference = bars_and_reference(48)
    assert check_causal(every_family(), bars, reference=reference, decisions=150, seed=1) >= 150


@pytest.mark.slow
def test_the_full_set_does_not_know_the_future_at_1000_decisions() -> None:
    bars, reference = bars_and_reference(90)
    assert check_causal(every_family(), bars, reference=reference, decisions=1000, seed=2) >= 1000


def test_every_bar_of_a_small_market() -> None:
    bars, reference = with_trades(60, "4h")
    assert check_causal(every_family(), bars, ("4h", "1d"), reference=reference, decisions=None) > 100


@dataclass(frozen=True)
class Leaky:
    """A family, one value of which is that of `lag` bars later plus the return until then; at `at_ms` or everywhere."""

    family: Family
    column: int
    lag: int
    at_ms: int | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        return self.family.columns if isinstance(self.family, Exogenous) else ()

    def names(self, setting: Setting) -> tuple[str, ...]:
        return self.family.names(setting)

    def memory(self, setting: Setting) -> int:
        return self.family.memory(setting)

    def values(self, view: View) -> np.ndarray:
        out = np.array(self.family.values(view))
        later = np.minimum(np.arange(len(out)) + self.lag, len(out) - 1)
        close = view.bars.ohlcv[view.first :, 3]
        leaked = out[later, self.column] + np.log(close[later] / close)  # the clock alone, hour_sin, is no secret
        opens = view.bars.start_ms + view.setting.duration_ms * (view.first + np.arange(len(out)))
        rows = slice(None) if self.at_ms is None else opens == self.at_ms
        out[rows, self.column] = leaked[rows]
        return out


def planted(spec: FeatureSpec, role: str, family: str, leak: dict[str, Any]) -> FeatureSpec:
    given: TimeframeFeatures = getattr(spec, role)
    if family == "custom":
        leaky: Any = (Leaky(given.custom[0], **leak),)
    else:
        leaky = Leaky(getattr(given, family), **leak)
    return replace(spec, **{role: replace(given, **{family: leaky})})


def leaks(count: int, market: Market, seed: int) -> Sequence[tuple[str, str, int, int, int]]:
    """Random leaks, each family at least once: family, feature, timeframe's number, lag, bar."""
    rng = np.random.default_rng(seed)
    plans = feature_plans(every_family(), market.timeframes, ("trades", "reference"))
    out = []
    for number in range(count):
        family = FAMILIES[number] if number < len(FAMILIES) else str(rng.choice(FAMILIES))
        while True:
            k = int(rng.integers(len(plans)))
            given = getattr(every_family(), ROLES[k])
            family_given = given.custom[0] if family == "custom" else getattr(given, family)
            names = () if family_given is None else family_given.names(plans[k].setting)
            if names:
                break
        column, lag = int(rng.integers(len(names))), int(rng.integers(1, 4 if k == 0 else 2))
        row = int(rng.integers(market.valid_from[k], len(market.features[k]) - lag))
        out.append((family, names[column], k, lag, row))
    return out


def assert_leaks_are_found(count: int, seed: int) -> None:
    bars, reference = with_trades(46, "1h", seed)
    timeframes = ("1h", "4h", "1d")
    market = Market.from_bars(bars, timeframes, features=every_family(), reference=reference)
    found = 0
    for family, name, k, lag, row in leaks(count, market, seed):
        moment = market.start_ms + row * timeframe_ms(timeframes[k])
        given = getattr(every_family(), ROLES[k])
        family_given = given.custom[0] if family == "custom" else getattr(given, family)
        setting = feature_plans(every_family(), timeframes, ("trades", "reference"))[k].setting
        leak = {"column": family_given.names(setting).index(name), "lag": lag, "at_ms": moment}
        spec = planted(every_family(), ROLES[k], family, leak)
        with pytest.raises(LookAheadError) as error:
            check_causal(spec, bars, timeframes, reference=reference, decisions=None, seed=seed)
        assert (error.value.feature, error.value.timeframe) == (name, timeframes[k])
        assert error.value.bar == pd.Timestamp(moment, unit="ms", tz="UTC")
        assert error.value.future
        found += 1
    assert found == count


def test_a_leak_at_a_single_bar_is_found_in_every_family() -> None:
    assert_leaks_are_found(len(FAMILIES), seed=1)


@pytest.mark.slow
def test_100_of_100_leaks_at_single_bars_are_found() -> None:
    assert_leaks_are_found(100, seed=2)


def test_a_leak_everywhere_is_found_at_the_first_look() -> None:
    bars, reference = bars_and_reference(44)
    for role, family in (("base", "slow"), ("higher", "momentum"), ("daily", "returns")):
        spec = planted(every_family(), role, family, {"column": 0, "lag": 1})
        with pytest.raises(LookAheadError, match="changes with bars after its close"):
            check_causal(spec, bars, reference=reference, decisions=200)


@feature("centred", memory=10)
def centred(bars: FeatureBars) -> np.ndarray:
    return np.asarray(bars.close / bars.close.mean() - 1.0)


@feature("tomorrow", memory=10)
def tomorrow(bars: FeatureBars) -> np.ndarray:
    return np.append(np.diff(np.log(bars.close)), 0.0)


@pytest.mark.parametrize("leaky", [centred, tomorrow])
def test_a_users_feature_that_looks_ahead_is_named(leaky: FeatureFunction) -> None:
    bars = random_bars(44, seed=8)
    with pytest.raises(LookAheadError, match=f"feature '{leaky.name}' of 15m at the bar of 2021-.* after its close"):
        check_causal(FeatureSpec().with_functions(leaky), bars, decisions=50)


class Forgetful:
    """A family that depends on where the bars begin: a cumulative return."""

    def names(self, setting: Setting) -> tuple[str, ...]:
        return ("total",)

    def memory(self, setting: Setting) -> int:
        return 10

    def values(self, view: View) -> np.ndarray:
        return np.log(view.bars.ohlcv[view.first :, [3]] / view.bars.ohlcv[0, 3])


def test_history_older_than_the_memory_is_found_too() -> None:
    spec = replace(FeatureSpec.none(), base=replace(TimeframeFeatures(), slow=Forgetful()))  # type: ignore[arg-type]
    with pytest.raises(LookAheadError, match=r"feature 'total' of 15m .* changes with bars older than its memory"):
        check_causal(spec, random_bars(20, seed=1), ("15m", "1h"), decisions=20)


def test_too_few_bars_to_check() -> None:
    with pytest.raises(ValueError, match="too few to check"):
        check_causal(FeatureSpec(), random_bars(1.5, seed=1), ("15m",))
    with pytest.raises(ValueError, match="too few to check"):
        check_causal(FeatureSpec.none(), random_bars(30, seed=1))


def test_what_the_check_covers() -> None:
    """The families of the tests above are all there are."""
    spec = every_family()
    assert {name for role in ROLES for name in vars(getattr(spec, role))} - {"volatility_bars", "warm_up_bars"} == set(
        FAMILIES
    )
    assert gap in spec.base.custom
    assert isinstance(spec.base.exogenous, Exogenous)
    assert isinstance(spec.base.pursuit, Pursuit)
