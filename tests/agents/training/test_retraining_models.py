"""Extractors, segmenters and forecasters trained anew by the recipe that is kept with their version."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from agents.command_line import main
from agents.run_folders.versions.drift_file import ModelReference
from agents.run_folders.versions.models_folder import ModelsFolder
from agents.run_folders.versions.version import DRIFT, RECORD, require_whole
from agents.training.new_bars import fetch_new
from cryptoenv.exchange.downloader import DownloadRequest, download
from cryptoenv.store.key import SeriesKey
from cryptoenv.store.store import BarStore
from tests.agents.operated_world import hourly_bars
from tests.loopback.exchange import Loopback, Market

TRAINING = "training: {steps: 4, batch: 32, learning_rate: 0.01, validate_every: 4, validation_windows: 128}\n"
SMALL = "timeframes: [1h], window: [8], patches: [4], width: 8, layers: 1, heads: 1, feedforward: 8"
RECIPES = {
    "extractor": f"teacher: horizon\narchitecture: {{{SMALL}}}\n" + TRAINING,
    "segmenter": "model: segmenter\nteacher: bars\nstart: null\n"
    "timescales: [{name: 1h, minimum: 8, drift: 0.0008, penalty: 0.001}]\n"
    f"architecture: {{{SMALL}}}\n" + TRAINING,
    "forecaster": "model: forecaster\narchitecture: {timeframes: [1h], window: [12], width: 8, layers: 1, heads: 1, "
    "feedforward: 8, horizons: [1, 4], steps: 4, dropout: 0.0}\n" + TRAINING,
}  # fmt: skip
DAYS = 70


def added(folder: Path, kind: str) -> ModelsFolder:
    """A version in use that learned from the first two thirds of the bars."""
    bars = hourly_bars()
    bars.iloc[: DAYS * 24].to_csv(folder / "bars.csv")
    (folder / "recipe.yaml").write_text(RECIPES[kind])
    begun = ["--from", "none"] if kind == "extractor" else []
    asked = ["pretrain", "--recipe", "recipe.yaml", "--bars", "bars.csv", "--out", "run", *begun]
    assert main([*asked, "--timeframes", "1h"] if kind == "extractor" else asked) == 0
    assert main(["models", "add", "models", "run"]) == 0 and main(["models", "promote", "models", "0001"]) == 0
    bars.iloc[: (DAYS + 30) * 24].to_csv(folder / "bars.csv")
    return ModelsFolder.there(folder / "models")


@pytest.mark.parametrize(
    "kind", ["extractor", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("segmenter", "forecaster"))]
)
def test_a_model_is_trained_anew_by_its_recipe_and_proposed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    models = added(tmp_path, kind)
    assert main(["retrain", "models"]) == 2 and "name them with --bars" in capsys.readouterr().err
    assert main(["retrain", "models", "--bars", "bars.csv", "--folds", "1"]) == 0
    assert "proposed:  version 0002, to replace 0001" in capsys.readouterr().out
    assert models.current().name == "0001"  # nothing is swapped
    found, record = require_whole(models.place("0002")), json.loads((models.place("0002") / RECORD).read_text())
    before = require_whole(models.place("0001")).last_bar
    assert before is not None and pd.Timestamp(record["judged_from"]) > before
    assert found.parent == "0001" and found.data["bars"] == ["bars.csv"] and record["against"] == "0001"
    lost = record["current"]["loss"] - record["proposed"]["loss"]
    assert record["difference"]["value"] == pytest.approx(lost)
    assert record["difference"]["low"] <= lost <= record["difference"]["high"]
    reference = ModelReference.read(models.place("0002") / DRIFT)
    assert reference.features and (reference.calibration is not None) == (kind == "extractor")
    assert main(["models", "promote", "models", "0002"]) == 0 and main(["models", "show", "models", "0002"]) == 0
    assert record["figure"] in capsys.readouterr().out
    assert main(["retrain", "models"]) == 0  # the bars are known from the proposal, and there are no newer ones
    assert "nothing was trained" in capsys.readouterr().out
    assert main(["models", "rollback", "models"]) == 0 and models.current().name == "0001"
    assert main(["models", "add", "models", "run/artifact"]) == 0
    assert main(["models", "promote", "models", "0003"]) == 0
    capsys.readouterr()
    assert main(["retrain", "models", "--bars", "bars.csv"]) == 2
    assert "version 0003 has no recipe.yaml" in capsys.readouterr().err


def test_bars_that_have_closed_since_come_from_the_exchange(tmp_path: Path) -> None:
    """Two series of a store and a file: of the series what is missing is downloaded, once; the file is left alone."""
    pytest.importorskip("ccxt", reason='ccxt is not installed: pip install "cryptoenv-rl[data]"')
    file, store, key = tmp_path / "bars.csv", BarStore(tmp_path / "store"), SeriesKey("binance", "BTC/USDT", "1h")
    file.write_text("untouched")
    now = pd.Timestamp.now("UTC").floor("1h") + pd.Timedelta("10min")
    begin, middle = now.floor("1h") - pd.Timedelta("50h"), now.floor("1h") - pd.Timedelta("10h")
    with Loopback(Market(now=lambda: int(now.timestamp() * 1000)), limits_rate=False) as exchange:
        asked = DownloadRequest("binance", ("BTC/USDT",), "1h", begin, middle)
        download(tmp_path / "store", asked, client=exchange.client, progress=False)
        series, before = str(key.folder(tmp_path / "store")), store.read(key)
        said = fetch_new([series, str(file), series], progress=False, client=exchange.client)
        assert said == ["binance BTC/USDT 1h: 10 new bars"]
        after = store.read(key)
        pd.testing.assert_frame_equal(after.iloc[: len(before)], before, check_freq=False)
        assert len(after) == len(before) + 10 == 50 and file.read_text() == "untouched"
        assert fetch_new([series], progress=False, client=exchange.client) == ["binance BTC/USDT 1h: 0 new bars"]
