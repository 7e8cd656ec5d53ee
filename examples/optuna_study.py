"""An Optuna study over PPO of Stable-Baselines3: judged on validation markets, pruned, and kept in a file.

python examples/optuna_study.py --trials 10 --steps 20000
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import optuna
from gymnasium.wrappers import FlattenObservation
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import agents
import cryptoenv  # noqa: F401 -- registers the environment

WINDOW = (8, 2, 1)
TASK: dict[str, Any] = {"market": "easy", "window": WINDOW, "episode_bars": 960, "costs": {"impact": 0.0}}
PARTS = 3
"""Of a trial's steps: after each the trial is judged, and given up where it is behind."""


def main() -> None:
    """Choose learning rate, discount and width; the test markets are never touched."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--markets", type=int, default=8)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--storage", type=Path, default=None, help="file of the study; the same again goes on with it")
    options = parser.parse_args()

    def objective(trial: optuna.Trial) -> float:
        envs = make_vec_env("CryptoTrade-v0", n_envs=8, seed=0, env_kwargs=TASK, wrapper_class=FlattenObservation)
        model = PPO(
            "MlpPolicy", envs, n_steps=64, batch_size=256, seed=0, device="cpu",
            learning_rate=trial.suggest_float("learning_rate", 1e-5, 3e-3, log=True),
            gamma=1.0 - trial.suggest_float("forgetting", 0.003, 0.3, log=True),
            policy_kwargs={"net_arch": [trial.suggest_categorical("width", [16, 64])] * 2},
        )  # fmt: skip
        found = float("-inf")
        for part in range(PARTS):
            model.learn(options.steps // PARTS, reset_num_timesteps=False)
            table = agents.score(model, "easy", split="validation", markets=options.markets, days=options.days,
                                 settings=agents.TradingSettings(window=WINDOW))  # fmt: skip
            found = float(table["score"]["policy"])
            trial.report(found, part)
            if trial.should_prune():
                raise optuna.TrialPruned
        return found

    file = options.storage or Path(tempfile.mkdtemp()) / "study.db"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="crypto", storage=f"sqlite:///{file}", load_if_exists=True, direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=0), pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
    )  # fmt: skip
    study.optimize(objective, n_trials=options.trials)
    best = {name: value if isinstance(value, int) else round(value, 5) for name, value in study.best_params.items()}
    print(f"best of {len(study.trials)} trials: score {study.best_value:.3f} with {best}")


if __name__ == "__main__":
    main()
