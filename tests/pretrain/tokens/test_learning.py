"""Full counts: the design's own command line runs to the end."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

import pretrain
from agents.command_line import main
from pretrain.tokens.artifact import TokenForecaster

DESIGN = [
    "--seq-length", "500", "--embed-size", "64", "--nhead", "4", "--dim-feedforward", "256", "--dropout", "0.0",
    "--epochs", "30", "--batch-size", "1", "--learning-rate", "2.2e-6", "--num-tokens", "5", "--timesteps", "4000",
    "--split-strategy", "time", "--save-model",
]  # fmt: skip
TESTED = ["--test-mode", "--test-token-range", "0-5", "--forecast", "1000", "--forecast-extended", "3000"]


@pytest.mark.slow
def test_the_designs_own_command_line_runs_to_the_end(tmp_path: Path) -> None:
    out = tmp_path / "run"
    began = time.process_time(), time.monotonic()
    assert main(["tokens", *DESIGN, "--out", str(out)]) == 0
    trained = time.process_time(), time.monotonic()
    made = pretrain.load(out)
    assert isinstance(made, TokenForecaster)
    metrics = made.provenance.metrics
    assert metrics["steps"] > 3_000 and np.isfinite(metrics["validation/loss"])
    assert main(["tokens", *TESTED, "--out", str(out)]) == 0
    tested = time.process_time(), time.monotonic()
    found = json.loads((out / "metrics.json").read_text())
    assert len(found["tokens"]) == 5 and found["forecast"]["mae"]["1000"] > 0.0
    for number in range(5):
        for name in ("short", "extended"):
            assert (out / "predictions" / f"token_{number}" / f"prediction_{name}.png").stat().st_size > 5_000
    for what, (first, last) in {"training": (began, trained), "testing": (trained, tested)}.items():
        print(f"\n{what}: {last[0] - first[0]:.0f} CPU s, {last[1] - first[1]:.0f} s")
