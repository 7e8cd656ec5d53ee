from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synthetic import TASKS, WARMUP_DAYS, RegimeSample, filter_beliefs, regime_market
from synthetic.oracles.chain_filter import observed_variances
from synthetic.regimes.market import draw_market
from synthetic.regimes.sample import TYPICAL_NOTIONAL
from tests.naive import regime_filter as naive

EASY = TASKS["easy"]
WARM = WARMUP_DAYS * 96


@pytest.fixture(scope="module")
def sample() -> RegimeSample:
    return regime_market("easy", days=2500, seed=21)


def calibration_errors(beliefs: np.ndarray, regimes: np.ndarray) -> np.ndarray:
    """Frequency minus mean predicted probability, over up to nine bins of probability."""
    predicted = beliefs.ravel()
    happened = (regimes[:, None] == np.arange(beliefs.shape[1])).ravel()
    bins = np.digitize(predicted, [0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99])
    filled = [b for b in range(9) if (bins == b).any()]
    return np.array([happened[bins == b].mean() - predicted[bins == b].mean() for b in filled])


def test_equals_plain_python() -> None:
    short = draw_market(EASY, 1500, 4)
    bars = short.bars
    log_returns = np.log(bars["close"] / bars["open"])
    log_activity = np.log(bars["volume"] * bars["open"] / TYPICAL_NOTIONAL)
    expected = naive.filter_beliefs(
        log_returns.tolist(), log_activity.tolist(), EASY.stationary_distribution.tolist(), EASY
    )
    beliefs = filter_beliefs(short)
    np.testing.assert_allclose(beliefs, expected, rtol=0, atol=1e-10)
    other = replace(short, task=replace(EASY, degrees_of_freedom=5.01))
    assert np.abs(filter_beliefs(other) - expected).max() > 1e-6


def test_probabilities_come_true(sample: RegimeSample) -> None:
    """Bars are dependent: about a hundred bars of a regime count as one, hence the tolerance."""
    regimes = sample.truth["regime"].to_numpy()[WARM:]
    beliefs = filter_beliefs(sample)[WARM:]
    np.testing.assert_allclose(beliefs.sum(axis=1), 1.0, atol=1e-12)
    assert np.abs(calibration_errors(beliefs, regimes)).max() < 0.02
    wrong = replace(sample, task=replace(EASY, volume_noise=0.3))
    assert np.abs(calibration_errors(filter_beliefs(wrong)[WARM:], regimes)).max() > 0.05


def test_expected_drift_is_unbiased(sample: RegimeSample) -> None:
    """Regressing the next bar's true drift on the filter's forecast gives a slope of one."""
    forecast = (filter_beliefs(sample) @ (EASY.transition_matrix @ EASY.mean_log_return))[WARM:-1]
    drift = sample.truth["drift"].to_numpy()[WARM + 1 :]
    assert (forecast @ drift) / (forecast @ forecast) == pytest.approx(1.0, abs=0.02)


def test_reads_neither_truth_nor_future(sample: RegimeSample) -> None:
    cut = replace(sample, bars=sample.bars.iloc[:3000], truth=sample.truth.iloc[:0])
    poisoned = sample.bars.iloc[:4000].copy()
    poisoned.iloc[3000:] *= np.random.default_rng(0).uniform(0.5, 2.0, (1000, 5))
    full = filter_beliefs(replace(sample, bars=poisoned))[:3000]
    assert (filter_beliefs(cut) == full).all()
    assert (observed_variances(cut.bars, EASY) == observed_variances(poisoned, EASY)[:3001]).all()


def test_unknown_start_is_forgotten(sample: RegimeSample) -> None:
    late = filter_beliefs(replace(sample, bars=sample.bars.iloc[2000:12_000]))
    whole = filter_beliefs(replace(sample, bars=sample.bars.iloc[:12_000]))[2000:]
    assert np.abs(late - whole)[WARM:].max() < 1e-12
    truth = (sample.truth["volatility"].to_numpy() / EASY.sigma) ** 2
    np.testing.assert_allclose(observed_variances(sample.bars, EASY)[500:-1], truth[500:], rtol=1e-10)


def test_an_outlier_leaves_probabilities() -> None:
    short = draw_market(EASY, 300, 4)
    bars = short.bars.copy()
    bars.iloc[150, bars.columns.get_loc("volume")] *= 1e30
    bars.iloc[160, bars.columns.get_loc("close")] *= 1e6
    beliefs = filter_beliefs(replace(short, bars=bars))
    assert np.isfinite(beliefs).all()
    np.testing.assert_allclose(beliefs.sum(axis=1), 1.0)
