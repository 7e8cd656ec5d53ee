"""What teachers tell: the oracle its beliefs, too; those of bars nothing that bars do not show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pretrain.data.teachers import BAR_TEACHERS, labelled_sample
from synthetic import filter_beliefs, regime_market

TIMEFRAMES, WINDOW = ("15m", "4h", "1d"), (32, 8, 4)


@pytest.mark.parametrize("task", ["easy", "standard"])
def test_the_oracle_tells_what_it_believes(task: str) -> None:
    sample = regime_market(task, 10, 3)
    found = labelled_sample(sample, TIMEFRAMES, WINDOW)
    assert found.beliefs is not None
    assert found.regimes == len(sample.task.regimes)
    np.testing.assert_allclose(found.beliefs, filter_beliefs(sample), atol=1e-3)


@pytest.mark.parametrize("teacher", BAR_TEACHERS)
def test_teachers_of_bars_know_no_truth(teacher: str) -> None:
    sample = regime_market("standard", 10, 3)
    other = sample.truth.copy()
    for name in other:
        other[name] = other[name].to_numpy()[::-1]
    found, blinded = (
        labelled_sample(s, TIMEFRAMES, WINDOW, teacher=teacher) for s in (sample, replace(sample, truth=other))
    )  # type: ignore[arg-type]
    assert found.beliefs is None
    np.testing.assert_array_equal(found.labels, blinded.labels)
