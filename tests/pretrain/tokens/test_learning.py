"""Full counts: the design's own command line runs to the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pretrain
from agents.command_line import main
from pretrain.tokens.artifact import TokenForecaster


@pytest.mark.slow
def test_the_designs_own_command_line_runs_to_the_end(tmp_path: Path) -> None:
    assert main(["tokens", "--out", str(tmp_path / "run")]) == 0
    made = pretrain.load(tmp_path / "run")
    assert isinstance(made, TokenForecaster)
    metrics = made.provenance.metrics
    assert metrics["steps"] > 3_000 and np.isfinite(metrics["validation/loss"])
    print(f"\ntraining: {metrics['steps']:.0f} steps, {metrics['cpu_seconds']:.0f} CPU s")
