"""A forecaster by commands: pretrained, asked for steps, judged, exported; and what is refused."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from agents.command_line import main
from tests.pretrain.conftest import random_bars

RECIPE = """
model: forecaster
timeframes: [1h, 4h, 1d]
architecture:
  {window: [12, 3, 2], width: 16, layers: 1, heads: 2, feedforward: 16, horizons: [1, 4], steps: 4, dropout: 0.0}
training: {steps: 6, batch: 32, validate_every: 3, validation_windows: 64, quantile_weight: 1.0}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on bars of one's own, made once."""
    folder = tmp_path_factory.mktemp("forecaster")
    random_bars(0).to_csv(folder / "bars.csv")
    (folder / "recipe.yaml").write_text(RECIPE)
    given = ["pretrain", "--recipe", str(folder / "recipe.yaml"), "--bars", str(folder / "bars.csv")]
    assert main([*given, "--out", str(folder / "run")]) == 0
    return folder


def test_a_run_holds_everything(place: Path) -> None:
    held = {path.name for path in (place / "run").iterdir()}
    assert {"artifact", "recipe.yaml", "inputs.json", "pictures", "splits.png", "checkpoints"} <= held
    pictures = {path.name for path in (place / "run/pictures").iterdir()}
    assert {"predicted_vs_actual.png", "fan.png", "error_by_horizon.png", "calibration.png"} <= pictures


def test_steps_ahead_are_a_table(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["predict", str(place / "run"), "--bars", str(place / "bars.csv"), "--steps", "4"]
    assert main([*given, "--out", str(place / "forecast")]) == 0
    assert "forecast of 4 steps" in capsys.readouterr().out
    table = pd.read_parquet(place / "forecast/forecast.parquet")
    assert list(table["step"]) == [1, 2, 3, 4]
    assert (table["price_q10"] < table["price_q90"]).all()
    assert (place / "forecast/predictions.parquet").is_file()
    assert main([*given[:-1], "9", "--out", str(place / "more")]) == 2
    assert "steps=9 is not allowed: 1 to 4" in capsys.readouterr().err
    assert not (place / "more").exists()


def test_it_is_judged_on_the_part_it_has_not_seen(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["evaluate", str(place / "run"), "--bars", str(place / "bars.csv"), "--split", "test"]
    assert main([*given, "--out", str(place / "scores.csv")]) == 0
    said = capsys.readouterr().out
    assert "the weights saw bars from 2020-02-12" in said
    assert "crps_of_historical" in said
    table = pd.read_csv(place / "scores.csv")
    assert table["rows"].max() < 0.35 * 24 * 80  # the last fifth of the decisions alone
    assert (place / "scores/fan.png").is_file()
    assert "held out only if" not in said
    assert main([*given, "--out", str(place / "scores.csv")]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert main(["evaluate", str(place / "run/artifact"), *given[2:]]) == 0  # which no longer knows its split
    last = pd.read_csv(place / "bars.csv", index_col=0, parse_dates=True).index[-1]
    said = capsys.readouterr().out
    assert "those before 2020-" in said and "are held out only if the weights learned from other prices" in said
    random_bars(1).set_axis(random_bars(1).index + (last - random_bars(1).index[0])).to_csv(place / "later.csv")
    assert main(["evaluate", str(place / "run/artifact"), "--bars", str(place / "later.csv"), *given[4:]]) == 0
    assert "held out only if" not in capsys.readouterr().out


def test_bands_are_tracked(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["predict", str(place / "run"), "--bars", str(place / "bars.csv"), "--track"]
    assert main([*given, "--out", str(place / "tracked")]) == 0
    plain = pd.read_parquet(place / "forecast/predictions.parquet")
    tracked = pd.read_parquet(place / "tracked/predictions.parquet")
    assert tracked["return_1_mean"].equals(plain["return_1_mean"])
    width = [table["return_1_q90"] - table["return_1_q10"] for table in (tracked, plain)]
    ratio = width[0] / width[1]
    assert ratio.iloc[0] == pytest.approx(1.0, abs=1e-5)  # float32 returns of the order of a hundredth
    assert ratio.std() > 0.001
    assert main([*given, "--follow"]) == 2
    assert main(["predict", "default", *given[2:], "--out", str(place / "n")]) == 2
    assert "--track needs a forecaster" in capsys.readouterr().err


def test_a_forecaster_of_others_is_judged_by_its_recipe(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fracast")
    monkeypatch.setattr("agents.commands.evaluate_forecaster.MOST_ROWS", 30)
    recipe = place / "external.yaml"
    recipe.write_text(RECIPE.partition("training")[0] + "forecaster: external\nexternal: fracast\n")
    given = [str(recipe), "--bars", str(place / "bars.csv")]
    assert main(["evaluate", *given, "--out", str(place / "external.csv")]) == 0
    table = pd.read_csv(place / "external.csv")
    assert set(table["contender"]) == {"fracast", "fracast, tracked", "persistence", "historical volatility"}
    assert main(["pretrain", "--recipe", *given, "--out", str(place / "none")]) == 2
    assert "others have trained it" in capsys.readouterr().err
    recipe.write_text(RECIPE.partition("training")[0] + "forecaster: external\nexternal: kronos\n")
    assert main(["evaluate", *given]) == 2
    assert "the forecaster 'kronos' needs a folder with its weights" in capsys.readouterr().err
    recipe.write_text(RECIPE)
    assert main(["evaluate", *given]) == 2
    assert "is no recipe with `forecaster: external`" in capsys.readouterr().err


@pytest.mark.slow
def test_it_is_exported(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxscript")
    assert main(["export", str(place / "run"), str(place / "model.onnx")]) == 0
    assert "bytes" in capsys.readouterr().out
    assert main(["export", str(place / "run"), str(place / "model.onnx")]) == 2
    assert main(["export", "pretrain/artifacts/default", str(place / "other.onnx")]) == 2
    assert "only forecasters are written as ONNX" in capsys.readouterr().err


def test_what_is_not_of_forecasters_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["pretrain", "--recipe", "forecaster", "--out", str(place / "none")]
    for options, message in (
        (["--init", str(place / "nothing")], "no such folder"),
        (["--bars", str(place / "bars.csv"), "--init", str(place / "nothing")], "no such folder"),
        (["--bars", str(place / "bars.csv"), "--from", "default"], "a forecaster is trained anew"),
    ):
        assert main([*given, *options]) == 2
        assert message in capsys.readouterr().err
    assert main(["pretrain", "--init", str(place), "--out", str(place / "none")]) == 2
    assert "--init needs a recipe of a GPT forecaster" in capsys.readouterr().err
    assert not (place / "none").exists()
    given = ["predict", "default", "--bars", str(place / "bars.csv"), "--steps", "4"]
    assert main([*given, "--out", str(place / "n")]) == 2
    assert main(["predict", str(place / "recipe.yaml"), *given[2:], "--out", str(place / "n")]) == 2
    assert "recipe.yaml is no artifact: a file" in capsys.readouterr().err


def test_texts_become_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "texts.csv").write_text("time,text\n2024-01-01T10:05:00Z,a great success\n2024-01-01T12:00:00Z,awful\n")
    assert main(["data", "sentiment", str(tmp_path / "texts.csv"), "--out", str(tmp_path / "s.parquet")]) == 0
    assert "2 texts in 3 hours" in capsys.readouterr().out
    assert list(pd.read_parquet(tmp_path / "s.parquet")["sentiment_count"]) == [1.0, 0.0, 1.0]
    assert main(["data", "sentiment", str(tmp_path / "texts.csv"), "--out", str(tmp_path / "s.txt")]) == 2
