"""Agents as zip files of Stable-Baselines3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO

from agents.markets.embedded import EmbeddingTable
from agents.markets.expert_market import ExpertMarket
from agents.policies.agent import Agent
from agents.policies.heads import HEADS, copy_of, new_policy
from agents.policies.policy_shape import PolicyShape
from agents.run_folders.sb3_zip import export_zip, import_zip
from agents.settings import TradingSettings
from pretrain import Extractor


def sharp(extractor: Extractor, settings: TradingSettings, head: str) -> Agent:
    """An agent that is not nearly indifferent."""
    shape = PolicyShape(extractor.width, 3, (24, 16))
    policy = new_policy(shape, 3, head, settings)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())))
    return Agent(extractor, policy, shape, settings, head=head, algorithm="dqn" if head == "value" else "ppo")


@pytest.mark.parametrize(("head", "algorithm"), [("actor", PPO), ("value", DQN)])
def test_the_model_decides_on_windows_as_the_agent_on_embeddings(
    head: str, algorithm: Any, extractor: Extractor, settings: TradingSettings, labelled: tuple[ExpertMarket, ...],
    tmp_path: Path,
) -> None:  # fmt: skip
    agent = sharp(extractor, settings, head)
    model = algorithm.load(export_zip(agent, tmp_path / "agent.zip"), device="cpu")
    market = labelled[0].market
    table = EmbeddingTable([extractor.embed(market)])
    arguments: dict[str, Any] = {
        "market": market, "timeframes": settings.timeframes, "window": settings.window,
        "instrument": settings.instrument, "costs": settings.costs,
    }  # fmt: skip
    windows = gym.make("CryptoTrade-v0", **arguments)
    policy = agent.decide_on(table)
    seen, info = windows.reset(seed=0)
    actions = []
    for _ in range(200):
        chosen, _ = model.predict(seen, deterministic=True)
        index = np.array([[0, info["bar"]]])
        assert int(chosen) == policy.act(index, seen["account"][None])[0]
        actions.append(int(chosen))
        # visit other positions, too
        seen, _, _, _, info = windows.step(int(chosen) if info["bar"] % 3 else int(info["bar"]) % 2 * 2)
    assert len(set(actions)) > 1
    back = import_zip(tmp_path / "agent.zip", extractor, settings, trust=True)
    assert (back.head, back.algorithm, back.shape) == (agent.head, agent.algorithm, agent.shape)
    observation = {"index": torch.zeros((1, 2), dtype=torch.int64), "account": torch.ones((1, 5))}
    with torch.no_grad():
        first, second = (
            HEADS[head].preferences(copy_of(a.policy), observation, settings.positions) for a in (agent, back)
        )
    assert torch.equal(first, second)


def test_nothing_is_read_without_trust(extractor: Extractor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="trust=True"):
        import_zip(tmp_path / "none.zip", extractor)


def test_what_is_no_agent_is_refused(extractor: Extractor, settings: TradingSettings, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no counterpart"):
        export_zip(sharp(extractor, settings, "utility"), tmp_path / "x.zip")
    env = gym.make("CryptoTrade-v0", observation="index")
    PPO("MultiInputPolicy", env, policy_kwargs={"activation_fn": torch.nn.ReLU}).save(tmp_path / "relu.zip")
    with pytest.raises(ValueError, match="ReLU"):
        import_zip(tmp_path / "relu.zip", extractor, settings, trust=True)
    PPO("MultiInputPolicy", env).save(tmp_path / "plain.zip")
    with pytest.raises(ValueError, match="does not fit"):
        import_zip(tmp_path / "plain.zip", extractor, settings, trust=True)


def test_another_extractor_is_refused(extractor: Extractor, settings: TradingSettings, tmp_path: Path) -> None:
    export_zip(sharp(extractor, settings, "actor"), tmp_path / "agent.zip")
    other = Extractor(type(extractor.model)(extractor.config, extractor.scaler), extractor.scaler, extractor.provenance)
    with pytest.raises(ValueError, match="is not that of the extractor given"):
        import_zip(tmp_path / "agent.zip", other, settings, trust=True)
