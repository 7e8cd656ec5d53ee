"""The segmenter's state machine in plain Python: one row after the other, rules written out as they are told."""

from __future__ import annotations

from collections.abc import Sequence


def naive_states(
    rows: Sequence[Sequence[Sequence[float]]],
    enter: Sequence[float],
    leave: Sequence[float],
    dwell: Sequence[int],
    agreement: int,
    allowed: Sequence[Sequence[bool]],
) -> list[tuple[int, str]]:
    """State and what began it, of every row of (T, S, C) probabilities."""
    out: list[tuple[int, str]] = []
    for t, row in enumerate(rows):
        count = len(row[0])
        mean = [sum(source[k] for source in row) / len(row) for k in range(count)]
        if t == 0:
            out.append((mean.index(max(mean)), "start"))
            held = "thresholds crossed"
            continue
        state, why = out[-1]
        lasted = 0
        while lasted < len(out) and out[-1 - lasted][0] == state:
            lasted += 1
        wanted = [k for k in range(count) if k != state and allowed[state][k] and mean[k] >= enter[k]]
        if not wanted or mean[state] >= leave[state]:
            held = "thresholds crossed"
        else:
            best = max(wanted, key=lambda k: (mean[k], -k))
            agree = sum(source.index(max(source)) == best for source in row)
            if lasted < dwell[state]:
                held = "minimum dwell over"
            elif agree < agreement:
                held = "agreement reached"
            else:
                state, why, held = best, held, "thresholds crossed"
        out.append((state, why))
    return out
