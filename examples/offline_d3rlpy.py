"""d3rlpy's discrete CQL on recorded episodes. d3rlpy 2.8 pins gymnasium 1.0 in its metadata, and runs on current ones:

pip install d3rlpy && pip install "gymnasium>=1.2"
python examples/offline_d3rlpy.py --steps 10000
"""

import argparse
import tempfile
from pathlib import Path

import d3rlpy
import numpy as np

import agents
from agents.evaluation.recording import record_episodes
from cryptoenv.env.offline import OfflineData

WINDOW = (8, 2, 1)


def main() -> None:
    """Record the oracle and chance, learn conservatively, and judge what was learned on validation markets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--markets", type=int, default=8)
    parser.add_argument("--days", type=int, default=60)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp()) / "mixed"
    record_episodes(["oracle", "random"], "easy", folder, form="parquet", episodes=options.episodes, noise=0.1,
                    window=WINDOW, observation="flat", progress=False)  # fmt: skip
    d3rlpy.seed(0)
    dataset = d3rlpy.dataset.MDPDataset(
        **OfflineData.load(folder).transitions().arrays(), action_space=d3rlpy.ActionSpace.DISCRETE, action_size=3
    )
    learner = d3rlpy.algos.DiscreteCQLConfig(gamma=0.97, batch_size=256, learning_rate=3e-4, alpha=0.5).create("cpu:0")
    learner.fit(dataset, n_steps=options.steps, n_steps_per_epoch=options.steps, show_progress=False,
                logger_adapter=d3rlpy.logging.NoopAdapterFactory())  # fmt: skip

    def decide(observation: np.ndarray) -> np.ndarray:
        return learner.predict(observation)

    table = agents.score(decide, "easy", split="validation", markets=options.markets, days=options.days,
                         observation="flat", settings=agents.TradingSettings(window=WINDOW))  # fmt: skip
    line = table.loc["policy"]
    print(f"offline CQL: score {line['score']:.3f} [{line['score_low']:.3f}, {line['score_high']:.3f}] of the optimum")


if __name__ == "__main__":
    main()
