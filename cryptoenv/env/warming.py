"""Compiling beforehand what the environments run, so that no first step waits: for images, CI and the impatient.

Parts are compiled in processes of their own, several at a time: numba compiles one function at a time in a process.
What they compile lies in the cache afterwards, where every later process of the same user on the same kind of CPU finds
it.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from gymnasium.vector import AutoresetMode

from cryptoenv.env import vector
from cryptoenv.env.single import CryptoTradeEnv
from cryptoenv.env.vector import CryptoTradeVectorEnv
from cryptoenv.features.families.windowed import Returns
from cryptoenv.features.spec import FeatureSpec, TimeframeFeatures
from cryptoenv.files.typed_values import whole
from cryptoenv.market.market import Market
from cryptoenv.trading.config import VenueRules
from synthetic.jit_cache import cache_folder
from synthetic.regimes.market import regime_market
from synthetic.regimes.tasks import TASKS

_TIMEFRAMES = ("15m", "4h", "1d")
_RULES = VenueRules(min_notional=1.0)  #: action masks are computed, not taken for granted
_SCRIPT = "import sys; from cryptoenv.env.warming import PARTS; PARTS[sys.argv[1]]()"


def _small_market() -> Market:
    """A market with one family of features: what envs compile does not depend on which there are."""
    bars = regime_market("easy", days=2, seed=0).bars
    return Market.from_bars(bars, _TIMEFRAMES, features=FeatureSpec(single=TimeframeFeatures(returns=Returns())))


def _warm_features() -> None:
    Market.from_bars(regime_market("easy", days=2, seed=0).bars, _TIMEFRAMES)


def _warm_single() -> None:
    market = _small_market()
    for observation in ("window", "index"):
        env = CryptoTradeEnv(market, observation=observation, rules=_RULES)
        env.reset(seed=0)
        env.step(0)


def _warm_vector() -> None:
    market, few, many = _small_market(), 2, vector.PARALLEL_ROWS
    cells = sum(bars * market.features[k].shape[1] for k, bars in enumerate((32, 16, 8)))
    for rows in (few, max(many, vector.PARALLEL_CELLS // min(cells, vector.PARALLEL_CELLS) + 1)):
        envs = CryptoTradeVectorEnv(rows, market, rules=_RULES, autoreset_mode=AutoresetMode.SAME_STEP, episode_bars=1)
        envs.reset(seed=0)
        envs.step(np.zeros(rows, dtype=np.int64))


def _warm_tasks() -> None:
    for task in TASKS:
        regime_market(task, days=2, seed=0)


#: What compiles each part, the longest first.
PARTS: dict[str, Callable[[], None]] = {
    "features": _warm_features,
    "vector": _warm_vector,
    "single": _warm_single,
    "tasks": _warm_tasks,
}


def warm(jobs: int | None = None) -> Iterator[str]:
    """Compile all `PARTS` into numba's cache.

    Args:
        jobs: processes at a time, 1 or more; one per core where None.

    Yields:
        The name of each part when it is done.

    Raises:
        ValueError: `jobs` is no such number. RuntimeError: nothing can be cached here, or a part failed; it is named.
    """
    at_once = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    at_once = at_once if jobs is None else whole("jobs", jobs)
    if compiled_folder() is None:
        raise RuntimeError("no folder for compiled code can be written: set NUMBA_CACHE_DIR to one that can")
    with ThreadPoolExecutor(at_once) as pool:
        running = {pool.submit(_run, name): name for name in PARTS}
        for done in as_completed(running):
            done.result()
            yield running[done]


def compiled_folder() -> str | None:
    """Where the compiled functions of this package lie; None where they can be kept nowhere."""
    folder = cache_folder(Path(__file__).parent)
    return None if folder is None else str(folder)


def _run(part: str) -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT, part], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise RuntimeError(f"compiling the part {part!r} failed: {last}")
