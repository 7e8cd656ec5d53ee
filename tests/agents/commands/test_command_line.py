from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agents.command_line import main
from synthetic import regime_market

HEADER = "timestamp,open,high,low,close,volume\n"


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    errors = [line for line in lines if line.startswith("cryptoenv: ")]
    assert len(errors) == 1
    assert errors[0] == lines[-1]
    assert not any("Traceback" in line for line in lines)
    return errors[0]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "bars.csv"),
        ("", "bars.csv"),
        ("nonsense", "bars.csv"),
        (HEADER.replace("volume", "size") + "2020-01-01T00:00:00Z,1,1,1,1,1\n", "volume"),
        (HEADER + "2020-01-01T00:00:00Z,1,1,1,nan,1\n2020-01-01T00:15:00Z,1,1,1,1,1\n", "close"),
        (HEADER + "".join(f"2020-01-01T00:{m}:00Z,1,1,1,1,1\n" for m in ("30", "00", "15")), "2020-01-01"),
        (HEADER + "2020-01-01T00:00:00Z,1,1,2,1,1\n2020-01-01T00:15:00Z,1,1,1,1,1\n", "high"),
        (HEADER + "2020-01-01T00:00:00Z,1,1,1,-1,1\n2020-01-01T00:15:00Z,1,1,1,1,1\n", "2020-01-01"),
        (HEADER + "2020-01-01 00:00:00,1,1,1,1,1\n2020-01-01 00:15:00,1,1,1,1,1\n", "UTC"),
        (HEADER + "".join(f"2020-01-01T0{h}:00:00Z,1,1,1,1,1\n" for h in range(9)), "bars"),
    ],
    ids=["no file", "empty", "no table", "no volume", "NaN", "unsorted", "high < low", "negative", "naive", "too few"],
)
def test_bad_bars_are_one_line_and_exit_code_2(
    content: str | None, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bars.csv"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    assert main(["demo", "--bars", str(path), "--out", str(tmp_path / "run")]) == 2
    assert named in one_line(capsys)


def test_too_few_days_for_the_windows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bars.csv"
    regime_market("easy", days=1, seed=0).bars.iloc[:2000].reset_index().to_csv(path, index=False)
    assert main(["demo", "--bars", str(path), "--out", str(tmp_path / "run")]) == 2
    assert "bars" in one_line(capsys)


@pytest.mark.parametrize(
    "arguments", [["demo", "--color", "red"], ["demo", "--seed", "-1"], ["demo", "--seed", "x"], ["dmeo"]]
)
def test_unknown_arguments_are_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert one_line(capsys)


def test_without_arguments_the_help_is_all_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = capsys.readouterr()
    assert "demo" in shown.out + shown.err
    assert "cryptoenv:" not in shown.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from cryptoenv import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"cryptoenv {__version__}\n"


def test_a_folder_is_no_file_of_bars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--bars", str(tmp_path), "--out", str(tmp_path / "run")]) == 2
    shown = capsys.readouterr()
    assert "is a directory" in shown.err
    assert "1/5" not in shown.err


def test_help_needs_no_learning_library() -> None:
    code = (
        "import sys; from agents.command_line import main; main(['demo', '--help']);"
        "print(sorted({'torch', 'stable_baselines3', 'matplotlib', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--bars" in done.stdout
    assert done.stdout.strip().endswith("[]")


@pytest.mark.parametrize(
    ("module", "advice"), [("typer", ".[agents]"), ("torch", ".[agents]"), ("imitation", "--no-deps")]
)
def test_a_missing_extra_is_one_line(module: str, advice: str, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None;"
        f"from agents.command_line import main; sys.exit(main(['demo', '--out', {str(tmp_path)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert advice in done.stderr
