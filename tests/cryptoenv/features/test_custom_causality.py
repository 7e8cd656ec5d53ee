"""A user's feature that looks ahead is found when a market is built with it; its hash knows all that it reads."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryptoenv import Market
from cryptoenv.features import FeatureBars, FeatureSpec, LookAheadError, feature
from tests.naive.random_bars import random_bars

BARS = random_bars(8, seed=1)
SEEN: dict[int, float] = {}


def built(code: Callable[[FeatureBars], np.ndarray]) -> Market:
    spec = FeatureSpec.none().with_functions(feature("mine", memory=4)(code))
    return Market.from_bars(BARS, ("15m", "1h"), features=spec)


def honest(bars: FeatureBars) -> np.ndarray:
    return np.log(bars.close / bars.open) + 0.0 * np.cumsum(bars.volume)


def tomorrow(bars: FeatureBars) -> np.ndarray:
    return np.append(np.diff(np.log(bars.close)), 0.0)


def sometimes(bars: FeatureBars) -> np.ndarray:
    ahead = np.append(np.diff(np.log(bars.close)), 0.0)
    return np.where(bars.open_ms // 900_000 % 61 == 7, ahead, 0.0)


def last_row(bars: FeatureBars) -> np.ndarray:
    return bars.close / bars.close[-1] - 1.0


def day_s_volume(bars: FeatureBars) -> np.ndarray:
    return bars.volume / bars.volume.sum()


@pytest.mark.parametrize("code", [tomorrow, sometimes, last_row, day_s_volume])
def test_a_feature_that_looks_ahead_is_found(code: Callable[[FeatureBars], np.ndarray]) -> None:
    with pytest.raises(LookAheadError, match=r"feature 'mine' of .* bars after its close"):
        built(code)


def test_an_honest_one_is_not_refused() -> None:
    assert built(honest).feature_names[0] == ("mine",)


def remembers(bars: FeatureBars) -> np.ndarray:
    for moment, close in zip(bars.open_ms.tolist(), bars.close.tolist(), strict=True):
        SEEN.setdefault(moment, close)
    return np.array([SEEN.get(moment + 900_000, 1.0) / 100.0 for moment in bars.open_ms.tolist()])


def test_state_draws_and_tables_are_refused() -> None:
    with pytest.raises(ValueError, match="changes them itself"):
        built(remembers)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"gives other values|changes them itself"):
        built(lambda bars: rng.normal(size=len(bars.close)))
    table = pd.Series(BARS["close"].to_numpy())
    with pytest.raises(ValueError, match="may not read a table"):
        built(lambda bars: table.to_numpy()[: len(bars.close)])


def typed(text: str, **names: Any) -> str:
    """The digest of a function typed at a prompt, which has no source."""
    space: dict[str, Any] = {"np": np, **names}
    exec(text, space)
    return feature("mine")(space["f"]).digest


CALLING = (
    "g = lambda b: b.close * 7\ndef f(bars): return g(bars)",
    "def h(x): return x * 7\ndef g(b): return h(b.close)\ndef f(bars): return g(bars)",
    "def m(k):\n def g(b): return b.close * k\n return g\nf = m(7)",
)
PLAIN = "def f(bars): return bars.close * 2.0"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((PLAIN, {}), ("def f(bars): return bars.close * 3.0", {})),
        ((PLAIN, {}), ("def f(bars): return bars.open * 2.0", {})),
        (("def f(bars): return np.log(bars.close)", {}), ("def f(bars): return np.exp(bars.close)", {})),
        (("def f(bars, k=1): return bars.close * k", {}), ("def f(bars, k=2): return bars.close * k", {})),
        (("def f(bars, *, k=1): return bars.close * k", {}), ("def f(bars, *, k=2): return bars.close * k", {})),
        (("def f(bars): return bars.close * K", {"K": 1}), ("def f(bars): return bars.close * K", {"K": 2})),
        *(((text, {}), (text.replace("7", "8"), {})) for text in CALLING),
        (
            ("def f(bars): return bars.close * W[0]", {"W": np.array([1.0])}),
            ("def f(bars): return bars.close * W[0]", {"W": np.array([2.0])}),
        ),
    ],
)  # fmt: skip
def test_the_digest_knows_what_a_typed_function_reads(one: Any, other: Any) -> None:
    assert typed(one[0], **one[1]) == typed(one[0], **one[1])
    assert typed(one[0], **one[1]) != typed(other[0], **other[1])


def test_two_lambdas_of_one_line_differ() -> None:
    first, second = feature("a")(lambda bars: bars.close), feature("a")(lambda bars: bars.open)
    assert first.digest != second.digest
