"""sb3-contrib's QR-DQN, and RecurrentPPO, which can remember what left its windows.

python examples/sb3_contrib_qrdqn.py --steps 20000
"""

import argparse
from typing import Any

from gymnasium.wrappers import FlattenObservation
from sb3_contrib import QRDQN, RecurrentPPO
from stable_baselines3.common.env_util import make_vec_env

import agents
import cryptoenv  # noqa: F401 -- registers the environment

TASK: dict[str, Any] = {"market": "easy", "window": (8, 2, 1), "episode_bars": 960, "costs": {"impact": 0.0}}
"""Costs without impact are those of the score."""


def main() -> None:
    """Learn on training markets; judge both on validation markets against the causal optimum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--markets", type=int, default=8)
    parser.add_argument("--days", type=int, default=60)
    options = parser.parse_args()
    for name in ("QRDQN", "RecurrentPPO"):
        envs = make_vec_env("CryptoTrade-v0", n_envs=8, seed=0, env_kwargs=TASK, wrapper_class=FlattenObservation)
        if name == "QRDQN":
            model: Any = QRDQN("MlpPolicy", envs, buffer_size=50_000, learning_starts=500, gamma=0.97, seed=0)
        else:
            model = RecurrentPPO("MlpLstmPolicy", envs, n_steps=128, batch_size=256, gamma=0.97, seed=0,
                                 policy_kwargs={"lstm_hidden_size": 32, "enable_critic_lstm": False,
                                                "shared_lstm": True})  # fmt: skip
        model.learn(options.steps)
        table = agents.score(
            model, "easy", split="validation", markets=options.markets, days=options.days,
            settings=agents.TradingSettings(window=TASK["window"]),
        )  # fmt: skip
        line = table.loc["policy"]
        print(f"{name}: score {line['score']:.3f} [{line['score_low']:.3f}, {line['score_high']:.3f}] of the optimum")


if __name__ == "__main__":
    main()
