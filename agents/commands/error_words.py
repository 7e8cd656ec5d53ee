"""An error in one line for whoever typed a command: what happened, and a hint that the command can follow."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from agents.commands.missing_extra import extra_is_missing

EXPECTED = (ValueError, TypeError, OSError, ImportError, RuntimeError)
#: Arguments of the functions behind the commands that are options of `cryptoenv data clean`.
_ARGUMENT = re.compile(r"\b(time_zone|volume|columns)=(\([^)]*\)|\"[^\"]*\"|'[^']*')")
_TAKE_OPTIONS = (["data", "clean"], ["data", "import"])
#: Whatever has no display says so in one of these ways: Tk, Qt, X11.
_NO_DISPLAY = re.compile(r"no display|connect to display|\$DISPLAY|cannot load backend|headless", re.IGNORECASE)


def error_in_words(error: Exception, arguments: Sequence[str]) -> str:
    """One line about an error of a command that was given `arguments`."""
    command = next((word for word in arguments if not word.startswith("-")), "")
    if isinstance(error, ModuleNotFoundError):
        return extra_is_missing(error, command)
    message = _of_system(error) if isinstance(error, OSError) else str(error)
    if _NO_DISPLAY.search(message) or "backend that opens windows" in message:
        return f"no window can be opened here, there is no display ({message}): use --render ansi or rgb_array"
    if not isinstance(error, EXPECTED):
        return f"{type(error).__name__}: {message} (set CRYPTOENV_TRACEBACK=1 to see where)"
    return hint_that_fits(message, arguments) or type(error).__name__


def _of_system(error: OSError) -> str:
    """What the system says, without its number: the path, and what is wrong with it."""
    if error.errno is None or error.filename is None:
        return str(error)
    return f"{os.fsdecode(error.filename)}: {(error.strerror or os.strerror(error.errno)).lower()}"


def hint_that_fits(message: str, arguments: Sequence[str]) -> str:
    """The message with options in place of arguments of functions, and the command that takes them."""
    words = [word for word in arguments if not word.startswith("-")]
    named = _ARGUMENT.sub(lambda found: _as_option(*found.groups()), message)
    if named != message and words[:2] not in _TAKE_OPTIONS:
        named += "; `cryptoenv data clean FILE --out NEW` takes these options and makes a file that every command reads"
    return named.replace("cryptoenv.clean repairs", "`cryptoenv data clean` repairs")


def _as_option(name: str, value: str) -> str:
    return f"--{name.replace('_', '-')} " + value.strip("\"'()").replace('"', "").replace("'", "").replace(", ", ",")
