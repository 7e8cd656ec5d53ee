"""How soon drift detectors see a planted change, each held to one false alarm in twenty streams of 5,000 rows.

A stream has 5,000 healthy rows, then the change, then 5,000 more. A detector that is in alarm at the change begins
again there.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.support.drift_streams import LEVEL, REFERENCE, Rows, delays_told, probabilities, stream
from cryptoenv.analysis.drift.calibration import CalibrationReference, CalibrationWatch
from cryptoenv.analysis.drift.equity import EquityReference, EquityWatch
from cryptoenv.analysis.drift.features import STATISTICS, FeatureWatch
from cryptoenv.analysis.drift.losses import LossReference, LossWatch, Method
from cryptoenv.analysis.drift.reference import ColumnReference, TableReference

BEFORE, AFTER, COLUMNS = 5_000, 5_000, 10
WINDOWS, EVERY = (200, 1000), 25
LOOKS = BEFORE // EVERY
METHODS: tuple[Method, ...] = ("page-hinkley", "adwin")
RETURN = -0.001  #: log-return that a loss of one deviation is
Late = tuple[bool, int | None]  #: whether a stream had a false alarm; rows from the change to the alarm

#: What is planted into a stream (n,) of deviation 1 from its change on.
CHANGES: dict[str, Callable[[Rows], Rows]] = {
    "mean +0.1": lambda x: x + 0.1,
    "mean +0.25": lambda x: x + 0.25,
    "mean +0.5": lambda x: x + 0.5,
    "mean +1": lambda x: x + 1.0,
    "deviation x1.5": lambda x: x * 1.5,
}
#: What is planted into ten columns (n, F).
OF_TABLES: dict[str, Callable[[Rows], Rows]] = {
    "mean of all columns +0.5": lambda x: x + 0.5,
    "mean of one column +0.5": lambda x: x + 0.5 * (np.arange(x.shape[1]) == 0),
    "deviation of all columns x1.5": lambda x: x * 1.5,
    "volatility regimes (x0.5, x2, of 250 rows)": (
        lambda x: x * np.where(np.arange(len(x)) // 250 % 2, 0.5, 2.0)[:, None]
    ),
    "slow ramp to +1 in 5,000 rows": lambda x: x + np.linspace(0.0, 1.0, len(x))[:, None],
}
#: How outcomes change of which probabilities were said, see `probabilities`.
OF_OUTCOMES: dict[str, dict[str, float]] = {
    "too sure: log-odds halved": {"too_sure": 0.5},
    "outcomes shift: log-odds +0.5": {"bias": 0.5},
}


def one_stream(kind: str, repetitions: int) -> dict[str, Any]:
    """All that looks at one stream: a feature for PSI and KS, losses, and the equity that loses them."""
    found: dict[str, dict[str, list[Late]]] = {change: {} for change in CHANGES}
    for seed in range(repetitions):
        rng = np.random.default_rng([5, seed])
        base, live = stream(kind, rng, REFERENCE)[:, 0], stream(kind, rng, BEFORE + AFTER)[:, 0]
        changed = {name: of(live[BEFORE:]) for name, of in CHANGES.items()}
        column = ColumnReference.of("x", [base])
        if seed == 0:
            require_as_watched(column, np.concatenate([live[:BEFORE], changed["mean +1"]]))
        detectors: list[tuple[str, dict[str, Late]]] = [
            *((name, of_statistic(name, column, live, changed)) for name in STATISTICS),
            *((method, of_losses(method, LossReference.of(base), live, changed)) for method in METHODS),
            ("equity band", of_equity(EquityReference.of(RETURN * base), live, changed, seed)),
            ("always fires", dict.fromkeys(CHANGES, (True, EVERY))),
            ("never fires", dict.fromkeys(CHANGES, (False, None))),
        ]
        for detector, late in detectors:
            for change, one in late.items():
                found[change].setdefault(detector, []).append(one)
    return {change: {name: _told(late) for name, late in of.items()} for change, of in found.items()}


def of_statistic(name: str, column: ColumnReference, live: Rows, changed: dict[str, Rows]) -> dict[str, Late]:
    """PSI or KS of both windows, at looks every 25 rows."""
    false = bool(alarms(name, column, live[:BEFORE]).any())
    found: dict[str, Late] = {}
    for change, after in changed.items():
        (fired,) = np.nonzero(alarms(name, column, np.concatenate([live[:BEFORE], after]))[LOOKS:])
        found[change] = false, int(fired[0] + 1) * EVERY if len(fired) else None
    return found


def alarms(name: str, column: ColumnReference, rows: Rows) -> NDArray[np.bool_]:
    """(looks,) whether a statistic of one column is in alarm at each look, in any of the windows."""
    cells = np.searchsorted(column.edges, rows, side="left")
    seen = np.zeros((len(rows) + 1, len(column.shares)), dtype=np.int64)
    np.cumsum(cells[:, None] == np.arange(len(column.shares)), axis=0, out=seen[1:])
    found = np.zeros(len(rows) // EVERY, dtype=bool)
    for look, stop in enumerate(range(EVERY, len(rows) + 1, EVERY)):
        for window in WINDOWS:
            if window <= stop:
                of = STATISTICS[name](column, seen[stop] - seen[stop - window], LEVEL / LOOKS / len(WINDOWS))
                found[look] |= of is not None and of.alarms
    return found


def require_as_watched(column: ColumnReference, rows: Rows) -> None:
    """That PSI and KS, reckoned from sums, alarm where the monitor's watch of the same level does.

    Raises:
        AssertionError: they do not.
    """
    watch = FeatureWatch(TableReference("x", (column,)), len(STATISTICS) * LEVEL / LOOKS, WINDOWS, EVERY)
    ours = np.any([alarms(name, column, rows) for name in STATISTICS], axis=0)
    theirs = [(t + 1) // EVERY - 1 for t in fires(watch, rows[:, None])]
    if not theirs or not np.array_equal(np.flatnonzero(ours), theirs):
        raise AssertionError(f"looks in alarm: {np.flatnonzero(ours)} of sums, {theirs} of the watch")


def of_losses(method: Method, reference: LossReference, live: Rows, changed: dict[str, Rows]) -> dict[str, Late]:
    """Page-Hinkley or ADWIN."""
    watch = LossWatch(reference, BEFORE, LEVEL, method)
    false = any(watch.add(x, 0) for x in live[:BEFORE].tolist())
    if watch.status.state == "alarm":
        watch.begin_again()
    return {change: (false, _first(deepcopy(watch), after)) for change, after in changed.items()}


def of_equity(reference: EquityReference, live: Rows, changed: dict[str, Rows], seed: int) -> dict[str, Late]:
    """A band of 5,000 bars that is healthy; and one in the middle of which the change comes."""
    fresh = EquityWatch(reference, BEFORE, LEVEL, seed=seed)
    false = _first(deepcopy(fresh), _equity(live[:BEFORE])) is not None
    before = _equity(live[BEFORE // 2 : BEFORE])
    watch = deepcopy(fresh)
    if _first(watch, before) is not None:
        watch = fresh
    return {change: (false, _first(deepcopy(watch), before[-1] * _equity(after))) for change, after in changed.items()}


def _equity(losses: Rows) -> Rows:
    return np.asarray(np.exp(RETURN * np.cumsum(losses)))


def _first(watch: LossWatch | EquityWatch, values: Rows) -> int | None:
    return next((t for t, x in enumerate(values.tolist(), 1) if watch.add(x, 0)), None)


def fires(watch: FeatureWatch, rows: Rows) -> list[int]:
    """Rows at which any column is in alarm, at its looks."""
    found = []
    for t, row in enumerate(rows):
        watch.add(row, t)
        if (t + 1) % EVERY == 0 and any(s.state == "alarm" for s in watch.statuses.values()):
            found.append(t)
    return found


def ten_columns(kind: str, what: str, repetitions: int) -> dict[str, Any]:
    """PSI and KS of ten columns, as the monitor watches them: one level for all."""
    false, late = 0, list[int | None]()
    for seed in range(repetitions):
        rng = np.random.default_rng([6, seed])
        reference = TableReference.of("15m", [f"x{k}" for k in range(COLUMNS)], [stream(kind, rng, REFERENCE, COLUMNS)])
        live = stream(kind, rng, BEFORE + AFTER, COLUMNS)
        live[BEFORE:] = OF_TABLES[what](live[BEFORE:])
        fired = fires(FeatureWatch(reference, LEVEL / LOOKS, WINDOWS, EVERY), live)
        false += any(t < BEFORE for t in fired)
        late.append(next((t - BEFORE + 1 for t in fired if t >= BEFORE), None))
    return {"ten columns": delays_told(false, late)}


def outcomes(kind: str, repetitions: int) -> dict[str, Any]:
    """Calibration of probabilities whose outcomes change."""
    late: dict[str, list[Late]] = {change: [] for change in OF_OUTCOMES}
    for seed in range(repetitions):
        rng = np.random.default_rng([7, seed])
        reference = CalibrationReference.of(*probabilities(rng, kind, REFERENCE))
        watch = CalibrationWatch(reference, LEVEL / LOOKS, WINDOWS, EVERY)
        false = bool(_looks_in_alarm(watch, *probabilities(rng, kind, BEFORE)))
        for number, (change, how) in enumerate(OF_OUTCOMES.items()):
            after = probabilities(np.random.default_rng([8, seed, number]), kind, AFTER, **how)
            fired = _looks_in_alarm(deepcopy(watch), *after)
            late[change].append((false, fired[0] if fired else None))
    return {change: {"calibration": _told(of)} for change, of in late.items()}


def _looks_in_alarm(watch: CalibrationWatch, said: Rows, came: Rows) -> list[int]:
    """After how many outcomes the watch was in alarm at a look."""
    found = []
    for t, (chance, outcome) in enumerate(zip(said.tolist(), came.tolist(), strict=True), 1):
        watch.add(chance, bool(outcome), t)
        if t % EVERY == 0 and watch.status.state == "alarm":
            found.append(t)
    return found


def _told(late: list[Late]) -> dict[str, Any]:
    return delays_told(sum(false for false, _ in late), [after for _, after in late])
