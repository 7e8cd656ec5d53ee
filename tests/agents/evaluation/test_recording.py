"""Recorded episodes: the environment gives them again bit for bit, in both forms on disk; nothing is overwritten."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import FlattenObservation

from agents.command_line import main
from agents.evaluation.recording import _Record, record_episodes
from agents.policies.agent import Agent
from agents.policies.heads import new_policy
from agents.policies.policy_shape import PolicyShape
from agents.run_folders.run_folder import Run
from agents.settings import TradingSettings
from cryptoenv import Costs
from cryptoenv.env.offline import DataLayout, OfflineData
from cryptoenv.env.offline.layout import FLAT, Part
from pretrain import Extractor

SMALL: dict[str, Any] = {"markets": 2, "days": 3, "episodes": 4, "episode_bars": 30, "window": (4, 2, 1)}
SMALL["progress"] = False


def same(one: OfflineData, other: OfflineData) -> bool:
    """Whether two datasets hold the same, bit for bit."""
    if len(one.episodes) != len(other.episodes) or one.layout != other.layout:
        return False
    for a, b in zip(one.episodes, other.episodes, strict=True):
        if (a.policy, a.market, a.start) != (b.policy, b.market, b.start) or set(a.observations) != set(b.observations):
            return False
        pairs = [(getattr(a, n), getattr(b, n)) for n in ("actions", "rewards", "terminated", "truncated")]
        pairs += [(a.observations[n], b.observations[n]) for n in a.observations]
        if not all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in pairs):
            return False
    return True


def replayed(data: OfflineData, env: gym.Env[Any, Any]) -> int:
    """Steps of all episodes that the environment gave again, bit for bit."""
    steps = 0
    for episode in data.episodes:
        seen, _ = env.reset(options=episode.reset_options)
        for t in range(len(episode)):
            shown = {FLAT: seen} if data.layout.observation == "flat" else seen
            assert all(np.array_equal(shown[n], episode.observations[n][t]) for n in episode.observations)
            assert data.layout.observation_space.contains(seen)
            assert data.layout.action_space.contains(episode.actions[t])
            seen, reward, terminated, truncated, _ = env.step(episode.actions[t])
            assert (reward, terminated, truncated) == (
                episode.rewards[t], episode.terminated[t], episode.truncated[t]
            )  # fmt: skip
            steps += 1
        shown = {FLAT: seen} if data.layout.observation == "flat" else seen
        assert all(np.array_equal(shown[n], episode.observations[n][-1]) for n in episode.observations)
    return steps


@pytest.mark.parametrize(
    ("observation", "continuous", "form"),
    [("window", False, "minari"), ("index", True, "minari"), ("flat", True, "parquet"), ("index", False, "parquet"),
     ("flat", False, "minari"), ("window", True, "parquet")],
)  # fmt: skip
def test_the_environment_gives_recorded_episodes_again(
    observation: str, continuous: bool, form: str, tmp_path: Path
) -> None:
    out = tmp_path / "mix-v0"
    options = SMALL | {"observation": observation, "continuous": continuous, "noise": 0.2}
    about = record_episodes(["oracle", "random"], "easy", out, form=form, **options)
    data = OfflineData.load(out)
    env = data.make_env()
    assert env.unwrapped.setup.trading.costs.impact == 0.0 == about["costs"]["impact"]
    env = FlattenObservation(env) if observation == "flat" else env
    assert replayed(data, env) == about["steps"] == 120
    assert [one.policy for one in data.episodes] == ["oracle", "random"] * 2
    assert about["returns"]["oracle"] > about["returns"]["random"]
    told = data.about["layout"]["parts"][0]
    assert observation != "window" or len(told["columns"]) == told["shape"][-1]


def test_the_same_seed_gives_the_same_episodes_in_both_forms_and_another_does_not(tmp_path: Path) -> None:
    made = []
    for name, form, seed in (("a-v0", "minari", 1), ("b", "parquet", 1), ("c", "parquet", 2)):
        record_episodes(["random"], "easy", tmp_path / name, form=form, **SMALL, seed=seed)
        made.append(OfflineData.load(tmp_path / name))
    assert same(made[0], made[1]) and not same(made[1], made[2])
    assert (tmp_path / "b/about.json").read_bytes() != (tmp_path / "c/about.json").read_bytes()


def test_minari_reads_it_and_makes_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import minari

    record_episodes(["oracle"], "easy", tmp_path / "oracle-v0", **SMALL)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    theirs, ours = minari.load_dataset("oracle-v0"), OfflineData.load(tmp_path / "oracle-v0")
    assert theirs.total_steps == 120 and theirs.total_episodes == 4
    for a, b in zip(theirs.iterate_episodes(), ours.episodes, strict=True):
        assert np.array_equal(a.observations["15m"], b.observations["15m"]) and np.array_equal(a.rewards, b.rewards)
        assert np.array_equal(a.actions, b.actions) and np.array_equal(a.truncations, b.truncated)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*cryptoenv-rl")  # of a checkout that is not installed
        env = theirs.recover_environment()
    assert env.observation_space == theirs.observation_space and env.action_space == theirs.action_space
    told = next(iter(theirs.storage.get_episode_metadata([1])))
    assert told["options"] == ours.episodes[1].reset_options and told["policy"] == "oracle"
    assert replayed(ours, env) == 120


def test_ruin_ends_an_episode_and_what_its_row_did_after_it_is_left_out() -> None:
    layout = DataLayout("flat", (Part(FLAT, (1,), "float32", (0.0,), (99.0,)),), (-1.0, 1.0))
    record = _Record.empty(layout, 2, 5)
    for step in range(6):
        record.show(step, {FLAT: np.full((2, 1), step)})
    for step in range(5):
        record.add(step, np.array([step, step]), step, [step in (2, 4), False], step == 4)
    ruined, whole = record.episodes("some", np.array([3, 1]), np.array([70, 90]))
    assert len(ruined) == 3 and ruined.terminated.tolist() == [False, False, True] and not ruined.truncated.any()
    assert ruined.observations[FLAT].flatten().tolist() == [0, 1, 2, 3] and ruined.actions.tolist() == [0, 1, 2]
    assert len(whole) == 5 and whole.truncated[-1] and not whole.terminated.any()
    assert ruined.reset_options == {"market": 3, "start": 70, "exposure": 0.0}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["oracle", "--out", "plain"], "plain-v0"), (["nobody", "--out", "x-v0"], "no known kind"),
     (["oracle", "--out", "x-v0", "--days", "2", "--episode-bars", "5000"], "longer than"),
     (["oracle", "--out", "x-v0", "--window", "4,b"], "commas"), (["random", "--out", "."], "there already"),
     (["oracle", "--out", "x-v0", "--split", "test"], "")],
)  # fmt: skip
def test_what_cannot_be_done_is_said_and_leaves_nothing(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("kept")
    form = ["--format", "parquet"] if "." in arguments else []
    assert main(["export-dataset", "--task", "easy", "--markets", "1", *form, *arguments]) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_command_writes_a_run_s_episodes(
    extractor: Extractor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / "run-v0"
    shape, settings = PolicyShape(extractor.width, 3, (16, 16)), TradingSettings(costs=Costs(fee=0.0005))
    agent = Agent(extractor, new_policy(shape, 0), shape, settings)
    Run(run, agent, agent).save({"algorithm": "bc"}, {})
    arguments = ["export-dataset", str(run), "oracle", "--task", "easy", "--markets", "1", "--days", "4"]
    arguments += ["--episodes", "2", "--episode-bars", "20", "--observation", "index", "--out", str(out)]
    assert main(arguments) == 0
    assert "40 steps" in capsys.readouterr().out
    data = OfflineData.load(out)
    assert [one.policy for one in data.episodes] == ["run", "oracle"]
    assert data.about["costs"]["fee"] == 0.0005  # the run's, for all
    assert replayed(data, data.make_env()) == 40
