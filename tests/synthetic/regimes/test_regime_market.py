from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synthetic import TASKS, WARMUP_DAYS, RegimeSample, regime_market
from synthetic.regimes.market import draw_market

ROOT = Path(__file__).resolve().parents[3]
EASY = TASKS["easy"]


def digest(sample: RegimeSample) -> str:
    state = hashlib.sha256()
    for frame in (sample.bars, sample.truth):
        for column in frame:
            state.update(np.ascontiguousarray(frame[column]).tobytes())
    return state.hexdigest()


@pytest.fixture(scope="module")
def long_sample() -> RegimeSample:
    return regime_market("easy", days=1500, seed=5)


def log_returns(sample: RegimeSample) -> np.ndarray:
    return np.log(sample.bars["close"].to_numpy() / sample.bars["open"].to_numpy())


def test_bars_keep_their_contract() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sample = regime_market("easy", days=3, seed=1)
    bars = sample.bars
    assert len(bars) == (WARMUP_DAYS + 3) * 96
    assert list(bars.columns) == ["open", "high", "low", "close", "volume"]
    assert (bars.dtypes == np.float64).all()
    assert isinstance(bars.index, pd.DatetimeIndex) and bars.index.name == "timestamp"
    assert bars.index[0] == pd.Timestamp("2020-01-01", tz="UTC") and str(bars.index.tz) == "UTC"
    assert (np.diff(bars.index) == pd.Timedelta("15min")).all()
    assert (bars["open"].to_numpy()[1:] == bars["close"].to_numpy()[:-1]).all()
    assert (bars["high"] >= bars[["open", "close"]].max(axis=1)).all()
    assert (bars["low"] <= bars[["open", "close"]].min(axis=1)).all()
    assert (bars["low"] > 0).all() and (bars["volume"] > 0).all() and np.isfinite(bars).all(axis=None)
    assert sample.truth.index.equals(bars.index)
    assert sample.truth["regime"].dtype == np.int8
    assert list(sample.truth.columns) == ["regime", "drift", "second_moment", "volatility"]


def test_same_seed_same_bytes_and_other_seeds_differ() -> None:
    assert digest(regime_market("easy", 2, 9)) == digest(regime_market(EASY, 2, 9))
    assert digest(regime_market("easy", 2, 9)) != digest(regime_market("easy", 2, 10))
    assert len({float(regime_market("easy", 1, seed).bars["open"].iloc[0]) for seed in range(5)}) == 5


def test_same_bytes_without_the_compiler() -> None:
    code = (
        "from tests.synthetic.regimes.test_regime_market import EASY, digest, draw_market;"
        "print(digest(draw_market(EASY, 500, 3)))"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == digest(draw_market(EASY, 500, 3))


def test_truth_is_what_generated_the_returns(long_sample: RegimeSample) -> None:
    """In every regime: mean and square of the return are as the truth says, within 5 standard errors."""
    returns = log_returns(long_sample)
    truth = long_sample.truth
    for regime, rows in truth.groupby("regime"):
        inside = (truth["regime"] == regime).to_numpy()
        spread = np.sqrt(rows["second_moment"].to_numpy() - rows["drift"].to_numpy() ** 2)
        surprise = (returns[inside] - rows["drift"].to_numpy()) / spread
        assert abs(surprise.mean()) < 5 / np.sqrt(len(surprise))
        # The fourth moment of Student-t with 5 degrees of freedom is 9: its square's standard deviation is sqrt(8).
        assert abs((surprise**2).mean() - 1) < 5 * np.sqrt(8 / len(surprise))


def test_volatility_is_known_before_the_bar(long_sample: RegimeSample) -> None:
    """The next scale follows from this bar's return and scale alone."""
    v, sigma = EASY.variance, EASY.sigma
    h = (long_sample.truth["volatility"].to_numpy() / sigma) ** 2
    shocks = np.minimum((log_returns(long_sample) / sigma) ** 2, v.shock_bound)
    expected = np.clip(v.constant + v.reaction * shocks + v.persistence * h, v.floor, v.ceiling)
    np.testing.assert_allclose(h[1:], expected[:-1], rtol=1e-10)


def test_chain_keeps_its_durations_and_exits(long_sample: RegimeSample) -> None:
    regimes = long_sample.truth["regime"].to_numpy().astype(int)
    counts = np.zeros((11, 11))
    np.add.at(counts, (regimes[:-1], regimes[1:]), 1)
    seen = counts.sum(axis=1, keepdims=True)
    matrix = EASY.transition_matrix
    error = np.sqrt(matrix * (1 - matrix) / seen)
    assert (np.abs(counts / seen - matrix) <= 5 * error + 1e-12).all()
    assert (counts[matrix == 0] == 0).all()


def test_markets_start_stationary() -> None:
    """Regime and variance of the first bar, over many seeds, are spread as in the long run."""
    first = [draw_market(EASY, 1, seed).truth.iloc[0] for seed in range(1500)]
    shares = np.bincount([int(row["regime"]) for row in first], minlength=11) / len(first)
    expected = EASY.stationary_distribution
    assert (np.abs(shares - expected) < 5 * np.sqrt(expected / len(first))).all()
    long_run = regime_market("easy", days=1500, seed=6).truth["volatility"]
    scales = np.array([row["volatility"] for row in first])
    assert abs(scales.mean() - long_run.mean()) < 5 * scales.std() / np.sqrt(len(scales))


def test_trading_ten_thousand_is_never_capped() -> None:
    for seed in range(10):
        bars = regime_market("easy", days=60, seed=seed).bars
        assert (0.1 * bars["volume"] * bars["low"]).min() > 10_000
        assert 3e4 < bars["volume"].iloc[:96].median() < 3e5
        assert 50 < bars["open"].iloc[0] < 200


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="days is 0"):
        regime_market("easy", days=0)
    with pytest.raises(ValueError, match="seed is -1"):
        regime_market("easy", seed=-1)
    with pytest.raises(ValueError, match="task is 'hardest'"):
        regime_market("hardest")
