"""The pretrained extractor in Stable-Baselines3: three modes, both observations, the embeddings of the artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from agents.markets.expert_market import ExpertMarket
from agents.policies.pretrained_extractor import PretrainedExtractor
from pretrain import Extractor
from tests.agents.conftest import SETTINGS


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTOENV_CACHE", str(tmp_path))


def env_on(labelled: tuple[ExpertMarket, ...], observation: str) -> gym.Env[Any, Any]:
    return gym.make(
        "CryptoTrade-v0",
        market=[t.market for t in labelled[:2]],
        window=SETTINGS.window,
        observation=observation,
        episode_bars=64,
    )


def arguments(extractor: Extractor, labelled: tuple[ExpertMarket, ...], observation: str, mode: str) -> dict[str, Any]:
    markets = [t.market for t in labelled[:2]] if observation == "index" else []
    return {"extractor": extractor, "mode": mode, "markets": markets}


@pytest.mark.parametrize("observation", ["window", "index"])
@pytest.mark.parametrize("mode", ["frozen", "finetune", "scratch"])
def test_embeddings_are_the_artifacts_until_they_are_trained(
    extractor: Extractor, labelled: tuple[ExpertMarket, ...], observation: str, mode: str
) -> None:
    env = env_on(labelled, observation)
    reader = PretrainedExtractor(env.observation_space, **arguments(extractor, labelled, observation, mode))  # type: ignore[arg-type]
    seen, info = env.reset(seed=1)
    batch = {name: torch.from_numpy(np.asarray(value)[None]) for name, value in seen.items()}
    with torch.no_grad():
        features = reader(batch)[0].numpy()
    expected = extractor.embed(labelled[info["market"]].market)[info["bar"]]
    assert features.shape == (extractor.width + 5,)
    np.testing.assert_array_equal(features[-5:], seen["account"])
    assert np.allclose(features[:-5], expected, atol=1e-5) == (mode != "scratch")


@pytest.mark.parametrize("observation", ["window", "index"])
def test_only_what_may_be_trained_is_trained(
    extractor: Extractor, labelled: tuple[ExpertMarket, ...], observation: str
) -> None:
    changed = {}
    for mode in ("frozen", "finetune", "scratch"):
        env = env_on(labelled, observation)
        kwargs = {
            "features_extractor_class": PretrainedExtractor,
            "features_extractor_kwargs": arguments(extractor, labelled, observation, mode),
            "net_arch": [16],
        }
        agent = PPO("MultiInputPolicy", env, n_steps=32, batch_size=32, n_epochs=1, policy_kwargs=kwargs, seed=0)
        before = {name: weight.clone() for name, weight in agent.policy.features_extractor.state_dict().items()}
        # Stable-Baselines3 initialises every linear layer of an actor-critic policy anew
        pretrained = extractor.model.state_dict()
        own = [torch.equal(weight, pretrained[name[6:]]) for name, weight in before.items() if name[:6] == "model."]
        assert all(own) == (mode != "scratch")
        agent.learn(64)
        after = agent.policy.features_extractor.state_dict()
        changed[mode] = any(not torch.equal(before[name], after[name]) for name in before)
    assert changed == {"frozen": False, "finetune": True, "scratch": True}


def test_what_does_not_fit_is_refused(extractor: Extractor, labelled: tuple[ExpertMarket, ...]) -> None:
    space: Any = env_on(labelled, "index").observation_space
    with pytest.raises(ValueError, match="needs markets"):
        PretrainedExtractor(space, extractor)
    with pytest.raises(ValueError, match="mode='frosted' is unknown"):
        PretrainedExtractor(space, extractor, mode="frosted")  # type: ignore[arg-type]
    other: Any = gym.make("CryptoTrade-v0", market=labelled[0].market, window=(4, 4, 4)).observation_space
    with pytest.raises(ValueError, match=r"observation '15m' has shape \(4, "):
        PretrainedExtractor(other, extractor)
