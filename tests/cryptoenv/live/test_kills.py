"""Killed at any write and started again, a paper account ends as if nothing had been: no order twice, none lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cryptoenv.live.journal import Journal
from tests.cryptoenv.live.paper_process import trade

ROOT = Path(__file__).resolve().parents[3]


def killed_and_resumed(folder: Path, how: str, points: list[int]) -> tuple[str, int]:
    """Kill at each of the points in turn, then run to the end: the final equity, and how often it was killed."""
    folder.mkdir()
    command = [sys.executable, "-m", "tests.cryptoenv.live.paper_process", str(folder), how, *map(str, points)]
    unjitted = {**os.environ, "NUMBA_DISABLE_JIT": "1"}  # the same bits, sooner
    done = subprocess.run(command, cwd=ROOT, env=unjitted, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kills, equity = done.stdout.split()
    return equity, int(kills)


def orders(folder: Path) -> list[tuple[int, float]]:
    """Bar and quantity of each order that has filled."""
    journal = Journal(folder)
    rows = journal._rows("SELECT bar_ms, quantity FROM intents WHERE filled > 0 ORDER BY id")
    unknown = journal.undone()
    journal.close()
    assert not unknown
    return [(int(bar), float(quantity)) for bar, quantity in rows]


COUNTS = [(3, "limit"), *(pytest.param(200, how, marks=pytest.mark.slow) for how in ("limit", "market"))]


@pytest.mark.parametrize(("kills", "how"), COUNTS)  # limit orders whose remainder goes to the market are both kinds
def test_kills_at_any_write_change_nothing(tmp_path: Path, kills: int, how: str) -> None:
    (tmp_path / "whole").mkdir()
    whole = trade(tmp_path / "whole", how)
    expected = orders(tmp_path / "whole")
    assert len(expected) > (20 if how == "market" else 8)
    draws, done, batch = np.random.default_rng(1), 0, 0
    while done < kills:
        points = draws.integers(1, 40, min(kills - done, 20)).tolist()
        said, killed = killed_and_resumed(tmp_path / f"killed-{batch}", how, points)
        assert said == repr(whole)
        assert orders(tmp_path / f"killed-{batch}") == expected
        assert killed > 0
        done, batch = done + killed, batch + 1
