"""One writer per folder: an advisory lock of the kernel's, which dies with its process, so none is ever stale."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptoenv.files.posix_files import lock, require_posix, unlock

LOCK_FILE = ".lock"
_LONGEST = 32  # bytes of a lock file: the holder's process number
_held: set[int] = set()


class FolderLockedError(ValueError):
    """Another writer has the folder, or what is to be its lock file is none."""


@contextmanager
def folder_lock(folder: Path, what: str, refusal: type[Exception] = FolderLockedError) -> Iterator[None]:
    """Holds a folder for writing; a process that is forked meanwhile does not hold it.

    Args:
        folder: it exists; its file `.lock` stays, since removing it would let two writers lock two files of one name.
        what: names in a message what is being written.
        refusal: class of the error where the folder cannot be held.

    Raises:
        FolderLockedError: (or `refusal`) another writer has it, and the message names its process; or `.lock` is a
            link, a pipe or a file of something else, which is left as it is.
        OSError: the lock file cannot be opened, or the system has no locks.
    """
    require_posix()
    path = folder / LOCK_FILE
    handle, owner = _opened(path, refusal), os.getpid()
    try:
        try:
            lock(handle)
        except BlockingIOError:
            holder = os.pread(handle, _LONGEST, 0).decode("ascii", "replace").strip() or "unknown"
            raise refusal(
                f"{what} is being written by process {holder} (lock {path}); wait until it has finished, or stop it"
            ) from None
        _held.add(handle)
        os.ftruncate(handle, 0)
        with suppress(OSError):  # a full disk: only the name of the holder is lost, and what to write fails by itself
            os.pwrite(handle, f"{owner}\n".encode(), 0)
        try:
            yield
        finally:
            if os.getpid() == owner:
                os.ftruncate(handle, 0)
    finally:
        if os.getpid() == owner:  # a forked process has closed its copy
            _held.discard(handle)
            with suppress(OSError):
                unlock(handle)  # also where a process that is being forked has still its copy open
            os.close(handle)


def _opened(path: Path, refusal: type[Exception]) -> int:
    """The lock file, made where there is none."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        handle = os.open(path, flags, 0o644)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise
        raise refusal(f"{path} is a link, a socket or a folder, not a lock file; remove it") from error
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or found.st_size > _LONGEST:
        os.close(handle)
        raise refusal(
            f"{path} is no lock file (a pipe, a second name of a file, or a file of something else); remove it"
        )
    return handle


def _close_copies() -> None:
    for handle in _held:
        with suppress(OSError):
            os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_close_copies)
