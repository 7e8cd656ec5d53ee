"""Generations of a checkpoint: whole, two of them, the newest good one found whatever happened to the others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cryptoenv.files.generations import (
    CHECKSUMS,
    CheckpointError,
    DamagedCheckpoint,
    first_difference,
    generations,
    newest_good,
    require_whole,
    save_generation,
    step_of,
)
from tests.killed import killed_at


def save(folder: Path, step: int) -> Path:
    def make(place: Path) -> None:
        (place / "state").write_bytes(b"%d" % step)
        (place / "more").write_bytes(bytes(1_000))

    return save_generation(folder, step, make)


def newest(folder: Path) -> int | None:
    def use(checkpoint: Path) -> int:
        require_whole(checkpoint, ("state", "more"))
        return int((checkpoint / "state").read_bytes())

    return newest_good(folder, use)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "changed": lambda folder: (folder / "state").write_bytes(b"7"),
    "cut short": lambda folder: (folder / "more").write_bytes(bytes(999)),
    "missing": lambda folder: (folder / "more").unlink(),
    "no checksums": lambda folder: (folder / CHECKSUMS).unlink(),
    "checksums of nothing": lambda folder: (folder / CHECKSUMS).write_text("{}"),
    "checksums are no JSON": lambda folder: (folder / CHECKSUMS).write_text("{"),
    "a link": lambda folder: ((folder / "more").unlink(), (folder / "more").symlink_to("/dev/zero")),
    "a file": lambda folder: (shutil.rmtree(folder), folder.write_bytes(b"")),
    "empty": lambda folder: (shutil.rmtree(folder), folder.mkdir()),
}


def test_the_last_two_are_kept_in_the_order_of_their_steps(tmp_path: Path) -> None:
    assert newest(tmp_path / "none") is None and generations(tmp_path / "none") == []
    for step in (9, 10, 10**12 - 1, 10**12):
        save(tmp_path, step)
    (tmp_path / "step-of-somebody").mkdir()
    assert [step_of(path) for path in generations(tmp_path)] == [10**12 - 1, 10**12]
    assert newest(tmp_path) == 10**12


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_one_gives_way_and_none_is_left_in_silence(tmp_path: Path, damage: str) -> None:
    older, newer = save(tmp_path, 1), save(tmp_path, 2)
    DAMAGE[damage](newer)
    with pytest.warns(UserWarning, match=f"{newer.name}.*: going on from the one before it, {older.name}"):
        assert newest(tmp_path) == 1
    assert newest(tmp_path.parent / "elsewhere") is None
    save(tmp_path, 2)
    assert newest(tmp_path) == 2
    DAMAGE[damage](newer)
    DAMAGE[damage](older)
    with pytest.raises(CheckpointError, match=f"{newer.name}.* no good checkpoint is left before it: begin anew"):
        newest(tmp_path)


def test_nonsense_that_is_whole_gives_way_and_other_errors_do_not(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)

    def picky(checkpoint: Path) -> int:
        if step_of(checkpoint) == 2:
            raise DamagedCheckpoint(f"{checkpoint}: nonsense")
        return step_of(checkpoint)

    with pytest.warns(UserWarning, match="nonsense: going on"):
        assert newest_good(tmp_path, picky) == 1
    with pytest.raises(ZeroDivisionError):
        newest_good(tmp_path, lambda checkpoint: 1 // 0)


@pytest.mark.parametrize("again", [False, True])
def test_a_good_one_is_there_whenever_a_save_is_killed(tmp_path: Path, again: bool) -> None:
    point, killed = 0, True
    while killed:
        shutil.rmtree(tmp_path / "kept", ignore_errors=True)
        for step in (1, 2, 3) if again else (1, 2):
            save(tmp_path / "kept", step)
        killed = killed_at(point, lambda: save(tmp_path / "kept", 3))
        assert newest(tmp_path / "kept") in ((3,) if again else (2, 3))
        assert not list((tmp_path / "kept").glob(".*-*"))
        point += 1
    assert point > 20


def test_what_differs_is_told_by_name() -> None:
    assert first_difference({"seed": 1}, {"seed": 1}) is None
    assert first_difference({"b": 1, "a": 2}, {"b": 2, "a": 3}) == "a was 2 and is 3"
    assert first_difference({}, {"a": [1]}) == "a was None and is [1]"
