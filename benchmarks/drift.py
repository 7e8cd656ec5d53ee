"""False alarms of drift detectors on streams that do not change, and how soon they see planted changes.

Every case is kept as soon as it is reckoned: call it again to go on. Rates have a Clopper-Pearson interval; a detector
holds its level where the lower end is not above it. Streams: independent normal rows, autoregressive ones (0.5, 0.9),
Student t with 3 degrees of freedom, and GARCH(1, 1); the reference has 10,000 rows. Beside the detectors stand two that
need no data: one that always fires and one that never does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import beta

from benchmarks.support.kept import run_cases
from cryptoenv.analysis.drift.calibration import CalibrationReference, calibration_distance
from cryptoenv.analysis.drift.equity import EquityReference, EquityWatch
from cryptoenv.analysis.drift.features import FeatureWatch, table_distances
from cryptoenv.analysis.drift.losses import LossReference, LossWatch, Method
from cryptoenv.analysis.drift.reference import TableReference

LEVEL, REFERENCE, COLUMNS = 0.05, 10_000, 10
LENGTHS = (50, 200, 1000, 5000)
KINDS = ("independent", "autoregressive 0.5", "autoregressive 0.9", "Student t(3)", "GARCH(1, 1)")
BEFORE, AFTER = 5_000, 5_000  #: rows of a stream before and after a planted change
WINDOWS, EVERY = (200, 1000), 25
METHODS: tuple[Method, ...] = ("page-hinkley", "adwin")
Rows = NDArray[np.float64]


def stream(kind: str, rng: np.random.Generator, rows: int, columns: int = 1) -> Rows:
    """(rows, columns) of mean 0 and deviation 1, columns independent of each other."""
    if kind == "independent":
        return rng.standard_normal((rows, columns))
    if kind == "Student t(3)":
        return rng.standard_t(3.0, (rows, columns)) / math.sqrt(3.0)
    if kind.startswith("autoregressive"):
        keep = float(kind.split()[1])
        noise = rng.standard_normal((rows + 500, columns)) * math.sqrt(1.0 - keep * keep)
        found: Rows = lfilter([1.0], [1.0, -keep], noise, axis=0)[500:]
        return found
    shocks = rng.standard_t(5.0, (rows + 500, columns)) / math.sqrt(5.0 / 3.0)
    found, variance = np.empty_like(shocks), np.ones(columns)
    for t, shock in enumerate(shocks):
        found[t] = np.sqrt(variance) * shock
        variance = 0.05 + 0.10 * found[t] ** 2 + 0.85 * variance
    return found[500:]


def rate(alarms: int, known: int, repetitions: int) -> dict[str, Any]:
    """Share of alarms among all repetitions with its interval, and in how many something could be said."""
    low = float(beta.ppf(0.025, alarms, repetitions - alarms + 1)) if alarms else 0.0
    high = float(beta.ppf(0.975, alarms + 1, repetitions - alarms)) if alarms < repetitions else 1.0
    return {
        "alarms": alarms / repetitions, "low": low, "high": high, "level": LEVEL, "holds": low <= LEVEL,
        "judged": known / repetitions, "repetitions": repetitions,
    }  # fmt: skip


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
        rng = np.random.default_rng([2, seed])
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
    alarms = known = 0
    for seed in range(repetitions):
        rng = np.random.default_rng([3, seed])
        base, live = (0.001 * stream(kind, rng, n)[:, 0] for n in (REFERENCE, rows))
        watch = EquityWatch(EquityReference.of(base), rows, LEVEL, seed=seed)
        known += 1
        curve = np.exp(np.concatenate([[0.0], np.cumsum(live)]))
        alarms += any(watch.add(x, 0) for x in curve.tolist())
    return {"equity band": rate(alarms, known, repetitions)}


def probabilities(rng: np.random.Generator, kind: str, rows: int, off: float = 0.0) -> tuple[Rows, Rows]:
    """Probabilities that were said, and outcomes, of horizons of 8 rows that overlap; `off`: of log-odds, too sure."""
    said = 1.0 / (1.0 + np.exp(-0.8 * stream("autoregressive 0.5" if kind == "overlapping" else kind, rng, rows)[:, 0]))
    drawn = rng.random(rows)
    if kind == "overlapping":  # neighbours share seven of eight bars: a Gaussian copula of moving sums
        noise = np.convolve(rng.standard_normal(rows + 7), np.full(8, 1.0 / math.sqrt(8.0)), mode="valid")
        drawn = np.array([0.5 * math.erfc(-x / math.sqrt(2.0)) for x in noise])
    true = 1.0 / (1.0 + np.exp(-(np.log(said / (1.0 - said)) * (1.0 - off))))
    return said, (drawn < true).astype(float)


def calibration(kind: str, rows: int, repetitions: int) -> dict[str, Any]:
    """Distance of live residuals by bin from those of 10,000 predictions."""
    alarms = known = 0
    for seed in range(repetitions):
        rng = np.random.default_rng([4, seed])
        reference = CalibrationReference.of(*probabilities(rng, kind, REFERENCE))
        found = calibration_distance(reference, *probabilities(rng, kind, rows), LEVEL)
        known += found is not None
        alarms += found is not None and found.alarms
    return {"calibration": rate(alarms, known, repetitions)}


#: What is planted into the live rows (n, F) from a row on: larger is a bigger change.
PLANTED: dict[str, Callable[[Rows], Rows]] = {
    "mean of all columns +0.5": lambda x: x + 0.5,
    "mean of one column +0.5": lambda x: x + 0.5 * (np.arange(x.shape[1]) == 0),
    "deviation of all columns x1.5": lambda x: x * 1.5,
    "volatility regimes (x0.5, x2, of 250 rows)": (
        lambda x: x * np.where(np.arange(len(x)) // 250 % 2, 0.5, 2.0)[:, None]
    ),
    "slow ramp to +1 in 5,000 rows": lambda x: x + np.linspace(0.0, 1.0, len(x))[:, None],
}  # fmt: skip


def _fires(watch: FeatureWatch, rows: Rows) -> list[int]:
    """Rows at which any column is in alarm, at its looks."""
    found = []
    for t, row in enumerate(rows):
        watch.add(row, t)
        if (t + 1) % EVERY == 0 and any(s.state == "alarm" for s in watch.statuses.values()):
            found.append(t)
    return found


def delays(kind: str, what: str, repetitions: int) -> dict[str, Any]:
    """Features, ten columns: rows from a planted change to the first look in alarm, at one false look in a hundred
    streams of 5,000 rows before it; a stream that was in alarm at the change is counted apart."""
    level = LEVEL / (BEFORE / EVERY)
    false, late, missed = 0, [], 0
    for seed in range(repetitions):
        rng = np.random.default_rng([5, seed])
        reference = TableReference.of("15m", [f"x{k}" for k in range(COLUMNS)], [stream(kind, rng, REFERENCE, COLUMNS)])
        live = stream(kind, rng, BEFORE + AFTER, COLUMNS)
        live[BEFORE:] = PLANTED[what](live[BEFORE:])
        fired = _fires(FeatureWatch(reference, level, WINDOWS, EVERY), live)
        false += any(t < BEFORE for t in fired)
        after = [t - BEFORE + 1 for t in fired if t >= BEFORE]
        late += after[:1]
        missed += not after
    return _told(false, late, missed, repetitions) | {"level over the rows before": LEVEL}


def loss_delays(kind: str, change: float, method: Method, repetitions: int) -> dict[str, Any]:
    """The same for losses whose mean rises by `change` deviations."""
    false, late, missed = 0, [], 0
    for seed in range(repetitions):
        rng = np.random.default_rng([6, seed])
        watch = LossWatch(LossReference.of(stream(kind, rng, REFERENCE)[:, 0]), BEFORE, LEVEL, method)
        live = stream(kind, rng, BEFORE + AFTER)[:, 0]
        live[BEFORE:] += change
        false += any(watch.add(x, 0) for x in live[:BEFORE].tolist())
        if watch.status.state == "alarm":
            watch.begin_again()
        found = next((t for t, x in enumerate(live[BEFORE:].tolist(), 1) if watch.add(x, 0)), None)
        late += [] if found is None else [found]
        missed += found is None
    return _told(false, late, missed, repetitions) | {"level over the rows before": LEVEL}


def equity_delays(kind: str, repetitions: int) -> dict[str, Any]:
    """An edge of 0.05 deviations a bar that is gone, or turns, with the change at the band's first bar."""
    found = {}
    for name, edge in (("edge stays", 0.05), ("edge is gone", 0.0), ("edge turns into its opposite", -0.05)):
        late, missed = [], 0
        for seed in range(repetitions):
            rng = np.random.default_rng([7, seed])
            base, live = (0.001 * stream(kind, rng, n)[:, 0] for n in (REFERENCE, AFTER))
            watch = EquityWatch(EquityReference.of(base + 5e-5), AFTER, LEVEL, seed=seed)
            curve = np.exp(np.concatenate([[0.0], np.cumsum(live + 0.001 * edge)]))
            fired = next((t for t, x in enumerate(curve.tolist()) if watch.add(x, 0)), None)
            late += [] if fired is None else [fired]
            missed += fired is None
        found[name] = {"seen": 1.0 - missed / repetitions, "delay": _quantiles(late), "repetitions": repetitions}
    return found


def calibration_power(repetitions: int) -> dict[str, Any]:
    """Share of windows in which probabilities that became too sure (log-odds by half) are seen."""
    found = {}
    for rows in LENGTHS:
        seen = 0
        for seed in range(repetitions):
            rng = np.random.default_rng([8, seed])
            reference = CalibrationReference.of(*probabilities(rng, "overlapping", REFERENCE))
            distance = calibration_distance(reference, *probabilities(rng, "overlapping", rows, 0.5), LEVEL)
            seen += distance is not None and distance.alarms
        found[f"{rows} predictions"] = {"seen": seen / repetitions, "repetitions": repetitions}
    return found


def without_data(repetitions: int) -> dict[str, Any]:
    """What always fires has no delay and every false alarm; what never fires has neither."""
    return {
        "always fires": _told(repetitions, [EVERY] * repetitions, 0, repetitions),
        "never fires": _told(0, [], repetitions, repetitions),
    }  # fmt: skip


def _told(false: int, late: list[int], missed: int, repetitions: int) -> dict[str, Any]:
    return {
        "false alarms before": false / repetitions, "delay": _quantiles(late), "missed": missed / repetitions,
        "repetitions": repetitions,
    }  # fmt: skip


def _quantiles(late: list[int]) -> dict[str, float] | None:
    return {name: float(np.quantile(late, q)) for name, q in (("median", 0.5), ("90%", 0.9))} if late else None


def cases(repetitions: int) -> dict[str, Callable[[], dict[str, Any]]]:
    """Every case by name, the quick ones first."""
    found: dict[str, Callable[[], dict[str, Any]]] = {"detectors without data": partial(without_data, repetitions)}
    few, tenth = max(repetitions // 2, 10), max(repetitions // 8, 10)
    for kind in KINDS:
        found[f"alarm rate: features, {kind}"] = partial(features, kind, repetitions)
    for rows in LENGTHS:
        for kind in KINDS:
            found[f"alarm rate: losses, {kind}, n = {rows}"] = partial(losses, kind, rows, few)
            found[f"alarm rate: equity, {kind}, n = {rows}"] = partial(equity, kind, rows, few)
        for kind in ("independent", "overlapping"):
            found[f"alarm rate: calibration, {kind}, n = {rows}"] = partial(calibration, kind, rows, repetitions)
    found["power: calibration"] = partial(calibration_power, few)
    for kind in ("independent", "autoregressive 0.5", "autoregressive 0.9"):
        for what in PLANTED:
            found[f"delay: features, {kind}, {what}"] = partial(delays, kind, what, tenth)
        for method in METHODS:
            for change in (0.25, 0.5, 1.0):
                name = f"delay: losses, {kind}, {method}, mean +{change:g}"
                found[name] = partial(loss_delays, kind, change, method, tenth)
        found[f"delay: equity, {kind}"] = partial(equity_delays, kind, tenth)
    return found


if __name__ == "__main__":
    run_cases("drift", __doc__, cases, 400, **{"level": LEVEL, "reference rows": REFERENCE})
