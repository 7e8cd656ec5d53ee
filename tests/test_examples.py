"""Every example runs as it stands, with less of everything, and prints what it is about."""

import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples"
SMALL = ["--markets", "2", "--days", "3"]
RUNS = {
    "counterfactuals.py": (["--moments", "4"], "foretold exactly: True"),
    "custom_feature.py": ([], "range_place"),
    "custom_reward.py": ([], "cautious"),
    "gym_loop.py": (["--steps", "300"], "300 steps"),
    "judge_my_policy.py": (["--markets", "2", "--days", "10"], "filter oracle"),
    "own_bars.py": ([], "held to the end"),
    "offline_d3rlpy.py": (["--steps", "20", "--episodes", "2", *SMALL], "offline CQL: score"),
    "offline_q.py": (["--steps", "20", "--episodes", "2", *SMALL], "behaviour cloning: score"),
    "optuna_study.py": (["--trials", "1", "--steps", "1536", *SMALL], "best of 1 trials"),
    "own_costs.py": ([], "a curriculum of costs"),
    "own_synthetic_market.py": (["--days", "10"], "the optimum of these 10 days"),
    "rllib_ppo.py": (["--iterations", "1", "--steps", "512"], "by iteration"),
    "sb3_contrib_qrdqn.py": (["--steps", "1024", *SMALL], "RecurrentPPO: score"),
    "sb3_ppo.py": (["--steps", "1024"], "validation episode"),
    "single_file_ppo.py": (["--iterations", "1"], ""),
    "tianshou_dqn.py": (["--steps", "1024"], "validation episode"),
    "torchrl_dqn.py": (["--steps", "512"], "validation episode"),
    "tree_search.py": (["--days", "2"], "search with foresight"),
}


#: What an example needs beside the extras `all`; each is best given an environment of its own.
NEEDS = {"offline_d3rlpy.py": "d3rlpy", "rllib_ppo.py": "ray.rllib", "tianshou_dqn.py": "tianshou",
         "torchrl_dqn.py": "torchrl"}  # fmt: skip


def test_every_example_is_run() -> None:
    assert {path.name for path in FOLDER.glob("*.py")} == set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_an_example_runs(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if name in NEEDS:
        reason = f"{NEEDS[name]} is not installed: the example's head says how"
        pytest.importorskip(NEEDS[name], reason=reason, exc_type=ImportError)
    options, said = RUNS[name]
    monkeypatch.setattr(sys, "argv", [name, *options])
    runpy.run_path(str(FOLDER / name), run_name="__main__")
    assert said in capsys.readouterr().out
