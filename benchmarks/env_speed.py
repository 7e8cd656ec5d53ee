"""How fast the environment steps, as ratios in one run: verify first, then time.

`python -m benchmarks.env_speed [--quick] [--out FILE]` prints a table and writes JSON with machine and commit. Every
figure is the median of interleaved repetitions, so that a noisy machine disturbs both sides of a ratio alike.
"""

import argparse
import statistics
import subprocess
import sys
import time
import timeit
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd

import cryptoenv
from benchmarks.support import peers
from benchmarks.support.busy_neighbours import busy_neighbours
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from benchmarks.support.walk import walk_bars
from cryptoenv.env import single_step
from cryptoenv.env import vector as vector_env_module
from cryptoenv.env.episode import BAR
from cryptoenv.features import Candles, FeatureSpec, Returns, TimeframeFeatures, Volume

REPEATS = 5
COLD_START = """
import time; begin = time.perf_counter()
import cryptoenv, gymnasium
imported = time.perf_counter()
env = gymnasium.make("CryptoTrade-v0"); made = time.perf_counter()
env.reset(seed=0); env.step(0); stepped = time.perf_counter()
print(imported - begin, made - imported, stepped - made, stepped - begin)
"""


def interleaved(sides: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Median of REPEATS seconds per side, the sides taken in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(REPEATS):
        for name, run in sides.items():
            seconds[name].append(run())
    return {name: statistics.median(values) for name, values in seconds.items()}


def time_single(env: gym.Env[Any, Any], steps: int) -> Callable[[], float]:
    """A function that steps `env` for `steps` steps, resets included, and returns seconds per step."""
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(env.action_space.n, size=steps).tolist()  # type: ignore[attr-defined]

    def run() -> float:
        begin = time.perf_counter()
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        return (time.perf_counter() - begin) / steps

    run()
    return run


def verify(market: cryptoenv.Market) -> None:
    """The env that is timed is the env that was proven: a vector row equals the single env over 500 steps."""
    env = gym.make("CryptoTrade-v0", market=market)
    envs = gym.make_vec("CryptoTrade-v0", num_envs=2, market=market)
    env.reset(seed=0)
    envs.reset(seed=0)
    for action in np.random.default_rng(1).integers(3, size=500):
        single, row = env.step(action), envs.step(np.array([action, 1]))
        if single[1] != row[1][0] or any((single[0][k] != row[0][k][0]).any() for k in single[0]):
            raise AssertionError("vector row 0 differs from the single env: nothing is timed")


def single_env(market: cryptoenv.Market, steps: int) -> list[dict[str, Any]]:
    """Steps/s through `gym.make` against CartPole-v1 in the same run."""
    sides = {
        "window": time_single(gym.make("CryptoTrade-v0", market=market), steps),
        "index": time_single(gym.make("CryptoTrade-v0", market=market, observation="index"), steps),
        "cartpole": time_single(gym.make("CartPole-v1"), steps),
    }
    took = interleaved(sides)
    return [
        {
            "measure": f"gym.make, three timeframes, full costs, observation '{name}' / CartPole-v1",
            "ours": 1.0 / took[name],
            "reference": 1.0 / took["cartpole"],
            "unit": "steps/s",
            "ratio": took["cartpole"] / took[name],
        }
        for name in ("window", "index")
    ]


def one_timeframe(bars: pd.DataFrame, steps: int) -> list[dict[str, Any]]:
    """Steps/s on one timeframe with a window of 50 and ten features, against the peers that are installed."""
    ten = FeatureSpec(single=TimeframeFeatures(returns=Returns(), candles=Candles(), volume=Volume()))
    market = cryptoenv.Market.from_bars(bars, ("15m",), features=ten)
    if market.features[0].shape[1] != 10:
        raise AssertionError(f"the market has {market.feature_names[0]}, not ten features: nothing is timed")
    sides = {"ours": time_single(gym.make("CryptoTrade-v0", market=market, window=(50,)), steps)}
    makers = {"gym-anytrading": ("gym_anytrading", peers.any_trading, steps)}
    makers["Gym-Trading-Env"] = ("gym_trading_env", peers.gym_trading_env, steps // 8)
    rows: list[dict[str, Any]] = []
    for name, (module, make, peer_steps) in makers.items():
        measure = f"gym.make, one timeframe, window 50 / {name}, 10 features"
        if peers.missing(module):
            rows.append({"measure": measure, "note": f"{name} is not installed: run `make bench-peers`"})
            continue
        sides[name] = time_single(make(bars), peer_steps)
        rows.append({"measure": measure, "peer": name, "unit": "steps/s"})
    took = interleaved(sides)
    for row in rows:
        if "peer" in row:
            peer = took[row["peer"]]
            row |= {"ours": 1.0 / took["ours"], "reference": 1.0 / peer, "ratio": peer / took["ours"]}
    return rows


def time_vector(envs: Any, steps: int) -> Callable[[], float]:
    """A function that steps a vector env `steps` times and returns seconds per env step."""
    envs.reset(seed=0)
    rng = np.random.default_rng(0)
    actions = [rng.integers(envs.single_action_space.n, size=envs.num_envs) for _ in range(8)]

    def run() -> float:
        begin = time.perf_counter()
        for k in range(steps):
            envs.step(actions[k % 8])
        return (time.perf_counter() - begin) / (steps * envs.num_envs)

    run()
    return run


def vector_env(market: cryptoenv.Market, bars: pd.DataFrame, steps: int) -> list[dict[str, Any]]:
    """The native vector env against CartPole's and against a thousand of a peer's."""
    ours = gym.make_vec("CryptoTrade-v0", num_envs=4096, market=market, observation="index")
    cartpole = gym.make_vec("CartPole-v1", num_envs=4096, vectorization_mode="vector_entry_point")
    took = interleaved({"ours": time_vector(ours, steps), "cartpole": time_vector(cartpole, steps)})
    rows = [
        {
            "measure": "make_vec 'index', N = 4096, all costs on / CartPole-v1 make_vec",
            "ours": 1.0 / took["ours"],
            "reference": 1.0 / took["cartpole"],
            "unit": "steps/s",
            "ratio": took["cartpole"] / took["ours"],
        }
    ]
    measure = "make_vec 'window', N = 1024 / 1024 Gym-Trading-Env in SyncVectorEnv, per env step"
    if peers.missing("gym_trading_env"):
        return [*rows, {"measure": measure, "note": "Gym-Trading-Env is not installed: run `make bench-peers`"}]
    ours = gym.make_vec("CryptoTrade-v0", num_envs=1024, market=market)
    short = bars.iloc[:3000]  # a thousand peers hold a thousand copies of their bars and history
    theirs = gym.vector.SyncVectorEnv([lambda: peers.gym_trading_env(short)] * 1024)
    took = interleaved({"ours": time_vector(ours, steps), "theirs": time_vector(theirs, 3)})
    ratio = took["theirs"] / took["ours"]
    return [
        *rows,
        {
            "measure": measure,
            "ours": 1 / took["ours"],
            "reference": 1 / took["theirs"],
            "unit": "steps/s",
            "ratio": ratio,
        },
    ]


def window_copy(market: cryptoenv.Market, steps: int) -> list[dict[str, Any]]:
    """Bytes of windows written per second, against `numpy.copyto` of as many bytes; fresh arrays kept beside reuse."""
    rows = []
    for copy in (False, True):
        envs = gym.make_vec("CryptoTrade-v0", num_envs=1024, market=market, copy=copy)
        observation, _ = envs.reset(seed=0)
        source = {name: array.copy() for name, array in observation.items()}
        target = {name: np.empty_like(array) for name, array in observation.items()}
        size = sum(array.nbytes for array in observation.values())
        ours = time_vector(envs, steps)

        def copyto(source: dict[str, Any] = source, target: dict[str, Any] = target) -> float:
            begin = time.perf_counter()
            for _ in range(steps):
                for name, array in source.items():
                    np.copyto(target[name], array)
            return (time.perf_counter() - begin) / (steps * 1024)

        took = interleaved({"ours": ours, "copyto": copyto})
        rows.append(
            {
                "measure": f"make_vec 'window', N = 1024, {'fresh' if copy else 'copy=False'}: bytes / numpy.copyto",
                "ours": size / 1024 / took["ours"] / 1e9,
                "reference": size / 1024 / took["copyto"] / 1e9,
                "unit": "GB/s",
                "ratio": took["copyto"] / took["ours"],
            }
        )
    return rows


def timed_within(limits: tuple[int, int], timed: Callable[[], float]) -> float:
    """`timed` under other limits of parallel stepping and copying."""
    usual = vector_env_module.PARALLEL_ROWS, vector_env_module.PARALLEL_CELLS
    vector_env_module.PARALLEL_ROWS, vector_env_module.PARALLEL_CELLS = limits
    try:
        return timed()
    finally:
        vector_env_module.PARALLEL_ROWS, vector_env_module.PARALLEL_CELLS = usual


def crossover(market: cryptoenv.Market, steps: int) -> list[dict[str, Any]]:
    """The vector env as it chooses, against the better of always serial and always parallel, at every N."""
    rows = []
    usual = vector_env_module.PARALLEL_ROWS, vector_env_module.PARALLEL_CELLS
    for n in (1, 8, 64, 512, 1024, 2048, 4096, 16384):
        sides: dict[str, Callable[[], float]] = {}
        for name, limits in (("chosen", usual), ("serial", (10**9, 10**12)), ("parallel", (1, 1))):
            envs = gym.make_vec("CryptoTrade-v0", num_envs=n, market=market, observation="index")
            timed = time_vector(envs, max(steps * 64 // n, 20))

            sides[name] = partial(timed_within, limits, timed)
        took = interleaved(sides)
        best = min(took["serial"], took["parallel"])
        rows.append(
            {
                "measure": f"make_vec 'index', N = {n} / the better of serial and parallel",
                "ours": 1.0 / took["chosen"],
                "reference": 1.0 / best,
                "unit": "steps/s",
                "ratio": best / took["chosen"],
                "parallel_over_serial": took["serial"] / took["parallel"],
            }
        )
    return rows


def data_size(small: int, large: int, steps: int) -> dict[str, Any]:
    """Step cost on a long history over a short one."""
    runs = {
        name: time_single(gym.make("CryptoTrade-v0", market=walk_bars(bars), timeframes=("15m", "4h", "1d")), steps)
        for name, bars in (("small", small), ("large", large))
    }
    took = interleaved(runs)
    return {
        "measure": f"step cost at {large:,} bars / at {small:,} bars",
        "ours": 1e6 * took["large"],
        "reference": 1e6 * took["small"],
        "unit": "us",
        "ratio": took["large"] / took["small"],
    }


def reset_time(market: cryptoenv.Market) -> dict[str, Any]:
    """Microseconds of one reset of the single env."""
    env = gym.make("CryptoTrade-v0", market=market)
    env.reset(seed=0)
    seconds = []
    for _ in range(2000):
        begin = time.perf_counter()
        env.reset()
        seconds.append(time.perf_counter() - begin)
    return {"measure": "reset, single env", "ours": 1e6 * statistics.median(seconds), "unit": "us"}


def step_parts(market: cryptoenv.Market, steps: int) -> list[dict[str, Any]]:
    """Where the time of a single step with windows goes: microseconds of its parts, beside the whole."""
    made = gym.make("CryptoTrade-v0", market=market)
    whole = time_single(made, steps)()
    made.reset(seed=0)
    env: Any = made.unwrapped
    wiring, clock, memory = env._wiring, env._clock, env._memory
    kept = list(memory.renew())
    _, mask, row = kept[0]
    bar = int(clock[BAR])

    def call() -> None:
        clock[BAR] = bar
        single_step.step_single(wiring, 1.0, row)

    def rewind() -> None:
        clock[BAR] = bar

    parts = {
        "jitted call": _once(call) - _once(rewind),
        "info, nothing happened": _once(lambda: env._info(mask, bar)),
        "fresh memory": _once(memory.renew, 2000) / len(kept),
    }
    rest = {"Python, and info where something happened": whole - sum(parts.values())}
    return [
        {"measure": f"single step with windows: {name}", "ours": 1e6 * seconds, "unit": "us"}
        for name, seconds in {"whole": whole, **parts, **rest}.items()
    ]


def _once(function: Callable[[], Any], count: int = 20_000) -> float:
    """Median seconds of one call."""
    return statistics.median(timeit.repeat(function, number=count, repeat=REPEATS)) / count


def cold_start() -> dict[str, Any]:
    """Seconds from `import` to the first step of a fresh process, with a warm numba cache; the parts beside it."""
    runs = []
    for _ in range(REPEATS + 1):
        done = subprocess.run([sys.executable, "-c", COLD_START], capture_output=True, text=True, check=True)
        runs.append([float(x) for x in done.stdout.split()])
    median = [statistics.median(column) for column in zip(*runs[1:], strict=True)]
    parts = dict(zip(("import", "make", "reset and step"), median[:3], strict=True))
    return {"measure": "fresh process, import to first step", "ours": median[3], "unit": "s", "parts": parts}


def main() -> None:
    """Run all rows, print them, write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer steps and a shorter long history")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/env_speed.json"))
    options = parser.parse_args()
    market = cryptoenv.Market.from_bars(walk_bars(20_000))
    verify(market)
    steps = 20_000 if options.quick else 100_000
    long_bars = walk_bars(100_000)
    vector_steps = 100 if options.quick else 300
    rows = single_env(market, steps)
    rows += one_timeframe(long_bars, steps)
    rows += vector_env(market, long_bars, vector_steps)
    rows += window_copy(market, vector_steps)
    rows += crossover(market, vector_steps)
    rows += busy_neighbours(market, vector_steps // 5)
    rows += [data_size(10_000, 200_000 if options.quick else 10_000_000, steps), reset_time(market), cold_start()]
    rows += step_parts(market, steps)
    for row in rows:
        ratio = f"{row['ratio']:8.2f} x" if "ratio" in row else ""
        figure = row["note"] if "note" in row else f"{row['ours']:12.4g} {row['unit']:8s}{ratio}"
        print(f"{row['measure']:88s} {figure}")
    write_result(options.out, {**header(), "rows": rows})


if __name__ == "__main__":
    main()
