"""How this distribution is installed: its name is not that of its packages, and it may be a checkout."""

from __future__ import annotations

from pathlib import Path

#: What pip knows the packages `synthetic`, `cryptoenv`, `pretrain` and `agents` by. PyPI's `cryptoenv` is a stranger's.
DISTRIBUTION = "cryptoenv-rl"


def install_hint(extra: str, root: Path | None = None) -> str:
    """The command that adds an extra to the packages that are running, for messages.

    Args:
        extra: of setup.cfg; several with commas between them.
        root: the folder that holds the packages; found where None.

    Returns:
        A line for pip: with the folder of the checkout where the packages lie in one, else with the distribution's
        name, which pip finds installed, so that it fetches what the extra brings and nothing else.
    """
    root = root or Path(__file__).resolve().parents[1]
    if (root / "setup.cfg").is_file():
        return f'pip install -e ".[{extra}]" in the folder {root}'
    return f'pip install "{DISTRIBUTION}[{extra}]"'
