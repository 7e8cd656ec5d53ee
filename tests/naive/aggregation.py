"""Gaps and higher timeframes in plain Python, bar by bar, from the definitions. Times are milliseconds since 1970."""

Bar = tuple[float, float, float, float, float]
MONDAY = 4 * 86_400_000  # 1970-01-05


def filled(bars: dict[int, Bar], step: int) -> dict[int, Bar]:
    """Every bar from the first to the last: missing ones are flat at the close before, without volume."""
    out: dict[int, Bar] = {}
    close = bars[min(bars)][3]
    for time in range(min(bars), max(bars) + step, step):
        out[time] = bars.get(time, (close, close, close, close, 0.0))
        close = out[time][3]
    return out


def higher(bars: dict[int, Bar], step: int, duration: int) -> dict[int, Bar]:
    """Bars of a longer timeframe of which every part is there."""
    origin = MONDAY if duration % (7 * 86_400_000) == 0 else 0
    parts: dict[int, list[Bar]] = {}
    for time in sorted(bars):
        parts.setdefault(origin + (time - origin) // duration * duration, []).append(bars[time])
    return {
        time: (
            rows[0][0],
            max(row[1] for row in rows),
            min(row[2] for row in rows),
            rows[-1][3],
            sum(row[4] for row in rows),
        )
        for time, rows in parts.items()
        if len(rows) == duration // step
    }


def last_ended(higher_opens: list[int], duration: int, close: int) -> int:
    """Row of the last bar that has ended at `close`, -1 if none."""
    return max((row for row, time in enumerate(higher_opens) if time + duration <= close), default=-1)
