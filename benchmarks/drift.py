"""False alarms of drift detectors on streams that do not change, and how soon they see planted changes.

Every case is kept as soon as it is reckoned: call it again to go on. Rates have a Clopper-Pearson interval; a detector
holds its level where the lower end is not above it. Streams: independent normal rows, autoregressive ones (0.5, 0.9),
Student t with 3 degrees of freedom, and GARCH(1, 1); the reference has 10,000 rows. Delays are of detectors held to one
false alarm in twenty streams of 5,000 rows; beside them stand two that need no data: one that always fires and one that
never does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.support.drift_delays import COLUMNS, METHODS, OF_TABLES, one_stream, outcomes, ten_columns
from benchmarks.support.drift_streams import KINDS, LEVEL, REFERENCE, probabilities, rate, stream
from benchmarks.support.kept import run_cases
from cryptoenv.analysis.drift.calibration import CalibrationReference, calibration_distance
from cryptoenv.analysis.drift.equity import EquityReference, EquityWatch
from cryptoenv.analysis.drift.features import table_distances
from cryptoenv.analysis.drift.losses import LossReference, LossWatch
from cryptoenv.analysis.drift.reference import TableReference

LENGTHS = (50, 200, 1000, 5000)


def features(kind: str, repetitions: int) -> dict[str, Any]:
    """PSI and KS of one column, each at the level, and both of ten columns together, by number of live rows."""
    names = ("PSI", "KS", "ten columns")
    alarms = {rows: dict.fromkeys(names, 0) for rows in LENGTHS}
    known = {rows: dict.fromkeys(names, 0) for rows in LENGTHS}
    for seed in range(repetitions):
        rng = np.random.default_rng([1, seed])
        learned = stream(kind, rng, REFERENCE, COLUMNS)
        reference = TableReference.of("15m", [f"x{k}" for k in range(COLUMNS)], [learned])
        one = TableReference("15m", reference.columns[:1])
        for rows in LENGTHS:
            live = stream(kind, rng, rows, COLUMNS)
            # Both statistics share a level: at twice the level each has its own.
            for name, distance in table_distances(one, live[:, :1], 2.0 * LEVEL)["x0"].items():
                known[rows][name] += distance is not None
                alarms[rows][name] += distance is not None and distance.alarms
            every = [d for column in table_distances(reference, live, LEVEL).values() for d in column.values()]
            known[rows]["ten columns"] += any(d is not None for d in every)
            alarms[rows]["ten columns"] += any(d is not None and d.alarms for d in every)
    return {
        f"n = {rows}": {name: rate(alarms[rows][name], known[rows][name], repetitions) for name in names}
        for rows in LENGTHS
    }


def losses(kind: str, rows: int, repetitions: int) -> dict[str, Any]:
    """Page-Hinkley and ADWIN over a stream of losses: any alarm in `rows`; beside them river's own defaults."""
    from river.drift import ADWIN, PageHinkley

    alarms = dict.fromkeys(("page-hinkley", "adwin", "river's PageHinkley()", "river's ADWIN()"), 0)
    for seed in range(repetitions):
        rng = np.random.default_rng([2, rows, seed])
        base, live = stream(kind, rng, REFERENCE)[:, 0], stream(kind, rng, rows)[:, 0]
        reference = LossReference.of(base)
        for method in METHODS:
            watch = LossWatch(reference, rows, LEVEL, method)
            alarms[method] += any(watch.add(x, 0) for x in live.tolist())
        for name, detector in (("river's PageHinkley()", PageHinkley()), ("river's ADWIN()", ADWIN())):
            fired = False
            for x in live.tolist():
                detector.update(x)
                fired = fired or detector.drift_detected
            alarms[name] += fired
    return {name: rate(count, repetitions, repetitions) for name, count in alarms.items()}


def equity(kind: str, rows: int, repetitions: int) -> dict[str, Any]:
    """Any fall below the band of a backtest of 10,000 bars within `rows` bars."""
    alarms = 0
    for seed in range(repetitions):
        rng = np.random.default_rng([3, rows, seed])
        base, live = (0.001 * stream(kind, rng, n)[:, 0] for n in (REFERENCE, rows))
        watch = EquityWatch(EquityReference.of(base), rows, LEVEL, seed=seed)
        curve = np.exp(np.concatenate([[0.0], np.cumsum(live)]))
        alarms += any(watch.add(x, 0) for x in curve.tolist())
    return {"equity band": rate(alarms, repetitions, repetitions)}


def calibration(kind: str, rows: int, repetitions: int) -> dict[str, Any]:
    """Distance of live residuals by bin from those of 10,000 predictions."""
    alarms = known = 0
    for seed in range(repetitions):
        rng = np.random.default_rng([4, rows, seed])
        reference = CalibrationReference.of(*probabilities(rng, kind, REFERENCE))
        found = calibration_distance(reference, *probabilities(rng, kind, rows), LEVEL)
        known += found is not None
        alarms += found is not None and found.alarms
    return {"calibration": rate(alarms, known, repetitions)}


def cases(repetitions: int) -> dict[str, Callable[[], dict[str, Any]]]:
    """Every case by name."""
    found: dict[str, Callable[[], dict[str, Any]]] = {}
    for kind in KINDS:
        found[f"alarm rate: features, {kind}"] = partial(features, kind, repetitions)
    for rows in LENGTHS:
        for kind in KINDS:
            found[f"alarm rate: losses, {kind}, n = {rows}"] = partial(losses, kind, rows, repetitions)
            found[f"alarm rate: equity, {kind}, n = {rows}"] = partial(equity, kind, rows, 2 * repetitions)
        for kind in ("independent", "overlapping"):
            found[f"alarm rate: calibration, {kind}, n = {rows}"] = partial(calibration, kind, rows, repetitions)
    half, tenth = max(repetitions // 2, 10), max(repetitions // 10, 10)
    for kind in ("independent", "overlapping"):
        found[f"delay: outcomes, {kind}"] = partial(outcomes, kind, half)
    for kind in ("independent", "autoregressive 0.5", "autoregressive 0.9", "GARCH(1, 1)"):
        found[f"delay: one stream, {kind}"] = partial(one_stream, kind, half)
    for what in OF_TABLES:
        for kind in ("independent", "autoregressive 0.9"):
            found[f"delay: ten columns, {kind}, {what}"] = partial(ten_columns, kind, what, tenth)
    return found


if __name__ == "__main__":
    run_cases("drift", __doc__, cases, 200, **{"level": LEVEL, "reference rows": REFERENCE})
