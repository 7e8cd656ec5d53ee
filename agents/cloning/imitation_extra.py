"""What to install when `imitation` is missing, in one line."""

from __future__ import annotations

from synthetic.installation import install_hint


def imitation_is_missing(error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The error to raise when `imitation`, or what it needs, cannot be imported."""
    how = (
        f"{install_hint('agents,imitation-deps')}, then pip install --no-deps imitation==1.0.1 (its metadata pins "
        "old releases of gymnasium and Stable-Baselines3; it runs on the current ones)"
    )
    return ModuleNotFoundError(f"behaviour cloning needs {error.name!r}: {how}", name=error.name)
