"""A rule's backtest and a sweep beside vectorbt, where an interpreter has it: equal money in less time of the CPU."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from benchmarks import evaluation

PYTHON = os.environ.get("CRYPTOENV_VECTORBT_PYTHON")


@pytest.mark.slow
@pytest.mark.skipif(PYTHON is None, reason="CRYPTOENV_VECTORBT_PYTHON names no interpreter with vectorbt")
def test_not_slower_than_vectorbt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, bars = tmp_path / "evaluation.json", os.environ.get("CRYPTOENV_VECTORBT_BARS")
    rules = os.environ.get("CRYPTOENV_VECTORBT_RULES", "50")
    files = [] if bars is None else ["--bars", bars]
    arguments = ["evaluation", "--python", str(PYTHON), "--rules", rules, "--out", str(out), *files]
    monkeypatch.setattr(sys, "argv", arguments)
    evaluation.main()
    told = json.loads(out.read_text())
    assert told["largest_difference"] < 1e-9
    assert told["one_ratio"] > 1.0 and told["sweep_ratio"] > 1.0
    assert told["million"]["all_seconds"] <= 0.2
    capsys.readouterr()
