"""Costs of your own: the same decisions at other fees, spreads, impact and funding; a curriculum of costs.

python examples/own_costs.py
"""

from typing import Any

import gymnasium as gym
import numpy as np

import cryptoenv

VENUES = {
    "free": {"fee": 0.0, "half_spread": 0.0, "impact": 0.0},
    "a low fee": {"fee": 0.0002},
    "the default": {},
    "a shallow book": {"half_spread": 0.0005, "impact": 1.0},
    "funding of 0.03% per 8 hours": {"funding": 0.0003},
}
"""By name, as a YAML file would have them; `cryptoenv.Costs(fee=...)` is the same, checked where it is written."""


def main() -> None:
    """Trade ten days at each venue, then step a vector env whose costs rise from nothing, as a curriculum does."""
    actions = np.repeat(np.random.default_rng(0).integers(3, size=60), 16)  # a new position every four hours
    for name, costs in VENUES.items():
        env = gym.make("CryptoTrade-v0", costs=costs, initial_cash=1e6, episode_bars=len(actions))
        env.reset(seed=0)
        for action in actions:
            _, _, _, _, info = env.step(int(action))
        paid = {part: round(float(info[part])) for part in ("fees", "slippage", "funding")}
        print(f"{name:30s} equity {info['equity']:9.0f}, paid {paid}")
    envs: Any = gym.make_vec("CryptoTrade-v0", num_envs=64, costs=cryptoenv.Costs(fee=0.0, half_spread=0.0, impact=0.0))
    envs.reset(seed=cryptoenv.spread_seeds(0, 64))
    fees = []
    for share in (0.0, 0.5, 1.0):
        envs.unwrapped.set_costs(cryptoenv.Costs(fee=0.001 * share))
        _, _, _, _, infos = envs.step(np.random.default_rng(1).integers(3, size=64))
        fees.append(float(np.mean(infos["step_fees"])))
    print("a curriculum of costs: mean fee of a step", np.round(fees, 2))


if __name__ == "__main__":
    main()
