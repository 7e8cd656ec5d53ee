"""Shapes of synthetic pumps beside real ones: 11 tokens of pump.fun, up to 300 s of swaps after graduation.

`python -m benchmarks.token_shapes --data FOLDER`, the folder that holds `pumpfun_swaps_11tokens_2026.csv.gz`. Prints a
table, writes JSON and a figure. Real swaps are put into bars of 5 s; a synthetic pump is seen for as long.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.support.machine import header
from cryptoenv.files.durable_files import make_folder, write_figure, write_file
from synthetic.tokens.events import EVENT_KINDS, EventCounts
from synthetic.tokens.market import TokenConfig, token_market

SWAPS = "pumpfun_swaps_11tokens_2026.csv.gz"
BAR_SECONDS = 5
WINDOW = 60
DUST = 0.05
"""Quote value below which a swap says nothing about the price."""
PUMP_ALONE = EventCounts(**{kind: int(kind == "pump_and_dump") for kind in EVENT_KINDS})
MEASURES = ("rise_seconds", "peak_multiple", "half_life_seconds", "buy_share_before_peak", "volume_concentration")


def real_pumps(path: Path) -> list[pd.DataFrame]:
    """Bars (`close`, `buys`, `sells`) of each token from its first swap in the pool on."""
    swaps = pd.read_csv(path, parse_dates=["timestamp"])
    swaps = swaps[(swaps["venue"] == "PUMP_AMM") & (swaps["sol"] >= DUST)]
    pumps = []
    for _, mine in swaps.groupby("mint"):
        bar = (mine["timestamp"] - mine["timestamp"].iloc[0]).dt.total_seconds() // BAR_SECONDS
        bought = mine["side"] == "buy"
        table = pd.DataFrame(
            {
                # the median of a bar: swaps of one second come in no certain order
                "close": mine.groupby(bar)["price_sol"].median(),
                "buys": mine["sol"].where(bought, 0.0).groupby(bar).sum(),
                "sells": mine["sol"].where(~bought, 0.0).groupby(bar).sum(),
            }
        ).reindex(np.arange(min(WINDOW, int(bar.max()) + 1)))
        pumps.append(table.assign(close=table["close"].ffill()).fillna(0.0))
    return pumps


def synthetic_pumps(config: TokenConfig, seeds: int) -> list[pd.DataFrame]:
    """The same of synthetic tokens, from the first bar of their pump on."""
    pumps = []
    for seed in tqdm(range(seeds), desc="markets", leave=False):
        sample = token_market(config, seed)
        for event in sample.events.to_dict("records"):
            if event["kind"] == "pump_and_dump" and event["first"] + WINDOW <= config.bars:
                bars = sample.bars[event["token"]].iloc[event["first"] : event["first"] + WINDOW]
                pumps.append(bars[["close", "buys", "sells"]].reset_index(drop=True))
    return pumps


def shape(pump: pd.DataFrame) -> dict[str, float]:
    """The measures of one pump; the half-life is infinite where the price has not halved when the window ends."""
    close = pump["close"].to_numpy()
    volume = (pump["buys"] + pump["sells"]).to_numpy()
    peak = int(close.argmax())
    halved = np.flatnonzero(close[peak:] <= close[peak] / 2)
    before = slice(0, peak + 1)
    busiest = np.sort(volume)[::-1][: max(1, round(0.1 * len(volume)))]
    return {
        "rise_seconds": float(BAR_SECONDS * peak),
        "peak_multiple": float(close[peak] / close[0]),
        "half_life_seconds": float(BAR_SECONDS * halved[0]) if len(halved) else float("inf"),
        "buy_share_before_peak": float(pump["buys"].to_numpy()[before].sum() / max(volume[before].sum(), 1e-12)),
        "volume_concentration": float(busiest.sum() / max(volume.sum(), 1e-12)),
    }


def compare(real: pd.DataFrame, synthetic: pd.DataFrame) -> list[dict[str, float | str | bool]]:
    """Quartiles of each measure, and whether the synthetic median lies between the real quartiles."""
    rows: list[dict[str, float | str | bool]] = []
    for name in MEASURES:
        row: dict[str, float | str | bool] = {"measure": name}
        for source, table in (("real", real), ("synthetic", synthetic)):
            low, middle, high = np.quantile(table[name], (0.25, 0.5, 0.75), method="nearest")
            row |= {f"{source}_25": float(low), f"{source}_50": float(middle), f"{source}_75": float(high)}
        row["inside"] = bool(float(row["real_25"]) <= float(row["synthetic_50"]) <= float(row["real_75"]))
        rows.append(row)
    return rows


def draw(real: list[pd.DataFrame], synthetic: list[pd.DataFrame], path: Path) -> None:
    """Prices from the start of each pump, real and as many synthetic ones, into a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.5), constrained_layout=True)
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    for axis, pumps, title in zip(axes, (real, synthetic[: len(real)]), ("pump.fun", "synthetic"), strict=True):
        for pump in pumps:
            axis.plot(BAR_SECONDS * np.arange(len(pump)), pump["close"] / pump["close"].iloc[0], lw=1.1)
        axis.set(title=f"{title}: {len(pumps)} tokens", xlabel="seconds", yscale="log")
        axis.axhline(1.0, color="#888888", lw=0.6)
    axes[0].set_ylabel("price over the first")
    write_figure(figure, path, dpi=80)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help=f"folder of {SWAPS}")
    parser.add_argument("--seeds", type=int, default=50, help="synthetic markets, of 4 tokens each")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/token_shapes.json"))
    options = parser.parse_args()
    config = TokenConfig(bar_seconds=BAR_SECONDS, bars=400, events=PUMP_ALONE)
    real, synthetic = real_pumps(options.data / SWAPS), synthetic_pumps(config, options.seeds)
    rows = compare(pd.DataFrame(map(shape, real)), pd.DataFrame(map(shape, synthetic)))
    print(f"{len(real)} real, {len(synthetic)} synthetic pumps; quartiles")
    for row in rows:
        figures = "  ".join(
            " ".join(f"{row[f'{source}_{q}']:8.2f}" for q in (25, 50, 75)) for source in ("real", "synthetic")
        )
        print(f"{row['measure']:24s} {figures}  {'inside' if row['inside'] else 'OUTSIDE'}")
    counts = {"real": len(real), "synthetic": len(synthetic)}
    text = json.dumps({**header(), "pumps": counts, "rows": rows}, indent=2)
    make_folder(options.out.parent)
    write_file(options.out, text.replace("Infinity", '"not within the window"') + "\n")
    draw(real, synthetic, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
