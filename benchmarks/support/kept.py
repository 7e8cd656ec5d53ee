"""Results of single runs, kept beside a benchmark, so that one that was interrupted goes on with the same command."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.support.machine import header
from cryptoenv.files.durable_files import make_folder, write_file


def kept(folder: Path, what: str, run: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What `run` gives, from `folder` where the same code (commit) left it there for the same arguments."""
    same = repr((header()["commit"], what, arguments))
    place = folder / f"{what}-{hashlib.sha256(same.encode()).hexdigest()[:12]}.json"
    if place.is_file():
        found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        return found
    found = run(*arguments)
    make_folder(folder)
    write_file(place, json.dumps(found))
    return found
