from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import typer

import cryptoenv
from agents.commands.data_clean import clean_file
from tests.naive.random_bars import random_bars

BARS = random_bars(3, seed=8)


@pytest.fixture
def run() -> Callable[..., None]:
    """The command as the command line calls it, without turning errors into exit codes."""
    app = typer.Typer()
    app.command()(clean_file)
    return lambda *arguments: app(list(map(str, arguments)), standalone_mode=False)


@pytest.fixture
def dirty(tmp_path: Path) -> Path:
    """Newest first, with a repetition, seconds, local names."""
    table = pd.concat([BARS, BARS.iloc[-3:]])[::-1]
    table.index = table.index.as_unit("s").asi8
    path = tmp_path / "dirty.csv"
    table.rename_axis("unix").rename(columns={"volume": "Volume BTC"}).assign(mood=1.0).to_csv(path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".csv", ".csv.gz"])
def test_a_dirty_file_becomes_bars(
    run: Callable[..., None], dirty: Path, suffix: str, capsys: pytest.CaptureFixture
) -> None:
    out, report = dirty.with_name(f"bars{suffix}"), dirty.with_name("report.csv")
    run(dirty, "--out", out, "--report", report, "--keep", "mood")
    pd.testing.assert_frame_equal(cryptoenv.read_bars(out), BARS, check_freq=False, check_index_type=False)
    assert cryptoenv.import_bars(out, keep=("mood",))[0]["mood"].eq(1.0).all()
    said = capsys.readouterr().out
    for text in ("volume = 'Volume BTC'", "seconds since 1970", "duplicate", f"288 bars: {out}"):
        assert text in said
    assert pd.read_csv(report)["kind"].tolist() == ["disorder", "duplicate"]
    assert sorted(path.name for path in dirty.parent.iterdir()) == sorted((out.name, "dirty.csv", "report.csv"))


def test_rows_that_cannot_be_used_are_not_passed_over(run: Callable[..., None], tmp_path: Path) -> None:
    file, out = tmp_path / "bars.csv", tmp_path / "out.csv"
    wrong = BARS.copy()
    wrong.iloc[7, 3] = -1.0
    wrong.to_csv(file)
    with pytest.raises(ValueError, match=r"1 rows cannot be used, the first at 2021-01-01T01:45:00.*--drop-unusable"):
        run(file, "--out", out)
    assert not out.exists()
    run(file, "--out", out, "--drop-unusable")
    assert len(cryptoenv.read_bars(out)) == len(BARS) - 1


def test_targets_are_checked_first(run: Callable[..., None], dirty: Path) -> None:
    before = dirty.read_bytes()
    for out, message in (
        (dirty, "is the file to be read"),
        (dirty.with_name("bars.xlsx"), r"allowed: a name that ends in .csv"),
        (dirty / "bars.csv", "is no folder"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            run(dirty, "--out", out)
    (dirty.parent / "there.csv").write_text("mine")
    with pytest.raises(FileExistsError, match="there already"):
        run(dirty, "--out", dirty.parent / "there.csv")
    assert dirty.read_bytes() == before


def test_arguments_reach_the_reader(run: Callable[..., None], tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    table = BARS[["low", "high", "open", "close", "volume"]].set_axis(BARS.index.strftime("%d/%m/%Y %H:%M"), axis=0)
    table.to_csv(file, header=False)
    options = ("--columns", "time,low,high,open,close,volume", "--day-first", "--time-zone", "UTC")
    run(file, "--out", tmp_path / "out.parquet", *options)
    pd.testing.assert_frame_equal(
        cryptoenv.read_bars(tmp_path / "out.parquet"), BARS, check_freq=False, check_index_type=False
    )


def test_the_command_line_has_it(dirty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from agents.command_line import main

    out = dirty.with_name("bars.parquet")
    assert main(["data", "clean", str(dirty), "--out", str(out)]) == 0
    assert main(["data", "clean", str(dirty), "--out", str(out)]) == 2
    assert "there already" in capsys.readouterr().err
