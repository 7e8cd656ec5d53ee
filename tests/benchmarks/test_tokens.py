"""What the benchmark of tokens joins from its pieces, by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import tokens
from benchmarks.tokens import SHOWN, _by_token, joined
from pretrain.tokens.judging import STEPS, Origin


def piece(shift: float, pumps: dict[str, object] | None) -> dict[str, object]:
    rows = [[shift] * len(STEPS), [shift + 1.0, *([None] * (len(STEPS) - 1))]]
    return {"errors": {"conv": dict.fromkeys(SHOWN, rows)}, "pumps": pumps}


def detector(precision: float, lead: float | None) -> dict[str, object]:
    alarms = {"recall": 0.5, "false_a_day": 1.0, "lead": lead, "lead_to_peak": 3.0, "pumps": 4, "threshold": None}
    return {"average_precision": precision, "by_token": [precision, None], "share": 0.1, "alarms": alarms}


def test_pieces_are_joined_over_seeds_and_tokens() -> None:
    found = joined(
        {
            "forecast-token-conv-0": piece(1.0, {"pump": {"forecaster": detector(0.2, None)}}),
            "forecast-token-conv-1": piece(3.0, {"pump": {"forecaster": detector(0.4, 5.0)}}),
            "forecast-token-lstm_brief-0": piece(9.0, {"pump": {"forecaster": detector(0.1, 1.0)}}),
        }
    )
    table = found["forecasts"]["token"]["conv"]["mae"]
    assert table["1"][0] == pytest.approx((1 + 2 + 3 + 4 + 9 + 10) / 6) and table["1"][3] == 6
    assert table["10"][0] == pytest.approx((1 + 3 + 9) / 3) and table["10"][1] <= table["10"][0] <= table["10"][2]
    pump = found["pumps"]["pump"]
    assert pump["forecaster"]["average_precision"] == pytest.approx(0.3) and pump["forecaster"]["lead"] == 5.0
    assert pump["forecaster"]["pumps"] == 8 and pump["forecaster, lstm_brief"]["average_precision"] == 0.1
    assert pump["forecaster"]["by_token"][3] == 2


def test_means_are_over_each_tokens_presents() -> None:
    origins = [Origin(2, 5), Origin(2, 9), Origin(4, 5)]
    found = _by_token({"mae": np.array([[1.0, np.nan], [3.0, np.nan], [5.0, 6.0]])}, origins)
    assert found == {"mae": [[2.0, None], [5.0, 6.0]]}


def test_what_is_kept_is_joined_whatever_this_call_measures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A call without real tokens tells those that an earlier call measured."""
    (tmp_path / "found").mkdir()
    rows = [[0.1, 0.3, 0.6]]
    (tmp_path / "found/real-0.json").write_text(json.dumps({"errors": {"conv": dict.fromkeys(SHOWN, rows)}}))
    monkeypatch.setattr(tokens, "verify", lambda: None)
    monkeypatch.setattr(sys, "argv", ["tokens", "--only", "no such piece", "--out", str(tmp_path / "found.json")])
    tokens.main()
    told = json.loads((tmp_path / "found.json").read_text())
    assert told["pieces"] == ["real-0"] and told["forecasts"]["real"]["conv"]["mae"]["30"][0] == 0.6
