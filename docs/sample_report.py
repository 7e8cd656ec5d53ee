"""The sample that `reports.md` offers, made by the two commands that it names, while the site is built."""

from __future__ import annotations

import tempfile
from pathlib import Path

from agents.command_line import main

RULE = "cross fast=16 slow=96 band=0.2"


def make_sample_report(path: Path) -> None:
    """Make it, in half a minute, where it is absent.

    Raises:
        RuntimeError: a command failed; it has said why.
    """
    if path.is_file():
        return
    with tempfile.TemporaryDirectory() as folder:
        run = str(Path(folder) / "sample")
        backtest = ["backtest", "--task", "standard", "--rule", RULE, "--stop-loss", "0.05", "--out", run]
        for command in (backtest, ["report", run, "--out", str(path)]):
            if main(command) != 0:
                raise RuntimeError(f"cryptoenv {' '.join(command)} failed")
