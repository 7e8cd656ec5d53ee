"""What to install when an optional dependency is missing, in one line."""

from __future__ import annotations

IMITATION = (
    'pip install "cryptoenv[agents,imitation-deps]", then pip install --no-deps imitation==1.0.1 '
    "(its metadata pins old releases of gymnasium and Stable-Baselines3; it runs on the current ones)"
)


def imitation_is_missing(error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The error to raise when `imitation`, or what it needs, cannot be imported."""
    return ModuleNotFoundError(f"behaviour cloning needs {error.name!r}: {IMITATION}", name=error.name)


def extra_is_missing(error: ModuleNotFoundError, command: str) -> str:
    """One line that says which extra a command needs."""
    if str(error).startswith("behaviour cloning needs"):
        return str(error)
    return f'`cryptoenv {command}` needs the module {error.name!r}: pip install "cryptoenv[agents]"'
