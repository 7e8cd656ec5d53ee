"""Every example runs as it stands, with less of everything, and prints what it is about."""

import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples"
RUNS = {
    "custom_feature.py": ([], "range_place"),
    "custom_reward.py": ([], "cautious"),
    "gym_loop.py": (["--steps", "300"], "300 steps"),
    "judge_my_policy.py": (["--markets", "2", "--days", "10"], "filter oracle"),
    "own_bars.py": ([], "held to the end"),
    "own_synthetic_market.py": (["--days", "10"], "the optimum of these 10 days"),
    "sb3_ppo.py": (["--steps", "1024"], "validation episode"),
    "single_file_ppo.py": (["--iterations", "1"], ""),
}


def test_every_example_is_run() -> None:
    assert {path.name for path in FOLDER.glob("*.py")} == set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_an_example_runs(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    options, said = RUNS[name]
    monkeypatch.setattr(sys, "argv", [name, *options])
    runpy.run_path(str(FOLDER / name), run_name="__main__")
    assert said in capsys.readouterr().out
