"""The kill switch: a file, a command that makes it, or a signal to the process."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from cryptoenv.files.durable_files import read_regular, write_file

HALT_FILE = "HALT"
LONGEST = 1_000  #: bytes of the file that are read


class KillSwitch:
    """Whether trading is halted by hand.

    Args:
        folder: whose file `HALT` halts while it exists, whatever it holds.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / HALT_FILE
        self._signalled: str | None = None

    @property
    def reason(self) -> str | None:
        """Why trading is halted; None while it is not. A file that cannot be looked at halts, too."""
        if self._signalled is not None:
            return self._signalled
        try:
            self.path.lstat()
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"{self.path} cannot be looked at: {error}"
        try:
            said = read_regular(self.path, LONGEST).decode("utf-8", "replace").strip()
        except (OSError, ValueError):  # a link, a folder: whatever is there halts
            said = ""
        return f"halted by {self.path}" + (f": {said}" if said else "")

    def halt(self, reason: str) -> None:
        """Halt from now on; without a disk that takes the file, while this process lasts.

        Raises:
            OSError: the file could not be written.
        """
        self._signalled = reason
        write_file(self.path, reason + "\n")
        self._signalled = None  # the file stands for it, whoever lifts it

    def lift(self) -> None:
        """Let trading go on."""
        self.path.unlink(missing_ok=True)
        self._signalled = None

    @contextmanager
    def on_signals(self, *numbers: int) -> Iterator[None]:
        """Halt when the process gets one of these signals (SIGUSR1 where none is named)."""
        before: dict[int, Any] = {}

        def halted(number: int, frame: FrameType | None) -> None:
            self._signalled = f"signal {signal.Signals(number).name}"

        for number in numbers or (signal.SIGUSR1,):
            before[number] = signal.signal(number, halted)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
