"""Memory: worker processes on one memory-mapped market against private copies, and N = 4096 "index" envs on one market.

`python -m benchmarks.memory [--bars 1000000] [--out FILE]` (Linux) prints a table and writes JSON with machine and
commit. Each worker is a spawned process that makes an env, visits pages all over the market, and reports
`/proc/self/smaps_rollup` while all the others are alive: Pss shares a page among the processes that map it, Pss_Anon
is memory of its own. What workers on a market of 70 days take (libraries, code) is subtracted.
"""

import argparse
import gc
import multiprocessing
import tempfile
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
from tqdm import tqdm

import cryptoenv
from benchmarks.support.machine import header
from benchmarks.support.results import write_result

WORKERS = 4
NUM_ENVS = 4096
TIMEFRAMES = ("1m", "15m", "4h")
SMALL_BARS = 70 * 1440
VISITS = 2_000
FIELDS = ("Pss", "Pss_Anon", "Pss_File")
MIB = 1 << 20


def random_minutes(bars: int, seed: int = 0) -> pd.DataFrame:
    """Random-walk 1m bars."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(0.0005 * rng.standard_normal(bars)))
    opened = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(opened, close) * 1.0005, np.minimum(opened, close) * 0.9995
    volume = rng.lognormal(10.0, 0.5, bars)
    index = pd.date_range("2020-01-01", periods=bars, freq="1min", tz="UTC", name="timestamp")
    return pd.DataFrame({"open": opened, "high": high, "low": low, "close": close, "volume": volume}, index=index)


def market_bytes(market: cryptoenv.Market) -> int:
    """Bytes of all arrays of a market."""
    return sum(array.nbytes for array in (market.prices, market.align, *market.features))


def memory() -> dict[str, int]:
    """Bytes of this process by field of `/proc/self/smaps_rollup`."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    entries = dict(line.split(":", 1) for line in lines[1:])
    return {name: int(entries[name].split()[0]) * 1024 for name in FIELDS}


def private_copy(market: cryptoenv.Market) -> cryptoenv.Market:
    """The same market in memory of this process's own."""
    return cryptoenv.Market(
        market.timeframes, market.start_ms, np.array(market.prices), tuple(np.array(f) for f in market.features),
        market.feature_names, np.array(market.align), market.valid_from, market.funding_series, market.name,
        origin=market.origin,
    )  # fmt: skip


def work(folder: Path, mapped: bool, alive: Barrier, pipe: Connection) -> None:
    """A worker: an env on the market, every one of its pages read, a step at VISITS places; then report and wait."""
    market = cryptoenv.Market.load(folder)
    if not mapped:
        market = private_copy(market)
    env = gym.make("CryptoTrade-v0", market=market)
    env.reset(seed=0)
    for array in (market.prices, market.align, *market.features):
        float(array.sum())
    for _ in range(VISITS):
        env.reset()
        env.step(0)
    gc.collect()
    alive.wait()
    pipe.send(memory())
    alive.wait()


def workers(folder: Path, mapped: bool) -> dict[str, int]:
    """Bytes of all WORKERS together, by field."""
    context = multiprocessing.get_context("spawn")
    alive = context.Barrier(WORKERS)
    pipes = [context.Pipe(duplex=False) for _ in range(WORKERS)]
    processes = [context.Process(target=work, args=(folder, mapped, alive, there)) for _, there in pipes]
    for process in processes:
        process.start()
    seen = [here.recv() for here, _ in pipes]
    for process in processes:
        process.join()
    return {name: sum(one[name] for one in seen) for name in FIELDS}


def index_envs(folder: Path, pipe: Connection) -> None:
    """Report what NUM_ENVS "index" envs take, with its code loaded by as many envs before."""
    market, alive = cryptoenv.Market.load(folder), []
    for _ in range(2):
        begin = memory()
        envs = gym.make_vec("CryptoTrade-v0", NUM_ENVS, market=market, observation="index")
        envs.reset(seed=0)
        for _ in range(100):
            outcome = envs.step(envs.action_space.sample())
        now = memory()
        alive.append((envs, outcome))  # so that what the first would free does not hide what the second takes
    pipe.send({name: now[name] - begin[name] for name in FIELDS})


def in_one_process(folder: Path) -> dict[str, int]:
    """What `index_envs` reports from a process of its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=index_envs, args=(folder, there))
    process.start()
    taken = here.recv()
    process.join()
    return taken


def measure(bars: int) -> list[dict[str, Any]]:
    """All rows: what was measured, in MiB and in sizes of the market."""
    with tempfile.TemporaryDirectory() as scratch, tqdm(total=5, desc="markets, workers, envs") as progress:
        large, small = Path(scratch, "large"), Path(scratch, "small")
        small_size = market_bytes(cryptoenv.Market.from_bars(random_minutes(SMALL_BARS), TIMEFRAMES).save(small))
        size = market_bytes(cryptoenv.Market.from_bars(random_minutes(bars), TIMEFRAMES).save(large))
        progress.update()
        base = workers(small, mapped=True)
        base["Pss"] -= small_size  # the workers' shares of the small market's pages
        progress.update()
        # Not Pss: pages of libraries count for more or less as other processes come and go.
        taken = {f"{NUM_ENVS} 'index' envs beyond the market": {"Pss_Anon": in_one_process(large)["Pss_Anon"]}}
        progress.update()
        for name, mapped in (("one memory-mapped market", True), ("a private copy each", False)):
            used = workers(large, mapped)
            taken[f"{WORKERS} workers, {name}"] = {field: used[field] - base[field] for field in ("Pss", "Pss_Anon")}
            progress.update()
    rows = [{"measure": f"the market: {bars:,} bars of {TIMEFRAMES[0]}", "mib": size / MIB, "markets": 1.0}]
    for name, used in taken.items():
        for field, value in used.items():
            rows.append({"measure": f"{name}: {field}", "mib": value / MIB, "markets": value / size})
    return rows


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=1_000_000, help="1m bars of the market")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/memory.json"))
    options = parser.parse_args()
    rows = measure(options.bars)
    for row in rows:
        print(f"{row['measure']:60s} {row['mib']:10.1f} MiB {row['markets']:8.2f} x the market")
    write_result(options.out, {**header(), "rows": rows})


if __name__ == "__main__":
    main()
