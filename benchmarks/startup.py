"""From `import` to the first step: of the first process after an installation, which compiles, and of the second.

    python -m benchmarks.startup [--out FILE]

Each row is a fresh process with a cache of its own: empty in "first", as the one before left it in "second". The vector
env starts on the cache that the single env left, and on the one that `cryptoenv warm` leaves. Seconds on the clock and
of the processor (all threads), from the start of the interpreter.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.support.machine import header
from benchmarks.support.results import write_result

SINGLE = """
import time; begin = time.perf_counter()
import gymnasium, cryptoenv
imported = time.perf_counter()
env = gymnasium.make("CryptoTrade-v0"); made = time.perf_counter()
env.reset(seed=0); env.step(2); stepped = time.perf_counter()
print(imported - begin, made - imported, stepped - made, time.process_time())
"""
VECTOR = SINGLE.replace('make("CryptoTrade-v0")', 'make_vec("CryptoTrade-v0", num_envs=1024)').replace(
    "env.step(2)", "env.step(env.action_space.sample())"
)
WARM = "from cryptoenv.env.warming import warm; list(warm())"


def started(script: str, cache: str) -> dict[str, Any]:
    """What a fresh process with this cache took: seconds in all, of each part, and of the processor."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "NUMBA_CACHE_DIR": cache}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    took: dict[str, Any] = {"seconds": time.perf_counter() - begin}
    parts = [float(x) for x in done.stdout.split()]
    if parts:
        took |= dict(zip(("import", "make", "reset_and_step", "processor"), parts, strict=True))
    return took


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/startup.json"))
    options = parser.parse_args()
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        rows["single env, first process"] = started(SINGLE, one)
        rows["single env, second process"] = min((started(SINGLE, one) for _ in range(5)), key=lambda it: it["seconds"])
        rows["vector env, first process after the single env's"] = started(VECTOR, one)
        rows["vector env, second process"] = min((started(VECTOR, one) for _ in range(3)), key=lambda it: it["seconds"])
        rows["cryptoenv warm"] = started(WARM, other)
        rows["single env, first process after warm"] = started(SINGLE, other)
        rows["vector env, first process after warm"] = started(VECTOR, other)
    for name, row in rows.items():
        print(f"{name:52s}" + "".join(f"  {part} {value:6.2f}" for part, value in row.items()))
    write_result(options.out, {**header(), "rows": rows})


if __name__ == "__main__":
    main()
