"""Every algorithm goes on from the clone, keeps the best, and resumes bit for bit."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from agents.algorithms.registry import ALGORITHMS, new_config
from agents.algorithms.sb3_vec_env import training_env
from agents.cloning.behaviour_cloning import CloningConfig
from agents.cloning.demonstrations import collect
from agents.markets.embedded import EmbeddedMarkets, TrainingMarkets
from agents.markets.expert_market import ExpertMarket
from agents.policies.agent import Agent
from agents.settings import TradingSettings
from agents.training.checkpoint import ARRAYS, STATE, CheckpointError, Checkpoints
from agents.training.config import AgentTrainingConfig
from agents.training.learning_loop import improve
from agents.training.pipeline import cloned
from agents.training.selection import NotFinite, Schedule, Selection
from pretrain import Extractor

ENVS = {"num_envs": 32, "episode_bars": 64}
OFF_POLICY = {"steps": 2_048, "batch_size": 64, "buffer_size": 4_096, "prefill": 512, **ENVS}
ON_POLICY = {"steps": 2_048, "rollout_steps": 16, "batch_size": 256, **ENVS}
SMALL: dict[str, dict[str, Any]] = {
    "ppo": {**ON_POLICY, "warm_up": 1},
    "maskable_ppo": ON_POLICY,
    # an episode that does not end where the training is cut: the memory has to survive, too
    "recurrent_ppo": {**ON_POLICY, "num_envs": 16, "curriculum": 0.5, "episode_bars": 50},
    "dqn": {**OFF_POLICY, "labelled": 512},
    "qrdqn": {**OFF_POLICY, "labelled": 512, "demonstration_share": 0.25, "buffer_size": 1_024},
    "sac": {**OFF_POLICY, "warm_up": 20},
    "tqc": {**OFF_POLICY, "cloning_steps": 3, "labelled": 512, "warm_up": 20},
    "fitted_q": {"steps": 16_384, "batch_size": 256},
}


@pytest.fixture(scope="module")
def markets(extractor: Extractor, labelled: tuple[ExpertMarket, ...]) -> TrainingMarkets:
    return TrainingMarkets(
        *(EmbeddedMarkets.of(extractor, part, progress=False) for part in (labelled[:2], labelled[2:4]))
    )


@pytest.fixture(scope="module")
def clone(extractor: Extractor, markets: TrainingMarkets, settings: TradingSettings) -> Agent:
    config = CloningConfig(samples=4_096, epochs=1, batch_size=256)
    return cloned(extractor, markets, settings, config, seed=0, progress=False)


def learned(
    name: str, clone: Agent, markets: TrainingMarkets, *, seed: int = 0, checkpoints: Checkpoints | None = None,
    stop_after: int | None = None, every: int = 512,
) -> tuple[Any, Any]:  # fmt: skip
    """The learner and what came out; with `stop_after`, interrupted there."""
    entry = ALGORITHMS[name]
    config = replace(new_config(name), **SMALL[name])
    learner = getattr(import_module(entry.module), entry.builder)(clone, markets.train, config, seed=seed)
    scale = config.steps // 2_048
    schedule = Schedule(
        config.steps, 1_024 * scale, checkpoint_every=every * scale, curriculum=getattr(config, "curriculum", 0.0)
    )
    if stop_after is not None:
        assert checkpoints is not None
        original = checkpoints.save

        def save_then_die(algorithm: Any, beside: Any) -> Path:
            path = original(algorithm, beside)
            if algorithm.num_timesteps >= stop_after * scale:
                raise KeyboardInterrupt
            return path

        checkpoints.save = save_then_die  # type: ignore[method-assign]
    result = improve(
        learner, clone, (name, entry.head), markets.validation, schedule, checkpoints=checkpoints, progress=False
    )
    return learner, result


@pytest.mark.parametrize("name", list(SMALL))
def test_an_interrupted_training_goes_on_bit_for_bit(
    name: str, clone: Agent, markets: TrainingMarkets, tmp_path: Path
) -> None:
    whole, expected = learned(name, clone, markets, checkpoints=Checkpoints(tmp_path / "whole", {}))
    with pytest.raises(KeyboardInterrupt):
        learned(name, clone, markets, checkpoints=Checkpoints(tmp_path / "cut", {}), stop_after=900)
    torch.manual_seed(12345)
    np.random.seed(999)  # noqa: NPY002 -- what a fresh process would have is not what the checkpoint has
    resumed, found = learned(name, clone, markets, checkpoints=Checkpoints(tmp_path / "cut", {}))
    assert resumed.num_timesteps == whole.num_timesteps
    for key, weight in whole.policy.state_dict().items():
        assert torch.equal(weight, resumed.policy.state_dict()[key]), key
    assert found.validation == expected.validation
    assert found.kept_step == expected.kept_step
    for key, weight in expected.agent.policy.state_dict().items():
        assert torch.equal(weight, found.agent.policy.state_dict()[key]), key


def test_what_is_not_logged_leaves_nothing_among_temporary_files(
    extractor: Extractor, markets: TrainingMarkets, settings: TradingSettings, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    few = CloningConfig(samples=512, epochs=1, batch_size=256)
    clone = cloned(extractor, markets, settings, few, seed=0, progress=False)
    learned("fitted_q", clone, markets)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", list(SMALL))
def test_the_seed_decides_and_the_agent_survives_its_folder(
    name: str, clone: Agent, markets: TrainingMarkets, tmp_path: Path
) -> None:
    (first, result), (again, _), (other, _) = (learned(name, clone, markets, seed=seed) for seed in (1, 1, 2))
    weights = [learner.policy.state_dict() for learner in (first, again, other)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert any(not torch.equal(weights[0][key], weights[2][key]) for key in weights[0])
    agent = result.agent
    assert agent.algorithm == name
    agent.save(tmp_path / "agent")
    loaded = Agent.load(tmp_path / "agent", clone.extractor)
    index = np.column_stack([np.zeros(50, np.int64), markets.validation.labelled[0].first + np.arange(50)])
    account = np.zeros((50, 5), np.float32)
    account[:, 1] = np.resize([-1.0, 0.0, 1.0], 50)
    expected = agent.decide_on(markets.validation.table).act(index, account)
    np.testing.assert_array_equal(loaded.decide_on(markets.validation.table).act(index, account), expected)
    assert {"kl_to_clone", "changed_actions", "turnover", "exposure"} <= result.metrics.keys()


@pytest.mark.parametrize("name", ["ppo", "dqn", "qrdqn", "sac", "maskable_ppo"])
def test_learning_starts_at_the_clone(name: str, clone: Agent, markets: TrainingMarkets) -> None:
    entry = ALGORITHMS[name]
    config = replace(new_config(name), **SMALL[name])
    learner = getattr(import_module(entry.module), entry.builder)(clone, markets.train, config, seed=0)
    start = replace(clone, policy=getattr(learner, "policy_to_judge", learner.policy), head=entry.head)
    index = np.column_stack([np.zeros(300, np.int64), markets.validation.labelled[0].first + np.arange(300)])
    account = np.zeros((300, 5), np.float32)
    account[:, 1] = np.resize([-1.0, 0.0, 1.0], 300)
    expected = clone.with_margin(0.0).decide_on(markets.validation.table).act(index, account)
    found = start.with_margin(0.0).decide_on(markets.validation.table).act(index, account)
    np.testing.assert_array_equal(found, expected)


def test_checkpoints_count_env_steps_for_any_number_of_envs(
    clone: Agent, markets: TrainingMarkets, tmp_path: Path
) -> None:
    steps = {}
    for envs in (1, 32):
        config = replace(new_config("ppo"), **{**SMALL["ppo"], "num_envs": envs, "rollout_steps": 256 // envs})
        learner = import_module("agents.algorithms.ppo").new_ppo(clone, markets.train, config, seed=0)
        kept = Checkpoints(tmp_path / str(envs), {})
        schedule = Schedule(2_048, 4_096, checkpoint_every=512)
        improve(learner, clone, ("ppo", "actor"), markets.validation, schedule, checkpoints=kept, progress=False)
        steps[envs] = [path.name for path in kept.generations()]
    assert steps[1] == steps[32] == ["step-000000001024", "step-000000001536"]


@pytest.fixture(scope="module")
def cut_once(clone: Agent, markets: TrainingMarkets, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cut")
    with pytest.raises(KeyboardInterrupt):
        learned("ppo", clone, markets, checkpoints=Checkpoints(folder, {"config": 1}), stop_after=1_000)
    assert len(list(folder.glob("step-*"))) == 2
    return folder


@pytest.fixture
def cut(cut_once: Path, tmp_path: Path) -> Path:
    """Checkpoints of an interrupted training, to be harmed."""
    return Path(shutil.copytree(cut_once, tmp_path / "cut"))


@pytest.mark.parametrize("part", [ARRAYS, STATE, "checksums.json"])
@pytest.mark.parametrize("harm", ["missing", "truncated", "changed"])
def test_a_bad_checkpoint_gives_way_to_the_one_before(
    cut: Path, clone: Agent, markets: TrainingMarkets, part: str, harm: str
) -> None:
    newest = sorted(cut.glob("step-*"))[-1] / part
    content = newest.read_bytes()
    if harm == "missing":
        newest.unlink()
    else:
        newest.write_bytes(content[: len(content) // 2] if harm == "truncated" else b"x" + content[1:])
    with pytest.warns(UserWarning, match="going on from the one before it"):
        learner, _ = learned("ppo", clone, markets, checkpoints=Checkpoints(cut, {"config": 1}))
    assert learner.num_timesteps == 2_048


def resealed(folder: Path, change: Callable[[dict[str, Any], dict[str, np.ndarray]], Any]) -> None:
    """Change what a checkpoint holds and give it the checksums of that."""
    state, arrays = json.loads((folder / STATE).read_text()), load_file(folder / ARRAYS)
    other = change(state, arrays)
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / ARRAYS)
    (folder / STATE).write_text(json.dumps(state if other is None else other))
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (ARRAYS, STATE)}
    (folder / "checksums.json").write_text(json.dumps(sums))


def _first(arrays: dict[str, np.ndarray], prefix: str) -> str:
    return next(name for name in sorted(arrays) if name.startswith(prefix) and arrays[name].ndim == 2)


def _set(arrays: dict[str, np.ndarray], prefix: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    name = _first(arrays, prefix)
    arrays[name] = change(arrays[name])


def _without(values: dict[str, Any], prefix: str) -> None:
    for name in [name for name in values if name.startswith(prefix)]:
        del values[name]


NONSENSE: dict[str, Callable[[dict[str, Any], dict[str, np.ndarray]], Any]] = {
    "a list": lambda state, arrays: [1, 2],
    "nothing": lambda state, arrays: {},
    "no object": lambda state, arrays: state | {"algorithm": 3},
    "other steps": lambda state, arrays: state["algorithm"].update(num_timesteps=5),
    "steps in words": lambda state, arrays: state["algorithm"].update(num_timesteps="many"),
    "no updates": lambda state, arrays: _without(state["algorithm"], "_n_updates"),
    "progress": lambda state, arrays: state["algorithm"].update(_current_progress_remaining=-1.0),
    "random state": lambda state, arrays: state["algorithm"].update(python=[3, [1, 2], None]),
    "action draws": lambda state, arrays: state["algorithm"].update(actions={}),
    "margin": lambda state, arrays: state["beside"].update(best_margin="wide"),
    "scores": lambda state, arrays: state["beside"].update(scores=[[1, 2, 3]]),
    "no best": lambda state, arrays: _without(arrays, "beside/"),
    "nan weight": lambda state, arrays: _set(arrays, "module/", lambda a: a * np.nan),
    "flat weight": lambda state, arrays: _set(arrays, "module/", np.ravel),
    "wide weight": lambda state, arrays: _set(arrays, "module/", lambda a: a.astype(np.float64)),
    "no weight": lambda state, arrays: _without(arrays, _first(arrays, "module/")),
    "flat moments": lambda state, arrays: _set(arrays, "optimizer/", np.ravel),
    "no observation": lambda state, arrays: _without(arrays, "last/index"),
    "bar beyond the end": lambda state, arrays: _set(arrays, "last/index", lambda a: a + 10_000_000),
    "no env": lambda state, arrays: _without(arrays, "env/"),
}


@pytest.mark.parametrize("what", ["a file", *NONSENSE])
def test_a_checkpoint_of_nonsense_gives_way_though_it_is_sealed(
    what: str, cut: Path, clone: Agent, markets: TrainingMarkets
) -> None:
    from agents.algorithms.ppo import new_ppo

    before, newest = sorted(cut.glob("step-*"))
    if what == "a file":
        shutil.rmtree(newest)
        newest.touch()
    else:
        resealed(newest, NONSENSE[what])
    learner = new_ppo(clone, markets.train, replace(new_config("ppo"), **SMALL["ppo"]), seed=0)
    selection = Selection(clone, ("ppo", "actor"), markets.validation, Schedule(2_048, 1_024))
    selection.init_callback(learner)
    kept = Checkpoints(cut, {"config": 1})
    learner._setup_learn(16)
    with pytest.warns(UserWarning, match="going on from the one before it"):
        assert kept.restore(learner, selection) == int(before.name.removeprefix("step-"))
    learner.num_timesteps = int(newest.name.removeprefix("step-"))
    assert kept.save(learner, selection) == newest  # whatever stands there
    shutil.rmtree(before)
    resealed(newest, lambda state, arrays: {})
    with pytest.raises(CheckpointError, match="no good checkpoint is left before it"):
        kept.restore(learner, selection)


def test_no_good_checkpoint_is_an_error_and_never_a_fresh_start(
    cut: Path, clone: Agent, markets: TrainingMarkets
) -> None:
    for folder in cut.glob("step-*"):
        (folder / ARRAYS).unlink()
    with pytest.raises(CheckpointError, match=rf"{ARRAYS} is missing, and no good checkpoint is left before it"):
        learned("ppo", clone, markets, checkpoints=Checkpoints(cut, {"config": 1}))


def test_another_trainings_checkpoint_is_refused_unless_forced(
    cut: Path, clone: Agent, markets: TrainingMarkets
) -> None:
    with pytest.raises(CheckpointError, match="config was 1 and is 2"):
        learned("ppo", clone, markets, checkpoints=Checkpoints(cut, {"config": 2}))
    learner, _ = learned("ppo", clone, markets, checkpoints=Checkpoints(cut, {"config": 2}, force=True))
    assert learner.num_timesteps == 2_048


def test_weights_that_are_not_finite_stop_learning_and_leave_the_checkpoint(
    cut: Path, clone: Agent, markets: TrainingMarkets, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agents.algorithms.ppo import CloneGuidedPPO

    before = {path.name: json.loads((path / "checksums.json").read_text()) for path in cut.glob("step-*")}

    def poisoned(self: Any) -> None:
        with torch.no_grad():
            next(self.policy.action_net.parameters()).fill_(float("nan"))

    monkeypatch.setattr(CloneGuidedPPO, "train", poisoned)
    # a save is due before the next evaluation
    with pytest.raises(NotFinite, match="not finite after"):
        learned("ppo", clone, markets, checkpoints=Checkpoints(cut, {"config": 1}), every=512)
    assert {path.name: json.loads((path / "checksums.json").read_text()) for path in cut.glob("step-*")} == before


def test_a_training_that_is_done_gives_its_result_again(clone: Agent, markets: TrainingMarkets, tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, {})
    _, expected = learned("dqn", clone, markets, checkpoints=kept)
    config = replace(new_config("dqn"), **SMALL["dqn"])
    learner = import_module("agents.algorithms.dqn").new_dqn(clone, markets.train, config, seed=0)
    schedule = Schedule(1_024, 512)
    found = improve(learner, clone, ("dqn", "value"), markets.validation, schedule, checkpoints=kept, progress=False)
    assert set(found.validation) <= set(expected.validation)


def test_seeds_side_by_side_share_no_episode(markets: TrainingMarkets, settings: TradingSettings) -> None:
    def starts(seed: int) -> set[tuple[int, ...]]:
        envs = training_env(markets.train, settings, num_envs=256, episode_bars=64)
        envs.seed(seed)
        seen: Any = envs.reset()
        return {tuple(row) for row in seen["index"].tolist()}

    first, second = starts(0), starts(1)
    by_chance = 256 * 256 / sum(t.steps for t in markets.train.labelled)
    assert starts(0) == first
    assert len(first & second) < 2.0 * by_chance + 10.0
    demonstrated = [collect(markets.train.labelled, settings, samples=256, seed=s, progress=False) for s in (0, 1)]
    shared = {tuple(row) for row in demonstrated[0].index.tolist()} & {tuple(r) for r in demonstrated[1].index.tolist()}
    assert len(shared) < 2.0 * by_chance + 10.0


def test_learning_stops_early_without_a_gain(clone: Agent, markets: TrainingMarkets) -> None:
    config = replace(new_config("fitted_q"), steps=400_000, batch_size=256, learning_rate=1e-9, averaging=0.0, pull=0.0)
    learner = import_module("agents.algorithms.fitted_q").new_fitted_q(clone, markets.train, config, seed=0)
    schedule = Schedule(config.steps, 1_024, patience=3)
    result = improve(learner, clone, ("fitted_q", "utility"), markets.validation, schedule, progress=False)
    assert result.kept_step == 0
    assert learner.num_timesteps < 10_000


def test_a_training_config_takes_its_settings_from_the_extractor(extractor: Extractor) -> None:
    settings = AgentTrainingConfig().settings_for(extractor)
    assert settings.window == extractor.config.window
    with pytest.raises(ValueError, match="curriculum"):
        Schedule(10, 5, curriculum=1.0)
