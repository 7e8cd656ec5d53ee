"""`agents.score`: any policy on the markets of a task, beside the baselines and the optimum."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
import torch
from gymnasium.spaces import flatdim, flatten
from stable_baselines3 import PPO

import agents
from agents.evaluation import baselines
from agents.markets.expert_market import synthetic_markets
from agents.policies.agent import Agent
from agents.policies.heads import new_policy
from agents.policies.policy_shape import PolicyShape
from agents.policies.trading_policy import held_position
from agents.settings import TradingSettings
from pretrain import Extractor

Observation = dict[str, np.ndarray]
SMALL: dict[str, Any] = {"market": "easy", "split": "validation", "markets": 3, "days": 12}
FLAT = 1


def judged(policy: Any, **changes: Any) -> pd.DataFrame:
    return agents.score(policy, **(SMALL | changes))


def always(action: int) -> Any:
    return lambda seen: np.full(len(seen["account"]), action)


def test_flat_scores_exactly_nothing_and_holding_what_the_baseline_does() -> None:
    table = judged(always(FLAT))
    for column in ("score", "score_low", "score_high", "realised_score", "log_return", "mean_exposure", "sharpe"):
        assert table.loc["policy", column] == 0.0, column
    assert {"flat", "buy and hold", "EMA cross (tuned)", "filter oracle"} <= set(table.index)
    table = judged(always(2))
    assert table.loc["policy"].to_dict() == table.loc["buy and hold"].to_dict()
    assert table.loc["policy", "score_low"] < table.loc["policy", "score_high"]


def test_the_filter_oracle_as_a_policy_scores_one() -> None:
    settings = TradingSettings()
    labelled = synthetic_markets("easy", "validation", 3, 12, settings, progress=False)
    oracle = baselines.oracle(labelled, settings)
    table = judged(lambda seen: oracle.act(seen["index"], seen["account"]), observation="index")
    assert table.loc["policy", "score"] == pytest.approx(1.0, abs=1e-12)
    assert table.loc["policy", "realised_score"] == pytest.approx(1.0, abs=1e-12)


def by_last_feature(seen: Observation) -> Any:
    """Follows the newest bar's first feature; takes one row or many."""
    return np.where(seen["15m"][..., -1, 0] > 0.0, 2, 0)


def test_one_row_at_a_time_is_all_rows_at_once() -> None:
    together, alone = judged(by_last_feature), judged(lambda seen: int(by_last_feature(seen)), batched=False)
    pd.testing.assert_frame_equal(together, alone)
    assert together.loc["policy", "turnover_per_day"] > 0.0


def test_flat_observations_are_those_of_gymnasium() -> None:
    env = gym.make("CryptoTrade-v0", market="easy")
    width = flatdim(env.observation_space)
    window, _ = env.reset(seed=0)
    first = flatten(env.observation_space, window)
    place = int(np.flatnonzero(first == window["15m"][-1, 0])[0])

    def on_flat(seen: np.ndarray) -> Any:
        assert seen.shape == (3, width) and seen.dtype == np.float32
        return np.where(seen[:, place] > 0.0, 2, 0)

    pd.testing.assert_frame_equal(judged(on_flat, observation="flat"), judged(by_last_feature))


def test_a_model_of_stable_baselines3_is_asked_for_what_it_was_trained_on() -> None:
    env = gym.make("CryptoTrade-v0", market="easy")
    model = PPO("MultiInputPolicy", env, n_steps=32, batch_size=32, seed=0, policy_kwargs={"net_arch": [8]})
    model.learn(32)
    table = judged(model)
    told = judged(lambda seen: model.predict(seen, deterministic=True)[0])
    pd.testing.assert_frame_equal(table, told)
    pd.testing.assert_frame_equal(judged(model.policy), table)
    flat_env = gym.wrappers.FlattenObservation(env)
    flat = PPO("MlpPolicy", flat_env, n_steps=32, batch_size=32, seed=0, policy_kwargs={"net_arch": [8]})
    assert np.isfinite(judged(flat).loc["policy", "score"])
    boxed = gym.make("CryptoTrade-v0", market="easy", actions="continuous")
    free = PPO("MultiInputPolicy", boxed, n_steps=32, batch_size=32, seed=0, policy_kwargs={"net_arch": [8]})
    assert 0.0 < judged(free).loc["policy", "mean_exposure"] < 1.0


class Net(torch.nn.Module):
    """Prefers a position by the account and the newest bar; drops out in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 3)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, seen: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.layer(self.dropout(torch.stack([seen["15m"][:, -1, 0], seen["account"][:, 1]], dim=1)))


def test_a_torch_module_decides_without_drawing_and_keeps_its_mode() -> None:
    torch.manual_seed(0)
    net, threads = Net().train(), torch.get_num_threads()
    first = judged(net)
    pd.testing.assert_frame_equal(first, judged(net))
    assert net.training
    assert torch.get_num_threads() == threads
    assert all(weight.grad is None for weight in net.parameters())


def test_an_agent_and_exposures(extractor: Extractor) -> None:
    settings = TradingSettings()
    shape = PolicyShape(extractor.width, len(settings.positions))
    agent = Agent(extractor, new_policy(shape, 0), shape, settings)
    assert np.isfinite(judged(agent).loc["policy", "score"])
    with pytest.raises(ValueError, match="leave observation and actions out"):
        judged(agent, observation="window")
    half = judged(lambda seen: np.full((len(seen["account"]), 1), 0.5), actions="continuous")
    assert half.loc["policy", "mean_exposure"] == pytest.approx(0.5, abs=0.03)
    spot = TradingSettings(instrument="spot", positions=(0.0, 0.5, 1.0))
    held = judged(lambda seen: held_position(seen["account"], spot.positions), settings=spot)
    assert held.loc["policy", "log_return"] == 0.0
    two = judged(always(1), actions=(0.0, 1.0))
    assert two.loc["policy"].to_dict() == two.loc["buy and hold"].to_dict()


def test_what_does_not_fit_is_said_before_markets_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    env = gym.make("CryptoTrade-v0", market="easy", window=(16, 4, 2))
    model = PPO("MultiInputPolicy", env, n_steps=32, batch_size=32, policy_kwargs={"net_arch": [8]})
    monkeypatch.setattr("agents.evaluation.tables.judging_markets", None)
    with pytest.raises(ValueError, match=r"'15m': \(16, .*would see .*'15m': \(32, .*pass observation="):
        judged(model)
    with pytest.raises(ValueError, match="pass observation="):
        judged(model, observation="index")
    settings = TradingSettings(window=(16, 4, 2))
    with pytest.raises(ValueError, match=r"Discrete.3.*4 positions.*pass actions="):
        judged(model, settings=settings, actions=(-1.0, 0.0, 0.5, 1.0))
    with pytest.raises(ValueError, match="not what actions= says"):
        judged(model, settings=settings, actions="continuous")
    for changes, message in (
        ({"observation": "pixels"}, "choose one of"),
        ({"actions": "any"}, "actions='any' is unknown"),
        ({"actions": (-1.0, 1.0)}, "must contain 0.0"),
        ({"split": "train"}, "teach nothing"),
        ({"market": "eazy"}, "eazy"),
    ):
        with pytest.raises(ValueError, match=message):
            judged(always(FLAT), **changes)
    with pytest.raises(TypeError, match="type int is of no known kind; allowed: a callable"):
        judged(3)


def test_answers_that_are_no_actions_are_said() -> None:
    for policy in (lambda seen: 1, lambda seen: np.ones(5, np.int64), lambda seen: np.full(3, 0.5)):
        with pytest.raises(ValueError, match=r"for 3 rows; wanted are .3,. whole numbers.*batched=False"):
            judged(policy)
    with pytest.raises(ValueError, match="action 3 of row 0"):
        judged(always(3))


def test_a_realised_share_of_a_loss_is_no_number() -> None:
    table = judged(always(2), days=2)
    assert table["realised_score"].isna().all()
    assert np.isfinite(table.loc["policy", "score"])
