"""Features: building a market against pandas and the `ta` library on the same indicators; a million 1m bars; live.

`python -m benchmarks.features [--bars FILE] [--out FILE]` first checks that both sides agree where they compute
the same, then times them in turns, and writes JSON with machine and commit. Without `--bars`: synthetic 5m bars. Peak
memory is of a process of its own per side.
"""

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.memory import random_minutes
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from cryptoenv import Market, read_bars
from cryptoenv.features import FeatureStream

TIMEFRAMES = ("15m", "4h", "1d")
FREQUENCIES = {"15m": "15min", "4h": "4h", "1d": "1D"}
REPEATS = 5
MINUTES = 1_000_000
LIVE_BARS = 300
LEAST_CORRELATION = 0.85
MIB = 1 << 20


def synthetic_bars(rows: int = 176_585) -> pd.DataFrame:
    """Random-walk 5m bars, as many as the real file's."""
    bars = random_minutes(rows, seed=1)
    bars.index = pd.date_range("2023-01-01", periods=rows, freq="5min", tz="UTC", name="timestamp")
    return bars


def peer(bars: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The default set's indicators by pandas and `ta`, as a notebook computes them."""
    out = {}
    for timeframe, frequency in FREQUENCIES.items():
        rules = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
        out[timeframe] = _peer_timeframe(bars.resample(frequency).agg(rules).ffill(), timeframe)
    base = out["15m"]
    _peer_slow(base)
    for timeframe in ("4h", "1d"):
        higher = out[timeframe][["trend", "highest", "lowest"]].shift(1).add_suffix(f"_{timeframe}")
        base = base.join(higher.reindex(base.index, method="ffill"))
    out["15m"] = base
    return out


def _peer_timeframe(b: pd.DataFrame, timeframe: str) -> pd.DataFrame:
    import ta

    long = 30 if timeframe == "1d" else 96
    slow = 40 if timeframe == "1d" else 192
    log_close, log_volume = np.log(b["close"]), np.log(b["volume"].where(b["volume"] > 0.0))
    returns = log_close.diff()
    v = np.sqrt((returns**2).rolling(long).mean())
    f = b.copy()
    for bars in (1, 4, 16, long):
        f[f"return_{bars}"] = log_close.diff(bars) / (v * np.sqrt(bars))
    f["range"] = np.log(b["high"] / b["low"]) / v - 1.5
    f["wick"] = np.log(b["open"] * b["close"] / (b["high"] * b["low"])) / v
    f["volume_surprise"] = log_volume - log_volume.rolling(slow, min_periods=1).mean()
    f["volume_short"] = log_volume - log_volume.shift(1).rolling(8, min_periods=1).mean()
    f["volume_level"] = log_volume.rolling(16, min_periods=1).mean() - log_volume.rolling(slow, min_periods=1).mean()
    f["obv"] = ta.volume.on_balance_volume(b["close"], b["volume"]).diff(16) / b["volume"].rolling(16).sum()
    f["volatility"] = np.log(v)
    bands = ta.volatility.BollingerBands(b["close"], 20)
    f["bollinger"] = (b["close"] - bands.bollinger_mavg()) / (bands.bollinger_hband() - bands.bollinger_mavg())
    f["atr"] = np.log(ta.volatility.average_true_range(b["high"], b["low"], b["close"], 14) / (b["close"] * v))
    f["adx"] = ta.trend.adx(b["high"], b["low"], b["close"], 14) / 25.0 - 1.0
    f["macd"] = ta.trend.macd(b["close"], 26, 12) / (2.0 * b["close"] * v)
    f["rsi"] = (ta.momentum.rsi(b["close"], 14) - 50.0) / 25.0
    f["stochastic"] = (ta.momentum.stoch_signal(b["high"], b["low"], b["close"], 14, 3) - 50.0) / 30.0
    f["cci"] = ta.trend.cci(b["high"], b["low"], b["close"], 14) / 100.0
    f["trend"] = log_close.diff(16) / np.sqrt((returns**2).rolling(16).sum())
    f["highest"], f["lowest"] = b["high"].rolling(18).max(), b["low"].rolling(18).min()
    return f


def _peer_slow(f: pd.DataFrame) -> None:
    hours = 2.0 * np.pi * (f.index.hour + (f.index.minute + 15) / 60.0) / 24.0  # type: ignore[attr-defined]
    f["hour_sin"], f["hour_cos"] = np.sin(hours), np.cos(hours)
    log_close, log_volume = np.log(f["close"]), np.log(f["volume"].where(f["volume"] > 0.0))
    squares, bars = log_close.diff() ** 2, 20 * 96
    w = np.sqrt(squares.rolling(bars).mean())
    f["volume_slow"] = log_volume.rolling(96, min_periods=1).mean() - log_volume.rolling(bars, min_periods=1).mean()
    f["range_slow"] = np.log(np.sqrt(squares.rolling(96).mean()) / w)
    high, low = f["high"].rolling(bars).max(), f["low"].rolling(bars).min()
    f["range_position"] = 2.0 * (f["close"] - low) / (high - low) - 1.0
    f["variance_ratio"] = np.log((log_close.diff(16) ** 2).rolling(bars).mean() / (16.0 * w**2))
    for days in (3, 7, 20):
        f[f"drift_{days}"] = log_close.diff(days * 96) / (w * np.sqrt(days * 96))
    v = np.sqrt(squares.rolling(96).mean())
    outcome = (log_close.diff(24) / (v.shift(24) * np.sqrt(24))).clip(-3.0, 3.0)
    confirmed = (log_volume.rolling(4).mean() - log_volume.shift(4).rolling(96).mean()).clip(0.0, 1.0)
    for side, beyond in (
        ("up", f["close"] > f["high"].shift(1).rolling(16).max()),
        ("down", f["close"] < f["low"].shift(1).rolling(16).min()),
    ):
        event = beyond & (beyond.shift(1, fill_value=False).rolling(4).sum() == 0.0)
        for name, weight in (("confirmed", confirmed), ("unconfirmed", 1.0 - confirmed)):
            share = (event * weight).shift(24).fillna(0.0)
            total = (share * outcome.fillna(0.0)).ewm(halflife=3 * 96).mean()
            f[f"breakout_{side}_{name}"] = total / share.ewm(halflife=3 * 96).mean()


def check(market: Market, frames: dict[str, pd.DataFrame]) -> dict[str, float]:
    """The rank correlation of each feature with the peer's.

    Ours start at anchors (a daily ADX from 40 bars, a drift at the open of a day), the peer's at the first bar.

    Raises:
        RuntimeError: one below `LEAST_CORRELATION`: the two sides do not compute the same.
    """
    worst: dict[str, float] = {}
    for k, timeframe in enumerate(TIMEFRAMES):
        first = max(market.valid_from[k], 200 if k < 2 else 60)
        start = pd.Timestamp(market.start_ms, unit="ms", tz="UTC").ceil(FREQUENCIES[timeframe])
        frame = frames[timeframe].loc[start:]
        rows = min(len(frame), len(market.features[k]))
        for column, name in enumerate(market.feature_names[k]):
            if name in frame.columns and not name.startswith("breakout"):
                ours = market.features[k][first:rows, column]
                both = pd.DataFrame({"ours": ours, "peer": frame[name].to_numpy()[first:rows]})
                ranks = both.dropna().rank().to_numpy()
                worst[f"{timeframe} {name}"] = float(np.corrcoef(ranks[:, 0], ranks[:, 1])[0, 1])
    wrong = {name: value for name, value in worst.items() if value < LEAST_CORRELATION}
    if wrong:
        raise RuntimeError(f"both sides should agree, but the rank correlations are {wrong}")
    return worst


def seconds(side: Callable[[], object]) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    side()
    return time.perf_counter() - begin


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def _peak(name: str, bars: pd.DataFrame, queue: Any) -> None:
    side = {"ours": lambda given: Market.from_bars(given, TIMEFRAMES), "peer": peer}[name]
    side(bars.iloc[:30_000])  # libraries and compiled code are there
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak starts anew
    before = _resident("VmRSS")
    kept = side(bars)
    queue.put(_resident("VmHWM") - before)
    del kept


def peak_bytes(name: str, bars: pd.DataFrame) -> int:
    """What one side adds to the memory of a process of its own at its peak (Linux)."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_peak, args=(name, bars, queue))
    process.start()
    found = int(queue.get())
    process.join()
    return found


def against_peer(bars: pd.DataFrame) -> dict[str, Any]:
    """Time and peak memory of the default set's market, ours and the peer's, in turns."""
    agreement = check(Market.from_bars(bars, TIMEFRAMES), peer(bars))
    took: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in tqdm(range(REPEATS), desc="in turns"):
        took["ours"].append(seconds(lambda: Market.from_bars(bars, TIMEFRAMES)))
        took["peer"].append(seconds(lambda: peer(bars)))
    ours, theirs = (statistics.median(took[name]) for name in ("ours", "peer"))
    return {
        "measure": f"{len(bars)} bars of 5m -> market of {'/'.join(TIMEFRAMES)}, default set / pandas and ta",
        "ours_s": ours,
        "peer_s": theirs,
        "ratio": theirs / ours,
        "ours_peak_mib": peak_bytes("ours", bars) / MIB,
        "peer_peak_mib": peak_bytes("peer", bars) / MIB,
        "rank_correlations": {"median": statistics.median(agreement.values()), "lowest": min(agreement.values())},
    }


def a_million_minutes() -> list[dict[str, Any]]:
    """Seconds for a million 1m bars."""
    bars = random_minutes(MINUTES)
    return [
        {
            "measure": f"{MINUTES} bars of 1m -> market of {'/'.join(timeframes)}, default set",
            "seconds": statistics.median(seconds(lambda t=timeframes: Market.from_bars(bars, t)) for _ in range(3)),  # type: ignore[misc]
        }
        for timeframes in (TIMEFRAMES, ("1m", "1h", "1d"))
    ]


def live() -> dict[str, Any]:
    """Time per new bar after a million bars of history, and after ten thousand."""
    bars = random_minutes(MINUTES + LIVE_BARS, seed=2)
    bars.index = pd.date_range("1990-01-01", periods=len(bars), freq="15min", tz="UTC", name="timestamp")
    streams = {}
    for history in (10_000, MINUTES):
        streams[history] = FeatureStream(TIMEFRAMES)
        streams[history].extend(bars.iloc[:history])
    took: dict[int, list[float]] = {history: [] for history in streams}
    for step in range(LIVE_BARS):
        for history, stream in streams.items():
            row = bars.iloc[history + step]
            took[history].append(seconds(lambda s=stream, r=row: s.append(r.name, r.to_list())))  # type: ignore[misc]
    short, long = (statistics.median(times) for times in took.values())
    measure = "one more bar of 15m, live, after 10,000 and after 1,000,000 bars of history"
    return {"measure": measure, "short_s": short, "long_s": long, "ratio": long / short}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=Path, help="5m bars; synthetic ones without it")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/features.json"))
    arguments = parser.parse_args()
    bars = read_bars(arguments.bars) if arguments.bars else synthetic_bars()
    results = [against_peer(bars), *a_million_minutes(), live()]
    for row in results:
        print(json.dumps(row))
    write_result(arguments.out, {**header(), "results": results})


if __name__ == "__main__":
    main()
