from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from synthetic import TASKS, WARMUP_DAYS, MacroTask, RegimeSample, regime_market
from synthetic.regimes.market import draw_market
from tests.synthetic.regimes.test_regime_market import digest, log_returns

ROOT = Path(__file__).resolve().parents[3]
STANDARD = TASKS["standard"]
assert isinstance(STANDARD, MacroTask)


@pytest.fixture(scope="module")
def long_sample() -> RegimeSample:
    return regime_market("standard", days=3000, seed=5)


def test_bars_and_truth_keep_their_contract() -> None:
    sample = regime_market("hard", days=3, seed=1)
    bars, truth = sample.bars, sample.truth
    assert len(bars) == (WARMUP_DAYS + 3) * 96
    assert list(bars.columns) == ["open", "high", "low", "close", "volume"] and (bars.dtypes == np.float64).all()
    assert (bars["open"].to_numpy()[1:] == bars["close"].to_numpy()[:-1]).all()
    assert (bars["high"] >= bars[["open", "close"]].max(axis=1)).all()
    assert (bars["low"] <= bars[["open", "close"]].min(axis=1)).all()
    assert (bars["low"] > 0).all() and (bars["volume"] > 0).all() and np.isfinite(bars).all(axis=None)
    assert truth.index.equals(bars.index)
    assert list(truth.columns) == ["regime", "drift", "second_moment", "volatility", "macro", "level"]
    assert truth["regime"].dtype == np.int8 and truth["macro"].dtype == np.int8
    assert (truth["macro"] == truth["regime"] // 16).all()


def test_same_seed_same_bytes_with_and_without_the_compiler() -> None:
    expected = digest(draw_market(STANDARD, 300, 3))
    assert digest(draw_market(STANDARD, 300, 3)) == expected != digest(draw_market(STANDARD, 300, 4))
    code = (
        "import hashlib; from synthetic.regime_filter import filter_beliefs;"
        "from tests.synthetic.regimes.test_macro_market import STANDARD, digest, draw_market;"
        "sample = draw_market(STANDARD, 300, 3);"
        "print(digest(sample), hashlib.sha256(filter_beliefs(sample).tobytes()).hexdigest())"
    )
    printed = []
    for disabled in ("0", "1"):
        environment = {**os.environ, "NUMBA_DISABLE_JIT": disabled, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.split())
    assert printed[0] == printed[1] and printed[0][0] == expected


def test_truth_is_what_generated_the_returns(long_sample: RegimeSample) -> None:
    """In every regime: mean and square of the return are as the truth says, within 5 standard errors."""
    returns, truth = log_returns(long_sample), long_sample.truth
    drift = truth["drift"].to_numpy()
    surprise = (returns - drift) / np.sqrt(truth["second_moment"].to_numpy() - drift**2)
    visits = np.bincount(truth["regime"], minlength=64)
    assert (visits > 100).sum() > 50
    for regime in np.flatnonzero(visits > 100):
        inside = surprise[truth["regime"].to_numpy() == regime]
        assert abs(inside.mean()) < 5 / np.sqrt(len(inside))
        assert abs((inside**2).mean() - 1) < 5 * np.sqrt(8 / len(inside))
    # Given the past too: nothing of the last shock is left, though the returns themselves bounce.
    assert abs(np.corrcoef(surprise[1:], returns[:-1])[0, 1]) < 5 / np.sqrt(len(returns))
    assert np.corrcoef(returns[1:], returns[:-1])[0, 1] < -0.015


def test_chains_keep_their_durations_and_exits(long_sample: RegimeSample) -> None:
    regimes = long_sample.truth["regime"].to_numpy().astype(int)
    counts = np.zeros((64, 64))
    np.add.at(counts, (regimes[:-1], regimes[1:]), 1)
    seen = counts.sum(axis=1, keepdims=True)
    matrix = STANDARD.transition_matrix
    assert (counts[matrix == 0] == 0).all()
    often = seen * matrix > 20
    seen = np.maximum(seen, 1)
    error = np.sqrt(matrix * (1 - matrix) / seen)
    assert (np.abs(counts / seen - matrix) <= 5 * error + 1e-12)[often].all()


def test_markets_start_stationary() -> None:
    first = [draw_market(STANDARD, 1, seed).truth.iloc[0] for seed in range(300)]
    shares = np.bincount([int(row["macro"]) for row in first], minlength=4) / len(first)
    expected = STANDARD.stationary_distribution.reshape(4, 16).sum(axis=1)
    assert (np.abs(shares - expected) < 4 * np.sqrt(expected / len(first))).all()
    levels = np.array([row["level"] for row in first])
    assert abs(levels.mean()) < 4 * 0.3 / np.sqrt(len(first)) and 0.25 < levels.std() < 0.35


def test_stylised_facts_are_those_the_parameters_were_frozen_with(long_sample: RegimeSample) -> None:
    returns = log_returns(long_sample)
    size = np.abs(returns)
    assert 12 < ((returns - returns.mean()) ** 4).mean() / returns.var() ** 2 < 40
    memory = [np.corrcoef(size[lag:], size[:-lag])[0, 1] for lag in (1, 16, 96)]
    assert 0.24 < memory[0] < 0.34 and 0.10 < memory[1] < 0.17 and 0.08 < memory[2] < 0.15


@pytest.mark.parametrize("name", ["standard", "hard"])
def test_trading_ten_thousand_is_never_capped(name: str) -> None:
    for seed in range(5):
        bars = regime_market(name, days=60, seed=seed).bars
        assert (0.1 * bars["volume"] * bars["low"]).min() > 10_000
