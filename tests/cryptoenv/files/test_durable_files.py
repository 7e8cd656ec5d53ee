"""Files and folders that are there whole or not at all, at every point where a process can be killed."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryptoenv.files import durable_files
from cryptoenv.files.durable_files import (
    ASIDE,
    TEMPORARY,
    NotRegularError,
    make_file,
    read_files,
    read_regular,
    recover_folder,
    refuse_special,
    write_figure,
    write_file,
    write_folder,
)
from cryptoenv.files.folder_lock import LOCK_FILE, FolderLockedError, folder_lock
from tests.killed import FORK, killed_at

WITHOUT_LOCKS = '''
import sys
sys.modules["fcntl"] = None
from pathlib import Path
import cryptoenv
from cryptoenv.files.durable_files import read_regular, write_file
from cryptoenv.files.folder_lock import folder_lock
from cryptoenv.store import BarStore
folder = Path(sys.argv[1])
for use in (
    lambda: BarStore(folder), lambda: folder_lock(folder, "a run").__enter__(), lambda: write_file(folder / "a", b""),
    lambda: read_regular(folder / "b"), lambda: cryptoenv.Market.load(folder),
):
    try:
        use()
    except OSError as error:
        print(error)
'''


def test_a_system_without_file_locks_is_told_in_one_line_when_files_are_used(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"")
    root = Path(__file__).resolve().parents[3]
    told = subprocess.run(
        [sys.executable, "-c", WITHOUT_LOCKS, str(tmp_path)], cwd=root, text=True, capture_output=True, check=True
    )
    lines = told.stdout.splitlines()
    assert len(lines) == 5
    assert all("lacks the module fcntl (file locks)" in line and "on Windows: WSL" in line for line in lines)


def version(number: int) -> dict[str, bytes]:
    """The files of a folder: of one version, or it shows."""
    return {f"{name}-{number if name == 'b' else 0}": bytes([number]) * 5_000 for name in "abc"}


def write_version(folder: Path, number: int) -> None:
    def make(empty: Path) -> None:
        for name, content in version(number).items():
            (empty / name).write_bytes(content)

    write_folder(folder, make)


@pytest.fixture(params=["one step", "two renames"])
def steps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the system's exchange of two names, and on a file system that has none."""
    if request.param == "two renames":
        monkeypatch.setattr(durable_files, "_NO_EXCHANGE", tuple(errno.errorcode))
        monkeypatch.setattr(durable_files, "_EXCHANGE", 1 << 20)  # no such flag: EINVAL from the kernel
    return str(request.param)


def test_every_point_of_the_replacement_of_a_folder(tmp_path: Path, steps: str) -> None:
    """Killed before each call to the file system: the folder is of the old version or of the new one, never none."""
    if steps == "one step" and not exchanges(tmp_path):
        pytest.skip("this file system has no exchange of two names")
    folder, found, point = tmp_path / "artifact", [], 0
    absent = 0
    while True:
        write_version(folder, 1)
        killed = killed_at(point, lambda: write_version(folder, 2))
        absent += not folder.exists()
        content = read_files(folder)
        assert content in (version(1), version(2))
        found.append(content == version(2))
        write_version(folder, 3)
        assert read_files(folder) == version(3)
        assert [path.name for path in tmp_path.iterdir()] == ["artifact"]
        if not killed:
            break
        point += 1
    assert (found[-1] and 5 <= sum(found) < len(found) - 5 and sorted(found) == found) or steps == "two renames"
    assert absent == 0 if steps == "one step" else absent >= 1  # which is what `recover_folder` is for


def exchanges(folder: Path) -> bool:
    first, second = folder / "first", folder / "second"
    for path in (first, second):
        path.mkdir()
    done = durable_files._exchanged(first, second)
    for path in (first, second):
        path.rmdir()
    return done


@pytest.mark.parametrize("kills", [12, pytest.param(300, marks=pytest.mark.slow)])
def test_kill_9_at_any_time(tmp_path: Path, steps: str, kills: int) -> None:
    """Writers killed at random times while this process reads."""
    rng, folder = np.random.default_rng(3), tmp_path / "artifact"
    write_version(folder, 0)

    def write_on() -> None:
        for number in range(1, 250):
            write_version(folder, number)

    versions = [version(number) for number in range(250)]
    for _ in range(kills):
        process = FORK.Process(target=write_on)
        process.start()
        until = time.monotonic() + rng.uniform(0.002, 0.05)
        while time.monotonic() < until:
            assert read_files(folder) in versions
        process.kill()
        process.join()
        assert read_files(folder) in versions
    write_version(folder, 7)
    assert read_files(folder) == version(7) and len(list(tmp_path.iterdir())) == 1


def test_every_point_of_the_replacement_of_a_file(tmp_path: Path) -> None:
    path, point = tmp_path / "weights.npy", 0
    found = []
    while True:
        write_file(path, b"old" * 1_000)
        killed = killed_at(point, lambda: make_file(path, lambda place: np.save(place, np.arange(3.0))))
        found.append(path.read_bytes() != b"old" * 1_000)
        assert not found[-1] or np.load(path).tolist() == [0.0, 1.0, 2.0]
        write_file(path, "text")
        assert path.read_text("utf-8") == "text" and list(tmp_path.iterdir()) == [path]
        if not killed:
            break
        point += 1
    assert found[-1] and not found[0]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    write_version(tmp_path / "folder", 1)
    write_file(tmp_path / "file", b"1")

    def fail(place: Path) -> None:
        (place / "half" if place.is_dir() else place).write_bytes(b"half")
        raise KeyboardInterrupt

    for write, place in ((write_folder, tmp_path / "folder"), (make_file, tmp_path / "file")):
        with pytest.raises(KeyboardInterrupt):
            write(place, fail)
    with pytest.raises(FileExistsError, match="folder"):
        write_folder(tmp_path / "folder", lambda _: None, replace=False)
    with pytest.raises(NotADirectoryError, match="file"):
        write_folder(tmp_path / "file", lambda _: None)
    assert read_files(tmp_path / "folder") == version(1) and (tmp_path / "file").read_bytes() == b"1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_only_the_dead_are_swept(tmp_path: Path) -> None:
    """A writer leaves alone what another one that lives is writing, what is another place's, and what is a user's."""
    others = [f"{TEMPORARY}01234567-b", f"{ASIDE}mine-a", TEMPORARY + "a", f"{TEMPORARY}0123456g-a"]
    for name in (*others, f"{TEMPORARY}01234567-a", f"{ASIDE}89abcdef-a"):
        (tmp_path / name).mkdir()

    def make(place: Path) -> None:
        write_version(tmp_path / "a", 1)
        (place / "file").write_bytes(b"2")

    write_folder(tmp_path / "a", make)
    assert read_files(tmp_path / "a") == {"file": b"2"}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "a"])


def test_modes_are_those_of_other_files(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"")
    write_folder(tmp_path / "folder", lambda place: (place / "file").touch())
    (tmp_path / "plain").touch()
    (tmp_path / "plain folder").mkdir()
    for mine, other in (("file", "plain"), ("folder", "plain folder"), ("folder/file", "plain")):
        assert (tmp_path / mine).stat().st_mode == (tmp_path / other).stat().st_mode


def special(place: Path, kind: str) -> None:
    """A link, a pipe, a socket or a device called `place`."""
    if kind == "link":
        place.symlink_to("/etc/hostname")
    elif kind == "dangling link":
        place.symlink_to(place.parent / "nowhere")
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(place))


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "socket"])
def test_what_is_no_regular_file_is_refused(tmp_path: Path, kind: str) -> None:
    """At once: a pipe that nobody writes to does not hold up the reader."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    refuse_special(tmp_path)
    place = tmp_path / "deep" / "er" / "file"
    special(place, kind)
    for refused in (
        lambda: read_regular(place),
        lambda: read_files(place.parent),
        lambda: refuse_special(tmp_path),
    ):
        with pytest.raises(NotRegularError, match="file"):
            refused()
    with pytest.raises(FolderLockedError, match="lock"):
        place.rename(place.with_name(LOCK_FILE))
        with folder_lock(place.parent, "it"):
            pass
    assert not os.path.lexists(tmp_path / "deep" / "er" / "nowhere")


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(NotADirectoryError, match="link"):
        write_folder(tmp_path / "link", lambda _: None)
    with pytest.raises(NotRegularError, match="link"):
        refuse_special(tmp_path)


def test_limits(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"12345")
    assert read_regular(tmp_path / "file", 5) == b"12345"
    with pytest.raises(NotRegularError, match=r"5 bytes; at most 4"):
        read_regular(tmp_path / "file", 4)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none")
    assert recover_folder(tmp_path) and not recover_folder(tmp_path / "none" / "none")


def test_a_lock_is_its_process_own(tmp_path: Path) -> None:
    """Refused with the holder's name; not a forked child's; gone with its process though a child of it lives."""
    read, write = os.pipe()
    with folder_lock(tmp_path, "the run"):
        with (
            pytest.raises(FolderLockedError, match=f"the run is being written by process {os.getpid()} "),
            folder_lock(tmp_path, "the run"),
        ):
            pass
        child = waiting_child(read, write)
    with folder_lock(tmp_path, "the run"):
        pass
    holder = os.fork()
    if not holder:
        with folder_lock(tmp_path, "the run"):
            waiting_child(read, write)
            time.sleep(0.05)  # until it has come to itself
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(holder, 0)
    with folder_lock(tmp_path, "the run"):
        pass
    os.close(write)
    os.waitpid(child, 0)
    os.close(read)


def waiting_child(read: int, write: int) -> int:
    """A forked process that lives until this one closes the pipe."""
    if child := os.fork():
        return child
    os.close(write)
    os.read(read, 1)
    os._exit(0)


def test_a_users_file_of_the_locks_name_survives(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text("the notes of a user that must not be truncated", "utf-8")
    with pytest.raises(FolderLockedError, match="no lock file"), folder_lock(tmp_path, "the run"):
        pass
    assert (tmp_path / LOCK_FILE).read_text("utf-8").startswith("the notes")


def test_a_picture_is_whole_or_the_old_one(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    class Broken(Figure):
        def savefig(self, file: Any, **options: Any) -> None:
            file.write(b"half a picture")
            raise OSError(errno.ENOSPC, "no space left")

    figure = Figure()
    assert write_figure(figure, tmp_path / "plain", dpi=50) == tmp_path / "plain.png"
    drawn = (tmp_path / "plain.png").read_bytes()
    assert drawn.startswith(b"\x89PNG")
    with pytest.raises(OSError, match="no space"):
        write_figure(Broken(), tmp_path / "plain.png")
    with pytest.raises(ValueError, match="Format 'x' is not supported"):
        write_figure(figure, tmp_path / "a.x")
    assert (tmp_path / "plain.png").read_bytes() == drawn
    assert os.listdir(tmp_path) == ["plain.png"]
