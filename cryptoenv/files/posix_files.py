"""What stores and run folders ask of the system: locks of the kernel and flags of `open` that Windows does not have."""

from __future__ import annotations

import os

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]


class UnsupportedSystemError(OSError):
    """The system lacks what files that are written whole ask for; the message names it."""


def require_posix() -> None:
    """Checks that files can be locked and links be refused here.

    Raises:
        UnsupportedSystemError: they cannot, as on Windows.
    """
    lacking = [name for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC") if not hasattr(os, name)]
    if fcntl is None:
        lacking.insert(0, "the module fcntl (file locks)")
    if lacking:
        raise UnsupportedSystemError(
            f"this system lacks {', '.join(lacking)}: stores, saved markets and run folders need Linux or macOS "
            "(on Windows: WSL)"
        )


def lock(handle: int, *, wait: bool = False) -> None:
    """Takes the exclusive lock of an open file.

    Raises:
        BlockingIOError: somebody has it, and `wait` is False. OSError: the file system has none.
        UnsupportedSystemError: the system has none.
    """
    require_posix()
    fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def unlock(handle: int) -> None:
    """Gives the lock of an open file back.

    Raises:
        OSError: the file system has none.
    """
    fcntl.flock(handle, fcntl.LOCK_UN)
