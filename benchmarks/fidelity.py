"""Do synthetic markets look like crypto? Stylised facts of a task's markets beside those of real 15m bars.

    python -m benchmarks.fidelity --real FOLDER [--task standard] [--markets 16]

FOLDER holds files of bars of 15m or finer; `--files` names them. A fact is inside where the median over the synthetic
markets ("test" seeds, which nothing was chosen on) lies in the range that the real series span.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from benchmarks.support.stylised_facts import MEMORY_LAGS, autocorrelation, facts, hourly_profile, largest_drawdowns
from cryptoenv.bar_files.reading import read_bars
from cryptoenv.bars.bars import aggregate, fill_gaps
from cryptoenv.files.durable_files import make_folder, write_figure
from synthetic import regime_market, task_seeds

DAYS = 240
FILES = (
    "binance_spot_BTCUSDT_5m_20230101_20240906.csv.gz",
    "binance_spot_ETHUSDT_5m_20230101_20240906.csv.gz",
    "binance_spot_SOLUSDT_5m_2024.csv.gz",
    "binance_spot_PEPEUSDT_5m_2024.csv.gz",
)


def real_bars(path: Path) -> pd.DataFrame:
    """15m bars of a file, the longest stretch without a day that is missing.

    Raises:
        FileNotFoundError: says which files are wanted.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: pass --real FOLDER and --files NAME ... of bars of 15m or finer")
    bars = read_bars(path)
    holes = np.flatnonzero(np.diff(bars.index.to_numpy()) > np.timedelta64(1, "D"))
    edges = [0, *(holes + 1), len(bars)]
    longest = max(range(len(edges) - 1), key=lambda i: edges[i + 1] - edges[i])
    part = bars.iloc[edges[longest] : edges[longest + 1]][["open", "high", "low", "close", "volume"]]
    return aggregate(fill_gaps(part, "5m"), "15m")


def synthetic_bars(task: str, count: int, days: int) -> list[pd.DataFrame]:
    """Markets of a task's "test" seeds, long enough for the facts of weeks."""
    seeds = task_seeds(task, "test", count)
    return [regime_market(task, days, seed).bars for seed in tqdm(seeds, desc=task, unit="market")]


def table(real: dict[str, pd.DataFrame], synthetic: list[pd.DataFrame]) -> pd.DataFrame:
    """A line per fact: every real series, the synthetic median and its 5% and 95% quantiles, whether it is inside."""
    found = pd.DataFrame({name: facts(bars) for name, bars in real.items()})
    low, high = found.min(axis=1), found.max(axis=1)
    made = pd.DataFrame([facts(bars) for bars in synthetic])
    found["synthetic"] = made.median()
    found["5%"], found["95%"] = made.quantile(0.05), made.quantile(0.95)
    found["inside"] = (found["synthetic"] >= low) & (found["synthetic"] <= high)
    return found


def picture(real: dict[str, pd.DataFrame], synthetic: list[pd.DataFrame], task: str, path: Path) -> None:
    """Memory of volatility, distribution of returns, hours of the day and drawdowns, one panel each."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(11.0, 8.0), layout="constrained")
    lags = np.unique(np.geomspace(1, 672, 40).astype(int))
    every: list[tuple[str, pd.DataFrame, str, float, str | None]] = [
        (name, bars, "-", 1.2, None) for name, bars in real.items()
    ]
    every += [(f"synthetic ({task})" if i == 0 else "", b, "-", 0.8, "#303030") for i, b in enumerate(synthetic[:8])]
    for name, bars, style, width, colour in every:
        r = np.diff(np.log(bars["close"].to_numpy(np.float64)))
        line: dict[str, Any] = {"linestyle": style, "linewidth": width, "color": colour, "label": name or None}
        line["alpha"] = 0.5 if colour else 1.0
        axes[0, 0].plot(lags, [autocorrelation(np.abs(r), int(lag)) for lag in lags], **line)
        scaled = np.sort(np.abs(r) / r.std())
        axes[0, 1].plot(scaled[-5000:], (np.arange(5000, 0, -1)) / len(r), **line)
        hour = pd.DatetimeIndex(bars.index).hour.to_numpy()[1:]
        axes[1, 0].plot(range(24), hourly_profile(r, hour), **line)
        falls = np.sort(largest_drawdowns(r, 30 * 96)) / (r.std() * 96**0.5)
        axes[1, 1].step(falls, np.arange(1, len(falls) + 1) / len(falls), where="post", **line)
    for lag in MEMORY_LAGS:
        axes[0, 0].axvline(lag, color="#e0e0e0", linewidth=0.6, zorder=0)
    axes[0, 0].set(xscale="log", title="Memory of volatility", xlabel="lag, 15m bars", ylabel="ACF of |r|")
    axes[0, 1].set(xscale="log", yscale="log", title="Tails", xlabel="|r| / deviation", ylabel="share beyond")
    axes[1, 0].set(title="Hours of the day", xlabel="hour, UTC", ylabel="mean |r| / mean of all")
    axes[1, 1].set(title="Largest drawdown in 30 days", xlabel="in daily deviations", ylabel="share below")
    axes[0, 0].legend(frameon=False, fontsize=8)
    make_folder(path.parent)
    write_figure(figure, path, dpi=90)
    pyplot.close(figure)


def main() -> None:
    """Measure, print, draw, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, help="folder of real bars")
    parser.add_argument("--files", nargs="+", default=FILES)
    parser.add_argument("--task", default="standard")
    parser.add_argument("--markets", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/fidelity.json"))
    parser.add_argument("--picture", type=Path, default=Path("docs/images/fidelity.png"))
    arguments = parser.parse_args()
    real = {name.split("_")[2].removesuffix("USDT"): real_bars(arguments.real / name) for name in arguments.files}
    synthetic = synthetic_bars(arguments.task, arguments.markets, DAYS)
    found = table(real, synthetic)
    print(found.to_string(float_format=lambda value: f"{value:.3f}"))
    outside = found.index[~found["inside"]].tolist()
    print(f"{found['inside'].sum()} of {len(found)} inside; outside: {', '.join(outside) or 'none'}")
    picture(real, synthetic, arguments.task, arguments.picture)
    result = {**header(), "task": arguments.task, "markets": arguments.markets, "days": DAYS, "outside": outside}
    write_result(arguments.out, result | {"facts": json.loads(found.to_json(orient="index"))})
    print(f"wrote {arguments.out} and {arguments.picture}")


if __name__ == "__main__":
    main()
