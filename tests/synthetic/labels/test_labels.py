from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import synthetic
from synthetic import NO_LABEL, filter_oracle, hindsight_oracle, oracle_labels, path_labels, regime_market

ROOT = Path(__file__).resolve().parents[3]


def test_oracle_labels_are_the_causal_optimum() -> None:
    sample = regime_market("easy", 5, 0)
    labels = oracle_labels(sample, 0.002)
    assert labels.dtype == np.int8 and labels.shape == (len(sample.bars), 3)
    assert (labels == filter_oracle(sample, 0.002).actions).all()


def test_path_labels_are_one_path_for_every_held_position() -> None:
    bars = regime_market("easy", 5, 0).bars
    labels = path_labels(bars, 0.0011, inflation=8.0)
    assert labels.dtype == np.int8 and labels.shape == (len(bars), 3)
    assert (labels == labels[:, :1]).all()
    assert (labels[-1] == NO_LABEL).all() and (labels[:-1] >= 0).all()
    assert (labels[:-1, 0] == hindsight_oracle(bars, 0.0088).path(0.0)[:-1]).all()


def test_a_higher_cost_leaves_fewer_and_longer_moves() -> None:
    bars = regime_market("easy", 60, 0).bars
    switches = [np.count_nonzero(np.diff(path_labels(bars, 0.0011, inflation=i)[:-1, 0])) for i in (1, 8, 25)]
    assert switches[0] > 5 * switches[1] > 10 * switches[2] > 0


def test_positions_without_flat_start_nearest_to_it() -> None:
    bars = regime_market("easy", 5, 0).bars
    assert set(np.unique(path_labels(bars, positions=(-1.0, 0.5))[:-1])) <= {0, 1}
    assert (path_labels(bars, cost=1e6, positions=(-1.0, 0.5))[:-1] == 1).all()


def test_bad_inflation_is_named() -> None:
    with pytest.raises(ValueError, match=r"inflation is 0\.0"):
        path_labels(regime_market("easy", 1, 0).bars, inflation=0.0)


def test_public_names_exist_and_the_import_is_light() -> None:
    assert all(hasattr(synthetic, name) for name in synthetic.__all__)
    heavy = "{'torch', 'scipy', 'sklearn', 'matplotlib', 'gymnasium', 'cryptoenv', 'talib', 'pyarrow'}"
    allowed_by_pandas = "{'pyarrow'}"
    code = (  # numba looks at scipy's version where scipy is installed
        "import sys, numba; before = set(sys.modules); import synthetic; new = set(sys.modules) - before;"
        f"print(sorted(({heavy} - {allowed_by_pandas}) & {{name.split('.')[0] for name in new}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
