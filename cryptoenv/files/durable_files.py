"""Files and folders that are there whole or not at all, whatever kills the process or cuts the power.

What is written is made beside its place under a temporary name, synced to the disk and then moved there. A folder that
exists is exchanged for the new one in one step (Linux' `renameat2`), so that a whole one always stands under its name;
file systems without that step get two renames, and `recover_folder` puts back what a kill between the two set aside.
Temporaries are held by a lock of the kernel's while their writer lives; the next writer of the same place removes
those whose writer does not. What is read from a folder of somebody else's is read only where it is a regular file.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

from cryptoenv.files.posix_files import lock, require_posix

TEMPORARY = ".tmp-"  #: begins the names of files and folders that are being written
ASIDE = ".old-"  #: begins the names of folders that are being replaced in two renames
_TAIL = 200  # bytes of a name that its temporary repeats: names end at 255
_LOOKS = 3  # for a folder between two renames, before it is said that there is none
_EXCHANGE, _AT_FOLDER = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of linux/fs.h and fcntl.h
_NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


class NotRegularError(ValueError):
    """A link, a pipe or a device where a regular file is read, or a file beyond its limit; the message names it."""


def write_file(path: Path, content: bytes | str) -> None:
    """The whole file (text as UTF-8) or none of it; what was at `path` is replaced.

    Raises:
        OSError: the disk is full, the folder read-only, ...; what was at `path` is still there.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    make_file(path, lambda temporary: _write_bytes(temporary, data))


def write_figure(figure: Figure, path: Path, *, dpi: float | None = None) -> Path:
    """The whole picture or none of it, in the format that the file's name ends in (PNG where it ends in none).

    Returns:
        The file: `path`, with ".png" where it had no ending.

    Raises:
        ValueError: matplotlib writes no such format. OSError: as `write_file`.
    """
    place = path if path.suffix else path.with_name(f"{path.name}.png")
    drawn = BytesIO()
    figure.savefig(drawn, dpi=dpi, format=place.suffix[1:])
    write_file(place, drawn.getvalue())
    return place


def make_file(path: Path, make: Callable[[Path], object]) -> None:
    """As `write_file`, from a function that writes to the path it gets (same folder, same ending as `path`).

    Raises:
        OSError: as `write_file`. Whatever `make` raises; what was at `path` is still there.
    """
    try:
        with _temporary(path, _new_file) as temporary:
            make(temporary)
            _sync(temporary, os.O_RDONLY | os.O_NOFOLLOW)
            os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno, f"{reason}: cannot write {path}; nothing that was stored is lost") from error


def write_folder(folder: Path, make: Callable[[Path], object], *, replace: bool = True) -> None:
    """The whole folder or none of it: `make` fills the empty folder it gets, which is then put in place.

    Parents are made. A kill at any moment leaves the folder that was there, or the new one (`recover_folder`).

    Args:
        folder: to be written.
        make: writes files, and folders of files, into the folder it is called with.
        replace: what stands at `folder`; else only nothing or an empty folder may stand there.

    Raises:
        FileExistsError: `replace` is False and the folder holds something.
        NotADirectoryError: a file or a link stands at `folder`.
        OSError: the disk is full, ... Whatever `make` raises. What was at `folder` is still there.
    """
    if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir()):
        raise NotADirectoryError(errno.ENOTDIR, "a file or a link stands where a folder is to be written", str(folder))
    make_folder(folder.parent)
    recover_folder(folder)
    with _temporary(folder, os.mkdir) as made:
        make(made)
        sync_tree(made)
        while not _put(made, folder, replace):
            pass
        sync_folder(folder.parent)


def make_folder(folder: Path) -> None:
    """Makes a folder and its parents, so that their names outlast a power cut; one that exists is left alone."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        sync_folder(place.parent)


def recover_folder(folder: Path) -> bool:
    """Puts back a folder that a kill between two renames left under another name; whether the folder is there now.

    Readers call it where they find no folder that `write_folder` writes.

    Raises:
        OSError: the folder's place cannot be written.
    """
    for _ in range(_LOOKS):
        if os.path.lexists(folder):
            return True
        for aside in _left_over(folder, ASIDE) if folder.parent.is_dir() else ():
            handle = _claimed(aside, wait=True)  # a writer that lives is between its two renames: it ends in a moment
            if handle is None:
                continue
            try:
                if not os.path.lexists(folder):
                    os.rename(aside, folder)
                    sync_folder(folder.parent)
            finally:
                os.close(handle)
    return os.path.lexists(folder)


def clear_left_overs(folder: Path) -> None:
    """Puts back the folders, and removes the temporaries, that killed writers left in a folder; no living one's.

    For folders whose entries have names that are not written a second time.
    """
    for name in [entry.name for entry in os.scandir(folder) if entry.name.startswith((TEMPORARY, ASIDE))]:
        if name.startswith(ASIDE):
            recover_folder(folder / name[len(ASIDE) + 9 :])
        if (dead := _claimed(folder / name, wait=False)) is not None:
            _remove(folder / name)
            os.close(dead)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder outlast a power cut."""
    _sync(folder, os.O_RDONLY)


def sync_tree(folder: Path) -> None:
    """Makes a folder with all files and folders in it outlast a power cut."""
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            _sync(Path(place, name), os.O_RDONLY | os.O_NOFOLLOW)
        sync_folder(Path(place))


def read_regular(path: Path, limit: int | None = None, *, inside: int | None = None) -> bytes:
    """The bytes of a regular file: no link is followed, no pipe waited for.

    Args:
        path: of the file.
        limit: bytes it may have; None for any number.
        inside: handle of the open folder that a relative `path` is in.

    Raises:
        NotRegularError: a link, a pipe, a folder or a device, or more bytes than the limit.
        FileNotFoundError: no such file. OSError: it cannot be read.
    """
    require_posix()
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=inside)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise NotRegularError(f"{path} is no regular file (a link or a socket); only those are read") from error
        raise
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise NotRegularError(f"{path} is no regular file (a folder, a pipe or a device); only those are read")
    with open(handle, "rb") as file:
        if limit is not None and found.st_size > limit:
            raise NotRegularError(f"{path} has {found.st_size} bytes; at most {limit} are read")
        content = file.read() if limit is None else file.read(limit + 1)
    if limit is not None and len(content) > limit:  # it grew meanwhile
        raise NotRegularError(f"{path} has more than {limit} bytes, which is as much as is read")
    return content


def read_files(
    folder: Path, limit: int | None = None, require: Callable[[list[str]], object] = list
) -> dict[str, bytes]:
    """All files of a folder by name, sorted; of one version, though a writer exchanges the folder meanwhile.

    Args:
        folder: of files alone.
        limit: bytes that each may have; None for any number.
        require: is called with the sorted names before any is read, and may raise.

    Raises:
        NotRegularError: something in it is no regular file, or larger than `limit` bytes.
        FileNotFoundError, NotADirectoryError: no such folder. Whatever `require` raises.
    """
    while True:
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            if not recover_folder(folder):
                raise
            continue
        try:
            names = sorted(os.listdir(handle))
            if not _is_at(handle, folder):
                continue
            require(names)
            content = {name: read_regular(Path(name), limit, inside=handle) for name in names}
            if _is_at(handle, folder):
                return content
        except NotRegularError as error:
            raise NotRegularError(f"{folder}: {error}") from error
        except FileNotFoundError:
            if _is_at(handle, folder):
                raise
        finally:
            os.close(handle)


def refuse_special(folder: Path) -> None:
    """Refuses a folder that holds, at any depth, something else than regular files and folders.

    Raises:
        NotRegularError: names the first link, pipe, socket or device.
    """
    for place, folders, files in os.walk(folder):
        for name in sorted((*folders, *files)):
            mode = os.lstat(os.path.join(place, name)).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                kind = "a link" if stat.S_ISLNK(mode) else "a pipe, a socket or a device"
                raise NotRegularError(f"{os.path.join(place, name)} is {kind}; only regular files are read")


def _write_bytes(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def _is_at(handle: int, path: Path) -> bool:
    """Whether what is open stands at `path`."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except OSError:
        return False


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _new_file(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))


@contextmanager
def _temporary(place: Path, create: Callable[[Path], None]) -> Iterator[Path]:
    """A new file or folder beside `place`, locked while it is written; gone afterwards if it still has its name."""
    require_posix()
    for prefix in (TEMPORARY, ASIDE):
        for found in _left_over(place, prefix):
            if (dead := _claimed(found, wait=False)) is not None:
                _remove(found)
                os.close(dead)
    handle = None
    while handle is None:  # another writer may take it for a left-over before it is locked
        path = _beside(place, TEMPORARY)
        create(path)
        handle = _claimed(path, wait=True)
    try:
        yield path
    finally:
        _remove(path)
        os.close(handle)


def _beside(place: Path, prefix: str) -> Path:
    tail = os.fsdecode(os.fsencode(place.name)[-_TAIL:])
    return place.with_name(f"{prefix}{secrets.token_hex(4)}-{tail}")


def _left_over(place: Path, prefix: str) -> list[Path]:
    """Files and folders of that prefix beside `place` that are `place`'s, the newest first."""
    name = re.compile(re.escape(prefix) + "[0-9a-f]{8}" + re.escape(_beside(place, prefix).name[len(prefix) + 8 :]))
    found = [Path(entry) for entry in os.scandir(place.parent) if name.fullmatch(entry.name)]
    return sorted(found, key=lambda path: path.lstat().st_mtime_ns, reverse=True) if len(found) > 1 else found


def _claimed(path: Path, *, wait: bool) -> int | None:
    """A handle that holds the lock of `path`; None where it is gone or, without `wait`, where it is not certain.

    File systems without locks give a handle to who waits.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        lock(handle, wait=wait)
        certain = True
    except OSError:
        certain = wait
    if certain and _is_at(handle, path):
        return handle
    os.close(handle)
    return None


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _put(made: Path, folder: Path, replace: bool) -> bool:
    """Puts the new folder in place; False where another writer came between and it is to be tried again."""
    try:
        os.rename(made, folder)  # onto nothing, or onto an empty folder
        return True
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if not replace:
            raise FileExistsError(errno.EEXIST, "the folder holds something", str(folder)) from None
    return _exchanged(made, folder) or _renamed_twice(made, folder)


def _exchanged(made: Path, folder: Path) -> bool:
    """Gives each the other's name in one step; False where the system or the file system has no such step."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FOLDER, os.fsencode(made), _AT_FOLDER, os.fsencode(folder), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (*_NO_EXCHANGE, errno.ENOENT):
        return False
    raise OSError(code, os.strerror(code), str(folder))


def _renamed_twice(made: Path, folder: Path) -> bool:
    """The old folder aside, the new one in its place; between the two only `recover_folder` finds the old one."""
    if (handle := _claimed(folder, wait=True)) is None:
        return False
    aside = _beside(folder, ASIDE)
    try:
        os.rename(folder, aside)
        try:
            os.rename(made, folder)
            return True
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another writer's is there
                return False
            os.rename(aside, folder)
            raise
        finally:
            sync_folder(folder.parent)
            _remove(aside)
    finally:
        os.close(handle)
