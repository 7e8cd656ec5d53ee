"""`cryptoenv evaluate` of pretrained models that are no agents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from agents.command_line import main
from agents.evaluation.extractor_trader import ExtractorTrader
from agents.markets.expert_market import ExpertMarket, markets_of
from pretrain import Extractor
from pretrain.data.splits import refuse_families
from pretrain.fitting.run_folder import ARTIFACT, RECIPE
from tests.naive.random_bars import random_bars


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, extractor: Extractor) -> Path:
    """An extractor's run folder."""
    folder = tmp_path_factory.mktemp("run")
    extractor.save(folder / ARTIFACT)
    (folder / RECIPE).write_text("task: easy\n")
    return folder


def test_an_extractor_trades_by_its_own_actions(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "scores.csv"
    assert main(["evaluate", str(run), "--markets", "2", "--days", "2", "--out", str(out)]) == 0
    table = pd.read_csv(out, index_col=0)
    assert {"extractor", "filter oracle", "buy and hold"} <= set(table.index)
    assert table.loc["filter oracle", "score"] == 1.0 and table.loc["extractor", "score"] < 1.0
    assert "2 markets of 'validation', task 'easy', an extractor's own actions" in capsys.readouterr().out
    assert main(["evaluate", str(run), "--split", "train"]) == 2
    assert main(["evaluate", str(run), "--out", str(out)]) == 2  # what is there stays


def test_for_final_figures_its_hysteresis_is_tuned_on_validation_markets(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def tuned(self: ExtractorTrader, validation: Sequence[ExpertMarket]) -> ExtractorTrader:
        refuse_families(markets_of(validation), ("train", "test"), "validation")
        seen.append(len(validation))
        return self

    monkeypatch.setattr(ExtractorTrader, "tuned", tuned)
    for split in ("validation", "test"):
        assert main(["evaluate", str(run), "--split", split, "--markets", "1", "--days", "1"]) == 0
    assert seen == [8]


def test_an_extractor_on_bars_of_ones_own(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "drawn.csv", tmp_path / "scores.csv"
    random_bars(100, 2).to_csv(path)
    assert main(["evaluate", str(run), "--bars", str(path), "--out", str(out)]) == 0
    table = pd.read_csv(out, index_col=0)
    assert "score" not in table.columns and "filter oracle" not in table.index and "extractor" in table.index
    said = capsys.readouterr().out
    assert "market impact" in said and "drawn, the validation part in time, an extractor's own actions" in said
