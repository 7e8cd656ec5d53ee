"""What spawned processes run: importable, as `spawn` needs it."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import cryptoenv

FIELDS = ("Anonymous", "Pss")


def in_spawned_process(target: Callable[..., None], *arguments: Any) -> Any:
    """What `target(pipe, *arguments)` sends from a process that shares nothing with this one."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(there, *arguments))
    process.start()
    there.close()
    try:
        return here.recv()
    finally:
        process.join(30)


def trajectory(env: gym.Env[Any, Any], seed: int | None, steps: int) -> list[tuple[Any, ...]]:
    """Observations, rewards and ends of `steps` random steps over several episodes (seed None: go on as it stands)."""
    rng, seen = np.random.default_rng(7), []
    if seed is not None:
        env.reset(seed=seed)
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(int(rng.integers(3)))
        shown = tuple(observation[name].tobytes() for name in sorted(observation))
        seen.append((*shown, reward, terminated, truncated, info["equity"], info["bar"]))
        if terminated or truncated:
            env.reset()
    return seen


def send_trajectory(pipe: Connection, env: gym.Env[Any, Any], seed: int | None, steps: int) -> None:
    """Send `trajectory` of an environment that came as a pickle."""
    pipe.send(trajectory(env, seed, steps))
    pipe.close()


def memory() -> dict[str, int]:
    """Bytes of this process by field of `/proc/self/smaps_rollup` (Linux)."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    entries = dict(line.split(":", 1) for line in lines[1:])
    return {name: int(entries[name].split()[0]) * 1024 for name in FIELDS}


def send_memory_growth(pipe: Connection, market: Any) -> None:
    """Send the growth of memory while a market arrives, an env is made, and every bar is visited.

    `market` is a market's folder, or None for a market built here.
    """
    small = gym.make("CryptoTrade-v0", market=built(70), episode_bars=10_000_000, random_start=False)
    small.reset(seed=0)
    small.step(0)
    before = memory()
    chosen = built(700) if market is None else cryptoenv.Market.load(market)
    env = gym.make("CryptoTrade-v0", market=chosen, episode_bars=10_000_000, random_start=False)
    env.reset(seed=0)
    truncated = False
    while not truncated:
        truncated = env.step(0)[3]
    pipe.send({name: value - before[name] for name, value in memory().items()})
    pipe.close()


def send_torchrl_rollout(pipe: Connection, steps: int, seed: int, given: dict[str, Any]) -> None:
    """Send a random rollout of TorchRL's `GymEnv` as {name: array}, keys of the next step as "next name"."""
    import torch
    from torchrl.envs import GymEnv

    torch.manual_seed(0)
    client = GymEnv("CryptoTrade-v0", categorical_action_encoding=True, **given)
    client.set_seed(seed)
    data = client.rollout(steps, break_when_any_done=False)
    leaves = data.items(include_nested=True, leaves_only=True)
    pipe.send({name if isinstance(name, str) else " ".join(name): values.numpy() for name, values in leaves})
    pipe.close()


def built(days: int) -> cryptoenv.Market:
    from tests.naive.random_bars import random_bars

    return cryptoenv.Market.from_bars(random_bars(days, seed=3))
