"""Files of keys: read only where nobody but their owner can."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptoenv.files.durable_files import read_regular

LONGEST_KEYS = 10_000  #: bytes of a file of keys


def read_private(file: Path, limit: int = LONGEST_KEYS) -> bytes:
    """The bytes of a file that nobody but its owner may read: mode 600 or less.

    Args:
        file: a regular file.
        limit: bytes it may have.

    Raises:
        PermissionError: others may read it. NotRegularError: a link, a folder, a pipe, or too long.
        FileNotFoundError: no such file.
    """
    mode = stat.S_IMODE(os.lstat(file).st_mode)
    if mode & 0o077:
        raise PermissionError(f"{file} has mode {mode:o}, others may read it: chmod 600 {file}")
    return read_regular(file, limit)
