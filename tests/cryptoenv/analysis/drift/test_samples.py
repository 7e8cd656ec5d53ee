"""PSI and Kolmogorov-Smirnov: the formulas, the level on healthy streams, and what is seen of drift."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import binom, chi2

from cryptoenv.analysis.drift.dependence import correlation_time, long_run_covariance
from cryptoenv.analysis.drift.features import FeaturePlan, FeatureWatch, table_distances
from cryptoenv.analysis.drift.reference import ColumnReference, TableReference
from cryptoenv.analysis.drift.samples import kolmogorov_smirnov, population_stability
from cryptoenv.files.typed_values import ConfigError

LEVEL = 0.05


def remembering(rng: np.random.Generator, rows: int, keep: float, columns: int = 1) -> NDArray[np.float64]:
    """(rows, columns) of an autoregressive process of deviation 1."""
    noise = rng.standard_normal((rows + 300, columns)) * math.sqrt(1.0 - keep * keep)
    found: NDArray[np.float64] = lfilter([1.0], [1.0, -keep], noise, axis=0)[300:]
    return found


def counts(reference: ColumnReference, rows: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.bincount(np.searchsorted(reference.edges, rows), minlength=len(reference.shares))


def test_the_statistics_are_those_of_the_formulas() -> None:
    rng = np.random.default_rng(0)
    base, live = rng.standard_normal(4000), 0.3 + rng.standard_normal(1000)
    reference = ColumnReference.of("x", [base])
    found = population_stability(reference, counts(reference, live), LEVEL)
    borders = [-np.inf, *reference.edges[1::2], np.inf]
    psi = 0.0
    for low, high in pairwise(borders):
        q = float(((base > low) & (base <= high)).mean())
        p = (float(((live > low) & (live <= high)).sum()) + 0.5) / (1000 + 5.0)
        psi += (p - q) * math.log(p / q)
    assert found is not None and found.statistic == pytest.approx(psi, rel=1e-9)
    assert found.threshold == pytest.approx(chi2.isf(LEVEL, 9) * (1 / 1000 + 1 / 4000), rel=0.05) and found.alarms
    apart = kolmogorov_smirnov(reference, counts(reference, live), LEVEL)
    distance = max(abs(float((live <= e).mean()) - float((base <= e).mean())) for e in reference.edges)
    assert apart is not None and apart.statistic == pytest.approx(distance / math.sqrt(reference.times.max()), rel=0.1)
    assert apart.threshold == pytest.approx(1.358 * math.sqrt(1 / 1000 + 1 / 4000), rel=1e-3)


def test_correlation_times_are_those_of_the_process() -> None:
    rng = np.random.default_rng(1)
    assert correlation_time(remembering(rng, 60_000, 0.9)[:, 0]) == pytest.approx(1.9 / 0.1, rel=0.2)
    assert correlation_time(rng.standard_normal(5000)) < 1.2
    assert correlation_time(np.full(50, 3.0)) == correlation_time([1.0, 2.0]) == 1.0
    rows = remembering(rng, 60_000, 0.8)
    covariance, batches = long_run_covariance([rows[:30_000], rows[30_000:]], 54)
    assert covariance[0, 0] == pytest.approx(9.0, rel=0.2) and batches == pytest.approx(1111, rel=0.01)


@pytest.mark.parametrize("keep", [0.0, 0.9])
def test_healthy_windows_alarm_no_more_often_than_the_level(keep: float) -> None:
    """Fifty to 5,000 rows; what takes dependent rows for independent ones fires on nearly all of them."""
    tries, alarms, naive = 45, {"PSI": 0, "KS": 0}, 0
    for seed in range(tries):
        rng = np.random.default_rng(seed)
        reference = ColumnReference.of("x", [remembering(rng, 6000, keep)[:, 0]])
        rows = (50, 1000, 5000)[seed % 3]
        live = counts(reference, remembering(rng, rows, keep)[:, 0])
        for name, of in (("PSI", population_stability), ("KS", kolmogorov_smirnov)):
            distance = of(reference, live, LEVEL)
            alarms[name] += distance is not None and distance.alarms
        p, q = (live + 0.5) / (rows + 10.0), reference.shares
        naive += float(np.sum((p - q) * np.log(p / q))) > chi2.isf(LEVEL, 19) * (1 / rows + 1 / 6000)
    most = binom.isf(1e-3, tries, LEVEL)
    assert max(alarms.values()) <= most
    assert keep == 0.0 or naive > 3 * most


def test_ten_columns_whose_volatility_comes_in_clusters_alarm_no_more_often_than_the_level() -> None:
    """GARCH(1, 1) with tails of Student's t: weak correlations that go on for long, which short batches do not see."""
    tries, alarms = 24, 0
    shocks = np.random.default_rng(11).standard_t(5.0, (6_300, 10 * tries)) / math.sqrt(5.0 / 3.0)
    variance = np.ones(10 * tries)
    for t in range(len(shocks)):
        shocks[t] *= np.sqrt(variance)
        variance = 0.05 + 0.10 * shocks[t] ** 2 + 0.85 * variance
    for number, table in enumerate(np.split(shocks, tries, axis=1)):
        reference = TableReference.of("1h", [f"x{k}" for k in range(10)], [table[300:5_300]])
        found = table_distances(reference, table[-(200, 1000)[number % 2] :], LEVEL)
        alarms += any(d is not None and d.alarms for column in found.values() for d in column.values())
    assert alarms <= binom.isf(0.01, tries, LEVEL)


def test_the_usual_rule_fires_on_fifty_healthy_rows() -> None:
    rng = np.random.default_rng(2)
    reference = ColumnReference.of("x", [rng.standard_normal(5000)])
    usual = ours = 0
    for _ in range(100):
        live = counts(reference, rng.standard_normal(50))
        p = (live.reshape(10, 2).sum(axis=1) + 0.5) / 55.0
        usual += float(np.sum((p - 0.1) * np.log(p / 0.1))) > 0.2
        found = population_stability(reference, live, LEVEL)
        assert found is not None
        ours += found.alarms
    assert usual > 20 and ours <= binom.isf(1e-3, 100, LEVEL)


def watch(columns: int = 4, **arguments: object) -> FeatureWatch:
    rng = np.random.default_rng(3)
    learned = [remembering(rng, 3000, 0.5, columns) for _ in range(2)]
    reference = TableReference.of("1h", [f"x{k}" for k in range(columns)], learned)
    return FeatureWatch(reference, 0.01, windows=(100, 300), every=25, **arguments)  # type: ignore[arg-type]


def test_only_the_column_that_drifts_is_in_alarm_and_since_when() -> None:
    watching, rng = watch(), np.random.default_rng(4)
    rows = remembering(rng, 900, 0.5, 4)
    rows[500:, 2] += 1.5
    changed = []
    for at, row in enumerate(rows):
        changed += [(at, name) for name in watching.add(row, 1000 * at)]
    assert {name for _, name in changed} == {"x2"} and 500 <= changed[0][0] < 620
    status = watching.statuses["x2"]
    assert status.state == "alarm" and status.since == 1000 * changed[0][0]
    assert status.statistic is not None and status.threshold is not None and status.statistic > status.threshold
    assert {watching.statuses[f"x{k}"].state for k in (0, 1, 3)} == {"ok"}
    with pytest.raises(ValueError, match="a row has shape"):
        watching.add(np.zeros(3), 0)


def test_an_empty_constant_or_missing_column_is_unknown_and_the_others_go_on() -> None:
    watching, rng = watch(), np.random.default_rng(5)
    rows = remembering(rng, 400, 0.5, 4)
    rows[:, 0], rows[:, 1] = np.nan, 0.25
    rows[::3, 2] = np.inf
    for at, row in enumerate(rows):
        watching.add(row, at)
    states = {name: status.state for name, status in watching.statuses.items()}
    assert states == {"x0": "unknown", "x1": "unknown", "x2": "unknown", "x3": "ok"}
    assert "no numbers" in watching.statuses["x0"].words and "constant" in watching.statuses["x1"].words
    found = table_distances(watching.reference, rows, LEVEL)
    assert found["x0"]["PSI"] is None and found["x3"]["PSI"] is not None


def test_a_column_that_was_constant_or_remembers_too_long_is_never_judged() -> None:
    rng = np.random.default_rng(6)
    learned = np.column_stack([np.ones(500), np.cumsum(rng.standard_normal(500)), np.full(500, np.nan)])
    reference = TableReference.of("1h", ["constant", "wanders", "empty"], [learned])
    assert [column.judged for column in reference.columns] == [False, False, False]
    watching = FeatureWatch(reference, 0.01, (20,), 20)
    for at in range(40):
        watching.add(rng.standard_normal(3), at)
    assert {status.state for status in watching.statuses.values()} == {"unknown"}


def test_whole_numbers_and_switches_are_judged_too() -> None:
    rng = np.random.default_rng(7)
    learned = np.column_stack([rng.random(4000) < 0.3, rng.integers(0, 4, 4000)]).astype(float)
    reference = TableReference.of("1h", ["switch", "quarter"], [learned])
    healthy = np.column_stack([rng.random(500) < 0.3, rng.integers(0, 4, 500)]).astype(float)
    drifted = np.column_stack([rng.random(500) < 0.5, rng.integers(1, 4, 500)]).astype(float)
    for rows, alarms in ((healthy, False), (drifted, True)):
        for column in table_distances(reference, rows, 0.01).values():
            assert any(one is not None and one.alarms for one in column.values()) is alarms


def test_a_reference_is_json_and_says_the_same_after_it() -> None:
    reference = watch().reference
    read = TableReference.from_json(json.loads(json.dumps(reference.to_json())), "here")
    live = remembering(np.random.default_rng(8), 300, 0.5, 4)
    for name, column in table_distances(reference, live).items():
        for statistic, one in column.items():
            other = table_distances(read, live)[name][statistic]
            assert one is not None and other is not None
            assert other.statistic == pytest.approx(one.statistic, rel=1e-3)
    told = reference.to_json()
    told["columns"][0]["edges"] = told["columns"][0]["edges"][::-1]
    with pytest.raises(ConfigError, match="here: column 'x0': edges, shares, times and covariance do not fit"):
        TableReference.from_json(told, "here")
    with pytest.raises(ConfigError, match="exactly the keys"):
        TableReference.from_json({"timeframe": "1h"}, "here")


def test_levels_follow_from_false_alarms_a_year() -> None:
    plan = FeaturePlan(every=24, false_alarms=0.5)
    assert plan.level("1h") == pytest.approx(0.5 / 365.0)
    with pytest.raises(ConfigError):
        FeaturePlan(windows=(4,))
