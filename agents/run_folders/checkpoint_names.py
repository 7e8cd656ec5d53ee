"""How checkpoints of agents' trainings are named, so that a run folder can be read without torch."""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"step-(\d{12,})")


def generations(folder: Path) -> list[Path]:
    """The checkpoints in a folder, good or not, oldest first."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted((path for path in found if _NAME.fullmatch(path.name)), key=step_of)


def step_of(checkpoint: Path) -> int:
    """Env steps after which a checkpoint was saved, as its name says."""
    return int(checkpoint.name.removeprefix("step-"))
