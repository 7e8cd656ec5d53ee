"""Losses, equity and probabilities against those of when all was well."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import binom

import cryptoenv.analysis.drift.equity as equity
from cryptoenv.analysis.drift.calibration import (
    CalibrationReference,
    CalibrationWatch,
    calibration_distance,
    expected_calibration_error,
)
from cryptoenv.analysis.drift.equity import EquityReference, EquityWatch, equity_band
from cryptoenv.analysis.drift.losses import ALLOWED, LossReference, LossWatch, Method, page_hinkley_threshold
from cryptoenv.files.typed_values import ConfigError

LEVEL = 0.05


@pytest.mark.parametrize("method", ["page-hinkley", "adwin"])
def test_losses_that_rise_are_an_alarm_and_those_that_fall_are_none(method: Method) -> None:
    rng = np.random.default_rng(0)
    reference = LossReference.of(rng.standard_normal(3000))
    for change, alarms in ((0.0, False), (-1.0, False), (1.0, True)):
        watch = LossWatch(reference, 2000, LEVEL, method)
        fired = [at for at in range(1000) if watch.add(float(rng.standard_normal()) + change, at)]
        assert bool(fired) is alarms and len(fired) <= 1
        assert watch.status.state == ("alarm" if alarms else "ok")
        assert not alarms or watch.status.since == fired[0]
    watch.begin_again()
    assert watch.status.state == "unknown" and not watch.add(float("nan"), 0)


def test_healthy_losses_alarm_no_more_often_than_the_level() -> None:
    alarms, tries = 0, 80
    for seed in range(tries):
        rng = np.random.default_rng(seed)
        watch = LossWatch(LossReference.of(rng.standard_t(3, 2000)), 1000, LEVEL)
        alarms += any(watch.add(x, 0) for x in rng.standard_t(3, 1000).tolist())
    assert alarms <= binom.isf(1e-3, tries, LEVEL)


def test_the_threshold_is_passed_as_often_as_it_says() -> None:
    """A sum of independent normal steps, each less what is allowed, that never falls below 0."""
    threshold, rng = page_hinkley_threshold(300, 0.2, ALLOWED), np.random.default_rng(1)
    total, passed = np.zeros(2000), np.zeros(2000, dtype=bool)
    for _ in range(300):
        total = np.maximum(total + rng.standard_normal(2000) - ALLOWED, 0.0)
        passed |= total > threshold
    assert passed.mean() == pytest.approx(0.2, abs=0.04)


def test_losses_that_say_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="allowed: >= 30"):
        LossReference.of(np.arange(40.0) % 3)
    with pytest.raises(ValueError, match="do not differ"):
        LossReference.of(np.ones(1000))
    reference = LossReference.of(np.random.default_rng(2).standard_normal(500))
    assert LossReference.from_json(json.loads(json.dumps(reference.to_json())), "x").stretches == reference.stretches
    with pytest.raises(ConfigError, match="not allowed"):
        LossReference.from_json(reference.to_json() | {"scatter": 0.0}, "x")


def test_a_healthy_path_stays_in_its_band_and_a_lost_edge_leaves_it() -> None:
    healthy, lost, tries = 0, 0, 20
    for seed in range(tries):
        rng = np.random.default_rng(seed)
        reference = EquityReference.of(0.001 * (0.05 + rng.standard_normal(3000)))
        band = equity_band(reference, 200, LEVEL, seed=seed)
        for change, name in ((0.05, "healthy"), (-0.3, "lost")):
            path = np.cumsum(0.001 * (change + rng.standard_normal(200)))
            below = (path[band.bars - 1] < band.low).any()
            healthy, lost = healthy + (below and name == "healthy"), lost + (below and name == "lost")
    assert healthy <= binom.isf(1e-3, tries, LEVEL) and lost > 0.9 * tries
    assert band.at(3) is None and band.at(2000) is None
    low, middle, high = band.at(200) or (0.0, 0.0, 0.0)
    assert low < middle < high
    again = equity_band(reference, 200, LEVEL, seed=seed)
    np.testing.assert_array_equal(band.low, again.low)


def falls(tries: int, keep: float, count: int = 4000, horizon: int = 600) -> int:
    """Of so many healthy paths of autoregressive returns, those that leave the band of their backtest."""
    found = 0
    for seed in range(tries):
        shocks = np.random.default_rng([9, seed]).standard_normal(count + horizon + 300)
        returns = 0.001 * lfilter([1.0], [1.0, -keep], shocks)[300:]
        band = equity_band(EquityReference.of(returns[:count]), horizon, LEVEL, seed=seed)
        found += bool((np.cumsum(returns[count:])[band.bars - 1] < band.low).any())
    return found


def test_healthy_paths_of_returns_that_remember_leave_the_band_no_more_often_than_the_level(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Blocks that are too short for the memory of the returns make a band that is left far too often."""
    tries = 40
    monkeypatch.setattr(equity, "PATHS", 1000)
    most = binom.isf(1e-3, tries, LEVEL)
    assert falls(tries, 0.9) <= most
    monkeypatch.setattr(equity, "block_length", lambda returns: 5.0)
    monkeypatch.setattr(equity, "stretch_rows", lambda *series: 5)
    assert falls(tries, 0.9) > most


def test_a_path_is_judged_where_its_band_was_drawn_and_nowhere_else() -> None:
    reference = EquityReference.of(0.001 * np.random.default_rng(6).standard_normal(2000))
    watch = EquityWatch(reference, 5000, LEVEL)
    judged = set(watch.band.bars.tolist())
    assert 100 < len(judged) <= 128 and max(judged) == 5000
    fired = [at for at in range(5001) if watch.add(1.0 if at in judged or at == 0 else 0.5, at)]
    assert not fired and watch.status.state == "ok"
    watch = EquityWatch(reference, 5000, LEVEL)
    assert [at for at in range(5001) if watch.add(0.5 if at else 1.0, at)] == [min(judged)]


def test_a_band_of_many_blocks_is_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = EquityReference.of(0.001 * np.random.default_rng(7).standard_normal(500))
    whole = equity_band(reference, 50, LEVEL)
    monkeypatch.setattr(equity, "AT_ONCE", 7_000)
    parts = equity_band(reference, 50, LEVEL)
    np.testing.assert_allclose(parts.low, whole.low, rtol=0.1)


def test_an_equity_watch_says_when_and_begins_again_at_its_horizon() -> None:
    rng = np.random.default_rng(3)
    reference = EquityReference.of(0.001 * rng.standard_normal(2000))
    watch = EquityWatch(reference, 200, LEVEL)
    fired = [at for at in range(700) if watch.add(10_000.0 * 0.999 ** max(at - 450, 0), at)]
    assert len(fired) == 1 and 451 < fired[0] < 620 and watch.status.since == fired[0]
    assert not watch.add(float("nan"), 0) and not watch.add(-1.0, 0)
    read = EquityReference.from_json(json.loads(json.dumps(reference.to_json())), "x")
    np.testing.assert_allclose(read.returns, reference.returns, rtol=1e-5)
    for wrong in (np.zeros(500), rng.standard_normal(20)):
        with pytest.raises(ValueError, match="promise nothing"):
            EquityReference.of(wrong)
    with pytest.raises(ValueError, match="horizon=1"):
        equity_band(reference, 1)


def test_probabilities_that_become_too_sure_are_seen() -> None:
    rng = np.random.default_rng(4)

    def drawn(rows: int, too_sure: float) -> tuple[np.ndarray, np.ndarray]:
        odds = rng.standard_normal(rows)
        said = 1.0 / (1.0 + np.exp(-odds))
        return said, (rng.random(rows) < 1.0 / (1.0 + np.exp(-odds * (1.0 - too_sure)))).astype(float)

    reference = CalibrationReference.of(*drawn(4000, 0.0))
    alarms = {0.0: 0, 0.8: 0}
    for too_sure in alarms:
        for _ in range(60):
            found = calibration_distance(reference, *drawn(1000, too_sure), LEVEL)
            assert found is not None
            alarms[too_sure] += found.alarms
    assert alarms[0.0] <= binom.isf(1e-3, 60, LEVEL) and alarms[0.8] > 55
    assert calibration_distance(reference, *drawn(20, 0.0)) is None
    read = CalibrationReference.from_json(json.loads(json.dumps(reference.to_json())), "x")
    np.testing.assert_allclose(read.variances, reference.variances, rtol=1e-6)
    assert expected_calibration_error([0.9, 0.9, 0.1, 0.1], [1, 1, 0, 0]) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="outcomes 0 or 1"):
        calibration_distance(reference, [0.5], [0.5])
    with pytest.raises(ValueError, match="too few"):
        CalibrationReference.of([0.5] * 10, [1.0] * 10)


def test_a_watch_of_calibration_knows_nothing_then_is_well_then_alarms() -> None:
    """A coin that is said to be fair, and from 400 outcomes on falls heads in nine of ten."""
    rng = np.random.default_rng(5)
    said = rng.uniform(0.3, 0.7, 4000)
    watch = CalibrationWatch(CalibrationReference.of(said, rng.random(4000) < said, 4), 0.01, (100, 300), 25)
    states = []
    for at in range(600):
        chance = float(rng.uniform(0.3, 0.7))
        watch.add(chance, bool(rng.random() < (chance if at < 400 else 0.9)), at)
        states.append(watch.status.state)
    watch.add(float("nan"), True, 600)
    assert states[90] == "unknown" and set(states[99:400]) == {"ok"} and "alarm" in states[400:]
    assert watch.status.since == states.index("alarm") and watch.status.words.startswith("the bin that is off most")
    with pytest.raises(ConfigError, match="ahead is 0"):
        CalibrationReference.from_json(watch.reference.to_json() | {"ahead": 0}, "x")
