"""`agent.decide` and `cryptoenv signal`: the target after the last closed bar is what a backtest takes there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agents.command_line import main
from agents.markets.expert_market import ExpertMarket
from agents.policies.agent import Agent
from agents.policies.heads import new_policy
from agents.policies.policy_shape import PolicyShape
from agents.run_folders.run_folder import Run
from agents.settings import TradingSettings, vector_env
from cryptoenv import Market
from pretrain import Extractor
from synthetic import regime_market

SETTINGS = TradingSettings()


@pytest.fixture(scope="module")
def agent(extractor: Extractor) -> Agent:
    shape = PolicyShape(extractor.width, len(SETTINGS.positions))
    return Agent(extractor, new_policy(shape, 0), shape, SETTINGS, algorithm="ppo")


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return regime_market("standard", days=20, seed=3).bars


@pytest.mark.parametrize("held", [0.0, 1.0, -1.0])
def test_it_is_what_a_backtest_decides_at_that_bar(agent: Agent, bars: pd.DataFrame, held: float) -> None:
    market = Market.from_bars(bars, SETTINGS.timeframes)
    labels = np.full((len(market), 3), -1, dtype=np.int8)
    envs = vector_env([market], SETTINGS, num_envs=1, episode_bars=10)
    for margin in (0.0, 0.05):
        policy = replace(agent, margin=margin)
        backtest = policy.on([ExpertMarket(market, labels, first=0)])
        for bar in (len(market) - 700, len(market) - 2):
            options = {"market": np.array([0]), "start": np.array([bar]), "exposure": held}
            seen, _ = envs.reset(seed=0, options=options)
            expected = SETTINGS.positions[int(backtest.act(seen["index"], seen["account"])[0])]
            found = policy.decide(bars.iloc[: bar + 1], held=held)
            assert found.target == expected
            assert found.bar == bars.index[bar] and found.close == bars.index[bar] + pd.Timedelta("15min")
            assert found.price == bars["close"].iloc[bar]
            preferences = backtest.preferences(seen["index"], seen["account"])[0].astype(np.float64)
            shares = np.exp(preferences) / np.exp(preferences).sum()
            np.testing.assert_allclose(list(found.probabilities.values()), shares, rtol=1e-5)
    envs.close()


def test_bars_still_open_are_left_aside(agent: Agent, bars: pd.DataFrame) -> None:
    now = bars.index[-3] + pd.Timedelta("20min")  # the last bar but two has closed, the next is five minutes old
    changed = bars.copy()
    changed.iloc[-2:, changed.columns.get_loc("close")] = changed["open"].iloc[-2:]
    changed["high"] = changed[["open", "high", "close"]].max(axis=1)
    changed["low"] = changed[["open", "low", "close"]].min(axis=1)
    one, two = (agent.decide(given, now=now) for given in (bars, changed))
    assert one == two == agent.decide(bars.iloc[:-2])
    assert one.bar == bars.index[-3]
    with pytest.raises(ValueError, match="no bar of the market has closed by"):
        agent.decide(bars, now=bars.index[0])
    with pytest.raises(ValueError, match="too few bars"):
        agent.decide(bars, now=bars.index[200])
    with pytest.raises(ValueError, match="held=nan"):
        agent.decide(bars, held=float("nan"))


def test_the_command(agent: Agent, bars: pd.DataFrame, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Run(tmp_path / "run", agent, agent).save({"market": "easy"}, {"kept_step": 64})
    file = tmp_path / "bars.csv.gz"
    bars.reset_index().to_csv(file, index=False)
    out = tmp_path / "signal.json"
    assert main(["signal", str(tmp_path / "run"), "--bars", str(file), "--held", "-1", "--out", str(out)]) == 0
    told = json.loads(out.read_text("utf-8"))
    assert told["target"] in SETTINGS.positions and told["held"] == -1.0
    assert sum(told["probabilities"].values()) == pytest.approx(1.0)
    assert set(told["probabilities"]) == {"-1", "0", "1"}
    assert f"target {told['target']:+g} (held -1)" in capfd.readouterr().out
    assert main(["signal", str(tmp_path / "run"), "--bars", str(tmp_path / "none.csv")]) == 2
    assert main(["signal", str(tmp_path / "run"), "--bars", str(file), "--out", str(out)]) == 2
    saved = Market.from_bars(bars, SETTINGS.timeframes).save(tmp_path / "saved")
    assert saved.folder is not None
    assert agent.decide(saved.folder, held=-1.0).as_dict()["target"] == told["target"]
