"""`cryptoenv predict`: the table and its picture, again as the file grows, and row by row as bars close."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import agents.commands.predict as command
import pretrain
from agents.command_line import main
from pretrain import Extractor
from synthetic import regime_market


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return regime_market("easy", days=3, seed=5).bars


@pytest.fixture
def artifact(extractor: Extractor, tmp_path: Path) -> Path:
    return extractor.save(tmp_path / "artifact")


def replace(bars: pd.DataFrame, file: Path) -> None:
    """As a downloader does: whole or not at all."""
    bars.to_parquet(file.with_suffix(".new"))
    os.replace(file.with_suffix(".new"), file)


def test_the_table_and_its_picture(
    artifact: Path, bars: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "bars.parquet", tmp_path / "out"
    replace(bars, file)
    assert main(["predict", str(artifact), "--bars", str(file), "--out", str(out)]) == 0
    table = pd.read_parquet(out / "predictions.parquet")
    pd.testing.assert_frame_equal(table, pretrain.load(artifact).predict(bars), check_exact=True, check_freq=False)
    assert (out / "predictions.png").stat().st_size > 10_000
    assert f"{len(table):,} rows" in capsys.readouterr().out
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine", "utf-8")
    assert main(["predict", str(artifact), "--bars", str(file), "--out", str(tmp_path / "mine")]) == 2
    assert "something else than predictions" in capsys.readouterr().err


def grow_meanwhile(monkeypatch: pytest.MonkeyPatch, *growths: Callable[[], object]) -> None:
    """Let each wait of the command be one of these, instead of time that goes by."""
    left = list(growths)

    def wait(began: float, seconds: float) -> float:
        assert seconds == 2.0
        left.pop(0)()
        return began + seconds

    monkeypatch.setattr(command, "_wait", wait)


def test_again_as_the_file_grows(
    artifact: Path,
    bars: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, out = tmp_path / "bars.parquet", tmp_path / "out"
    replace(bars.iloc[:-3], file)
    grow_meanwhile(monkeypatch, lambda: file.write_bytes(b"half a file"), lambda: replace(bars, file))
    arguments = ["--bars", str(file), "--out", str(out), "--every", "2s", "--times", "3"]
    assert main(["predict", str(artifact), *arguments]) == 0
    assert pd.read_parquet(out / "predictions.parquet").index[-1] == bars.index[-1]
    said = capsys.readouterr()
    counts = [
        int(line.split(": ")[1].split()[0].replace(",", "")) for line in said.out.splitlines() if "rows in" in line
    ]
    assert len(counts) == 2 and counts[1] - counts[0] == 3
    assert "nothing new this time" in said.err


def test_rows_as_bars_close(
    artifact: Path,
    bars: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "bars.parquet"
    replace(bars.iloc[:-5], file)
    growths = [lambda left=left: replace(bars.iloc[: len(bars) - left], file) for left in (4, 4, 2, 0)]
    grow_meanwhile(monkeypatch, *growths)
    arguments = ["--bars", str(file), "--follow", "--every", "2s", "--times", "5"]
    assert main(["predict", str(artifact), *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = pretrain.load(artifact).predict(bars).iloc[-6:]
    assert [line[:16] for line in lines] == [f"{moment:%Y-%m-%d %H:%M}" for moment in table.index]
    assert all(f"up_4={value:.4g} " in line for line, value in zip(lines, table["up_4"], strict=True))


def test_waiting_keeps_the_rhythm() -> None:
    began = time.monotonic()
    due = command._wait(began, 0.05)
    assert due == began + 0.05 and time.monotonic() >= due
    assert command._wait(began - 100.0, 0.05) >= due  # what is long past is not made up for


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--out FOLDER"),
        (["--out", "x", "--follow"], "one of them"),
        (["--out", "x", "--times", "2"], "--times needs"),
        (["--out", "x", "--every", "soon"], "no duration"),
        (["--out", "x", "--device", "gpu"], "device='gpu'"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    artifact: Path,
    bars: pd.DataFrame,
    tmp_path: Path,
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    replace(bars, tmp_path / "bars.parquet")
    assert main(["predict", str(artifact), "--bars", str(tmp_path / "bars.parquet"), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
    assert not Path("x").exists()
