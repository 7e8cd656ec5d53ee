"""What the benchmark of drift says of delays, on a stream that needs no luck."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.support.drift_delays import CHANGES, EVERY, one_stream
from benchmarks.support.drift_streams import delays_told, probabilities


def test_what_was_not_seen_is_later_than_all_that_was() -> None:
    told = delays_told(1, [30, 10, 20, None, None])
    assert told["seen"]["share"] == pytest.approx(0.6) and told["false alarms before"]["share"] == pytest.approx(0.2)
    assert told["delay"]["median"] == 30 and told["delay"]["90%"] is None
    assert delays_told(0, [None, None])["delay"]["median"] is None


def test_every_detector_is_tried_and_a_large_change_is_seen_by_those_that_look() -> None:
    """Its first repetition compares PSI and KS with the monitor's own watch, and raises where they differ."""
    told = one_stream("independent", 1)
    assert set(told) == set(CHANGES)
    large = told["mean +1"]
    delay = {name: found["delay"]["median"] for name, found in large.items()}
    assert delay["never fires"] is None and delay["always fires"] == EVERY
    for name in ("PSI", "KS", "page-hinkley", "adwin", "equity band"):
        assert delay[name] is not None and 0 < delay[name] < 1000, name


def test_outcomes_are_as_often_as_is_said_until_they_change() -> None:
    rng = np.random.default_rng(0)
    for kind in ("independent", "overlapping"):
        said, came = probabilities(rng, kind, 20_000)
        assert came.mean() == pytest.approx(said.mean(), abs=0.03)
        said, came = probabilities(rng, kind, 20_000, bias=0.5)
        assert came.mean() > said.mean() + 0.07
