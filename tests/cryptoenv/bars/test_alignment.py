"""Rows of ended bars, against a plain reading of the clock."""

from __future__ import annotations

import numpy as np
import pytest

from cryptoenv.bars.alignment import ended_row, ended_rows, ending_rows

MINUTE = 60_000


@pytest.mark.parametrize(("start", "first"), [(0, 0), (15, 60), (45, 60), (60, 240), (30, 0)])
@pytest.mark.parametrize("duration", [15, 60, 240, 1_440])
def test_a_longer_bar_is_known_from_its_last_base_bar_on(start: int, first: int, duration: int) -> None:
    count, step = 400, 15
    found = ended_rows(start * MINUTE, step * MINUTE, count, first * MINUTE, duration * MINUTE)
    assert found.dtype == np.int64 and found.shape == (count,)
    for t in range(count):
        close, known = start + (t + 1) * step, -1
        while first + (known + 2) * duration <= close:
            known += 1
        assert found[t] == known == ended_row(close * MINUTE, first * MINUTE, duration * MINUTE)
    whole = np.arange(found.max() + 1)
    ends = ending_rows(whole, first * MINUTE, duration * MINUTE, start * MINUTE, step * MINUTE)
    inside = ends >= 0
    np.testing.assert_array_equal(ends[inside], np.searchsorted(found, whole[inside]))
    assert ending_rows(0, first * MINUTE, duration * MINUTE, start * MINUTE, step * MINUTE) == ends[0]
