"""Full counts: the recipe that learns foresees pumps of tokens that it never saw, neither by id nor by seed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tokens import FULL, forecast_piece


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FULL.seeds))
def test_pumps_of_other_tokens_are_foreseen(seed: int, tmp_path: Path) -> None:
    found = forecast_piece(FULL, "token", "conv", seed)
    (tmp_path / f"forecast-token-conv-{seed}.json").write_text(json.dumps(found, indent=1, default=float))
    for target in ("pump", "pump, other seed"):
        scores = found["pumps"][target]
        told = {name: round(one["average_precision"], 3) for name, one in scores.items()}
        print(f"\nseed {seed}, {target} (share {scores['forecaster']['share']:.3f}): {told}")
        by_token = [np.array(scores[name]["by_token"], np.float64) for name in ("forecaster", "z-score rule")]
        gain = by_token[0] - by_token[1]
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        assert gain.mean() > 3.0 * error, f"no better than the rule: {gain.mean():.3f} +- {error:.3f} over tokens"
        assert scores["forecaster"]["average_precision"] > 2.0 * scores["z-score rule"]["average_precision"]
        said, came = np.array(scores["forecaster"]["reliability"]).T
        assert np.abs(said - came).max() < 0.05, "chances of a tenth of the rows are off by 5 points"
    assert found["errors"]["conv"]["log_error"]
