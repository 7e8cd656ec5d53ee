"""Each feature in plain Python from its definition, for the last bar of one slice. Never imports numba or TA-Lib."""

import math
from datetime import UTC, datetime
from itertools import pairwise
from statistics import fmean, pstdev, quantiles

Rows = list[tuple[float, float, float, float, float]]


def plain(rows: Rows, daily: bool, bars_per_day: float) -> dict[str, float]:
    """What needs a few days of one timeframe; `rows` are open, high, low, close, volume from the anchor to the bar."""
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


def volatilities(rows: Rows, n: int) -> list[float]:
    """Root mean square of the last n log-returns, 0 where there are fewer."""
    returns = [0.0] + [math.log(b[3] / a[3]) for a, b in pairwise(rows)]
    return [math.sqrt(fmean(r * r for r in returns[i - n + 1 : i + 1])) if i >= n else 0.0 for i in range(len(rows))]


def calendar(close_ms: int) -> dict[str, float]:
    """Hour and weekday of a moment, by the calendar of the standard library."""
    moment = datetime.fromtimestamp(close_ms / 1000, tz=UTC)
    hour = (moment.hour + moment.minute / 60) / 24
    week = (moment.weekday() + hour) / 7
    out = {}
    for name, turn in (("hour", hour), ("weekday", week)):
        out |= {f"{name}_sin": math.sin(2 * math.pi * turn), f"{name}_cos": math.cos(2 * math.pi * turn)}
    return out


def slow(rows: Rows, into: int, block: int, days: int, drifts: tuple[int, ...], n_volatility: int) -> dict[str, float]:
    """Slow levels of the last row, which is row `into` of its day."""
    last = len(rows) - 1
    first = last - into - days * block
    returns = [0.0] + [math.log(b[3] / a[3]) for a, b in pairwise(rows)]
    steps = [math.log(rows[i][3] / rows[i - 16][3]) ** 2 for i in range(first, last + 1)]
    squares = [r * r for r in returns[first:]]
    logs = [math.log(row[4]) for row in rows[first:] if row[4] > 0.0]
    recent = [math.log(row[4]) for row in rows[-n_volatility:] if row[4] > 0.0]
    names = ("range_slow", "range_position", "variance_ratio", *(f"drift_{d}" for d in drifts))
    out = dict.fromkeys(("volume_slow", *names), 0.0)
    if logs:
        out["volume_slow"] = fmean(recent) - fmean(logs) if recent else -4.0
    high, low = max(row[1] for row in rows[first:]), min(row[2] for row in rows[first:])
    if sum(squares) == 0.0 or high == low:
        return out
    w, close = math.sqrt(fmean(squares)), rows[-1][3]
    out["range_slow"] = math.log(math.sqrt(fmean(r * r for r in returns[-n_volatility:])) / w + 0.01)
    out["range_position"] = 2.0 * (close - low) / (high - low) - 1.0
    out["variance_ratio"] = math.log(fmean(steps) / (16.0 * w * w) + 0.01)
    for d in drifts:
        bars = d * block + into + 1
        out[f"drift_{d}"] = math.log(close / rows[-1 - bars][3]) / (w * math.sqrt(bars))
    return out


def breakouts(rows: Rows, into: int, block: int, n_volatility: int) -> dict[str, float]:
    """Fate of the breakouts known at the last row: channel 16, horizon 24, quiet 4, 20 days, decay 3 days."""
    v, last = volatilities(rows, n_volatility), len(rows) - 1
    fade = math.exp(-1.0 / (3.0 * block))

    def out_of_range(j: int) -> int:
        window = rows[j - 16 : j]
        above = rows[j][3] > max(row[1] for row in window)
        return 1 if above else -1 if rows[j][3] < min(row[2] for row in window) else 0

    def mean_log(window: Rows) -> float | None:
        logs = [math.log(row[4]) for row in window if row[4] > 0.0]
        return fmean(logs) if logs else None

    total = {(side, kind): [0.0, 1.0] for side in (1, -1) for kind in (0, 1)}
    for known in range(last - into - 20 * block, last + 1):
        j = known - 24
        side = out_of_range(j)
        if side == 0 or side in [out_of_range(i) for i in range(j - 4, j)] or v[j] == 0.0:
            continue
        x = min(max(math.log(rows[known][3] / rows[j][3]) / (v[j] * math.sqrt(24)), -3.0), 3.0)
        now, usual = mean_log(rows[j - 3 : j + 1]), mean_log(rows[j - 99 : j - 3])
        confirmed = 0.0 if now is None or usual is None else min(max(now - usual, 0.0), 1.0)
        for kind, weight in ((0, confirmed), (1, 1.0 - confirmed)):
            total[side, kind][0] += weight * x * fade ** (last - known)
            total[side, kind][1] += weight * fade ** (last - known)
    return {
        f"breakout_{'up' if side == 1 else 'down'}_{'unconfirmed' if kind else 'confirmed'}": 2.0 * a / b
        for (side, kind), (a, b) in total.items()
    }


def trend(rows: Rows, n: int = 16) -> float:
    """Log-return of the last n bars in units of their own size, within +-2."""
    returns = [math.log(b[3] / a[3]) for a, b in pairwise(rows[-n - 1 :])]
    size = math.sqrt(sum(r * r for r in returns))
    return min(max(sum(returns) / size, -2.0), 2.0) if size > 0.0 else 0.0


def across(rows: Rows, higher: list[Rows]) -> dict[str, float]:
    """Alignment, resistance and support of the last row; `higher` holds the ended bars of each longer timeframe."""
    level = higher[0][-18:]
    returns = [math.log(b[3] / a[3]) for a, b in pairwise(higher[0][-19:])]
    scale, close = math.sqrt(sum(r * r for r in returns)), rows[-1][3]
    out = {"alignment": fmean([trend(rows), *(trend(bars) for bars in higher)]), "resistance": 0.0, "support": 0.0}
    if scale > 0.0:
        out["resistance"] = math.log(max(bar[1] for bar in level) / close) / scale
        out["support"] = math.log(close / min(bar[2] for bar in level)) / scale
    return out


def reference(close: list[float], other: list[float], v: float, n: int) -> dict[str, float]:
    """Correlation, beta and strength of the last close against the reference's closes."""
    own = [math.log(b / a) for a, b in pairwise(close[-n - 1 :])]
    their = [math.log(b / a) for a, b in pairwise(other[-n - 1 :])]
    products = sum(a * b for a, b in zip(own, their, strict=True))
    mine, theirs = sum(a * a for a in own), sum(b * b for b in their)
    moving = mine > 0.0 and theirs > 0.0
    strength = math.log(close[-1] / close[-17]) - math.log(other[-1] / other[-17])
    return {
        "reference_correlation": products / math.sqrt(mine * theirs) if moving else 0.0,
        "reference_beta": products / theirs if moving else 0.0,
        "reference_strength": strength / (4.0 * v) if v > 0.0 else 0.0,
    }


def robust_z(values: list[float]) -> float:
    """Distance of the last value from the median in units of the interquartile range / 1.349."""
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return (values[-1] - middle) / ((high - low) / 1.349) if high > low else 0.0
