"""Every example runs as it stands, with less of everything, and prints what it is about."""

import runpy
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest
import yaml

import cryptoenv

FOLDER = Path(__file__).resolve().parents[1] / "examples"
SMALL = ["--markets", "2", "--days", "1"]
RUNS = {
    "counterfactuals.py": (["--moments", "4"], "foretold exactly: True"),
    "custom_feature.py": ([], "range_place"),
    "custom_reward.py": ([], "cautious"),
    "gym_loop.py": (["--steps", "300"], "300 steps"),
    "judge_my_policy.py": (["--markets", "2", "--days", "3"], "filter oracle"),
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
    "tree_search.py": (["--days", "1"], "search with foresight"),
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


def test_the_configuration_for_rl_zoo3_trains(tmp_path: Path) -> None:
    """Its arguments are the environment's, and, where rl-zoo3 is, the command in its head runs."""
    file = FOLDER / "rl_zoo3" / "ppo.yml"
    given = yaml.safe_load(file.read_text("utf-8"))["CryptoTrade-v0"]
    env = gym.make("CryptoTrade-v0", **given["env_kwargs"])
    assert env.unwrapped.setup.trading.costs == cryptoenv.Costs(impact=0.0)
    pytest.importorskip("rl_zoo3", reason="rl_zoo3 is not installed: the configuration's head says how")
    options = ["--algo", "ppo", "--env", "CryptoTrade-v0", "--gym-packages", "cryptoenv", "--conf-file", str(file),
               "--eval-env-kwargs", "split:'validation'", "--seed", "0", "--log-folder", str(tmp_path)]  # fmt: skip
    command = [sys.executable, "-m", "rl_zoo3.train", *options, "-n", "1024"]
    done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert list(tmp_path.glob("ppo/CryptoTrade-v0_1/CryptoTrade-v0.zip"))
