"""Matching pursuit against scikit-learn's `orthogonal_mp_gram` on the same windows, then windows per second of both.

`python -m benchmarks.pursuit [--bars FILE] [--quick] [--out FILE]` verifies first: on every compared window the
coefficients agree to 1e-8 and the atoms are the same wherever scikit-learn's choice is not a tie (two correlations
within 1e-12). Then ours and theirs run in turn; a ratio is one of medians of that run. Both start from the windows:
correlating them with the atoms is timed in both. Without `--bars` the windows are of a seeded random walk.
"""

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import orthogonal_mp_gram
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from cryptoenv.bar_files.reading import read_bars
from cryptoenv.features.pursuit.batch_omp import pursue
from cryptoenv.features.pursuit.dictionary import Dictionary, PursuitConfig, dictionary
from cryptoenv.features.pursuit.features import pursuit_features

REPEATS = 9
TIE = 1e-12
TOLERANCE = 1e-8
THREADS = 2


def closes_of(path: Path | None, bars: int = 180_000) -> NDArray[np.float64]:
    """(T,) closes of a file of bars, or of a seeded random walk."""
    if path is not None:
        return read_bars(path)["close"].to_numpy(np.float64)
    return 30_000.0 * np.exp(np.cumsum(0.001 * np.random.default_rng(0).standard_t(4, bars)))


def windows_of(closes: NDArray[np.float64], bars: int, count: int) -> NDArray[np.float64]:
    """(count, W) log closes, centred and of unit norm, evenly spread over all that are not flat."""
    windows = np.lib.stride_tricks.sliding_window_view(np.log(closes), bars)
    moving = np.flatnonzero(np.ptp(windows, axis=1) > 0.0)
    windows = windows[moving[np.linspace(0, len(moving) - 1, min(count, len(moving))).astype(int)]]
    windows = windows - windows.mean(axis=1, keepdims=True)
    return windows / np.linalg.norm(windows, axis=1, keepdims=True)


def scikit_learn(windows: NDArray[np.float64], words: Dictionary, sparsity: int) -> NDArray[np.float64]:
    """(n, D) coefficients by scikit-learn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = orthogonal_mp_gram(words.gram, words.atoms @ windows.T, n_nonzero_coefs=sparsity)
    return found.reshape(len(words.atoms), len(windows)).T


def is_tie(window: NDArray[np.float64], words: Dictionary, chosen: NDArray[np.int64]) -> bool:
    """Whether at some step of this pursuit two atoms have the same correlation within TIE."""
    residual = window
    for step in range(len(chosen)):
        sizes = np.sort(np.abs(words.atoms @ residual))
        if sizes[-1] - sizes[-2] <= TIE:
            return True
        basis = words.atoms[chosen[: step + 1]].T
        residual = window - basis @ np.linalg.lstsq(basis, window, rcond=None)[0]
    return False


def verify(windows: NDArray[np.float64], words: Dictionary, sparsity: int) -> dict[str, Any]:
    """Compare all windows with scikit-learn.

    Raises:
        AssertionError: other atoms without a tie, or coefficients apart.
    """
    result = pursue(windows, words, sparsity)
    worst, ties = 0.0, 0
    for first in tqdm(range(0, len(windows), 1000), desc="verifying", leave=False):
        rows = range(first, min(first + 1000, len(windows)))
        theirs = scikit_learn(windows[first : first + 1000], words, sparsity)
        for row in rows:
            chosen = result.atoms[row][result.atoms[row] >= 0]
            if set(chosen) == set(np.flatnonzero(theirs[row - first])):
                apart = np.abs(result.coefficients[row, : len(chosen)] - theirs[row - first][chosen])
                worst = max(worst, float(apart.max(initial=0.0)))
            else:
                assert is_tie(windows[row], words, chosen), f"window {row}: other atoms than scikit-learn's, no tie"
                ties += 1
    assert worst <= TOLERANCE, f"coefficients {worst:g} apart; allowed: {TOLERANCE:g}"
    return {"windows": len(windows), "coefficients_apart_at_most": worst, "ties": ties, "dependent": result.dependent}


def medians(runs: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """Median seconds of each run; they take turns, and once unmeasured before."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in tqdm(range(REPEATS + 1), desc="timing", leave=False):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


def speed(windows: NDArray[np.float64], words: Dictionary, sparsity: int, theirs: int) -> list[dict[str, Any]]:
    """Windows per second of ours, on one and on THREADS threads, against scikit-learn on the first `theirs`."""
    fewer = windows[:: max(len(windows) // theirs, 1)]
    with threadpool_limits(1):  # for scikit-learn's matrix product; more threads only slow its short steps
        took = medians(
            {
                "1": partial(pursue, windows, words, sparsity, 1),
                str(THREADS): partial(pursue, windows, words, sparsity, THREADS),
                "scikit-learn": partial(scikit_learn, fewer, words, sparsity),
            }
        )
    reference = len(fewer) / took["scikit-learn"]
    return [
        {
            "measure": f"windows per second, {threads} thread{'s' if threads > 1 else ''}",
            "ours": len(windows) / took[str(threads)],
            "reference": reference,
            "unit": "1/s",
            "ratio": len(windows) / took[str(threads)] / reference,
        }
        for threads in (1, THREADS)
    ]


def feature_speed(closes: NDArray[np.float64], config: PursuitConfig) -> list[dict[str, Any]]:
    """Seconds of the rolling features of all bars."""
    runs = {str(threads): partial(pursuit_features, closes, config, threads) for threads in (1, THREADS)}
    return [
        {"measure": f"features of {len(closes):,} bars, {name} thread(s)", "ours": seconds, "unit": "s"}
        for name, seconds in medians(runs).items()
    ]


def main() -> None:
    """Verify, time, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=Path, help="file of bars for the windows (default: a random walk)")
    parser.add_argument("--quick", action="store_true", help="fewer windows")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/pursuit.json"))
    options = parser.parse_args()
    config = PursuitConfig()
    words = dictionary(config)
    closes = closes_of(options.bars)
    windows = windows_of(closes, config.window, 5_000 if options.quick else 50_000)
    agreement = verify(windows, words, config.sparsity)
    rows = speed(windows, words, config.sparsity, 200 if options.quick else 1_000) + feature_speed(closes, config)
    print(json.dumps(agreement))
    for row in rows:
        ratio = f"{row['ratio']:8.1f} x" if "ratio" in row else ""
        print(f"{row['measure']:50s} {row['ours']:12.4g} {row['unit']:4s}{ratio}")
    source = options.bars.name if options.bars else "random walk, seed 0"
    shape: dict[str, Any] = {
        "window": config.window,
        "atoms": len(words.atoms),
        "sparsity": config.sparsity,
        "source": source,
    }
    shape["scikit-learn"] = version("scikit-learn")
    report = {**header(), "pursuit": shape, "agreement": agreement, "rows": rows}
    write_result(options.out, report)


if __name__ == "__main__":
    main()
