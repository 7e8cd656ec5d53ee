"""Results of single runs, kept beside a benchmark, so that one that was interrupted goes on with the same command."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.support.machine import header
from benchmarks.support.results import write_result
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


def run_cases(
    name: str,
    about: str | None,
    cases: Callable[[int], Mapping[str, Callable[[], dict[str, Any]]]],
    repetitions: int,
    **told: Any,
) -> None:
    """The command line of a benchmark of many cases: reckon those that its file lacks, write after each.

    Args:
        name: of its file. about: its docstring.
        cases: by name, for a number of repetitions.
        repetitions: unless asked otherwise.
        **told: further values of the file.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=repetitions)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no further case after so long")
    parser.add_argument("--out", type=Path, default=Path(f"runs/benchmarks/{name}.json"))
    arguments = parser.parse_args()
    out: Path = arguments.out
    rows: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))["rows"] if out.is_file() else {}
    until = time.monotonic() + arguments.seconds
    for case, reckon in cases(arguments.repetitions).items():
        if case in rows:
            continue
        if time.monotonic() > until:
            print("the time is up: call it again")
            break
        began = time.process_time()
        rows[case] = reckon() | {"cpu_seconds": round(time.process_time() - began, 1)}
        print(case, json.dumps(rows[case]), flush=True)
        write_result(out, header() | told | {"rows": rows})
