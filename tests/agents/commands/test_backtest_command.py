"""`cryptoenv backtest`: what it writes, what it refuses before it works."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agents.command_line import main
from tests.naive.random_bars import random_bars


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bars") / "drawn.csv"
    random_bars(80, 3, "1h").to_csv(path)
    return path


def test_a_grid_is_written_whole(bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs" / "one"
    arguments = ["backtest", "--rule", "cross fast=4,8 slow=32,64", "--bars", str(bars), "--chances", "19"]
    assert main([*arguments, "--stop-loss", "0.05", "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {
        "trades.parquet", "equity.parquet", "regimes.parquet", "stress.parquet", "metrics.json", "portfolio.png",
        "sweep.parquet",
    }  # fmt: skip
    told = json.loads((out / "metrics.json").read_text())
    equity = pd.read_parquet(out / "equity.parquet")
    assert equity["equity"].iloc[0] == told["desk"]["cash"] == 10_000.0
    assert equity["equity"].iloc[-1] / 10_000.0 - 1.0 == pytest.approx(told["figures"]["total_return"])
    months = told["monthly_returns"]
    assert list(months) == ["2021-01", "2021-02", "2021-03"]
    assert np.prod([1.0 + one for one in months.values()]) - 1.0 == pytest.approx(told["figures"]["total_return"])
    trades = pd.read_parquet(out / "trades.parquet")
    assert trades["gain"].sum() == pytest.approx(equity["equity"].iloc[-1] - 10_000.0)
    assert len(pd.read_parquet(out / "sweep.parquet")) == 4 == told["search"]["trials"]
    assert told["desk"]["trading"]["limits"]["stop_loss"] == 0.05
    said = capsys.readouterr().out
    assert "the best of 4 rules" in said and "verdict: " in said and "probability of overfitting" in said
    assert main([*arguments, "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_signals_and_a_shorter_span(bars: Path, tmp_path: Path) -> None:
    signals = tmp_path / "mine.csv"
    signals.write_text("time,target,confidence\n2021-01-10T00:00:00Z,1,0.5\n2021-02-01T00:00:00Z,-1,0.5\n")
    arguments = ["--signals", str(signals), "--size", "confidence", "--bars", str(bars), "--timeframe", "4h"]
    span = ["--since", "2021-01-05", "--until", "2021-03-01"]
    assert main(["backtest", *arguments, *span, "--chances", "9", "--out", str(tmp_path / "out")]) == 0
    told = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert told["first"] == "2021-01-04T20:00:00+00:00" and told["last"] == "2021-02-28T20:00:00+00:00"
    assert told["figures"]["mean_exposure"] < 0.6 and told["verdict"]["word"] == "not shown"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what decides"),
        (["--rule", "hold", "--task", "easy"], "--bars, or --task (one of them)"),
        (["--rule", "crossing"], "rule 'crossing' is unknown"),
        (["--rule", "hold", "--signals", "x.csv"], "--signals says all"),
        (["--rule", "hold", "--size", "confidence"], "--size confidence reads"),
        (["default", "--rule", "threshold column=up_4", "--size", "huge"], "fixed or confidence"),
        (["--rule", "hold", "--size", "huge"], "fixed or confidence"),
        (["--states", "4h"], "name its folder"),
        (["default"], "a model predicts, and does not trade"),
        (["default", "--rule", "hold"], "--rule threshold reads a model's table"),
        (["--rule", "threshold column=x"], "--rule threshold reads a model's table"),
        (["--rule", "hold", "--fee", "7"], "Costs.fee=7"),
        (["--rule", "hold", "--since", "2031-01-01"], "no bar to trade in"),
        (["--rule", "hold", "--since", "soon"], "is no time"),
        (["--rule", "cross short=-1", "--instrument", "spot"], "is short"),
        (["--signals", "nowhere.csv"], "no such file"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(
    bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    out = tmp_path / "out"
    assert main(["backtest", *arguments, "--bars", str(bars), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not out.exists() and not (tmp_path / "trials.jsonl").exists()


def test_a_model_by_a_column_of_its_table_beside_its_ceiling(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["backtest", "default", "--rule", "threshold column=up_4 above=0.52 below=0.48", "--size", "confidence"]
    task = ["--task", "easy", "--days", "3", "--chances", "9", "--out", str(out)]
    assert main([*arguments, *task]) == 0
    told = json.loads((out / "metrics.json").read_text())
    assert told["strategy"].startswith("threshold column=up_4") and told["market"]["bars"] == 59 * 96
    assert told["figures"]["days"] == pytest.approx(3.0, abs=0.02) and told["figures"]["mean_exposure"] < 0.9
    assert set(told["ceilings"]) == {"the same rule on the true drift", "filter oracle"}
    assert told["ceilings"]["filter oracle"]["log_return"] > told["figures"]["log_return"]
    equity = pd.read_parquet(out / "equity.parquet")
    assert equity["filter_oracle"].iloc[-1] / 10_000.0 - 1.0 == pytest.approx(
        told["ceilings"]["filter oracle"]["total_return"]
    )
    assert "of filter oracle" in capsys.readouterr().out
    assert told["search"]["kinds"] == {"backtest": 1}
