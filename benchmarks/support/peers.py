"""Other packages' environments on the same prices, for `benchmarks.env_speed`; each is checked before it is timed.

They are installed by `make bench-peers` into an environment of their own, never into the project's.
"""

import importlib.util
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd

WINDOW = 50
FEATURES = 10


def missing(module: str) -> bool:
    """Whether a peer's module is not installed."""
    return importlib.util.find_spec(module) is None


def feature_matrix(bars: pd.DataFrame) -> np.ndarray:
    """(T, FEATURES) float32 of lagged returns: the peers take ready features."""
    returns = np.log(bars["close"]).diff().fillna(0.0)
    lags = [returns.shift(k).fillna(0.0) for k in range(FEATURES)]
    return np.column_stack(lags).astype(np.float32)


def any_trading(bars: pd.DataFrame) -> Any:
    """gym-anytrading's StocksEnv with a window of 50 bars of 10 features.

    Raises:
        AssertionError: it does not see our prices.
    """
    from gym_anytrading.envs import StocksEnv

    matrix = feature_matrix(bars)

    class TenFeatures(StocksEnv):
        def _process_data(self) -> tuple[np.ndarray, np.ndarray]:
            return self.df["Close"].to_numpy().astype(np.float32), matrix

    frame = bars.rename(columns=str.capitalize)
    gym.register(
        id="PeerAnyTrading-v0",
        entry_point=partial(TenFeatures, df=frame, window_size=WINDOW, frame_bound=(WINDOW, len(frame))),
    )
    env: Any = gym.make("PeerAnyTrading-v0")
    env.reset(seed=0)
    env.step(1)  # bought at this tick
    bought = env.unwrapped.prices[WINDOW + 1]
    for _ in range(9):
        env.step(1)
    reward = env.step(0)[1]
    expected = env.unwrapped.prices[WINDOW + 11] - bought
    assert np.isclose(reward, expected, rtol=1e-4), (reward, expected)
    return env


def gym_trading_env(bars: pd.DataFrame) -> Any:
    """Gym-Trading-Env's TradingEnv, positions -1, 0, 1, fees 0.1%, window 50, 10 features (8 and its own 2).

    Raises:
        AssertionError: a position held long does not earn the price change.
    """
    import gym_trading_env  # noqa: F401

    frame = bars.tz_localize(None)  # it cannot take time zones
    for k, column in enumerate(feature_matrix(bars).T[: FEATURES - 2]):
        frame[f"feature_{k}"] = column
    env: Any = gym.make(
        "TradingEnv",
        df=frame,
        positions=[-1, 0, 1],
        windows=WINDOW,
        trading_fees=0.001,
        borrow_interest_rate=0.0,
        initial_position=1,
        verbose=0,
    )
    env.reset(seed=0)
    for _ in range(10):
        info = env.step(2)[4]
    close = bars["close"].to_numpy()
    expected = 1000.0 * close[WINDOW + 9] / close[WINDOW - 1]
    assert np.isclose(info["portfolio_valuation"], expected), (info["portfolio_valuation"], expected)
    return env
