"""Horizon, triple-barrier and regime labels: against plain Python, and what each claims about looking ahead."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from synthetic import oracle_labels, path_labels, regime_market
from synthetic.labels.barriers import Barriers, triple_barrier, triple_barrier_labels
from synthetic.labels.horizon import horizon_labels
from synthetic.labels.regimes import BEAR, BULL, CONSOLIDATION, Segmentation, regime_labels
from synthetic.labels.targets import NO_LABEL, NO_SIGN, targets_of_signs
from synthetic.regimes.sample import RegimeSample
from tests.naive import labels as naive

ROOT = Path(__file__).resolve().parents[3]
NARROW = Barriers(timeout=20, upper=0.8, lower=0.5, memory=10)


@pytest.fixture(scope="module")
def sample() -> RegimeSample:
    return regime_market("easy", 5, 0)


def poisoned(bars: pd.DataFrame, after: int) -> pd.DataFrame:
    """The bars with everything beyond row `after` replaced by something wild but valid."""
    changed = bars.copy()
    rows = np.arange(len(bars)) > after
    changed.loc[rows, ["open", "high", "low", "close"]] *= np.where(np.arange(rows.sum()) % 2, 7.0, 0.1)[:, None]
    return changed


def rows_of(bars: pd.DataFrame) -> list[tuple[float, float, float, float]]:
    return list(bars[["open", "high", "low", "close"]].itertuples(index=False, name=None))


def test_horizon_labels_are_the_naive_ones(sample: RegimeSample) -> None:
    opens, closes = sample.bars["open"].tolist(), sample.bars["close"].tolist()
    labels = horizon_labels(sample.bars, 12, 0.003)
    expected = [naive.horizon_sign(opens, closes, t, 12, 0.003) for t in range(len(closes))]
    assert labels.dtype == np.int8 and labels.shape == (len(closes), 3)
    assert [NO_LABEL if sign is None else sign + 1 for sign in expected] == labels[:, 0].tolist()
    assert (labels == labels[:, :1]).all() and {0, 1, 2} <= set(labels[:, 0].tolist())


@pytest.mark.parametrize("barriers", [NARROW, Barriers(timeout=3, upper=0.3, lower=0.3, memory=5)])
def test_triple_barrier_is_the_naive_one(sample: RegimeSample, barriers: Barriers) -> None:
    bars = sample.bars[:600]
    found = triple_barrier(bars, barriers)
    rows = rows_of(bars)
    for t in range(len(rows)):
        touch = naive.barrier_touch(rows, t, barriers.timeout, barriers.upper, barriers.lower, barriers.memory)
        assert (int(found.signs[t]), int(found.touched[t])) == (touch or (NO_SIGN, -1)), t
    assert {-1, 0, 1} <= set(found.signs.tolist())


def test_both_barriers_in_one_bar_are_settled_by_the_open_or_not_at_all() -> None:
    calm = [(100.0, 100.1, 99.9, 100.0 + 0.1 * (t % 2)) for t in range(20)]
    names = ["open", "high", "low", "close"]
    for opening, sign in ((100.0, 0), (120.0, 1), (80.0, -1)):
        bars = pd.DataFrame([*calm, (opening, 130.0, 70.0, 100.0)], columns=names)
        found = triple_barrier(bars, Barriers(timeout=2, memory=5))
        assert (found.signs[19], found.touched[19]) == (sign, 20)


def test_regimes_are_the_best_of_all_divisions() -> None:
    rng = np.random.default_rng(1)
    for case in range(60):
        minimum, length = int(rng.integers(1, 4)), int(rng.integers(4, 8))
        growth = 0.02 * rng.standard_normal(length)
        drift, penalty = 0.01 * rng.random(), 0.02 * rng.random()
        closes = 100 * np.exp(np.cumsum(growth))
        bars = pd.DataFrame({"open": np.append(100.0, closes[:-1]), "close": closes})
        found = regime_labels(bars, Segmentation(minimum, drift, penalty)).tolist()
        best = naive.best_regimes_gain(growth.tolist(), minimum, drift, penalty)
        assert naive.regimes_gain(growth.tolist(), found, drift, penalty) == pytest.approx(best, abs=1e-12), case
        edges = [0, *(t for t in range(1, length) if found[t] != found[t - 1]), length]
        assert all(b - a >= minimum for a, b in itertools.pairwise(edges))


def test_planted_regimes_are_found() -> None:
    rng = np.random.default_rng(0)
    drift = np.repeat([0.001, 0.0, -0.001, 0.0], 400)
    closes = 100 * np.exp(np.cumsum(drift + 0.002 * rng.standard_normal(1600)))
    bars = pd.DataFrame({"open": np.append(100.0, closes[:-1]), "close": closes})
    found = regime_labels(bars, Segmentation(minimum=96, drift=0.0005, penalty=0.02))
    expected = np.repeat([BULL, CONSOLIDATION, BEAR, CONSOLIDATION], 400)
    assert (found == expected).mean() > 0.95
    assert found.dtype == np.int8


@pytest.mark.parametrize(
    ("label", "ahead"),
    [
        (lambda bars: horizon_labels(bars, 30)[:, 0], 30),
        (lambda bars: triple_barrier_labels(bars, NARROW)[:, 0], NARROW.timeout),
    ],
)
def test_poison_beyond_the_stated_look_ahead_changes_nothing_and_poison_within_it_does(
    sample: RegimeSample, label: Callable[[pd.DataFrame], NDArray[np.int8]], ahead: int
) -> None:
    bars = sample.bars
    clean = label(bars)
    for last in (200, 321, 400):
        kept = last - ahead + 1  # rows that see no further than `last`
        wild = label(poisoned(bars, last))
        assert (wild[:kept] == clean[:kept]).all()
        assert (wild[kept : last + 1] != clean[kept : last + 1]).any()


def test_a_touch_ends_the_look_ahead(sample: RegimeSample) -> None:
    found = triple_barrier(sample.bars, NARROW)
    t = int(np.flatnonzero((found.signs == 1) & (found.touched - np.arange(len(found.signs)) < 5))[0])
    assert triple_barrier(poisoned(sample.bars, int(found.touched[t])), NARROW).signs[t] == 1


def test_oracle_labels_look_ahead_not_at_all(sample: RegimeSample) -> None:
    cut = RegimeSample(poisoned(sample.bars, 300), sample.truth, sample.task, sample.seed)
    assert (oracle_labels(cut)[:301] == oracle_labels(sample)[:301]).all()


def test_path_and_regime_labels_do_look_to_the_end() -> None:
    closes = np.append(np.full(50, 100.0), 100.0 * 1.01 ** np.arange(1, 12))
    bars = pd.DataFrame({"open": np.append(100.0, closes[:-1]), "close": closes})
    fallen = bars.copy()
    fallen.loc[60, "close"] = 20.0
    long_ago = 10
    rules = Segmentation(minimum=60, drift=0.0, penalty=0.0)
    assert regime_labels(bars, rules)[long_ago] == BULL and regime_labels(fallen, rules)[long_ago] == BEAR
    still = pd.DataFrame({"open": np.full(40, 100.0), "close": np.full(40, 100.0)})
    short = still.copy()
    short.loc[39, "close"] = 50.0
    assert path_labels(still)[38, 0] != path_labels(short)[38, 0]


DIGEST = """
import hashlib
from synthetic import regime_labels, regime_market, triple_barrier
bars = regime_market("easy", 3, 1).bars
found = triple_barrier(bars)
arrays = (found.signs, found.touched, found.width, regime_labels(bars))
print(hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())
"""


def test_same_bytes_in_other_processes_with_and_without_jit() -> None:
    digests = set()
    for jit in ("0", "1"):
        environment = {**os.environ, "NUMBA_DISABLE_JIT": jit}
        done = subprocess.run(
            [sys.executable, "-c", DIGEST], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout.strip())
    assert len(digests) == 1


def test_signs_become_the_nearest_position_there_is() -> None:
    signs = np.array([-1, 0, 1, NO_SIGN], dtype=np.int8)
    assert targets_of_signs(signs, (-1.0, 0.0, 1.0))[:, 0].tolist() == [0, 1, 2, -1]
    assert targets_of_signs(signs, (0.0, 0.5, 1.0))[:, 0].tolist() == [0, 0, 2, -1]
    assert targets_of_signs(signs, (-1.0, -0.2)).tolist() == [[0, 0], [1, 1], [1, 1], [-1, -1]]


def test_bad_arguments_are_named(sample: RegimeSample) -> None:
    bars = sample.bars
    for call, message in (
        (lambda: horizon_labels(bars, 0), "horizon is 0"),
        (lambda: horizon_labels(bars, 5, -0.1), r"deadband is -0\.1"),
        (lambda: horizon_labels(bars.drop(columns="open")), "lack the column 'open'"),
        (lambda: horizon_labels(bars.assign(close=math.nan)), "close nan at 20"),
        (lambda: Barriers(timeout=0), "timeout is 0"),
        (lambda: Barriers(upper=0.0), r"upper is 0\.0"),
        (lambda: Barriers(memory=1), "memory is 1"),
        (lambda: Segmentation(minimum=0), "minimum is 0"),
        (lambda: Segmentation(penalty=-1.0), r"penalty is -1\.0"),
        (lambda: regime_labels(bars[:10]), "10 bars are fewer than minimum 96"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_short_series_have_no_label(sample: RegimeSample) -> None:
    assert (horizon_labels(sample.bars[:5], 5) == NO_LABEL).all()
    assert horizon_labels(sample.bars[:0], 5).shape == (0, 3)
    assert (triple_barrier_labels(sample.bars[:50]) == NO_LABEL).all()
