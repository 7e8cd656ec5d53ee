"""Full counts of a service in a process of its own, run by `make prove`: memory, health, draining, an hour's soak."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.serving import drain, health, small_gpt, soak, stranger

pytestmark = pytest.mark.slow
HOUR = float(os.environ.get("CRYPTOENV_SOAK_SECONDS", "3600"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_gpt(tmp_path_factory.mktemp("models") / "gpt")


def test_bodies_of_100_mb_are_not_kept(place: Path) -> None:
    found = stranger(place)
    print(found)
    for name, one in found.items():
        assert one["grown_mb"] < 20.0, name
        assert one["status"] in ((0, 401) if name.startswith("without") else (0, 413)), name


@pytest.mark.parametrize("connections", [16, 100])
def test_sigterm_under_load_drops_nothing(place: Path, connections: int) -> None:
    found = drain(place, connections)
    print(found)
    assert found["dropped"] == 0 and found["exit_code"] == 0 and found["answers"] > 50
    assert set(found["statuses"]) == {"200"}


def test_health_answers_while_100_predictions_are_asked(place: Path) -> None:
    found = health(place, 10.0)
    print(found)
    assert found["health"]["p99_ms"] < 100.0 and found["predictions"]["dropped"] == 0


def test_memory_stays_flat(place: Path) -> None:
    found = soak(place, HOUR, 30.0)
    print(found)
    assert found["grown_mb_after_a_quarter"] < 20.0
    assert all(found[kind]["dropped"] == 0 and set(found[kind]["statuses"]) == {"200"} for kind in ("windows", "bars"))
