"""PPO from scratch with the Transformer in the loop: what pretraining has to beat at equal CPU time."""

from __future__ import annotations

from dataclasses import replace
from time import process_time
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from agents.algorithms.sb3_vec_env import Sb3VecEnv, training_env
from agents.evaluation.hysteresis import MARGINS, VALIDATION_BLOCK, margin_rollouts
from agents.evaluation.rollout import blocks
from agents.markets.embedded import EmbeddedMarkets, EmbeddingTable
from agents.markets.expert_market import ExpertMarket, markets_of
from agents.policies.agent import Agent
from agents.policies.heads import bind, new_policy
from agents.policies.policy_shape import PolicyShape
from agents.policies.pretrained_extractor import PretrainedExtractor
from agents.settings import TradingSettings
from cryptoenv.trading.config import Costs
from pretrain import Extractor, ExtractorConfig
from pretrain.data.scaler import RobustScaler
from pretrain.data.windows import WindowDataset
from pretrain.extractor.model import ExtractorModel
from pretrain.fitting.provenance import Provenance

NUM_ENVS, RATE, CURRICULUM, HIDDEN = 256, 3e-4, 0.5, (64, 64)


class CpuBudget(BaseCallback):
    """Stops after so many CPU seconds; costs rise from nothing to the full ones over the first half of them.

    `curve` gets (CPU seconds, env steps, mean net log-return on validation markets) ten times on the way, not charged.
    """

    def __init__(self, seconds: float, costs: Costs, judge: Any) -> None:
        super().__init__()
        self._budget, self._costs, self._judge = seconds, costs, judge
        self._began, self._not_charged = process_time(), 0.0
        self.curve: list[tuple[float, int, float]] = []

    @property
    def spent(self) -> float:
        """Share of the budget."""
        return (process_time() - self._began - self._not_charged) / self._budget

    def _on_rollout_start(self) -> None:
        if self.spent * 10.0 >= len(self.curve) + 1:
            began = process_time()
            self.curve.append((self.spent * self._budget, self.num_timesteps, self._judge(self.model)))
            self._not_charged += process_time() - began
        share, full = min(1.0, self.spent / CURRICULUM), self._costs
        env: Any = self.training_env
        assert isinstance(env, Sb3VecEnv)
        env.set_costs(
            replace(full, fee=share * full.fee, half_spread=share * full.half_spread, impact=share * full.impact)
        )

    def _on_step(self) -> bool:
        return self.spent < 1.0


def new_end_to_end(
    layout: ExtractorConfig, train: tuple[ExpertMarket, ...], settings: TradingSettings, *, seed: int
) -> PPO:
    """PPO whose features extractor is `layout` with fresh weights, reading windows of the training markets."""
    markets = markets_of(train)
    config = layout.for_market(markets[0])
    windows = WindowDataset([t.labelled for t in train], config.window, config.horizons)
    scaler = RobustScaler.fit(config.timeframes, config.feature_names, windows.feature_rows())
    fresh = Extractor(ExtractorModel(config, scaler), scaler, Provenance("none", "none"))
    arguments = {
        "features_extractor_class": PretrainedExtractor,
        "features_extractor_kwargs": {"extractor": fresh, "mode": "scratch", "markets": markets, "seed": seed},
        "activation_fn": torch.nn.Tanh,
        "net_arch": {"pi": list(HIDDEN), "vf": list(HIDDEN)},
    }
    not_embedded = EmbeddedMarkets(train, EmbeddingTable([np.zeros((1, 1), np.float32)]))
    return PPO(
        "MultiInputPolicy", training_env(not_embedded, settings, num_envs=NUM_ENVS, episode_bars=960),
        learning_rate=RATE, n_steps=32, batch_size=2048, n_epochs=3, gamma=0.99, gae_lambda=0.9, ent_coef=0.003,
        policy_kwargs=arguments, seed=seed, device="cpu",
    )  # fmt: skip


def agent_of(algorithm: PPO, settings: TradingSettings) -> Agent:
    """What it has learned so far, as an agent on an extractor of its own."""
    reader: Any = algorithm.policy.features_extractor
    told = algorithm.policy_kwargs["features_extractor_kwargs"]["extractor"]
    with torch.random.fork_rng(devices=[]):
        model = ExtractorModel(told.config, told.scaler)
    model.load_state_dict(reader.model.state_dict())
    extractor = Extractor(model, told.scaler, told.provenance, told.features)
    hidden = tuple(algorithm.policy_kwargs["net_arch"]["pi"])
    shape = PolicyShape(extractor.width, len(settings.positions), hidden)
    policy = new_policy(shape, 0)
    own = {name: w for name, w in algorithm.policy.state_dict().items() if "features_extractor" not in name}
    policy.load_state_dict(own)
    return Agent(extractor, policy, shape, settings, algorithm="ppo")


def end_to_end(
    layout: ExtractorConfig,
    markets: tuple[tuple[ExpertMarket, ...], ...],
    settings: TradingSettings,
    seconds: float,
    seed: int,
) -> tuple[Agent, list[tuple[float, int, float]]]:
    """The agent that did best on validation markets within `seconds` of CPU time, and its learning curve.

    The learning rate falls linearly to zero over them; weights and hysteresis are chosen on the validation markets.

    Args:
        layout: of the Transformer.
        markets: to learn on, and to validate on.
        settings: what is traded.
        seconds: CPU seconds, evaluations not counted.
        seed: of weights and episodes.
    """
    train, validation = markets
    algorithm = new_end_to_end(layout, train, settings, seed=seed)
    rows = blocks(validation, VALIDATION_BLOCK)

    kept: list[tuple[float, Agent]] = []

    def judge(model: Any) -> float:
        agent = agent_of(model, settings)
        # not `embed`, which keeps what it computes: these weights are never seen again
        bind(agent.policy, EmbeddingTable([agent.extractor.embed(t.market) for t in validation]))
        earned = margin_rollouts(agent, agent.policy, validation, rows).earned
        kept.append((float(earned.max()), agent.with_margin(MARGINS[int(earned.argmax())])))
        return kept[-1][0]

    budget = CpuBudget(seconds, settings.costs, judge)
    algorithm.lr_schedule = lambda _: RATE * max(0.0, 1.0 - budget.spent)
    algorithm.learn(10**9, callback=budget)
    budget.curve.append((seconds, algorithm.num_timesteps, judge(algorithm)))
    return max(kept, key=lambda found: found[0])[1], budget.curve
