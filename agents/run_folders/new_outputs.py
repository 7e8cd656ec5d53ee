"""Where a command writes: looked at before it works, refused where something stands, written whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

INTERRUPTED = 130  #: exit code after Ctrl-C, as shells have it


def require_new_file(path: Path, *endings: str) -> None:
    """Check, before any work, that a command may write the file `path`; nothing is made.

    Args:
        path: of the file.
        endings: allowed ones, such as ".csv"; any where none are given.

    Raises:
        ValueError: another ending. FileExistsError: something stands there. NotADirectoryError, PermissionError: its
            folder cannot be made, or not be written.
    """
    if endings and not path.name.lower().endswith(endings):
        raise ValueError(f"cannot write {path}; allowed: a name that ends in {', '.join(endings)}")
    if os.path.lexists(path):
        what = "a folder" if path.is_dir() else "there already"
        raise FileExistsError(f"{path} is {what}: nothing is overwritten; name a file that does not exist yet")
    _require_place(path)


def require_new_folder(folder: Path) -> None:
    """Check, before any work, that a command may write the folder: it does not exist, or is empty; nothing is made.

    Raises:
        FileExistsError: something stands there. NotADirectoryError, PermissionError: it cannot be made there.
    """
    if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already: nothing is overwritten; name a new or empty folder")
    _require_place(folder)


def _require_place(path: Path) -> None:
    """The nearest folder above that exists must be one, and be writable."""
    above = next(place for place in path.absolute().parents if os.path.lexists(place))
    if not above.is_dir():
        raise NotADirectoryError(f"{path} cannot be written: {above} is no folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be written: no permission in {above}")


def write_new_file(path: Path, make: Callable[[Path], object]) -> None:
    """Write the whole file or none of it; its folders are made. `make` writes to the path it gets.

    Raises:
        FileExistsError, NotADirectoryError, PermissionError: as `require_new_file`. OSError: it cannot be written.
    """
    require_new_file(path)
    from cryptoenv.files.durable_files import make_file, make_folder  # with numba: not for `--help`

    make_folder(path.parent)
    make_file(path, make)


def write_table(table: pd.DataFrame, out: Path | None) -> None:
    """Write the table of a command that has --out as CSV, and say so; nothing where `out` is None.

    Raises:
        FileExistsError, NotADirectoryError, PermissionError, OSError: as `write_new_file`.
    """
    if out is not None:
        write_new_file(out, table.to_csv)
        print(f"table: {out}")


def write_new_folder(folder: Path, make: Callable[[Path], object]) -> None:
    """Write the whole folder or none of it; `make` fills the empty folder it gets.

    Raises:
        FileExistsError, NotADirectoryError, PermissionError: as `require_new_folder`. OSError: it cannot be written.
    """
    require_new_folder(folder)
    from cryptoenv.files.durable_files import write_folder

    write_folder(folder, make, replace=False)


@contextmanager
def told_when_interrupted(kept: Callable[[], str]) -> Iterator[None]:
    """Ctrl-C in the body ends the command with exit code 130, after a line on what is kept and how to go on.

    Args:
        kept: says it, when asked.

    Raises:
        typer.Exit: after an interrupt.
    """
    try:
        yield
    except KeyboardInterrupt:
        import typer

        print(f"\ncryptoenv: interrupted; {kept()}", file=sys.stderr, flush=True)
        raise typer.Exit(INTERRUPTED) from None
