"""Pictures of a run: their numbers, and that all of them are drawn where a run is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agents.command_line import main
from cryptoenv import Market
from pretrain import Extractor
from pretrain.data.splits import Span
from pretrain.data.teachers import HORIZON, labelled_bars
from pretrain.extractor.pictures import confusion, reliability
from synthetic import horizon_labels, regime_market


def test_confusion_counts_known_labels_by_held_position() -> None:
    likeliest = np.array([[0, 1], [1, 1], [1, 0]])
    logits = np.eye(2, dtype=np.float32)[likeliest]
    labels = np.array([[0, 1], [0, -1], [1, 1]], np.int8)
    found = confusion(logits, labels)
    np.testing.assert_array_equal(found[0], [[0.5, 0.5], [0.0, 1.0]])
    assert np.isnan(found[1, 0]).all()  # held position 1 never has label 0
    np.testing.assert_array_equal(found[1, 1], [0.5, 0.5])


def test_reliability_finds_overconfidence() -> None:
    rng = np.random.default_rng(0)
    said = rng.random(20_000)
    honest = rng.random(20_000) < said
    middle, seen = reliability(said, honest)
    np.testing.assert_allclose(middle, seen, atol=0.03)
    timid = rng.random(20_000) < 0.5 + 0.5 * (said - 0.5)
    middle, seen = reliability(said, timid)
    assert seen[0] > middle[0] + 0.15
    assert seen[-1] < middle[-1] - 0.15


def test_labels_of_a_span_are_made_from_its_own_bars_alone() -> None:
    bars = regime_market("easy", 10, 1).bars
    market = Market.from_bars(bars, timeframes=("15m", "4h", "1d"))
    start, stop = 2_000, 3_000
    (labelled_sample,) = labelled_bars([market], [Span(0, start, stop)], teacher="horizon")
    shaken = bars.copy()
    shaken.iloc[stop:, :4] *= 2.0  # what comes after the span
    later = Market.from_bars(shaken, timeframes=market.timeframes)
    (other,) = labelled_bars([later], [Span(0, start, stop)], teacher="horizon")
    np.testing.assert_array_equal(labelled_sample.labels, other.labels)
    assert (labelled_sample.labels[:start] == -1).all()
    assert (labelled_sample.labels[stop:] == -1).all()
    expected = horizon_labels(bars.iloc[start:stop], HORIZON, deadband=0.0022, positions=(-1.0, 0.0, 1.0))
    np.testing.assert_array_equal(labelled_sample.labels[start:stop], expected)
    with pytest.raises(ValueError, match="needs a synthetic market's truth"):
        labelled_bars([market], [Span(0, start, stop)], teacher="oracle")


SMALL = """
task: easy
markets: 2
validation_markets: 1
days: 12
architecture: {window: [64, 4, 2], patches: [16, 4, 2], memory: 8, width: 8, feedforward: 8, regimes: 16}
training: {steps: 4, batch: 64, validate_every: 2, validation_windows: 64}
"""


def test_a_run_is_drawn_and_goes_on_with_real_bars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, run = tmp_path / "small.yaml", tmp_path / "run"
    recipe.write_text(SMALL, encoding="utf-8")
    assert main(["pretrain", "--recipe", str(recipe), "--out", str(run)]) == 0
    drawn = {path.name for path in (run / "pictures").glob("*.png")}
    assert drawn == {
        "learning_curves.png", "label_confusion.png", "attention.png", "calibration.png", "decisions.png"
    }  # fmt: skip
    files = []
    for seed in (1, 2):
        files.append(tmp_path / f"market{seed}.parquet")
        regime_market("easy", 30, seed).bars.to_parquet(files[-1])
    bars = [argument for file in files for argument in ("--bars", str(file))]
    tune = ["pretrain", *bars, "--from", str(run / "artifact"), "--out", str(tmp_path / "tuned"), "--steps", "4"]
    capsys.readouterr()
    assert main([*tune, "--show-data-splits"]) == 0
    shown = capsys.readouterr().out
    assert "validation" in shown
    assert "market2" in shown
    assert (tmp_path / "tuned" / "splits.png").stat().st_size > 5_000
    assert not (tmp_path / "tuned" / "artifact").exists()
    assert main(tune) == 0
    before, after = Extractor.load(run / "artifact"), Extractor.load(tmp_path / "tuned" / "artifact")
    assert after.config == before.config
    assert after.hash != before.hash
    assert after.provenance.label_kind == "filter oracle, then return over 16 bars"
    assert main(["pretrain", "--show-data-splits"]) == 2
    elsewhere = [argument.replace("tuned", "other") for argument in tune]
    assert main([*elsewhere, "--split", "token"]) == 2  # two markets are too few
    assert "at least three markets" in capsys.readouterr().err
