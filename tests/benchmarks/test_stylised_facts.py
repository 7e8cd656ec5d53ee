"""Stylised facts against plain formulas and processes whose facts are known."""

import math

import numpy as np
import pandas as pd
import pytest

from benchmarks.support import stylised_facts as sf

RNG = np.random.default_rng(0)


def test_formulas() -> None:
    r = RNG.standard_normal(500)
    mean = sum(r) / len(r)
    above = sum((r[t] - mean) * (r[t + 3] - mean) for t in range(len(r) - 3))
    assert sf.autocorrelation(r, 3) == pytest.approx(above / sum((x - mean) ** 2 for x in r))
    size = sorted((abs(x) for x in r), reverse=True)
    assert sf.tail_index(r) == pytest.approx(10 / sum(math.log(x / size[10]) for x in size[:10]))
    sums = [sum(r[t : t + 8]) - 8 * mean for t in range(len(r) - 7)]
    variance = sum((x - mean) ** 2 for x in r) / len(r)
    assert sf.variance_ratio(r, 8) == pytest.approx(sum(x * x for x in sums) / len(sums) / (8 * variance))
    np.testing.assert_allclose(sf.aggregated(np.arange(10.0), 4), [6.0, 22.0])


def test_a_gaussian_walk_has_none_of_them() -> None:
    r = 0.01 * RNG.standard_normal(200_000)
    assert sf.kurtosis(r) == pytest.approx(3.0, abs=0.1)
    assert abs(sf.autocorrelation(np.abs(r), 4)) < 0.01
    assert sf.variance_ratio(r, 96) == pytest.approx(1.0, abs=0.1)
    assert abs(sf.leverage(r)) < 0.01
    np.testing.assert_allclose(sf.hourly_profile(r, np.arange(len(r)) // 4 % 24), 1.0, atol=0.03)


def test_what_is_planted_is_found() -> None:
    noise = RNG.standard_normal(200_000)
    assert sf.tail_index(RNG.standard_t(3, 500_000)) == pytest.approx(3.0, abs=0.4)
    smooth = 0.5 * noise[1:] + noise[:-1]
    assert sf.autocorrelation(smooth, 1) == pytest.approx(0.4, abs=0.01)
    volatility = np.exp(0.5 * np.repeat(RNG.standard_normal(2000), 100))
    assert sf.autocorrelation(np.abs(volatility * noise), 20) > 0.1
    assert sf.volume_volatility(volatility * noise, volatility) > 0.3
    assert sf.peak_hour(1.0 + 0.3 * np.cos(2 * np.pi * (np.arange(24) - 14) / 24)) == pytest.approx(14.0)
    fall = np.full(96, math.log(0.99))
    assert sf.largest_drawdowns(fall, 96) == pytest.approx([1.0 - 0.99**96])


def test_too_few_bars_are_refused() -> None:
    index = pd.date_range("2024-01-01", periods=100, freq="15min", tz="UTC")
    with pytest.raises(ValueError, match="60 days"):
        sf.facts(pd.DataFrame({"close": np.linspace(1, 2, 100), "volume": 1.0}, index=index))
