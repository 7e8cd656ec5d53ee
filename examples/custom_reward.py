"""A reward of your own: a function of the account, jitted so that it works in the vector environment too.

python examples/custom_reward.py
"""

import gymnasium as gym
import numba
import numpy as np

import cryptoenv  # noqa: F401 -- registers the environment
from cryptoenv.trading.account import DRAWDOWN, EQUITY, PREVIOUS_DRAWDOWN, PREVIOUS_EQUITY, TURNOVER


@numba.njit
def cautious(account: np.ndarray) -> float:
    """Return, less a charge for every step that deepens the drawdown and for trading itself."""
    gained = account[EQUITY] / account[PREVIOUS_EQUITY] - 1.0
    deeper = max(account[DRAWDOWN] - account[PREVIOUS_DRAWDOWN], 0.0)
    return gained - 0.5 * deeper - 0.0002 * account[TURNOVER]


def main() -> None:
    """The same actions under the default reward and under this one."""
    actions = np.random.default_rng(0).integers(3, size=500)
    for name, reward in (("log_return", "log_return"), ("cautious", cautious)):
        env = gym.make("CryptoTrade-v0", reward=reward)
        env.reset(seed=0)
        total = sum(float(env.step(int(action))[1]) for action in actions)
        print(f"{name:10s} sum of rewards {total:+.4f}")
    envs = gym.make_vec("CryptoTrade-v0", num_envs=64, reward=cautious)
    envs.reset(seed=0)
    print("64 at once:", envs.step(np.full(64, 2))[1][:4].round(5), "...")


if __name__ == "__main__":
    main()
