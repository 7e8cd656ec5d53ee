from pathlib import Path

import pytest

from agents.command_line import main
from cryptoenv.features import FeatureSpec
from tests.naive.random_bars import random_bars


def test_inspect_prints_a_table_and_writes_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "features"
    bars, spec = tmp_path / "bars.csv", tmp_path / "spec.yaml"
    random_bars(40, seed=1, timeframe="1h").to_csv(bars)
    spec.write_text(FeatureSpec().to_yaml())
    inspect = ["features", "inspect", "--bars", str(bars), "--out", str(out)]
    arguments = [*inspect, "--timeframes", "1h,4h", "--features", str(spec)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "breakout_up_confirmed" in printed
    assert (out / "correlation_1h.png").stat().st_size > 1000
    assert (out / "features.csv").is_file()


def test_inspect_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", "inspect", "--task", "nowhere"]) == 2
    assert "task 'nowhere' is unknown; allowed: " in capsys.readouterr().err
    spec = tmp_path / "spec.yaml"
    spec.write_text("base: {trends: {}}")
    assert main(["features", "inspect", "--days", "10", "--features", str(spec), "--out", str(tmp_path / "new")]) == 2
    assert "unknown key 'trends'" in capsys.readouterr().err
