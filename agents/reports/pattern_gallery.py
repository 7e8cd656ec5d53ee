"""Pictures of chart patterns and of token markets, with their truth drawn in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cryptoenv.files.durable_files import write_figure
from synthetic.patterns.market import PatternSample
from synthetic.patterns.patterns import PATTERN_KINDS, PatternParams, PatternTruth, generate_pattern
from synthetic.patterns.planting import BACKGROUNDS
from synthetic.regimes.chain_task import WARMUP_DAYS
from synthetic.tokens.events import EVENT_KINDS
from synthetic.tokens.market import TokenSample

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UP_COLOUR, DOWN_COLOUR, LINE_COLOUR = "#2a9d5c", "#d1495b", "#1f4e9c"
PART_COLOURS = ("#f2e6c9", "#dfe9f5")
EVENT_COLOURS = ("#7b4fa3", "#e07b00", "#d1495b", "#888888", "#b8a000", "#1f4e9c", "#00838f", "#8d5524")
BACKGROUND_COLOURS = ("#bfe3cd", "#f2c4cb", "#dddddd", "#cfe0f5", "#f7dfb3")
_COLUMNS = 4
_ROW_DAYS, _MOST_ROWS = 10, 8
_MOST_NAMED, _MOST_COLUMNS = 20, 1500  # events named in a token's panel, columns of buys and sells


def draw_gallery(
    path: Path,
    noise: float = 0.06,
    seed: int = 0,
    params: PatternParams | None = None,
    kinds: Sequence[str] = PATTERN_KINDS,
) -> None:
    """Draw one pattern of each kind into a PNG file: bars, parts, lines, actions and volume.

    Args:
        path: file to write.
        noise: see `generate_pattern`.
        seed: any integer >= 0; kind `i` of `PATTERN_KINDS` is drawn with `[seed, i]`.
        params: of all patterns; `PatternParams()` where None.
        kinds: which to draw.

    Raises:
        ValueError: see `generate_pattern`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(kinds))
    rows = -(-len(kinds) // columns)
    figure = Figure(figsize=(6.0 * columns, 3.7 * rows), constrained_layout=True)
    FigureCanvasAgg(figure)
    panels = figure.subfigures(rows, columns, squeeze=False).ravel()
    for kind, panel in zip(kinds, panels, strict=False):
        rng = np.random.default_rng([seed, PATTERN_KINDS.index(kind)])
        bars, truth = generate_pattern(kind, params or PatternParams(), noise, rng)
        axes = panel.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        draw_pattern(axes[0], axes[1], bars, truth)
    write_figure(figure, path, dpi=75)


def draw_pattern(prices: Axes, volume: Axes, bars: pd.DataFrame, truth: PatternTruth) -> None:
    """Draw one pattern into two axes; the background of the volume is the action: green long, red short."""
    draw_candles(prices, bars)
    top, bottom = float(bars["high"].max()), float(bars["low"].min())
    prices.set_ylim(bottom - 0.3 * (top - bottom), top + 0.06 * (top - bottom))
    for number, span in enumerate(truth.spans.iloc[1:].to_dict("records")):
        prices.axvspan(span["first"], span["last"], color=PART_COLOURS[number % 2], alpha=0.7, lw=0, zorder=0)
        middle = (span["first"] + span["last"]) / 2
        prices.text(
            middle,
            0.02 + 0.065 * (number % 3),
            span["part"],
            transform=prices.get_xaxis_transform(),
            fontsize=8,
            ha="center",
        )
    for line in truth.lines.to_dict("records"):
        prices.plot(
            [line["first"], line["last"]], [line["first_price"], line["last_price"]], color=LINE_COLOUR, lw=1.3, ls="--"
        )
        prices.annotate(
            line["line"], (line["first"], line["first_price"]), fontsize=8, color=LINE_COLOUR, ha="right", va="bottom"
        )
    if truth.confirmed >= 0:
        up = truth.actions.sum() > 0
        spot = (truth.confirmed, float(bars["close"].to_numpy()[truth.confirmed]))
        prices.plot(*spot, marker="^" if up else "v", ms=10, color=UP_COLOUR if up else DOWN_COLOUR, mec="black")
    prices.set_title(truth.kind.replace("_", " "), loc="left", fontsize=11, weight="bold")
    prices.margins(x=0.01)
    rising = bars["close"] >= bars["open"]
    volume.bar(np.arange(len(bars)), bars["volume"], color=np.where(rising, UP_COLOUR, DOWN_COLOUR), width=0.8)
    for side, colour in ((1, UP_COLOUR), (-1, DOWN_COLOUR)):
        held = truth.actions == side
        volume.fill_between(
            np.arange(len(bars)), 0, 1, where=held, transform=volume.get_xaxis_transform(), color=colour, alpha=0.2
        )
    volume.set_yticks([])
    for axis in (prices, volume):
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)


def draw_pattern_market(sample: PatternSample, path: Path) -> None:
    """Draw the tradable days of a pattern market, 80 at most, into a PNG file: ten days in a row.

    Spans are grey, with their kind; a triangle marks the confirmation, dashes the target. The strip below the prices is
    the background, the one at the bottom the action: green long, red short.

    Args:
        sample: the market.
        path: file to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    days = len(sample.bars) * (sample.bars.index[1] - sample.bars.index[0]) // pd.Timedelta(days=1)
    a_day = len(sample.bars) // days
    row, first = _ROW_DAYS * a_day, WARMUP_DAYS * a_day
    starts = range(first, len(sample.bars), row)[:_MOST_ROWS]
    figure = Figure(figsize=(22.0, 3.4 * len(starts) + 0.5), constrained_layout=True)
    FigureCanvasAgg(figure)
    for axis, start in zip(figure.subplots(len(starts), 1, squeeze=False)[:, 0], starts, strict=True):
        _draw_stretch(axis, sample, start, min(start + row, len(sample.bars)))
    handles = [Patch(color=c, label=n.replace("_", " ")) for n, c in zip(BACKGROUNDS, BACKGROUND_COLOURS, strict=True)]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), fontsize=9, frameon=False)
    write_figure(figure, path, dpi=75)


def _draw_stretch(axis: Axes, sample: PatternSample, start: int, stop: int) -> None:
    """Bars [start, stop) of a pattern market."""
    bars, truth = sample.bars.iloc[start:stop], sample.truth.iloc[start:stop]
    at = np.arange(start, stop)
    axis.fill_between(at, bars["low"], bars["high"], color="#999999", lw=0, alpha=0.6)
    close = sample.bars["close"].to_numpy()
    axis.plot(at, close[start:stop], color="#222222", lw=0.8)
    axis.set_xlim(start, stop)
    low, high = float(bars["low"].min()), float(bars["high"].max())
    axis.set_ylim(low - 0.16 * (high - low), high + 0.14 * (high - low))
    strips = [(truth["background"], number, colour, 0.04, 0.08) for number, colour in enumerate(BACKGROUND_COLOURS)]
    strips += [(truth["action"], side, colour, 0.0, 0.04) for side, colour in ((1, UP_COLOUR), (-1, DOWN_COLOUR))]
    across = axis.get_xaxis_transform()
    for values, wanted, colour, bottom, top in strips:
        axis.fill_between(at, bottom, top, where=values == wanted, transform=across, color=colour, lw=0, step="post")
    shown = sample.spans[(sample.spans["end"] >= start) & (sample.spans["start"] < stop)]
    for number, span in enumerate(shown.to_dict("records")):
        left, right = max(span["start"], start), min(span["end"], stop - 1)
        axis.axvspan(left, right, color="#6f7fa8", alpha=0.16, lw=0)
        name = span["kind"].replace("_", " ") if right - left > 60 else ""  # a sliver at the border has no room for it
        middle = (left + right) / 2
        axis.text(middle, 0.95 - 0.06 * (number % 2), name, transform=across, fontsize=8, ha="center", va="top")
        spot = span["confirmation"]
        if start <= spot < stop:
            up = span["target"] > close[spot]
            marker, colour = ("^", UP_COLOUR) if up else ("v", DOWN_COLOUR)
            if np.isnan(span["target"]):
                marker, colour = "o", "#888888"
            axis.plot(spot, close[spot], marker=marker, ms=8, color=colour, mec="black")
            axis.plot([spot, right], [span["target"]] * 2, color=LINE_COLOUR, lw=1.0, ls="--")
    axis.set_title(f"{bars.index[0]:%Y-%m-%d}", loc="left", fontsize=9)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)


def draw_candles(axis: Axes, bars: pd.DataFrame) -> None:
    """Candles at bar numbers."""
    at = np.arange(len(bars))
    rising = (bars["close"] >= bars["open"]).to_numpy()
    colours = np.where(rising, UP_COLOUR, DOWN_COLOUR)
    axis.vlines(at, bars["low"], bars["high"], color=colours, lw=0.6)
    bottom = bars[["open", "close"]].min(axis=1)
    axis.bar(at, (bars["close"] - bars["open"]).abs(), bottom=bottom, color=colours, width=0.7)


def draw_tokens(sample: TokenSample, path: Path) -> None:
    """Draw price, liquidity, buys and sells of every token with its events into a PNG file.

    Long series show the buys and sells of several bars as one, and name events by colour alone.

    Args:
        sample: the market.
        path: file to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(14.0, 4.2 * len(sample.bars)), constrained_layout=True)
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 * len(sample.bars), 1, height_ratios=[3, 1.2] * len(sample.bars), squeeze=False)[:, 0]
    named = len(sample.events) <= _MOST_NAMED * len(sample.bars)
    for number, (token, bars) in enumerate(sample.bars.items()):
        above, below = axes[2 * number], axes[2 * number + 1]
        above.plot(bars["close"].to_numpy(), color="#333333", lw=0.9)
        above.set_yscale("log")
        above.set_title(f"{token}: price", loc="left", fontsize=10)
        _draw_events(above, sample.events[sample.events["token"] == token], named)
        _draw_flow(below, bars)
        for axis in (above, below):
            axis.margins(x=0.0)
    if not named:
        pairs = zip(EVENT_KINDS, EVENT_COLOURS, strict=True)
        handles = [Patch(color=colour, label=kind.replace("_", " ")) for kind, colour in pairs]
        figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), fontsize=8, frameon=False)
    write_figure(figure, path, dpi=80)


def _draw_events(axis: Axes, events: pd.DataFrame, named: bool) -> None:
    colours = dict(zip(EVENT_KINDS, EVENT_COLOURS, strict=True))
    for event in events.to_dict("records"):
        axis.axvspan(event["first"] - 0.5, event["last"] + 0.5, color=colours[event["kind"]], alpha=0.25, lw=0)
        if named:
            axis.annotate(
                event["kind"].replace("_", " "), (event["first"], 0.99), xycoords=("data", "axes fraction"), fontsize=7,
                rotation=90, va="top", ha="right", color=colours[event["kind"]],
            )  # fmt: skip


def _draw_flow(axis: Axes, bars: pd.DataFrame) -> None:
    """Buys up, sells down, and the pool's liquidity."""
    together = -(-len(bars) // _MOST_COLUMNS)
    flow = bars[["buys", "sells"]].groupby(np.arange(len(bars)) // together).sum()
    at = flow.index.to_numpy() * together
    axis.fill_between(at, 0.0, flow["buys"], color=UP_COLOUR, step="post", lw=0)
    axis.fill_between(at, 0.0, -flow["sells"], color=DOWN_COLOUR, step="post", lw=0)
    axis.set_ylabel("buys, sells", fontsize=8)
    pool = axis.twinx()
    pool.plot(bars["liquidity"].to_numpy(), color=LINE_COLOUR, lw=0.9)
    pool.set_ylabel("liquidity", fontsize=8, color=LINE_COLOUR)
