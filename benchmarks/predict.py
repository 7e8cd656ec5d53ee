"""How fast a model predicts raw bars, and where the time goes: features of the bars, or the network.

    python -m benchmarks.predict --bars FILE            bars of your own
    python -m benchmarks.predict                        synthetic bars, two months of them
    python -m benchmarks.predict --bars FILE --bars-streamed 300

Before anything is timed, the last predictions bar by bar must have the bits of those of all bars. Times are medians.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

import pretrain
from benchmarks.support.machine import header
from cryptoenv.bar_files.reading import read_bars
from cryptoenv.files.durable_files import write_file
from pretrain import Predictor
from synthetic import regime_market

RUNS = 3


def seconds(work: Callable[[], Any], runs: int = RUNS) -> float:
    """Median seconds of a call."""
    took = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return median(took)


def streamed(model: Predictor, bars: pd.DataFrame, count: int) -> dict[str, float]:
    """Rows and seconds for each bar of the last `count` bars, one at a time; their bits are those of all bars.

    Raises:
        AssertionError: they are not.
    """
    stream, table = model.stream(bars.iloc[:-count]), model.predict(bars)
    began = time.perf_counter()
    rows = pd.concat([stream.append(bars.iloc[row : row + 1]) for row in range(len(bars) - count, len(bars))])
    took = time.perf_counter() - began
    assert len(rows) and rows.equals(table.loc[rows.index]), "bar by bar, predictions have other bits"
    return {"rows": len(rows), "seconds_per_bar": took / count, "seconds_per_row": took / len(rows)}


def measured(model: Predictor, bars: pd.DataFrame, stream_bars: int) -> dict[str, Any]:
    """Bars per second from raw bars to the table, and the share of that time in features."""
    bar_by_bar = streamed(model, bars, stream_bars)
    features = seconds(lambda: model.market(bars))
    market = model.market(bars)
    network = seconds(lambda: model.predict(market))
    whole = features + network
    return {
        "bars": len(bars),
        "base_bars": len(market),
        "predictions": len(model.predict(market)),
        "seconds": {"features": features, "network": network, "whole": whole},
        "bars_per_second": len(bars) / whole,
        "share_in_features": features / whole,
        "bar_by_bar": bar_by_bar,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", default="default")
    parser.add_argument("--bars", type=Path)
    parser.add_argument("--bars-streamed", type=int, default=120)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/predict.json"))
    options = parser.parse_args()
    bars = regime_market("standard", days=60, seed=0).bars if options.bars is None else read_bars(options.bars)
    model = pretrain.load(options.artifact, device=options.device)
    if not isinstance(model, pretrain.Predictor):
        raise ValueError(f"{options.artifact} holds no model of bars")
    source = "synthetic" if options.bars is None else options.bars.name
    found = header() | {"source": source, "device": options.device} | measured(model, bars, options.bars_streamed)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_file(options.out, json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
