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
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.files.durable_files import make_folder, write_figure
from cryptoenv.market.market import Market

PARTS = ("train", "validation", "test")
How = Literal["time", "token", "mixed", "strict"]
HOWS: tuple[How, ...] = ("time", "token", "mixed", "strict")
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


@dataclass(frozen=True)
class Timeline:
    """What is split of a market, or of any series of rows at one distance.

    Attributes:
        start_ms: open of row 0, milliseconds UTC.
        step_ms: from row to row.
        rows: `T`.
        first: the first row that can be decided at.
        name: in pictures.
    """

    start_ms: int
    step_ms: int
    rows: int
    first: int = 0
    name: str = ""

    @classmethod
    def of(cls, market: Market, window: tuple[int, ...]) -> Timeline:
        """The base bars of a market."""
        step = timeframe_ms(market.timeframes[0])
        return cls(market.start_ms, step, len(market), market.first_decision(window), market.name)

    def moment(self, row: int) -> np.datetime64:
        """Open of a row."""
        return np.datetime64(self.start_ms + row * self.step_ms, "ms")


@dataclass(frozen=True)
class SplitRule:
    """How rows are split.

    Attributes:
        how: "time" (earlier, later, last); "token" (other markets, all of their time); "mixed" (train and validation
            are other markets, in the earlier time; the test is the last time of all markets); or "strict" (other
            markets and later time: nothing of a part is known in the one before it, neither the asset nor the moment).
        fractions: of time or of markets for train, validation and test; they add up to 1.
        look_ahead: rows that a label looks ahead (`synthetic.labels` says); as many are purged before every border of
            time.
        embargo: rows left out after every border of time.
        seed: of the order in which markets are dealt out.
        train_share: share of the markets that is learned from in "token" and "mixed", the others keep their
            proportions; None: as the fractions say.

    Raises:
        ValueError: an unknown `how`, fractions that do not add up, or a number out of range.
    """

    how: How = "time"
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)
    look_ahead: int = 96
    embargo: int = 0
    seed: int = 0
    train_share: float | None = None

    def __post_init__(self) -> None:
        if self.how not in HOWS:
            raise ValueError(f"how={self.how!r} is unknown; choose one of {HOWS}")
        fractions = self.fractions
        if len(fractions) != 3 or min(fractions) <= 0.0 or abs(sum(fractions) - 1.0) > 1e-9:
            raise ValueError(f"fractions={fractions} are not allowed: three positive numbers that add up to 1")
        if min(self.look_ahead, self.embargo) < 0:
            given = f"look_ahead={self.look_ahead}, embargo={self.embargo}"
            raise ValueError(f"{given}: allowed are numbers of bars >= 0")
        if self.train_share is not None and not 0.0 < self.train_share < 1.0:
            raise ValueError(f"train_share={self.train_share} is not allowed: a share of the markets in (0, 1)")
        if self.train_share is not None and self.how not in ("token", "mixed"):
            raise ValueError(f"train_share goes with how='token' or 'mixed', which deal markets out, not {self.how!r}")

    @property
    def shares(self) -> tuple[float, ...]:
        """Shares of the markets that are dealt out: of the three parts, or of train and validation in "mixed"."""
        train, *rest = self.fractions[:2] if self.how == "mixed" else self.fractions
        share = train / (train + sum(rest)) if self.train_share is None else self.train_share
        return (share, *((1.0 - share) * one / sum(rest) for one in rest))


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
        how, fractions, look_ahead, embargo, seed: as in `SplitRule`.

    Raises:
        ValueError: an unknown `how`, fractions that do not add up, too few markets, or a part without rows.
    """
    rule = SplitRule(how, fractions, look_ahead, embargo, seed)
    if len({market.timeframes[0] for market in markets}) != 1:
        raise ValueError("the markets differ in their base timeframe: split them one by one")
    return split_rows([Timeline.of(market, window) for market in markets], rule)


def split_rows(timelines: Sequence[Timeline], rule: SplitRule) -> Splits:
    """Split the rows of several series, numbered as they come.

    Raises:
        ValueError: steps that differ, too few series, or a part without rows.
    """
    if len({line.step_ms for line in timelines}) != 1:
        raise ValueError("the series differ in the time from row to row: split them one by one")
    least = {"time": 1, "mixed": 2}.get(rule.how, 3)
    if len(timelines) < least:
        words = {2: "two", 3: "three"}
        raise ValueError(f"how={rule.how!r} needs at least {words[least]} markets, got {len(timelines)}")
    dealt = [] if rule.how == "time" else _dealt(len(timelines), rule.shares, rule.seed)
    if rule.how == "token":
        whole = [Span(m, line.first, line.rows) for m, line in enumerate(timelines) if line.first < line.rows]
        chosen = [[span for span in whole if span.market in part] for part in dealt]
    elif rule.how == "mixed":
        early, last = _spans_in_time(timelines, (sum(rule.fractions[:2]), rule.fractions[2]), rule)
        chosen = [*([span for span in early if span.market in part] for part in dealt), last]
    else:
        chosen = _spans_in_time(timelines, rule.fractions, rule)
        if rule.how == "strict":
            chosen = [[s for s in part if s.market in kept] for part, kept in zip(chosen, dealt, strict=True)]
    for name, part in zip(PARTS, chosen, strict=True):
        if not part:
            raise ValueError(f"the {name} part has no rows: fractions={rule.fractions}, look_ahead={rule.look_ahead}")
    return Splits(*map(tuple, chosen))


def _dealt(count: int, fractions: Sequence[float], seed: int) -> list[set[int]]:
    """Market numbers per part, at least one each."""
    order = np.random.default_rng(seed).permutation(count)
    edges = np.round(np.cumsum(fractions[:-1]) * count).astype(int)
    parts = len(fractions)
    edges = np.clip(edges, np.arange(1, parts), count - np.arange(parts - 1, 0, -1))
    return [set(part.tolist()) for part in np.split(order, edges)]


def _spans_in_time(timelines: Sequence[Timeline], fractions: Sequence[float], rule: SplitRule) -> list[list[Span]]:
    """Per part, the rows of every market between the borders, purged and embargoed."""
    step = timelines[0].step_ms
    first = [line.start_ms + line.first * step for line in timelines]
    last = [line.start_ms + line.rows * step for line in timelines]
    shares: NDArray[np.float64] = np.cumsum((0.0, *fractions))
    borders = min(first) + shares * (max(last) - min(first))
    parts: list[list[Span]] = []
    for number, (begin, end) in enumerate(pairwise(borders)):
        spans = []
        for m, line in enumerate(timelines):
            start, stop = (int(np.ceil((border - line.start_ms) / step)) for border in (begin, end))
            start += rule.embargo if number > 0 else 0
            stop -= rule.look_ahead if number < len(fractions) - 1 else 0
            start, stop = max(start, line.first), min(stop, line.rows)
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
    lines = [Timeline(m.start_ms, timeframe_ms(m.timeframes[0]), len(m), 0, m.name) for m in markets]
    draw_splits(lines, splits, path)


def draw_splits(timelines: Sequence[Timeline], splits: Splits, path: Path) -> None:
    """As `plot_splits`, of any series."""
    from matplotlib import dates
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 1.2 + 0.4 * len(timelines)), layout="constrained")
    axes: Any = figure.subplots()

    def bar(m: int, start: int, stop: int, colour: str, label: str | None = None) -> None:
        left, right = (pd.Timestamp(timelines[m].moment(row), tz="UTC") for row in (start, stop - 1))
        axes.barh(m, right - left, left=left, height=0.6, color=colour, label=label)

    for m, line in enumerate(timelines):
        bar(m, 0, line.rows, "#d9d9d9")
    for name in PARTS:
        for number, span in enumerate(splits.part(name)):
            bar(span.market, span.start, span.stop, COLOURS[name], None if number else name)
    axes.set_yticks(range(len(timelines)), [line.name or f"market {m}" for m, line in enumerate(timelines)])
    axes.invert_yaxis()
    axes.xaxis_date()
    ticks = dates.AutoDateLocator(maxticks=9)
    axes.xaxis.set_major_locator(ticks)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(ticks))
    axes.legend(ncols=3, frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    axes.spines[["top", "right"]].set_visible(False)
    make_folder(path.parent)
    write_figure(figure, path, dpi=100)
