"""What must not hurt a store: kill -9, a full disk, flipped bytes, time zones, two writers (D1-D3, D9, D10)."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptoenv.files.durable_files import TEMPORARY
from cryptoenv.store.key import SeriesKey, StoreError
from cryptoenv.store.lock import StoreLockedError
from cryptoenv.store.parts import named_part
from cryptoenv.store.store import BarStore
from tests.cryptoenv.store.test_store import bars_at, contents

KEY = SeriesKey("binance", "BTC/USDT:USDT", "15m")
STEP = 900_000
START = 1_704_067_200_000  # 2024-01-01
ROOT = Path(__file__).resolve().parents[3]


def truth(count: int) -> pd.DataFrame:
    """15m bars with a gap of one in 50."""
    places = np.arange(count, dtype=np.int64)
    return bars_at(START + STEP * places[places % 50 != 7])


def covered(first: int, last: int) -> tuple[int, int]:
    return START + first * STEP, START + last * STEP


def append_pages(folder: Path, count: int, page: int, pause: float = 0.0) -> None:
    """Fetches what is missing, page by page, as a download does."""
    bars = truth(count)
    with BarStore(folder).writer(KEY) as writer:
        for start, end in writer.missing(*covered(0, count)):
            for first in range(start, end, page * STEP):
                last = min(first + page * STEP, end)
                opens = bars.index.as_unit("ms").asi8
                writer.append(bars[(opens >= first) & (opens < last)], (first, last))
                time.sleep(pause)


def append_patiently(folder: Path, count: int, page: int) -> None:
    """The same, again and again until no other writer has the series."""
    while True:
        with suppress(StoreLockedError):
            return append_pages(folder, count, page)
        time.sleep(0.005)


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.cryptoenv.store.test_store_faults"])
    return context


def readable(folder: Path, count: int) -> int:
    """Checks that the store holds a beginning of the truth and nothing else; how many bars."""
    store = BarStore(folder)
    if KEY not in store.series():
        return 0
    manifest = store.manifest(KEY)
    assert store.validate(KEY) == ()
    end = manifest.covered[-1][1] if manifest.covered else START
    assert manifest.covered in ((), ((START, end),))
    expected = truth(count)[: pd.Timestamp(end - 1, unit="ms", tz="UTC")]
    found = store.read(KEY)
    if store.manifest(KEY) != manifest:  # a writer went on meanwhile
        return readable(folder, count)
    pd.testing.assert_frame_equal(found, expected, check_exact=True, check_freq=False)
    return manifest.rows


def unchanged(folder: Path, before: dict[str, bytes]) -> bool:
    """Whether a folder that is written to still holds what it did; a file that goes while it is read has changed."""
    try:
        return contents(folder) == before
    except FileNotFoundError:
        return False


def killed_and_resumed(processes: ForkServerContext, folder: Path, kills: int) -> tuple[int, int]:
    """Kills `kills` downloads at random points, the last one runs to its end.

    Returns how many bars were asked for, and how many kills left files over.
    """
    rng = np.random.default_rng(5)
    count, left_over, rows = 40 * kills + 2_000, 0, 0
    series = KEY.folder(folder)
    for _ in range(kills):
        process = processes.Process(target=append_pages, args=(folder, count, 7))
        before = contents(folder)
        process.start()
        while process.is_alive() and unchanged(folder, before):
            time.sleep(0.0005)
        time.sleep(rng.uniform(0.0, 0.04))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        now = readable(folder, count)
        assert now >= rows
        rows = now
        parts = {part.name for part in BarStore(folder).manifest(KEY).parts} if rows else set()
        left_over += any(
            p.name.startswith(TEMPORARY) or (named_part(p) and p.name not in parts) for p in series.iterdir()
        )
    append_pages(folder, count, 1_000)
    return count, left_over


def assert_as_if_never_killed(folder: Path, count: int) -> None:
    """The store holds the whole truth, no file beside it, and byte for byte what one download at once writes."""
    series = KEY.folder(folder)
    assert readable(folder, count) == len(truth(count))
    assert sum(named_part(p) is not None for p in series.iterdir()) == len(BarStore(folder).manifest(KEY).parts)
    assert not list(series.glob(TEMPORARY + "*"))
    append_pages(folder / "at once", count, count)
    assert contents(series) == contents(KEY.folder(folder / "at once"))


def test_kill_9_while_appending(processes: ForkServerContext, tmp_path: Path) -> None:
    """D1, 8 points."""
    count, _ = killed_and_resumed(processes, tmp_path, 8)
    assert_as_if_never_killed(tmp_path, count)


@pytest.mark.slow
def test_kill_9_while_appending_at_50_points(processes: ForkServerContext, tmp_path: Path) -> None:
    """D1. Some of the kills must have come in the middle of a write, or the test shows nothing."""
    count, left_over = killed_and_resumed(processes, tmp_path, 50)
    assert_as_if_never_killed(tmp_path, count)
    assert left_over >= 5


class _Killed(BaseException):
    """What no handler for errors catches."""


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, point: int, error: BaseException) -> Iterator[list[int]]:
    """Raises at the `point`-th fsync, replace or unlink, and at each one after it (the process is gone, the disk full).

    Yields a list with the number of calls so far.
    """
    calls = [0]

    def counted(real: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: object, **named: object) -> None:
            calls[0] += 1
            if calls[0] > point:
                raise error
            real(*arguments, **named)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", counted(os.fsync))
        patched.setattr(os, "replace", counted(os.replace))
        patched.setattr(Path, "unlink", counted(Path.unlink))
        yield calls


@pytest.mark.parametrize("error", [_Killed(), OSError(errno.ENOSPC, "No space left on device")])
def test_every_point_of_an_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """An append over a month's end, stopped before each of its system calls: the series is as before or as after."""
    base = tmp_path / "base"
    append_pages(base, 2_900, 2_900)
    before, after, point = 0, 0, 0
    while True:
        folder = tmp_path / str(point)
        shutil.copytree(base, folder)
        first = contents(folder)
        with failing(monkeypatch, point, error) as calls, suppress(_Killed, OSError):
            append_pages(folder, 3_100, 3_100)
        if calls[0] <= point:
            break
        rows = readable(folder, 3_100)
        assert rows in (len(truth(2_900)), len(truth(3_100)))
        before, after = before + (rows == len(truth(2_900))), after + (rows == len(truth(3_100)))
        if rows == len(truth(2_900)):
            assert first.items() <= contents(folder).items()  # the old files are byte for byte what they were
        append_pages(folder, 3_100, 3_100)
        assert readable(folder, 3_100) == len(truth(3_100))
        assert len(list(KEY.folder(folder).glob("*.parquet"))) == 2 and not list(KEY.folder(folder).glob(".tmp*"))
        point += 1
    assert before >= 8 and after >= 2


def test_a_full_disk_by_the_limit_on_file_size(tmp_path: Path) -> None:
    """D2: a real error of the kernel's in the middle of a write; a clear error, the old files untouched."""
    append_pages(tmp_path, 500, 500)
    before = contents(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, hard))
    try:
        with pytest.raises(OSError, match=r"cannot write .*2024-01.*nothing that was stored is lost"):
            append_pages(tmp_path, 900, 400)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(tmp_path) == before
    append_pages(tmp_path, 900, 400)
    assert readable(tmp_path, 900) == len(truth(900))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "cryptoenv-test", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    """D2 on a disk that is full."""
    append_pages(small_disk, 500, 500)
    before = contents(small_disk)
    ballast = small_disk / "ballast"
    with suppress(OSError), open(ballast, "wb", buffering=0) as file:
        while file.write(bytes(4_096)):
            pass
    with pytest.raises(OSError, match=r"No space left on device: cannot write .*nothing that was stored is lost"):
        append_pages(small_disk, 900, 400)
    ballast.unlink()
    assert contents(small_disk) == before
    append_pages(small_disk, 900, 400)
    assert readable(small_disk, 900) == len(truth(900))


def test_a_read_only_disk(small_disk: Path) -> None:
    """D2: root may write wherever the modes say otherwise, so the disk itself is read-only."""
    append_pages(small_disk, 500, 500)
    before = contents(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OSError, match="Read-only file system"):
        append_pages(small_disk, 900, 400)
    assert contents(small_disk) == before and readable(small_disk, 900) == len(truth(500))


@pytest.mark.skipif(os.geteuid() == 0, reason="the modes of a folder do not bind root")
def test_a_read_only_folder(tmp_path: Path) -> None:
    append_pages(tmp_path, 500, 500)
    before = contents(tmp_path)
    KEY.folder(tmp_path).chmod(0o500)
    with pytest.raises(PermissionError):
        append_pages(tmp_path, 900, 400)
    KEY.folder(tmp_path).chmod(0o700)
    assert contents(tmp_path) == before


def damage(path: Path, rng: np.random.Generator) -> bytes:
    """Flips one bit or truncates; the bytes that are there now."""
    content = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    else:
        del content[int(rng.integers(len(content))) :]
    path.write_bytes(bytes(content))
    return bytes(content)


@pytest.mark.parametrize("cases", [12, pytest.param(100, marks=pytest.mark.slow)])
def test_damage_is_found_set_aside_and_fetched_again(tmp_path: Path, cases: int) -> None:
    """D3 over parts and manifest: all detected, quarantined, refetched; in the end the bytes of before."""
    append_pages(tmp_path / "base", 3_100, 3_100)
    whole = contents(tmp_path / "base")
    rng = np.random.default_rng(3)
    hit = dict.fromkeys(whole, 0)
    for case in range(cases):
        folder = tmp_path / str(case)
        shutil.copytree(tmp_path / "base", folder)
        name = sorted(whole)[case % len(whole)]
        bad = damage(folder / name, rng)
        hit[name] += 1
        store = BarStore(folder)
        with pytest.raises(StoreError, match=r"cryptoenv data repair"):
            store.read(KEY)
        assert len(store.validate(KEY)) == 1 and str(folder / name) in store.validate(KEY)[0]
        assert (folder / name).read_bytes() == bad  # validate changes nothing
        done = store.repair(KEY)
        assert f"{folder / name} moved to" in done[0]
        assert (KEY.folder(folder) / "quarantine" / Path(name).name).read_bytes() == bad
        assert store.validate(KEY) == () and not store.read(KEY).empty and store.repair(KEY) == ()
        with store.writer(KEY) as writer:
            assert writer.missing(*covered(0, 3_100))
        append_pages(folder, 3_100, 3_100)
        shutil.rmtree(KEY.folder(folder) / "quarantine")
        assert contents(folder) == whole
    assert min(hit.values()) >= cases // 3 and len(hit) == 3


def test_a_missing_file_is_found(tmp_path: Path) -> None:
    append_pages(tmp_path, 3_100, 3_100)
    for path in sorted(KEY.folder(tmp_path).glob("[2m]*")):
        path.unlink()
        store = BarStore(tmp_path)
        with pytest.raises(StoreError, match=f"{path.name} is missing"):
            store.read(KEY)
        if path.name == "manifest.json":  # a writer must not take the parts for leftovers
            with pytest.raises(StoreError, match="is missing"), store.writer(KEY):
                pass
        assert store.repair(KEY)
        append_pages(tmp_path, 3_100, 500)
        assert readable(tmp_path, 3_100) == len(truth(3_100))


def test_a_manifest_of_another_series_is_refused(tmp_path: Path) -> None:
    append_pages(tmp_path, 100, 100)
    other = SeriesKey("binance", "ETH/USDT", "15m")
    shutil.copytree(KEY.folder(tmp_path), other.folder(tmp_path))
    with pytest.raises(StoreError, match=r"is of binance BTC/USDT:USDT 15m, the folder of binance ETH/USDT 15m"):
        BarStore(tmp_path).read(other)


ZONES = ("UTC", "America/New_York", "Europe/London", "Australia/Lord_Howe")
CHANGES = ("2024-03-10", "2024-03-31", "2024-11-03", "2024-10-06")  # both changes lie in the bars below
YEAR = 366 * 96


def test_the_time_zone_does_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D9: four zones, a year with both of their changes; the clock of the process is set, as by TZ."""
    try:
        for zone in ZONES:
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            append_pages(tmp_path / zone, YEAR, 10_000)
            for day in CHANGES:
                assert len(BarStore(tmp_path / zone).read(KEY, day, pd.Timestamp(day, tz="UTC") + pd.Timedelta("1D")))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert len({tuple(sorted(contents(tmp_path / zone).items())) for zone in ZONES}) == 1


@pytest.mark.slow
def test_the_time_zone_of_a_process_does_not_show(tmp_path: Path) -> None:
    """D9 with processes of their own."""
    code = "import sys; from pathlib import Path; from tests.cryptoenv.store.test_store_faults import *; "
    code += "append_pages(Path(sys.argv[1]), YEAR, 10_000)"
    for zone in ZONES:
        command = [sys.executable, "-c", code, str(tmp_path / zone)]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "TZ": zone}, check=True)
    assert len({tuple(sorted(contents(tmp_path / zone).items())) for zone in ZONES}) == 1


def test_a_second_writer_is_refused(processes: ForkServerContext, tmp_path: Path) -> None:
    """D10: in this process and in another, by the name of the holder; and the lock of a dead process does not block."""
    store = BarStore(tmp_path)
    with (
        store.writer(KEY),
        pytest.raises(StoreLockedError, match=f"process {os.getpid()} "),
        store.writer(KEY),
    ):
        pass
    process = processes.Process(target=append_pages, args=(tmp_path, 5_000, 1, 0.05))
    process.start()
    while not store.manifest(KEY).rows:
        time.sleep(0.005)
    for refused in (lambda: append_pages(tmp_path, 5_000, 1), lambda: store.repair(KEY)):
        with pytest.raises(StoreLockedError, match=f"process {process.pid} "):
            refused()
    assert store.read(KEY).shape[1] == 5  # readers are not held up
    process.kill()
    process.join()
    assert int((KEY.folder(tmp_path) / ".lock").read_text("ascii")) == process.pid
    append_pages(tmp_path, 500, 500)
    assert readable(tmp_path, 500) >= len(truth(500))


def test_writers_in_a_race_give_what_one_gives(processes: ForkServerContext, tmp_path: Path) -> None:
    """D10: four processes, each wants all of it, while this one reads."""
    racers = [
        processes.Process(target=append_patiently, args=(tmp_path / "race", 1_500 + 500 * n, 50 + n)) for n in range(4)
    ]
    for racer in racers:
        racer.start()
    reads = 0
    while any(racer.is_alive() for racer in racers):
        readable(tmp_path / "race", 3_000)
        reads += 1
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0] * 4 and reads > 1
    append_pages(tmp_path / "serial", 3_000, 3_000)
    assert contents(tmp_path / "race") == contents(tmp_path / "serial")
