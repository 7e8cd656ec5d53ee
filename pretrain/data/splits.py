"""Splits of several markets into what is learnt from, chosen by and looked at once: by time, by market, or both.

What a label looks ahead and what a window looks back must not cross a border, or the later part has been seen in
training: rows whose label ends past a border are purged, and the rows right after it embargoed (Lopez de Prado 2018,
"Advances in Financial Machine Learning", ch. 7). Borders of a split by time are moments, the same for all markets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.files.durable_files import make_folder, write_figure
from cryptoenv.market.market import Market

PARTS = ("train", "validation", "test")
How = Literal["time", "token", "mixed"]
HOWS: tuple[How, ...] = ("time", "token", "mixed")
JUDGED_BY = ("test", "demo")  #: seed families that nothing learns from
COLOURS = {"train": "#4c78a8", "validation": "#f2a541", "test": "#d1495b"}


@dataclass(frozen=True)
class Span:
    """Rows `start <= t < stop` of market number `market`."""

    market: int
    start: int
    stop: int


@dataclass(frozen=True)
class Splits:
    """The spans of each part; no market's rows are in two of them."""

    train: tuple[Span, ...]
    validation: tuple[Span, ...]
    test: tuple[Span, ...]

    def part(self, name: str) -> tuple[Span, ...]:
        """The spans of "train", "validation" or "test"."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]


def split_markets(
    markets: Sequence[Market],
    window: tuple[int, ...],
    how: How = "time",
    *,
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
    look_ahead: int = 96,
    embargo: int = 0,
    seed: int = 0,
) -> Splits:
    """Split the decidable rows of `markets`.

    Args:
        markets: of the same base timeframe.
        window: bars per timeframe that a decision needs.
        how: "time" (earlier, later, last), "token" (other markets, all of their time), or "mixed" (other markets and
            later time: nothing of a part is known in the one before it, neither the asset nor the moment).
        fractions: of time or of markets; they add up to 1.
        look_ahead: base bars that a label looks ahead (`synthetic.labels` says); as many rows are purged before every
            border of time.
        embargo: base bars left out after every border of time.
        seed: of the order in which markets are dealt out.

    Raises:
        ValueError: an unknown `how`, fractions that do not add up, too few markets, or a part without rows.
    """
    if how not in HOWS:
        raise ValueError(f"how={how!r} is unknown; choose one of {HOWS}")
    if len(fractions) != 3 or min(fractions) <= 0.0 or abs(sum(fractions) - 1.0) > 1e-9:
        raise ValueError(f"fractions={fractions} are not allowed: three positive numbers that add up to 1")
    if min(look_ahead, embargo) < 0:
        raise ValueError(f"look_ahead={look_ahead}, embargo={embargo}: allowed are numbers of bars >= 0")
    if len({market.timeframes[0] for market in markets}) != 1:
        raise ValueError("the markets differ in their base timeframe: split them one by one")
    dealt = _dealt(len(markets), fractions, seed) if how != "token" or len(markets) >= 3 else None
    if how != "time" and (len(markets) < 3 or dealt is None):
        raise ValueError(f"how={how!r} needs at least three markets, got {len(markets)}")
    spans = _spans_in_time(markets, window, fractions, look_ahead, embargo)
    if how == "token":
        whole = [Span(m, market.first_decision(window), len(market)) for m, market in enumerate(markets)]
        chosen = [tuple(whole[m] for m in part) for part in dealt or ()]
    elif how == "mixed":
        chosen = [tuple(s for s in spans[i] if s.market in part) for i, part in enumerate(dealt or ())]
    else:
        chosen = [tuple(part) for part in spans]
    for name, part in zip(PARTS, chosen, strict=True):
        if not part:
            raise ValueError(f"the {name} part has no rows: fractions={fractions}, look_ahead={look_ahead}")
    return Splits(*chosen)


def _dealt(count: int, fractions: tuple[float, ...], seed: int) -> list[set[int]]:
    """Market numbers per part, at least one each where there are three."""
    order = np.random.default_rng(seed).permutation(count)
    edges = np.round(np.cumsum(fractions[:-1]) * count).astype(int)
    edges = np.clip(edges, [1, 2], [max(count - 2, 1), max(count - 1, 2)])
    return [set(part.tolist()) for part in np.split(order, edges)]


def _spans_in_time(
    markets: Sequence[Market], window: tuple[int, ...], fractions: tuple[float, ...], look_ahead: int, embargo: int
) -> list[list[Span]]:
    """Per part, the rows of every market between the borders, purged and embargoed."""
    step = timeframe_ms(markets[0].timeframes[0])
    first = [market.start_ms + market.first_decision(window) * step for market in markets]
    last = [market.start_ms + len(market) * step for market in markets]
    shares: NDArray[np.float64] = np.cumsum((0.0, *fractions))
    borders = min(first) + shares * (max(last) - min(first))
    parts: list[list[Span]] = []
    for number, (begin, end) in enumerate(pairwise(borders)):
        spans = []
        for m, market in enumerate(markets):
            start, stop = (int(np.ceil((border - market.start_ms) / step)) for border in (begin, end))
            start += embargo if number > 0 else 0
            stop -= look_ahead if number < len(fractions) - 1 else 0
            start, stop = max(start, (first[m] - market.start_ms) // step), min(stop, len(market))
            if stop > start:
                spans.append(Span(m, start, stop))
        parts.append(spans)
    return parts


def refuse_families(markets: Sequence[Market], forbidden: Sequence[str], where: str) -> None:
    """Check that synthetic markets are of none of these seed families: extractors, agents and judges share nothing.

    Args:
        markets: a synthetic one is known by its origin, whatever it is called; bars of one's own are of no family,
            whatever they are called.
        forbidden: members of `synthetic.SEED_FAMILIES`.
        where: what the markets are for, for the message.

    Raises:
        ValueError: a market of a forbidden family; it is named.
    """
    for number, market in enumerate(markets):
        origin = market.origin
        if origin is not None and origin.family in forbidden:
            called = f", called {market.name!r}" if market.name not in ("", f"{origin.task}-{origin.seed}") else ""
            raise ValueError(
                f"{where}[{number}] is '{origin.task}-{origin.seed}'{called}, of the seed family {origin.family!r}, "
                "which is not for this: extractors learn from 'extractor', agents from 'train', and only evaluation "
                "reads 'test' and 'demo'"
            )


def plot_splits(markets: Sequence[Market], splits: Splits, path: Path) -> None:
    """A timeline per market, coloured by part; what is purged or embargoed stays grey."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import dates, pyplot

    figure, axes = pyplot.subplots(figsize=(9.0, 1.2 + 0.4 * len(markets)), layout="constrained")
    for m, market in enumerate(markets):
        index = market.bars.index
        axes.barh(m, index[-1] - index[0], left=index[0], height=0.6, color="#d9d9d9")
    labelled = set()
    for name in PARTS:
        for span in splits.part(name):
            index = markets[span.market].bars.index
            label = None if name in labelled else name
            width = index[span.stop - 1] - index[span.start]
            axes.barh(span.market, width, left=index[span.start], height=0.6, color=COLOURS[name], label=label)
            labelled.add(name)
    axes.set_yticks(range(len(markets)), [market.name or f"market {m}" for m, market in enumerate(markets)])
    axes.invert_yaxis()
    axes.xaxis_date()
    ticks = dates.AutoDateLocator(maxticks=9)
    axes.xaxis.set_major_locator(ticks)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(ticks))
    axes.legend(ncols=3, frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    axes.spines[["top", "right"]].set_visible(False)
    make_folder(path.parent)
    write_figure(figure, path, dpi=100)
    pyplot.close(figure)
