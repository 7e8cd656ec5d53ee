"""How much of what a plain PPO earns is its training markets learned by heart: pools of 8 and 64 markets and a stream.

    python -m benchmarks.market_pool --quick       a check that it runs: a few thousand steps
    python -m benchmarks.market_pool               2 seeds of 8, 64 and stream, at most 15 minutes

Stable-Baselines3's PPO with its default network on flattened windows (the windows' cells side by side, as `MlpPolicy`
takes them) trades a task at the default costs. Figures are net log-returns per day, deterministic, over whole markets:
of up to 32 markets that the policy was trained on (of a stream the last that it met), and of 32 test markets.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3 import PPO

from agents.algorithms.sb3_vec_env import REWARD_IN_PERCENT, Sb3VecEnv
from agents.algorithms.threads import use_one_thread
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from cryptoenv.env.episode import MARKET
from cryptoenv.env.vector import CryptoTradeVectorEnv

WINDOW = (16, 4, 2)
DAYS = 60
POOLS: tuple[int | str, ...] = (8, 64, "stream")
JUDGED = 32  #: markets of a figure, at most


@dataclass(frozen=True)
class Size:
    """Steps of a training, rows stepped at once, steps of an episode (`bars`), days judged of each market, seeds."""

    steps: int
    rows: int
    bars: int
    days: int
    seeds: int


QUICK, FULL = Size(4_096, 8, 96, 4, 1), Size(250_000, 16, 960, 60, 2)
ROLLOUT = 256  #: steps per row between updates


def training(task: str, pool: int | str, size: Size) -> CryptoTradeVectorEnv:
    """The vector env that a policy learns in."""
    return CryptoTradeVectorEnv(
        size.rows, task, markets=pool, days=DAYS, window=WINDOW, episode_bars=size.bars, stagger=True,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )  # fmt: skip


def judging(task: str, split: str, pool: int | str, rows: int, size: Size) -> CryptoTradeVectorEnv:
    """One row per market, over the first `size.days` days of each."""
    return CryptoTradeVectorEnv(
        rows, task, split=split, markets=pool, days=DAYS, window=WINDOW, episode_bars=size.days * 96,
        random_start=False, autoreset_mode=AutoresetMode.DISABLED,
    )  # fmt: skip


def earned(choose: Any, envs: CryptoTradeVectorEnv, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,) net log-return per day on the markets of these numbers; `choose` gives the actions for observations."""
    seen, _ = envs.reset(seed=0, options={"market": numbers})
    total, steps = np.zeros(envs.num_envs), 0
    while True:
        seen, rewards, terminated, truncated, _ = envs.step(choose(seen))
        total, steps = total + rewards, steps + 1
        if (terminated | truncated).any():
            return total / (steps / 96)


def verify(task: str, size: Size) -> None:
    """Families are what they are called; staying flat earns nothing; a row earns what a single env does."""
    envs = judging(task, "test", 3, 3, size)
    numbers = np.arange(3)
    assert {market.origin and market.origin.family for market in envs.pool.markets} == {"test"}
    assert {m.origin and m.origin.family for m in training(task, 2, size).pool.markets} == {"train"}
    assert not earned(lambda _: np.ones(3, dtype=np.int64), envs, numbers).any()
    long = earned(lambda _: np.full(3, 2), envs, numbers)
    env = gym.make(
        "CryptoTrade-v0", market=task, split="test", markets=3, days=DAYS, window=WINDOW, random_start=False,
        episode_bars=size.days * 96,
    )  # fmt: skip
    env.reset(options={"market": 1})
    total, over = 0.0, False
    while not over:
        _, reward, terminated, truncated, _ = env.step(2)
        total, over = total + float(reward), terminated or truncated
    assert np.isclose(total / size.days, long[1], atol=1e-12)


def run(task: str, pool: int | str, size: Size, seed: int) -> dict[str, float]:
    """Train once, judge on markets of the training and of the test."""
    began = perf_counter()
    envs = training(task, pool, size)
    model = PPO(
        "MultiInputPolicy", Sb3VecEnv(envs, reward_scale=REWARD_IN_PERCENT), n_steps=ROLLOUT, batch_size=1024,
        seed=seed, device="cpu",
    )  # fmt: skip
    model.learn(size.steps)
    learned = perf_counter()

    def choose(seen: Any) -> Any:
        return model.predict(seen, deterministic=True)[0]

    numbers = np.arange(min(pool, JUDGED)) if isinstance(pool, int) else envs.get_state().clocks[:, MARKET]
    met = earned(choose, judging(task, "train", pool, len(numbers), size), numbers)
    unseen = earned(choose, judging(task, "test", JUDGED, JUDGED, size), np.arange(JUDGED))
    return {
        "training": float(met.mean()), "test": float(unseen.mean()), "gap": float(met.mean() - unseen.mean()),
        "test_error": float(unseen.std(ddof=1) / np.sqrt(JUDGED)),
        "seconds": learned - began, "steps_per_second": model.num_timesteps / (learned - began),
    }  # fmt: skip


def main() -> None:
    """Verify, measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few thousand steps of each: a check, no figures")
    parser.add_argument("--task", default="easy")
    parser.add_argument("--steps", type=int, default=FULL.steps, help="of each training")
    parser.add_argument("--seeds", type=int, default=FULL.seeds)
    parser.add_argument("--minutes", type=float, default=15.0, help="begin no further training after this long")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/market_pool.json"))
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else Size(**(asdict(FULL) | {"steps": arguments.steps, "seeds": arguments.seeds}))
    use_one_thread()
    began = perf_counter()
    verify(arguments.task, size)
    print("verified: seed families, a flat account, a row against a single env")
    result: dict[str, Any] = header() | {"task": arguments.task, "size": asdict(size), "window": WINDOW, "pools": {}}
    for seed in range(size.seeds):
        for pool in POOLS:
            if perf_counter() - began > 60.0 * arguments.minutes:
                print(f"seed {seed}, markets {pool}: left out, {arguments.minutes:g} minutes are over")
                continue
            line = run(arguments.task, pool, size, seed)
            result["pools"].setdefault(str(pool), []).append(line)
            told = "  ".join(f"{name} {value:+.4f}" for name, value in line.items() if name != "steps_per_second")
            print(f"seed {seed}  markets {pool!s:7s} {told}", flush=True)
            write_result(arguments.out, result)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
