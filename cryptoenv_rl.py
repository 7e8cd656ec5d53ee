"""The door of the `cryptoenv` command: makes sure that the packages are this distribution's before it imports one.

Other distributions are imported by the same names (`openai-agents` as `agents`, PyPI's `cryptoenv` as `cryptoenv`), and
whichever was installed last lies over the other. This module imports nothing but the standard library at its top.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("synthetic", "cryptoenv", "pretrain", "agents")
MARK = '__distribution__ = "cryptoenv-rl"'  #: a line of every package's `__init__.py`
USER_ERROR = 2


def home_of(package: str) -> Path | None:
    """The `__init__.py` that an import of a package would run, found without running it; None where there is none."""
    spec = find_spec(package)
    if spec is None:
        return None
    return Path(spec.origin) if spec.origin else Path(f"a namespace of {package}") / "__init__.py"


def wrong_package() -> str | None:
    """One line about the first package that is missing or another distribution's, or None where all are in place."""
    for package in PACKAGES:
        home = home_of(package)
        if home is None:
            return (
                f"the package {package!r} is not installed: this is the environment alone, without the command; "
                "install all of cryptoenv-rl (CRYPTOENV_PARTS unset), with its extra `agents`"
            )
        if not home.is_file() or MARK not in home.read_text(encoding="utf-8", errors="replace").splitlines():
            return (
                f"the package {package!r} at {home.parent} is another distribution's (openai-agents is imported as "
                "`agents`, an unrelated package of PyPI as `cryptoenv`): install cryptoenv-rl into an environment of "
                "its own, or uninstall the other and install cryptoenv-rl again"
            )
    return None


def main() -> int:
    """Run the command line; the exit code."""
    wrong = wrong_package()
    if wrong:
        print(f"cryptoenv: {wrong}", file=sys.stderr)
        return USER_ERROR
    code: int = import_module("agents.command_line").main()
    return code
