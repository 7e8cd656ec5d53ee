"""`cryptoenv pretrain`, `predict` and `evaluate` of segmenters: on a task, on bars, with labels; what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agents.command_line import main
from agents.training.model_trainings import TRAININGS, chosen_recipe
from cryptoenv.files.durable_files import make_folder
from pretrain.fitting.market_inputs import MarketInputs
from pretrain.segmenter.recipe import SegmenterRecipe
from synthetic import regime_market

CHANGES = """
markets: 2
validation_markets: 2
days: 30
task: easy
reads: {pursuit_window: [32, 24, 16], sparsity: 4}
architecture:
  {timeframes: [15m, 1h, 4h], window: [8, 4, 4], patches: [2, 1, 1], width: 8, layers: 1, heads: 2, feedforward: 16}
training: {steps: 20, batch: 64, learning_rate: 0.01, validate_every: 20, validation_windows: 512}
"""


def shortened(path: Path) -> Path:
    """The seed recipe with small numbers."""
    whole = SegmenterRecipe.read("segmenter_seed").text()
    start = whole.index("timescales:")
    scales = whole[start : whole.index("\nreads:") + 1]
    path.write_text("model: segmenter\nteacher: regimes\n" + scales + CHANGES)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with bars, labels, a recipe, and a run of it on the task."""
    folder = tmp_path_factory.mktemp("segmenter")
    bars = regime_market("easy", 40, 3).bars
    bars.to_parquet(folder / "bars.parquet")
    rng = np.random.default_rng(0)
    told = np.repeat(rng.integers(0, 2, len(bars)), rng.integers(20, 60, len(bars)))[: len(bars)]
    labels = pd.DataFrame({"fast": np.where(told, "up", "down"), "slow": np.roll(np.where(told, "up", "down"), 9)},
                          index=bars.index)  # fmt: skip
    labels.to_csv(folder / "labels.csv")
    shortened(folder / "recipe.yaml")
    make_folder(folder)
    assert main(["pretrain", "--recipe", str(folder / "recipe.yaml"), "--out", str(folder / "run")]) == 0
    return folder


def test_a_run_on_a_task_has_its_pictures(runs: Path) -> None:
    names = {path.name for path in (runs / "run" / "pictures").iterdir()}
    assert names == {
        "learning_curves.png", "segmentation.png", "confusion.png", "state_machine.png", "errors_by_condition.png",
        "anomaly.png", "pursuit_importance.png",
    }  # fmt: skip
    assert min(path.stat().st_size for path in (runs / "run" / "pictures").iterdir()) > 5_000


def test_predict_writes_states_and_segments(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = runs / "predictions"
    assert main(["predict", str(runs / "run"), "--bars", str(runs / "bars.parquet"), "--out", str(out)]) == 0
    states, segments = pd.read_parquet(out / "states.parquet"), pd.read_csv(out / "segments.csv")
    table = pd.read_parquet(out / "predictions.parquet")
    assert len(states) == len(table) and set(segments["timescale"]) == {"15m", "1h", "4h", "all"}
    assert segments.groupby("timescale")["bars"].sum().eq(len(table)).all()
    assert states["state"].iloc[-1] == segments[segments["timescale"] == "all"]["state"].iloc[-1]
    assert {"segmentation.png", "state_machine.png", "anomaly.png"} <= {path.name for path in out.iterdir()}
    assert "segments.csv" in capsys.readouterr().out


def test_evaluate_beside_the_exact_filter_and_on_bars(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = runs / "scores.csv"
    assert main(["evaluate", str(runs / "run"), "--markets", "1", "--days", "10", "--out", str(out)]) == 0
    table = pd.read_csv(out, index_col=[0, 1])
    for scale in ("15m", "1h", "4h"):
        assert table.loc[(scale, "exact filter"), "accuracy"] >= table.loc[(scale, "segmenter"), "accuracy"]
    assert "exact filter" in capsys.readouterr().out
    own = runs / "bars-scores.csv"
    command = [
        "evaluate",
        str(runs / "run"),
        "--bars",
        str(runs / "bars.parquet"),
        "--split",
        "test",
        "--out",
        str(own),
    ]
    assert main(command) == 0
    assert "exact filter" not in pd.read_csv(own, index_col=[0, 1]).index.get_level_values(1)


def test_own_bars_and_own_labels(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, bars = str(runs / "recipe.yaml"), str(runs / "bars.parquet")
    assert main(["pretrain", "--recipe", recipe, "--bars", bars, "--out", str(runs / "on-bars")]) == 0
    assert "teacher: bars" in (runs / "on-bars" / "recipe.yaml").read_text()
    labels = str(runs / "labels.csv")
    command = ["pretrain", "--recipe", recipe, "--bars", bars, "--labels", labels, "--out", str(runs / "on-labels")]
    assert main(command) == 0
    assert main(["predict", str(runs / "on-labels"), "--bars", bars, "--out", str(runs / "labelled")]) == 0
    assert pd.read_parquet(runs / "labelled" / "states.parquet").columns.tolist() == [
        "state_fast",
        "state_slow",
        "state",
    ]
    capsys.readouterr()
    assert main(["evaluate", str(runs / "on-labels")]) == 2
    assert "its own labels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "default", "--bars", "BARS"], "start: its timeframes is ('15m', '4h', '1d')"),
        (["--timeframes", "1h,15m"], "timeframes"),
        (["--labels", "labels.csv"], "needs --bars"),
        (["--task", "easy", "--bars", "BARS"], "--task names synthetic markets"),
        (["--init", "gpt2"], "--init needs a recipe of a GPT forecaster"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    runs: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given = [str(runs / "bars.parquet") if one == "BARS" else one for one in arguments]
    out = tmp_path / "run"
    assert main(["pretrain", "--recipe", str(runs / "recipe.yaml"), "--out", str(out), *given]) == 2
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1
    assert not out.exists()


def test_what_cannot_begin_with_the_extractor_that_ships_begins_anew() -> None:
    named, start = chosen_recipe("segmenter", None, MarketInputs(timeframes=("1m", "15m")), bars=True)
    training = TRAININGS[named.model](named, start)
    assert training.recipe.start is None and training.layout.timeframes == ("1m", "15m")
    assert training.recipe.training == SegmenterRecipe.read("segmenter_anew").training
    assert training.recipe.reads.pursuit_window == (64, 48)
    named, start = chosen_recipe("segmenter", None, MarketInputs(), bars=True)
    usual = TRAININGS[named.model](named, start)
    assert usual.recipe.start == "default" and usual.layout.timeframes == ("15m", "4h", "1d")
    named, start = chosen_recipe("segmenter", "none", MarketInputs(), bars=True)
    assert TRAININGS[named.model](named, start).recipe.start is None


def test_labels_that_miss_every_bar_are_refused(runs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    index = pd.date_range("1999-01-01", periods=20, freq="15min", tz="UTC", name="timestamp")
    pd.DataFrame({"fast": ["up", "down"] * 10}, index=index).to_csv(tmp_path / "old.csv")
    command = ["pretrain", "--recipe", str(runs / "recipe.yaml"), "--bars", str(runs / "bars.parquet")]
    assert main([*command, "--labels", str(tmp_path / "old.csv"), "--out", str(tmp_path / "run")]) == 2
    assert "not within the bars of the market" in capsys.readouterr().err
