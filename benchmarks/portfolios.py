"""Rules, the oracle of each asset, and PPO from scratch on synthetic portfolios: net log-returns on test portfolios.

`python -m benchmarks.portfolios [--steps N] [--out FILE]`. PPO learns on the training family with the plain
`MultiInputPolicy` of Stable-Baselines3, whose features come from one small network that all assets share; it is judged
without noise. Costs as where agents are scored (no impact); one episode of 30 days on each test portfolio.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecNormalize

from agents.evaluation.portfolio_baselines import equal_risk, equal_weights, olmar, oracle_weights
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from cryptoenv import CorrelatedTask, Costs, PortfolioMarket, RiskLimits
from cryptoenv.bars.price_columns import CLOSE
from synthetic.regimes.correlated_market import correlated_market

TASK, DAYS, BARS = CorrelatedTask(assets=4), 60, 2880
SHARED: dict[str, Any] = {"costs": Costs(impact=0.0), "random_start": False, "episode_bars": BARS}
WINDOW = (16, 8, 4)
DAY = 96
Floats = NDArray[np.float64]
Rule = Callable[[int, Floats, Floats], Floats]  #: bar, closes (T, A) until then, weights of the bar before


class SharedByAssets(BaseFeaturesExtractor):
    """One network for all assets: what each shows, windows and position, becomes `width` numbers."""

    def __init__(self, space: gym.spaces.Dict, width: int = 16) -> None:
        self._names = [name for name in space.spaces if name != "account"]
        assets = int((space["assets"].shape or (0,))[0])
        super().__init__(space, assets * width + int((space["account"].shape or (0,))[0]))
        inputs = sum(int(np.prod((space[name].shape or (0,))[1:])) for name in self._names)
        self._encoder = torch.nn.Sequential(
            torch.nn.Linear(inputs, 64), torch.nn.Tanh(), torch.nn.Linear(64, width), torch.nn.Tanh()
        )

    def forward(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        """(N, features) of observations (N, A, ...)."""
        own = torch.cat([observations[name].flatten(2) for name in self._names], dim=2)
        return torch.cat([self._encoder(own).flatten(1), observations["account"]], dim=1)


def play(market: PortfolioMarket, rule: Rule, tolerance: float = 0.05) -> dict[str, float]:
    """One episode of a rule: net log-return, turnover in units of equity, worst drawdown."""
    limits = RiskLimits(rebalance_tolerance=tolerance)
    env = gym.make("CryptoPortfolio-v0", market=market, observation="index", limits=limits, **SHARED)
    closes = np.column_stack([one.prices[:, CLOSE] for one in market.markets])
    observation, info = env.reset(seed=0)
    weights, worst, total = np.zeros(closes.shape[1]), 0.0, 0.0
    for _ in range(BARS):
        weights = rule(info["bar"], closes[: info["bar"] + 1], weights)
        observation, reward, terminated, truncated, info = env.step(np.clip(weights, -1.0, 1.0))
        worst, total = max(worst, float(observation["account"][3])), total + float(reward)
        if terminated or truncated:
            break
    return {"log_return": total, "fees": info["fees"] / 10_000.0, "worst_drawdown": worst}


def daily(rule: Callable[[Floats], Floats]) -> Rule:
    """A rule of closes, asked once a day."""
    return lambda bar, closes, weights: rule(closes) if bar % DAY == 0 or not weights.any() else weights


def learn(steps: int, seed: int) -> tuple[Any, float]:
    """PPO from scratch on the training family; the model, and seconds."""
    arguments = {**SHARED, "market": TASK, "window": WINDOW, "random_start": True, "episode_bars": 960}
    envs = VecNormalize(
        make_vec_env("CryptoPortfolio-v0", n_envs=8, seed=seed, env_kwargs=arguments), norm_obs=False, gamma=0.95
    )
    model = PPO(
        "MultiInputPolicy", envs, n_steps=256, batch_size=512, n_epochs=6, gamma=0.95, learning_rate=5e-4, seed=seed,
        device="cpu", policy_kwargs={"features_extractor_class": SharedByAssets, "log_std_init": -2.0},
    )  # fmt: skip
    begin = time.perf_counter()
    model.learn(steps)
    return model, time.perf_counter() - begin


def play_model(model: Any, market: PortfolioMarket) -> dict[str, float]:
    """One episode of a trained model, without noise."""
    env = gym.make("CryptoPortfolio-v0", market=market, window=WINDOW, **SHARED)
    observation, _ = env.reset(seed=0)
    total, worst, over = 0.0, 0.0, False
    while not over:
        action, _ = model.predict(observation, deterministic=True)
        observation, reward, terminated, truncated, info = env.step(action)
        total, worst = total + float(reward), max(worst, float(observation["account"][3]))
        over = terminated or truncated
    return {"log_return": total, "fees": info["fees"] / 10_000.0, "worst_drawdown": worst}


def rules(m: int) -> dict[str, tuple[Rule, float]]:
    """Each rule on test portfolio `m`, with its rebalance tolerance."""
    samples = list(correlated_market(TASK.task, TASK.assets, DAYS, TASK.seed("test", m), TASK.correlation)
                   .assets.values())  # fmt: skip
    oracle: list[Floats] = []

    def optimum(bar: int, closes: Floats, weights: Floats) -> Floats:
        if not oracle:
            oracle.append(oracle_weights(samples, bar))
        return oracle[0][bar]

    return {
        "cash": (lambda bar, closes, weights: np.zeros_like(weights), 0.05),
        "buy and hold": (lambda bar, closes, weights: equal_weights(closes), 125.0),
        "constant rebalanced": (lambda bar, closes, weights: equal_weights(closes), 0.05),
        "equal risk, daily": (daily(equal_risk), 0.05),
        "OLMAR, daily": (
            lambda bar, closes, weights: olmar(closes[::-DAY][::-1], weights)
            if bar % DAY == 0 and weights.any() else (weights if weights.any() else equal_weights(closes)), 0.05,
        ),
        "oracle of each asset": (optimum, 0.05),
    }  # fmt: skip


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400_000, help="PPO's steps, of all its envs together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--portfolios", type=int, default=8, help="test portfolios")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/portfolios.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    markets = [TASK.draw("test", m, DAYS) for m in range(options.portfolios)]
    found: dict[str, list[dict[str, float]]] = {}
    for m, market in enumerate(markets):
        for name, (rule, tolerance) in rules(m).items():
            found.setdefault(name, []).append(play(market, rule, tolerance))
    model, seconds = learn(options.steps, options.seed)
    found[f"PPO from scratch, {options.steps:,} steps"] = [play_model(model, market) for market in markets]
    rows = []
    for name, played in found.items():
        mean = {key: float(np.mean([one[key] for one in played])) for key in played[0]}
        spread = float(np.std([one["log_return"] for one in played], ddof=1) / np.sqrt(len(played)))
        each = [one["log_return"] for one in played]
        rows.append({"method": name, **mean, "standard_error": spread, "log_returns": each})
        print(f"{name:36s}{mean['log_return']:10.4f} +- {spread:.4f}   fees {mean['fees']:.4f}", end="")
        print(f"   worst drawdown {mean['worst_drawdown']:.3f}", flush=True)
    write_result(options.out, {**header(), "ppo_seconds": seconds, "seed": options.seed, "rows": rows})


if __name__ == "__main__":
    main()
