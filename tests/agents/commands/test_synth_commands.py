"""`cryptoenv synth`: files, truth, bytes, one-line errors."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from agents.command_line import USER_ERROR, main
from synthetic.patterns.market import pattern_market
from synthetic.patterns.patterns import PATTERN_KINDS
from synthetic.regimes.market import regime_market
from synthetic.tokens.market import TokenConfig, token_market


def run(*arguments: str) -> int:
    return main(["synth", *arguments])


def test_regime_files_hold_the_market(tmp_path: Path) -> None:
    assert run("--kind", "regime", "--task", "easy", "--days", "2", "--seed", "5", "--out", f"{tmp_path / 'r'}") == 0
    sample = regime_market("easy", 2, 5)
    for name, table in (("bars", sample.bars), ("truth", sample.truth)):
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "r" / f"{name}.parquet"), table, check_freq=False)
    assert json.loads((tmp_path / "r" / "truth.json").read_text())["seed"] == 5


def test_pattern_market_files_hold_bars_truth_spans_and_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "p"
    options = ("--days", "12", "--seed", "5", "--density", "0.7", "--volatility", "0.01", "--picture")
    assert run("--kind", "pattern-market", *options, "--out", f"{out}") == 0
    sample = pattern_market(12, 5, 0.7, 0.01)
    for name, table in (("bars", sample.bars), ("truth", sample.truth)):
        pd.testing.assert_frame_equal(pd.read_parquet(out / f"{name}.parquet"), table, check_freq=False)
    told = json.loads((out / "truth.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [span["kind"] for span in told["spans"]] == sample.spans["kind"].tolist()
    assert (told["density"], told["volatility"]) == (0.7, 0.01)
    assert (out / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_token_csv_keeps_every_bit(tmp_path: Path) -> None:
    out = tmp_path / "t"
    assert run("--kind", "token", "--tokens", "2", "--length", "100", "--format", "csv", "--out", f"{out}") == 0
    sample = token_market(TokenConfig(tokens=2, bars=100), 0)
    rows = [line.split(",")[1:] for line in (out / "TOKEN1.csv").read_text().splitlines()[1:]]
    assert [[float(cell) for cell in row] for row in rows] == sample.bars["TOKEN1"].to_numpy().tolist()
    assert json.loads((out / "truth.json").read_text())["events"] == sample.events.to_dict("records")
    assert {file.name for file in out.iterdir()} == {
        *("TOKEN0.csv", "TOKEN1.csv", "TOKEN0_truth.csv", "TOKEN1_truth.csv", "truth.json")
    }


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert run("--kind", "pattern", "--format", "csv", "--out", f"{tmp_path / name}") == 0
    files = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert files == sorted([*(f"{kind}.csv" for kind in PATTERN_KINDS), "truth.json"])
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)


@pytest.mark.parametrize("arguments", [("pattern", "--pattern", "double_top"), ("token", "--length", "60")])
def test_a_picture_is_drawn(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    pytest.importorskip("matplotlib")
    assert run("--kind", *arguments, "--picture", "--out", f"{tmp_path / 'p'}") == 0
    assert (tmp_path / "p" / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--kind", "pattern", "--pattern", "cup"), "kind is 'cup': allowed are trend_up"),
        (("--kind", "pattern", "--noise", "-1"), "noise is -1.0"),
        (("--kind", "pattern", "--length", "10"), "needs at least"),
        (("--kind", "regime", "--task", "cake"), "cake"),
        (("--kind", "pattern-market", "--density", "0.95"), "density is 0.95: it must lie in [0, 0.8]"),
        (("--kind", "pattern-market", "--volatility", "0"), "volatility is 0.0"),
        (("--kind", "regime", "--picture"), "no picture of --kind regime"),
        (("--kind", "token", "--length", "3"), "bars is 3"),
        (("--kind", "cake"), "cake"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert run(*arguments, "--out", f"{tmp_path / 'x'}") == USER_ERROR
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("precious")
    assert run("--kind", "token", "--out", f"{tmp_path}") == USER_ERROR
    assert "there already" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]
