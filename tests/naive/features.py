"""Each feature in plain Python from its definition, for the last bar of one slice. Never imports numba or TA-Lib."""

import math
from itertools import pairwise
from statistics import fmean, pstdev

Rows = list[tuple[float, float, float, float, float]]


def features(rows: Rows, daily: bool, bars_per_day: float) -> dict[str, float]:
    """All features of the last bar; `rows` are (open, high, low, close, volume) from the anchor on."""
    n_volatility, n_long = (30, 40) if daily else (96, 192)
    close = [row[3] for row in rows]
    returns = [0.0] + [math.log(b / a) for a, b in pairwise(close)]
    v = math.sqrt(fmean(r * r for r in returns[-n_volatility:]))
    out = volume_features(rows, returns, n_long)
    out["volatility"] = math.log(v * math.sqrt(bars_per_day) / 0.03 + 0.001)
    out["adx"] = adx(rows) / 25.0 - 1.0
    names = ("return_1", "return_4", "return_16", "return_long", "range", "wick")
    if v == 0.0:
        return out | dict.fromkeys((*names, "rsi", "stochastic", "cci", "macd", "bollinger", "atr"), 0.0)
    for name, bars in zip(names, (1, 4, 16, n_volatility), strict=False):
        out[name] = sum(returns[-bars:]) / (v * math.sqrt(bars))
    o, h, low, c, _ = rows[-1]
    out["range"] = (math.log(h) - math.log(low)) / v - 1.5
    out["wick"] = (math.log(o) + math.log(c) - math.log(h) - math.log(low)) / v
    flat = max(row[1] for row in rows[-14:]) == min(row[2] for row in rows[-14:])
    out["rsi"] = (rsi(close) - 50.0) / 25.0
    out["stochastic"] = 0.0 if flat else (slow_k(rows) - 50.0) / 30.0
    out["cci"] = 0.0 if flat else cci(rows) / 100.0
    out["macd"] = (average_from(close, 12, 26) - average_from(close, 26, 26)) / (2.0 * c * v)
    deviation = pstdev(close[-20:])
    out["bollinger"] = (c - fmean(close[-20:])) / (2.0 * deviation) if deviation > 0.0 else 0.0
    out["atr"] = math.log(wilder(true_ranges(rows), 14) / (c * v) + 0.01)
    return out


def volume_features(rows: Rows, returns: list[float], n_long: int) -> dict[str, float]:
    volume = [row[4] for row in rows]

    def mean_log(values: list[float]) -> float | None:
        logs = [math.log(value) for value in values if value > 0.0]
        return fmean(logs) if logs else None

    slow, medium, short = mean_log(volume[-n_long:]), mean_log(volume[-16:]), mean_log(volume[-9:-1])
    total = sum(volume[-16:])
    balance = sum(math.copysign(x, r) for x, r in zip(volume[-16:], returns[-16:], strict=True) if r != 0.0)
    out = {"obv": balance / total if total > 0.0 else 0.0}
    if slow is None:
        return out | dict.fromkeys(("volume_surprise", "volume_short", "volume_level"), 0.0)
    out["volume_level"] = -4.0 if medium is None else medium - slow
    if volume[-1] == 0.0:
        return out | {"volume_surprise": -4.0, "volume_short": -4.0}
    out["volume_surprise"] = math.log(volume[-1]) - slow
    out["volume_short"] = math.log(volume[-1]) - (slow if short is None else short)
    return out


def true_ranges(rows: Rows) -> list[float]:
    return [max(b[1], a[3]) - min(b[2], a[3]) for a, b in pairwise(rows)]


def wilder(values: list[float], n: int) -> float:
    """Wilder's average: the mean of the first n, then (n - 1) / n of the old and 1 / n of the new."""
    average = fmean(values[:n])
    for value in values[n:]:
        average = (average * (n - 1) + value) / n
    return average


def rsi(close: list[float]) -> float:
    changes = [b - a for a, b in pairwise(close)]
    gain = wilder([max(x, 0.0) for x in changes], 14)
    loss = wilder([max(-x, 0.0) for x in changes], 14)
    return 100.0 * gain / (gain + loss) if gain + loss > 0.0 else 0.0


def average_from(close: list[float], n: int, first: int) -> float:
    """Exponential average over n bars, begun as the mean of the n bars up to number `first`."""
    average = fmean(close[first - n : first])
    for value in close[first:]:
        average += 2.0 / (n + 1) * (value - average)
    return average


def slow_k(rows: Rows) -> float:
    fast = []
    for end in (len(rows) - 2, len(rows) - 1, len(rows)):
        window = rows[end - 14 : end]
        high, low = max(row[1] for row in window), min(row[2] for row in window)
        fast.append(100.0 * (window[-1][3] - low) / (high - low) if high > low else 0.0)
    return fmean(fast)


def cci(rows: Rows) -> float:
    typical = [(row[1] + row[2] + row[3]) / 3.0 for row in rows[-14:]]
    mean = fmean(typical)
    deviation = fmean(abs(x - mean) for x in typical)
    return (typical[-1] - mean) / (0.015 * deviation) if deviation > 0.0 else 0.0


def adx(rows: Rows, n: int = 14) -> float:
    plus, minus, true, strengths = 0.0, 0.0, 0.0, []
    for i, (before, now, true_range) in enumerate(zip(rows, rows[1:], true_ranges(rows), strict=False), start=1):
        up, down = now[1] - before[1], before[2] - now[2]
        decay = 1.0 if i < n else (n - 1) / n
        plus = plus * decay + (up if up > 0.0 and up > down else 0.0)
        minus = minus * decay + (down if down > 0.0 and down > up else 0.0)
        true = true * decay + true_range
        if i >= n:
            strengths.append(100.0 * abs(plus - minus) / (plus + minus) if plus + minus > 0.0 else None)
    index = sum(x for x in strengths[:n] if x is not None) / n
    for x in strengths[n:]:
        index = index if x is None else (index * (n - 1) + x) / n
    return index
