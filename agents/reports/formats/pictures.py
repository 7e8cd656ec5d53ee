"""The charts of a report as PNG pictures, drawn by matplotlib in the light theme."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib import dates as mdates
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from agents.reports.document.blocks import Report, places
from agents.reports.document.charts import Bars, Candles, Chart, Heat, Intervals, Lines
from agents.reports.document.colours import COLOURS
from cryptoenv.files.durable_files import write_figure

LIGHT = {part: pair[0] for part, pair in COLOURS.items()}
CANDLES = 400  #: of a picture
WIDTH, DPI = 11.0, 110


def draw_charts(report: Report, folder: Path, progress: Callable[[], object] = lambda: None) -> None:
    """Draw every chart into an empty folder, in files named by their places."""
    for chapter in report.chapters:
        for section in chapter.sections:
            for place, block in places(f"{chapter.key}-{section.key}", section):
                if isinstance(block, Chart):
                    draw_chart(block, folder / f"{place}.png")
            progress()


def draw_chart(chart: Chart, path: Path) -> None:
    """Draw one chart, title and message included.

    Raises:
        TypeError: an unknown kind of chart.
    """
    height = 4.2
    if isinstance(chart, Heat):
        height = 1.6 + 0.42 * len(chart.rows)
    elif isinstance(chart, Intervals):
        height = 1.6 + 0.42 * len(chart.names)
    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor=LIGHT["page"])
    axis = figure.subplots()
    _DRAWN[type(chart)](axis, chart)
    axis.set_title(_plain(chart.title), loc="left", fontsize=11, color=LIGHT["text"])
    axis.tick_params(colors=LIGHT["quiet"], labelsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    if not isinstance(chart, Heat):
        axis.grid(color=LIGHT["grid"], linewidth=0.8)
        axis.set_axisbelow(True)
    write_figure(figure, path, dpi=DPI)


def _lines(axis: Axes, chart: Lines) -> None:
    for given in chart.lines:
        if given.hidden:
            continue
        line = given.thinned(3_000)
        x = np.asarray(line.x).astype("datetime64[ms]") if chart.timed else line.x
        style = "--" if line.dashed else "-"
        drawn = "steps-post" if line.stepped else "default"
        axis.plot(x, line.y, style, color=LIGHT[line.colour], linewidth=1.3, label=_plain(line.name), drawstyle=drawn)  # type: ignore[arg-type]
        if line.filled:
            axis.fill_between(x, line.y, 0.0, color=LIGHT[line.colour], alpha=0.15, linewidth=0)  # type: ignore[arg-type]
    for value in chart.marks:
        axis.axhline(value, color=LIGHT["quiet"], linewidth=0.8, linestyle=":")
    if chart.log:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
        axis.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    if chart.percent:
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    if chart.timed:
        axis.xaxis.set_major_formatter(mdates.ConciseDateFormatter(axis.xaxis.get_major_locator(), tz="UTC"))
    axis.set_xlabel(chart.x_title or ("UTC" if chart.timed else ""), color=LIGHT["quiet"])
    axis.set_ylabel(chart.y_title, color=LIGHT["quiet"])
    axis.margins(x=0.0)
    if len(chart.lines) > 1:
        axis.legend(frameon=False, fontsize=8)


def _bars(axis: Axes, chart: Bars) -> None:
    at = np.arange(len(chart.categories))
    width = 0.8 / (len(chart.series) if chart.grouped else 1)
    above, below = np.zeros(len(at)), np.zeros(len(at))
    for number, (name, values) in enumerate(chart.series.items()):
        known = np.nan_to_num(values)
        colour = (
            [LIGHT["gain" if v >= 0 else "loss"] for v in known]
            if chart.signed
            else LIGHT[chart.colours.get(name, "main")]
        )
        if chart.grouped:
            beside = (number - 0.5 * (len(chart.series) - 1)) * width
            axis.bar(at + beside, known, width, color=colour, label=_plain(name))
            continue
        axis.bar(at, known, width, bottom=np.where(known >= 0.0, above, below), color=colour, label=_plain(name))
        above, below = above + np.maximum(known, 0.0), below + np.minimum(known, 0.0)
    step = max(1, len(at) // 24)
    names = [_plain(name)[:28] for name in chart.categories[::step]]
    turned = len(at) > 6
    axis.set_xticks(at[::step], names, rotation=35 if turned else 0, ha="right" if turned else "center")
    if chart.percent:
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.set_xlabel(chart.x_title, color=LIGHT["quiet"])
    axis.set_ylabel(chart.y_title, color=LIGHT["quiet"])
    if len(chart.series) > 1:
        axis.legend(frameon=False, fontsize=8)


def _heat(axis: Axes, chart: Heat) -> None:
    largest = max(float(np.nanmax(np.abs(chart.values))), 1e-12)
    shades = LinearSegmentedColormap.from_list("around 0", [LIGHT["loss"], LIGHT["page"], LIGHT["gain"]])
    axis.imshow(chart.values, cmap=shades, vmin=-largest, vmax=largest, aspect="auto", alpha=0.75)
    digits = 1 if 100.0 * largest >= 10.0 else 3
    for (i, j), value in np.ndenumerate(chart.values):
        if np.isfinite(value):
            axis.text(j, i, f"{100.0 * value:+.{digits}f}%", ha="center", va="center", fontsize=8, color=LIGHT["text"])
    axis.set_xticks(range(len(chart.columns)), list(map(_plain, chart.columns)))
    axis.set_yticks(range(len(chart.rows)), list(map(_plain, chart.rows)))


def _intervals(axis: Axes, chart: Intervals) -> None:
    at = np.arange(len(chart.names))[::-1]
    low, high = np.nan_to_num(chart.values - chart.low), np.nan_to_num(chart.high - chart.values)
    errors = np.maximum([low, high], 0.0)
    axis.errorbar(chart.values, at, xerr=errors, fmt="o", color=LIGHT["main"], capsize=3)
    axis.axvline(0.0, color=LIGHT["quiet"], linewidth=0.8, linestyle=":")
    axis.set_yticks(at, list(map(_plain, chart.names)))
    axis.set_xlabel(chart.x_title, color=LIGHT["quiet"])
    if chart.percent:
        axis.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=3))


def _candles(axis: Axes, chart: Candles) -> None:
    shown = chart.grouped(max(1, -(-len(chart.open) // CANDLES)))
    x = mdates.date2num(shown.opens_ms.astype("datetime64[ms]"))
    half = 0.35 * shown.step_ms / 86_400_000
    colours = [LIGHT["gain" if c >= o else "loss"] for o, c in zip(shown.open, shown.close, strict=True)]
    axis.vlines(x, shown.low, shown.high, color=colours, linewidth=0.8)  # type: ignore[arg-type]
    bodies = [
        [(a - half, o), (a - half, c), (a + half, c), (a + half, o)]
        for a, o, c in zip(x, shown.open, shown.close, strict=True)
    ]
    axis.add_collection(PolyCollection(bodies, facecolors=colours, edgecolors=colours, linewidths=0.5))
    low, high = float(shown.low.min()), float(shown.high.max())
    for side, colour in (("long", "gain"), ("short", "loss")):
        mine = chart.trades[chart.trades["side"] == side] if len(chart.trades) else chart.trades
        for start, stop in zip(mine.get("entry_ms", ()), mine.get("exit_ms", ()), strict=True):
            first, last = mdates.date2num(np.array([start, stop]).astype("datetime64[ms]"))
            axis.fill_betweenx(
                (low - 0.05 * (high - low), low - 0.02 * (high - low)), first, last, color=LIGHT[colour], linewidth=0
            )
    axis.xaxis_date(tz="UTC")
    axis.xaxis.set_major_formatter(mdates.ConciseDateFormatter(axis.xaxis.get_major_locator(), tz="UTC"))
    axis.set_ylabel("price; below: long green, short red", color=LIGHT["quiet"])
    axis.margins(x=0.0)
    axis.autoscale_view()


def _plain(text: str) -> str:
    """Text in which matplotlib reads no mathematics."""
    return text.replace("$", r"\$")


_DRAWN: dict[type, Callable[..., None]] = {
    Lines: _lines, Bars: _bars, Heat: _heat, Intervals: _intervals, Candles: _candles,
}  # fmt: skip
