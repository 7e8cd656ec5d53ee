"""Replays through `CryptoLive-v0` and the paper broker equal the simulator, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest

from cryptoenv import Costs, CryptoTradeEnv, Market, RiskLimits, Sizing, VenueRules, read_bars
from cryptoenv.features import FeatureSpec, Returns, TimeframeFeatures, Volatility
from cryptoenv.live.environment import CryptoLiveEnv
from cryptoenv.live.feed import ReplayFeed
from cryptoenv.live.paper_broker import PaperBroker
from tests.cryptoenv.live.conftest import executor_of
from tests.naive.random_bars import random_bars

#: Features that are soon made; the default set is that of the slow test.
FEW = FeatureSpec(*[TimeframeFeatures(8, 8, returns=Returns(), volatility=Volatility())] * 4)
TIMEFRAMES, WINDOW = ("15m", "1h", "4h"), (6, 3, 2)
TRADING: dict[str, dict[str, Any]] = {
    "spot": {"rules": VenueRules(step_size=0.001, tick_size=0.01, min_notional=5.0)},
    "margin": {"costs": Costs(borrow=0.001), "limits": RiskLimits(stop_loss=0.02), "reward": "differential_sharpe"},
    "perpetual": {
        "limits": RiskLimits(exposure=3.0, stop_loss=0.05, take_profit=0.05, participation=0.01),
        "sizing": Sizing(volatility=0.5), "actions": (-3.0, -1.0, 0.0, 2.0), "reward": {"log_return": 1.0, "pnl": 0.5},
    },
}  # fmt: skip


def both(bars: pd.DataFrame, first: int, folder: Path, **trading: Any) -> tuple[CryptoTradeEnv, CryptoLiveEnv]:
    """The simulator on the whole market, and the live environment over a replay from bar `first` on."""
    funding = trading.pop("funding", None)
    asked = {"timeframes": TIMEFRAMES, "window": WINDOW, **trading}
    spec = FeatureSpec.none() if trading.get("observation") == "index" else FEW
    market = Market.from_bars(bars, TIMEFRAMES, funding=funding, features=spec)
    simulator = CryptoTradeEnv(market, episode_bars=10**6, random_start=False, **asked)
    feed, broker = ReplayFeed(bars, "15m", first + 1, funding=funding), PaperBroker(10_000.0)
    return simulator, CryptoLiveEnv(broker, feed, executor_of(folder, broker, feed), features=FEW, **asked)


def same(told: tuple[Any, ...], live: tuple[Any, ...]) -> None:
    """Everything that reset or step returned, bit for bit."""
    assert told[0].keys() == live[0].keys()
    for name, array in told[0].items():
        assert array.dtype == live[0][name].dtype and array.tobytes() == live[0][name].tobytes(), name
    assert told[1:-1] == live[1:-1]
    extra = dict(live[-1])
    extra.pop("live")
    mask = extra.pop("action_mask", None)
    info = dict(told[-1])
    assert np.array_equal(mask, info.pop("action_mask", None))
    assert info == extra


def run(simulator: CryptoTradeEnv, live: CryptoLiveEnv, start: int, steps: int, seed: int) -> int:
    """Random actions in both; how many orders filled."""
    draws = np.random.default_rng(seed)
    same(simulator.reset(options={"market": 0, "start": start}), live.reset(options={"start": start}))
    fills = 0
    for _ in range(steps):
        action = int(draws.integers(simulator.action_space.n))  # type: ignore[union-attr]
        told, seen = simulator.step(action), live.step(action)
        same(told, seen)
        fills += told[-1]["fill_quantity"] != 0.0
        if told[2] or told[3]:
            break
    return fills


@pytest.mark.parametrize("instrument", TRADING)
def test_a_replay_is_the_simulator(instrument: str, tmp_path: Path) -> None:
    bars = random_bars(21, seed=5)
    start = Market.from_bars(bars, TIMEFRAMES, features=FEW).first_decision(WINDOW)
    bars = bars.drop(bars.index[start + 80 : start + 83])  # a gap: three flat bars without volume in both
    arguments = dict(TRADING[instrument])
    if instrument == "perpetual":
        due = pd.date_range(bars.index[0].floor("8h"), bars.index[-1] + pd.Timedelta("8h"), freq="8h")
        rates = np.round(1e-4 * np.sin(np.arange(len(due))), 8)
        arguments["funding"] = pd.Series(rates, index=due)
    simulator, live = both(bars, start, tmp_path / "state", instrument=instrument, **arguments)
    assert live.observation_space == simulator.observation_space
    assert live.action_space == simulator.action_space
    assert run(simulator, live, start, 250, seed=1) > 20
    assert run(simulator, live, start + 40, 120, seed=2) > 10  # a second episode of the same environments
    assert live.executor.journal.counts().keys() <= {"filled", "canceled"}


def test_an_episode_goes_on_from_what_is_held(tmp_path: Path) -> None:
    """A second `reset` of a replay that is not rewound: the equity so far, flat, as a simulator that begins with it."""
    bars = random_bars(6, seed=5)
    _, live = both(bars, 250, tmp_path / "state", observation="index")
    live.reset()
    for action in (2, 2, 0, 1):
        _, _, _, _, info = live.step(action)
    assert info["exposure"] == 0.0
    market = Market.from_bars(bars, TIMEFRAMES, features=FeatureSpec.none())
    simulator = CryptoTradeEnv(
        market, window=WINDOW, observation="index", initial_cash=info["equity"], episode_bars=10**6
    )
    same(simulator.reset(options={"market": 0, "start": 254}), live.reset())
    for action in (0, 0, 2, 1, 1, 2):
        same(simulator.step(action), live.step(action))


def test_a_replay_ends_as_the_data_do(tmp_path: Path) -> None:
    bars = random_bars(6, seed=5)
    simulator, live = both(bars, len(bars) - 5, tmp_path / "state", observation="index")
    run(simulator, live, len(bars) - 5, 10, seed=0)
    with pytest.raises(RuntimeError, match="call reset"):
        live.step(0)


def test_it_is_made_as_environments_are(tmp_path: Path) -> None:
    feed, broker = ReplayFeed(random_bars(6, seed=5), "15m", 300), PaperBroker(500.0)
    env = gym.make(
        "CryptoLive-v0", broker=broker, feed=feed, executor=tmp_path / "made", timeframes=("15m",), window=(3,),
        features=FEW, instrument="spot", initial_cash=500.0,
    )  # fmt: skip
    observation, info = env.reset()
    assert env.observation_space.contains(observation) and info["equity"] == 500.0
    observation, _, _, _, info = env.step(1)
    assert env.observation_space.contains(observation) and info["exposure"] == pytest.approx(1.0, abs=0.02)
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("instrument", TRADING)
def test_ten_thousand_real_bars_are_the_simulator(instrument: str, tmp_path: Path, real_data: Path) -> None:
    timeframes = ("15m", "4h", "1d")
    bars = read_bars(real_data / "binance_spot_BTCUSDT_5m_20230101_20240906.csv.gz").iloc[:50_000]
    asked = {"timeframes": timeframes, "window": (32, 16, 8), "instrument": instrument, **TRADING[instrument]}
    market = Market.from_bars(bars, timeframes)
    start = market.first_decision((32, 16, 8))
    simulator = CryptoTradeEnv(market, episode_bars=10**6, random_start=False, **asked)
    feed, broker = ReplayFeed(bars, "15m", start + 1), PaperBroker(10_000.0)
    live = CryptoLiveEnv(broker, feed, executor_of(tmp_path / "state", broker, feed), **asked)
    assert run(simulator, live, start, 10_000, seed=1) > 1_000
    assert run(simulator, live, start + 3_000, 300, seed=2) > 50
