"""Progress on stderr: tqdm's bar on a terminal, whole lines elsewhere (a log, a pipe), at most one in ten seconds.

It needs tqdm: import it where progress is shown, not where the environment alone is.
"""

import sys
from time import monotonic
from typing import Any, TextIO

import tqdm as library

SECONDS = 10.0  #: between lines that are not on a terminal


class tqdm(library.tqdm):
    """tqdm's bar, or lines such as "embedding: 12 of 32, 10 s" where carriage returns would be noise."""

    disable: bool

    def __init__(self, *arguments: Any, **options: Any) -> None:
        stream = options.get("file") or sys.stderr
        self._plain = not is_terminal(stream)
        self._stream, self._began = stream, monotonic()
        self._last = self._began
        super().__init__(*arguments, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> Any:
        """Draw the bar, or print a line where the last is old enough."""
        if not self._plain:
            return super().display(msg, pos)
        if monotonic() - self._last >= SECONDS:
            self._line()
        return True

    def close(self) -> None:
        """End the bar, or print the last line."""
        if self._plain and not self.disable:
            self.disable = True
            self._decr_instances(self)
            self._line()
        elif not self._plain:
            super().close()

    def _line(self) -> None:
        self._last = monotonic()
        of = f" of {self.total:,}" if self.total else ""
        figures = f", {self.postfix}" if self.postfix else ""
        seconds = f"{self._last - self._began:.0f} s"
        what = (self.desc or "progress").removesuffix(": ")
        print(f"{what}: {self.n:,}{of}, {seconds}{figures}", file=self._stream, flush=True)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether what is written to `stream` is looked at as it comes."""
    return stream is not None and stream.isatty()


def write_line(text: str) -> None:
    """A line on stderr that breaks into no bar."""
    library.tqdm.write(text, file=sys.stderr)
