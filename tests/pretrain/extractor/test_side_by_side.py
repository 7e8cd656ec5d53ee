from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from pretrain.fitting.side_by_side import WorkerDied, side_by_side


def job(number: int, folder: Path) -> int:
    """Fails, dies, or waits until the others have ended."""
    if number == 0:
        (folder / str(os.getpid())).touch()
        while not (folder / "go on").exists():
            time.sleep(0.02)
    if number == 1:
        raise ValueError("of number one")
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return 10 * number


def test_each_end_is_told_when_it_comes(tmp_path: Path) -> None:
    ended: dict[int, object] = {}
    waits = 0
    for found in side_by_side(job, [(number, tmp_path) for number in range(4)], 4, every=0.05):
        if found is None:
            waits += 1
            continue
        ended[found[0]] = found[1]
        if len(ended) == 3:  # all but the one that waits
            assert set(ended) == {1, 2, 3}
            (tmp_path / "go on").touch()
    assert isinstance(ended[1], ValueError) and str(ended[1]) == "of number one"
    assert isinstance(ended[2], WorkerDied) and "exit code -9" in str(ended[2])
    assert (ended[0], ended[3]) == (0, 30)
    assert waits > 0


def test_who_stops_early_ends_the_others(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        for found in side_by_side(job, [(0, tmp_path), (3, tmp_path)], 2, every=0.05):
            if found is not None and any(path.name.isdigit() for path in tmp_path.iterdir()):
                raise KeyboardInterrupt
            if found is None and any(path.name.isdigit() for path in tmp_path.iterdir()):
                raise KeyboardInterrupt
    (pid,) = [int(path.name) for path in tmp_path.iterdir()]
    deadline = time.monotonic() + 10.0
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.02)
