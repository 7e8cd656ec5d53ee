"""Forecasters beside what they must beat: on synthetic markets with a known ceiling, and on held-out time of real bars.

    python -m benchmarks.forecasting real FILE [FILE ...] --contender gpt --seeds 0 1 2 --seconds 40
    python -m benchmarks.forecasting synthetic --contender hybrid --seeds 0
    python -m benchmarks.forecasting synthetic --contender "exact law"                 what its quantiles alone keep
    python -m benchmarks.forecasting planted --contender sine ar1 "white noise"
    python -m benchmarks.forecasting real FILE [FILE ...] --contender gpt --paths      coverage of sampled paths
    python -m benchmarks.forecasting timing --contender gpt hybrid                     of networks that were trained
    python -m benchmarks.forecasting report            merges what the runs left into one file

Each call trains and judges some contenders and leaves a file per contender and seed under `--work`, so that long runs
can be made in pieces; what was trained stays there too. A network is trained for `--seconds` CPU seconds of one thread.
Real bars are resampled to 15m, 4h and 1d; the borders of train, validation and test are the same moments for all files
(shares 0.74, 0.12, 0.14). Weights are chosen by the first third of validation time; bands and means are put right on
the rest of it, a day later; only then are test rows looked at, `--every`-th ones whose return is known. "tracked" is
the same network whose bands follow what they missed until each row. Intervals are by paired block bootstrap. Sampled
paths are judged at every 96th row, where the path before has ended.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from agents.algorithms.threads import use_one_thread
from benchmarks.support.forecast_contenders import (
    CLASSICAL,
    LAW,
    NETWORKS,
    Setting,
    file_name,
    run_classical,
    run_external,
    run_law,
    run_network,
    run_paths,
    run_planted,
    trained,
)
from benchmarks.support.forecast_data import PLANTED, REAL, SYNTHETIC
from benchmarks.support.forecast_figures import merged
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from pretrain.forecaster.config import EXTERNAL
from pretrain.forecaster.evaluation import forecasts_of, held_out_rows

LAWS = ("sine", "ar1", "white noise")
STREAMED = 200  #: bars of which the time of each is taken


def timing(name: str, setting: Setting) -> dict[str, Any]:
    """CPU milliseconds per bar as bars close, features and all; and windows a CPU second predicted in batches.

    CPU time of one thread: neighbours on the machine do not matter.
    """
    import numpy as np

    model = trained(name, setting, 0)
    market = setting.parts().test[0].market
    stream = model.stream(market.bars.iloc[: -STREAMED - 20])
    for i in range(-STREAMED - 20, -STREAMED):  # what is compiled and kept at first
        stream.append(market.bars.iloc[[i]])
    taken = []
    for i in range(-STREAMED, 0):
        began = time.process_time()
        stream.append(market.bars.iloc[[i]])
        taken.append(1000.0 * (time.process_time() - began))
    dataset = held_out_rows(setting.parts().test, model.config)
    rows = np.arange(2048)
    forecasts_of(model, dataset, rows[:256])
    began = time.process_time()
    forecasts_of(model, dataset, rows)
    return {
        "contender": f"{name}, timing", "seed": 0, "stream_cpu_ms_per_bar": round(float(np.median(taken)), 2),
        "stream_cpu_ms_p95": round(float(np.quantile(taken, 0.95)), 2),
        "predict_windows_per_cpu_second": round(len(rows) / (time.process_time() - began)),
    }  # fmt: skip


def jobs_of(arguments: argparse.Namespace, setting: Setting) -> list[tuple[str, Callable[[], dict[str, Any]]]]:
    """What is to be run, by the names of their files."""
    jobs: list[tuple[str, Callable[[], dict[str, Any]]]] = []
    for name in arguments.contender:
        if arguments.what == "timing":
            jobs.append((f"{file_name(name)}-timing", partial(timing, name, setting)))
        elif name == CLASSICAL:
            jobs.append((f"{name}-0", partial(run_classical, setting)))
        elif name == LAW:
            jobs.append((f"{file_name(name)}-0", partial(run_law, setting)))
        elif name in EXTERNAL:
            jobs.append((f"{name}-0", partial(run_external, name, arguments.weights, setting)))
        else:
            for seed in arguments.seeds:
                if setting.what == PLANTED:
                    job = partial(run_planted, setting, name, seed)
                else:
                    job = partial(run_paths if arguments.paths else run_network, name, setting, seed)
                jobs.append((f"{file_name(name)}-{seed}{'-paths' * arguments.paths}", job))
    return jobs


def main() -> None:
    """Run some contenders, or merge what was run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=(REAL, SYNTHETIC, PLANTED, "timing", "report"))
    parser.add_argument("files", nargs="*", type=Path, help="of real and timing: bars of 15m or finer")
    known = (*NETWORKS, CLASSICAL, LAW, *EXTERNAL, *LAWS)
    parser.add_argument("--contender", nargs="+", choices=known, default=["gpt"])
    parser.add_argument("--weights", type=Path, help="folder of the weights of chronos or kronos")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--seconds", type=float, default=40.0, help="CPU seconds of each training")
    parser.add_argument("--every", type=int, default=8, help="judge at every so many-th test row")
    parser.add_argument("--validate-every", type=int, default=100)
    parser.add_argument("--task", default="standard")
    parser.add_argument("--paths", action="store_true", help="judge sampled paths instead")
    parser.add_argument("--stop-after", type=float, help="begin nothing more after so many seconds")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks/forecasting"))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/forecasting.json"))
    arguments = parser.parse_args()
    use_one_thread()
    if arguments.what == "report":
        write_result(arguments.out, header() | merged(arguments.work))
        return
    what = REAL if arguments.what == "timing" else arguments.what
    if what == REAL and not arguments.files:
        parser.error(f"{arguments.what} needs files of bars")
    for name in arguments.contender:
        if (name in LAWS) != (what == PLANTED):
            parser.error(f"--contender {name!r} is none of {arguments.what}")
        if name == LAW and (what != SYNTHETIC or arguments.task == "easy"):
            parser.error(f"--contender {name!r} is of synthetic markets of two levels alone")
    setting = Setting(
        what, tuple(arguments.files), arguments.task, arguments.seconds, arguments.every, arguments.validate_every,
        arguments.work,
    )  # fmt: skip
    started = time.monotonic()
    for name, job in jobs_of(arguments, setting):
        path = arguments.work / setting.place / f"{name}.json"
        if path.is_file():
            print(f"{path}: there already")
            continue
        began = time.monotonic()
        if arguments.stop_after is not None and began - started > arguments.stop_after:
            print("stopped: the same command goes on")
            return
        write_result(path, header() | job())
        print(f"{path}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
