"""Worlds whose best policy anyone can name: a sine, next bar's return given away, and noise that costs to trade.

Algorithms start from fresh weights, so that what is shown is learning and not the clone. What an agent is judged on are
markets that neither learning nor selection has seen; intervals are over those markets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from agents.algorithms.registry import ALGORITHMS, new_config
from agents.algorithms.threads import use_one_thread
from agents.evaluation.rollout import Rollout, roll, whole_markets
from agents.evaluation.scoring import mean, score
from agents.markets.embedded import EmbeddedMarkets, EmbeddingTable
from agents.markets.expert_market import ExpertMarket
from agents.policies.agent import Agent
from agents.policies.heads import copy_of, new_policy
from agents.policies.policy_shape import PolicyShape
from agents.policies.trading_policy import TablePolicy
from agents.settings import TradingSettings
from agents.training.learning_loop import improve
from agents.training.selection import Schedule
from cryptoenv.market.market import Market
from cryptoenv.trading.config import Costs
from pretrain import Extractor
from synthetic import hindsight_oracle

BARS = 1_500
WIDTH = 4
COSTLY = TradingSettings(timeframes=("15m",), window=(8,))
FREE = replace(COSTLY, costs=Costs(fee=0.0, half_spread=0.0, impact=0.0))

ON_POLICY = {"num_envs": 64, "batch_size": 1024, "learning_rate": 1e-3, "from_clone": False}
OFF_POLICY = {
    "num_envs": 64, "batch_size": 512, "gradient_steps": 1, "learning_rate": 1e-3, "from_clone": False,
    "prefill": 20_000, "pull": 0.0,
}  # fmt: skip
BUDGET: dict[str, dict[str, Any]] = {
    "ppo": {**ON_POLICY, "steps": 200_000, "curriculum": 0.4, "entropy_weight": 0.003},
    "maskable_ppo": {**ON_POLICY, "steps": 200_000, "curriculum": 0.4, "entropy_weight": 0.003},
    "recurrent_ppo": {
        **{k: v for k, v in ON_POLICY.items() if k != "from_clone"},
        "steps": 200_000,
        "curriculum": 0.4,
        "entropy_weight": 0.003,
    },
    "dqn": {**OFF_POLICY, "steps": 100_000, "margin_weight": 0.0},
    "qrdqn": {**OFF_POLICY, "steps": 100_000, "margin_weight": 0.0},
    "sac": {**OFF_POLICY, "steps": 100_000},
    "tqc": {k: v for k, v in OFF_POLICY.items() if k != "pull"} | {"steps": 60_000, "actor_rate": 1.0},
    "fitted_q": {"steps": 1_500_000, "batch_size": 1024, "pull": 0.0},
}
QUICK = {"sine": ("ppo", "sac", "fitted_q"), "leak": ("dqn", "fitted_q"), "noise": ("ppo",)}


def market_of(log_returns: NDArray[np.float64], cost: float) -> ExpertMarket:
    """A market of these returns, every bar opening at the close before; the labels are hindsight's."""
    close = 100.0 * np.exp(np.cumsum(log_returns))
    opened = np.append(100.0, close[:-1])
    times = pd.date_range("2024-01-01", periods=len(close), freq="15min", tz="UTC", name="timestamp")
    bars = pd.DataFrame(
        {"open": opened, "high": np.maximum(opened, close), "low": np.minimum(opened, close), "close": close,
         "volume": 1e9},
        index=times,
    )  # fmt: skip
    market = Market.from_bars(bars, timeframes=COSTLY.timeframes)
    labels = hindsight_oracle(bars, cost=cost, positions=COSTLY.positions).actions
    return ExpertMarket(market, labels, market.first_decision(COSTLY.window), label_kind="hindsight")


def sine(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log-returns of a sine of 64 bars that moves 4% from top to bottom, and its phase."""
    phase = 2.0 * np.pi * (np.arange(BARS) / 64.0 + rng.random())
    return np.diff(0.02 * np.sin(phase), prepend=0.02 * np.sin(phase[0])), np.stack([np.sin(phase), np.cos(phase)], 1)


def noise(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log-returns that nothing foretells, and something to look at."""
    return rng.normal(0.0, 0.003, BARS), rng.normal(size=(BARS, 2))


def leak(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same returns, and the next one in plain sight."""
    returns, seen = noise(rng)
    seen[:-1, 0] = returns[1:] / 0.003
    return returns, seen


WORLDS: dict[str, tuple[Callable[..., Any], TradingSettings]] = {
    "sine": (sine, COSTLY), "leak": (leak, FREE), "noise": (noise, COSTLY)
}  # fmt: skip


def markets(world: str, seed: int, count: int) -> EmbeddedMarkets:
    """Markets of a world; what is seen stands where embeddings would."""
    draw, settings = WORLDS[world]
    found = [draw(np.random.default_rng((seed, number))) for number in range(count)]
    labelled = tuple(market_of(returns, settings.turnover_cost) for returns, _ in found)
    seen = [np.pad(view, ((0, 0), (0, WIDTH - view.shape[1]))).astype(np.float32) for _, view in found]
    return EmbeddedMarkets(labelled, EmbeddingTable(seen))


def learned(name: str, world: str, extractor: Extractor, *, last: bool = False) -> tuple[Rollout, Rollout]:
    """What the agent and hindsight earn on unseen markets; with `last`, by the last weights and without hysteresis.

    In noise the weights that did best on validation markets are those that were luckiest.
    """
    use_one_thread()
    settings = WORLDS[world][1]
    train, validation, unseen = (markets(world, seed, count) for seed, count in ((1, 8), (2, 6), (3, 8)))
    shape = PolicyShape(WIDTH, 3, (32, 32))
    fresh = Agent(extractor, new_policy(shape, 0), shape, settings)
    entry = ALGORITHMS[name]
    config = replace(new_config(name), **BUDGET[name])
    learner = getattr(import_module(entry.module), entry.builder)(fresh, train, config, seed=0)
    schedule = Schedule(config.steps, config.steps // 5, curriculum=getattr(config, "curriculum", 0.0))
    agent = improve(learner, fresh, (name, entry.head), validation, schedule, progress=False).agent
    if last:
        policy = copy_of(getattr(learner, "policy_to_judge", learner.policy))
        agent = replace(agent, policy=policy, margin=0.0)
    rows = whole_markets(unseen.labelled)
    best = TablePolicy([t.labels for t in unseen.labelled], settings.positions)
    policies = (agent.on(unseen.labelled, unseen.table), best)
    return tuple(roll(policy, unseen.labelled, rows, settings) for policy in policies)  # type: ignore[return-value]


def cases(world: str) -> list[Any]:
    """All algorithms, those that are not quick in the slow tier."""
    return [pytest.param(name, marks=() if name in QUICK[world] else pytest.mark.slow) for name in BUDGET]


@pytest.mark.parametrize("name", cases("sine"))
def test_a_sine_is_traded(name: str, extractor: Extractor) -> None:
    agent, best = learned(name, "sine", extractor)
    found = score(agent.realised, best.realised)
    assert found.low >= 0.9, found


@pytest.mark.parametrize("name", cases("leak"))
def test_a_return_in_plain_sight_is_taken(name: str, extractor: Extractor) -> None:
    agent, best = learned(name, "leak", extractor)
    found = score(agent.realised, best.realised)
    assert found.low >= 0.9, found


@pytest.mark.parametrize("name", cases("noise"))
def test_noise_is_left_alone(name: str, extractor: Extractor) -> None:
    agent, _ = learned(name, "noise", extractor, last=True)
    turnover = mean(agent.turnover.mean(axis=0))
    assert turnover.high < 0.01, turnover  # random positions turn over 0.9 a bar
    assert mean(agent.realised).high > -0.02
