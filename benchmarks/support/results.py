"""Figures of a benchmark as a JSON file, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryptoenv.files.durable_files import make_folder, write_file


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Write `result`, plain values by name; the folder is made, what stood there is replaced.

    Raises:
        OSError: it cannot be written; what stood there still does.
    """
    make_folder(path.parent)
    write_file(path, json.dumps(result, indent=1) + "\n")
