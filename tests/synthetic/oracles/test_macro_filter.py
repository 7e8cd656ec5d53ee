from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synthetic import (
    EVERYTHING,
    OBSERVABLE,
    TASKS,
    WARMUP_DAYS,
    Information,
    MacroTask,
    RegimeSample,
    filter_beliefs,
    filter_oracle,
    regime_market,
)
from synthetic.oracles.macro_filter import evidence
from synthetic.oracles.macro_forecast import macro_forecast
from synthetic.regimes.macro_market import NOTIONAL
from synthetic.regimes.market import draw_market
from tests.naive import macro_filter as naive
from tests.synthetic.oracles.test_regime_filter import calibration_errors

STANDARD = TASKS["standard"]
assert isinstance(STANDARD, MacroTask)
WARM = WARMUP_DAYS * 96
SOURCES = [OBSERVABLE, Information(volume=False), Information(wicks=False), Information(macro=False)]


@pytest.fixture(scope="module")
def sample() -> RegimeSample:
    return regime_market("standard", days=1200, seed=21)


def truth_of(sample: RegimeSample) -> np.ndarray:
    return sample.truth["regime"].to_numpy()[WARM:]


def test_equals_plain_python() -> None:
    short = draw_market(STANDARD, 130, 4)
    bars = [tuple(row) for row in short.bars.to_numpy().tolist()]
    levels, start = short.truth["level"].tolist(), STANDARD.stationary_distribution.tolist()
    expected = naive.filter_beliefs(bars, levels, start, STANDARD, NOTIONAL)
    np.testing.assert_allclose(filter_beliefs(short), expected, rtol=0, atol=1e-10)
    other = replace(short, task=replace(STANDARD, bounce=0.05))
    assert np.abs(filter_beliefs(other) - expected).max() > 1e-5


def test_probabilities_come_true(sample: RegimeSample) -> None:
    beliefs = filter_beliefs(sample)[WARM:]
    np.testing.assert_allclose(beliefs.sum(axis=1), 1.0, atol=1e-12)
    populated = calibration_errors(beliefs, truth_of(sample))
    assert np.abs(populated).max() < 0.04
    wrong = replace(sample, task=replace(STANDARD, volume=replace(STANDARD.volume, noise=0.25)))
    assert np.abs(calibration_errors(filter_beliefs(wrong)[WARM:], truth_of(sample))).max() > 0.08


def test_next_bar_is_forecast_without_bias(sample: RegimeSample) -> None:
    """Regressing what the truth expects of the next bar on what the filter expects gives a slope of one."""
    forecast = macro_forecast(sample, EVERYTHING)
    drift = sample.truth["drift"].to_numpy()[WARM + 1 :]
    expected = forecast.drift[WARM:-1]
    assert (expected @ drift) / (expected @ expected) == pytest.approx(1.0, abs=0.02)
    moment = forecast.second_moment[WARM:-1]
    truth = sample.truth["second_moment"].to_numpy()[WARM + 1 :]
    assert (moment @ truth) / (moment @ moment) == pytest.approx(1.0, abs=0.005)


def test_more_information_knows_more(sample: RegimeSample) -> None:
    """The mean log-probability of the true regime falls with every source that is left out."""

    def knowledge(information: Information) -> float:
        beliefs = filter_beliefs(sample, information)[WARM:]
        return float(np.log(beliefs[np.arange(len(beliefs)), truth_of(sample)] + 1e-9).mean())

    full = knowledge(EVERYTHING)
    assert all(knowledge(information) < full - 0.001 for information in SOURCES)
    assert knowledge(Information(volume=False, wicks=False)) < knowledge(Information(volume=False)) - 0.001


def test_long_memory_is_all_memory_and_short_is_less() -> None:
    short = draw_market(STANDARD, 1500, 4)
    full = filter_beliefs(short)
    assert (np.abs(filter_beliefs(short, Information(memory=1500)) - full) < 1e-12).all()
    brief = filter_beliefs(short, Information(memory=16))
    np.testing.assert_allclose(brief[:16], full[:16], atol=1e-12)
    assert np.abs(brief - full).max() > 0.1


@pytest.mark.parametrize("information", [EVERYTHING, *SOURCES, Information(memory=8)])
def test_reads_only_what_it_is_told_and_no_future(information: Information) -> None:
    market = draw_market(STANDARD, 1200, 4)
    rng = np.random.default_rng(0)
    bars, truth = market.bars.copy(), market.truth.copy()
    bars.iloc[1000:] *= rng.uniform(0.5, 2.0, (200, 1))
    truth.iloc[1000:] = 0
    truth[[name for name in truth if name != "level" or not information.level]] = 0
    if not information.volume:
        bars["volume"] = 1.0
    if not information.wicks:
        bars["high"] = np.maximum(bars["open"], bars["close"])
        bars["low"] = np.minimum(bars["open"], bars["close"])
    other = filter_beliefs(replace(market, bars=bars, truth=truth), information)
    assert (filter_beliefs(market, information)[:1000] == other[:1000]).all()


def test_unknown_start_is_forgotten(sample: RegimeSample) -> None:
    cut = replace(sample, bars=sample.bars.iloc[2000:14_000], truth=sample.truth.iloc[2000:14_000])
    late, whole = filter_beliefs(cut), filter_beliefs(sample)[2000:14_000]
    assert np.abs(late - whole)[WARM:].max() < 0.01
    scale = sample.truth["volatility"].to_numpy()
    seen = evidence(sample)
    innovation = STANDARD.level_spread * np.sqrt(2 / STANDARD.level_memory)
    assert np.abs(np.log(seen.next_scale[WARM:-1] / scale[WARM + 1 :])).max() < 6 * innovation


def test_an_outlier_leaves_probabilities() -> None:
    market = draw_market(STANDARD, 300, 4)
    bars = market.bars.copy()
    bars.iloc[150, 4] *= 1e30
    bars.iloc[160, 3] *= 1e6
    beliefs = filter_beliefs(replace(market, bars=bars))
    assert np.isfinite(beliefs).all()
    np.testing.assert_allclose(beliefs.sum(axis=1), 1.0)


def test_bad_information_is_named() -> None:
    easy, standard = draw_market(TASKS["easy"], 50, 0), draw_market(STANDARD, 50, 0)
    with pytest.raises(ValueError, match="memory is 0"):
        Information(memory=0)
    with pytest.raises(ValueError, match="task 'easy' has no macro state"):
        filter_beliefs(easy, OBSERVABLE)
    with pytest.raises(ValueError, match="task 'easy' has no macro state"):
        filter_oracle(easy, information=OBSERVABLE)
    with pytest.raises(ValueError, match="one of the two can be left out"):
        filter_beliefs(standard, Information(macro=False, memory=5))
