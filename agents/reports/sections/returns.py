"""Equity, drawdown, months, rolling Sharpe ratio and the distribution of returns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agents.reports.document.blocks import PERCENT, RATIO, SHARE, Block, Section, Words, shown_time
from agents.reports.document.charts import Bars, Heat, Line, Lines
from agents.reports.document.colours import SERIES
from agents.reports.records.record import HOLDING, Record, Track
from agents.reports.sections.days import day_ends, days_of
from cryptoenv.analysis.drawdowns import deepest_drawdowns, drawdown_curve
from cryptoenv.analysis.figures import monthly_table
from cryptoenv.analysis.returns import conditional_value_at_risk, total_return, value_at_risk
from cryptoenv.analysis.rolling import rolling_sharpe

MOST_LINES = 6  #: accounts in one chart
LOST = 0.1  #: share of the start; who ends below it, and is not the account itself, hides in the legend
MOST_TABLES = 4  #: accounts that get a heat map each
WINDOWS = (30, 90)  #: days of the rolling Sharpe ratio
#: Part of a name -> colour of methods that are compared with.
OTHERS = {HOLDING: "held", "oracle": "best", "optimum": "best"}
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Year")


def equity(record: Record) -> Section:
    """Equity against what it is compared with, one chart per market that has its own baselines."""
    title = "Equity against baselines"
    if not record.tracks:
        return Section("equity", title, (), _why(record, "equity"))
    shared = [track for track in record.tracks if track.equity.keys() == {track.lead}]
    blocks: list[Block] = []
    if (len(record.tracks) > 1 and record.kind == "walk-forward") or shared:
        blocks += _together(record)
    else:
        blocks += [_equity_chart(track, f"equity-{n}") for n, track in enumerate(record.tracks)]
    return Section("equity", title, tuple(blocks))


def _together(record: Record) -> list[Block]:
    """Accounts that follow each other's bars (the seeds of a walk-forward): a chart per market."""
    by_market: dict[str, list[Track]] = {}
    for track in record.tracks:
        by_market.setdefault(track.market, []).append(track)
    charts: list[Block] = []
    for number, (market, tracks) in enumerate(by_market.items()):
        shown = tracks[:MOST_LINES]
        lines = [Line(t.name.rpartition(", ")[2], t.own / t.own[0], t.closes_ms, SERIES[i])
                 for i, t in enumerate(shown)]  # fmt: skip
        lines += [Line(name, curve / curve[0], tracks[0].closes_ms, _colour(name) or "held", dashed=True)
                  for name, curve in tracks[0].equity.items() if name != tracks[0].lead]  # fmt: skip
        ends = ", ".join(f"{line.name} {PERCENT.shown(float(line.y[-1]) - 1.0)}" for line in lines)
        charts.append(Lines(f"equity-{number}", f"Equity on {market}", f"Total return: {ends}.", tuple(lines),
                            "equity / start", log=True))  # fmt: skip
    return charts


def _equity_chart(track: Track, key: str) -> Lines:
    lines, series = [], iter(SERIES[1:] * 4)
    for name, curve in track.equity.items():
        own = name == track.lead
        colour = "main" if own else _colour(name) or next(series)
        lost = not own and bool(curve[-1] < LOST * curve[0] and track.own[-1] > LOST * track.own[0])
        lines.append(Line(name, curve, track.closes_ms, colour, dashed=not own and _colour(name) != "", hidden=lost))
    hidden = [line.name for line in lines if line.hidden]
    ends = ", ".join(f"{name} {PERCENT.shown(total_return(curve))}" for name, curve in track.equity.items())
    return Lines(key, f"Equity on {track.name}", f"Total return: {ends}."
                 + (f" In the legend alone: {', '.join(hidden)}." if hidden else ""), tuple(lines),
                 "equity, quote currency", log=_wide([line for line in lines if not line.hidden]))  # fmt: skip


def _colour(name: str) -> str:
    """The colour of a method that every chart has, by a part of its name; "" of others."""
    return next((colour for part, colour in OTHERS.items() if part in name), "")


def _wide(lines: list[Line]) -> bool:
    """Whether a linear axis would hide the lower part."""
    values = np.concatenate([line.y[:: max(len(line.y) // 500, 1)] for line in lines])
    return bool(values.min() > 0.0 and values.max() / values.min() > 3.0)


def drawdown(record: Record) -> Section:
    """Falls from the highest equity so far."""
    title = "Drawdown"
    if not record.tracks:
        return Section("drawdown", title, (), _why(record, "equity"))
    lines = [Line(record.called(t), -drawdown_curve(t.own), t.closes_ms, SERIES[i], filled=i == 0)
             for i, t in enumerate(record.tracks[:MOST_LINES])]  # fmt: skip
    first = record.tracks[0]
    falls = deepest_drawdowns(first.own, 3)
    falls = [fall for fall in falls if fall.depth >= 0.1 * falls[0].depth]  # the others are noise
    said = "; ".join(
        f"{SHARE.shown(fall.depth)} from {shown_time(int(first.closes_ms[fall.peak]))[:10]} to "
        f"{shown_time(int(first.closes_ms[fall.valley]))[:10]}, "
        + (f"back on {shown_time(int(first.closes_ms[fall.recovery]))[:10]}" if fall.recovery else "never back")
        for fall in falls
    )
    message = f"Deepest falls of {lines[0].name}: {said}." if falls else "Equity never fell."
    if first.lead != HOLDING and HOLDING in first.equity:
        lines.append(Line(HOLDING, -drawdown_curve(first.equity[HOLDING]), first.closes_ms, "held", dashed=True))
    return Section("drawdown", title, (
        Lines("drawdown", "Loss from the highest equity so far", message, tuple(lines), "drawdown", percent=True),
    ))  # fmt: skip


def months(record: Record) -> Section:
    """Returns of calendar months, a heat map per account."""
    title = "Monthly returns"
    if not record.tracks:
        return Section("months", title, (), _why(record, "equity"))
    blocks: list[Block] = []
    for number, track in enumerate(record.tracks[:MOST_TABLES]):
        table = monthly_table(track.own, track.closes_ms)
        values = table.to_numpy(dtype=np.float64)
        inside = values[:, :-1]
        found = inside[~np.isnan(inside)]
        message = (
            f"{int((found > 0).sum())} of {len(found)} months gained; best {PERCENT.shown(float(found.max()))}, worst "
            f"{PERCENT.shown(float(found.min()))}."
        )
        blocks.append(Heat(
            f"months-{number}", f"Returns of months, {record.called(track)}", message, tuple(map(str, table.index)),
            MONTHS, values, row_title="year",
        ))  # fmt: skip
    left = len(record.tracks) - MOST_TABLES
    if left > 0:
        blocks.append(Words((f"{left} more accounts are in equity.parquet.",)))
    return Section("months", title, tuple(blocks))


def rolling(record: Record) -> Section:
    """Sharpe ratio of the last days, as they move on."""
    title = "Rolling Sharpe ratio"
    if not record.tracks:
        return Section("rolling", title, (), _why(record, "equity"))
    lines = []
    several = len(record.tracks) > 1
    for i, track in enumerate(record.tracks[:MOST_LINES]):
        returns, ends = days_of(track), day_ends(track)
        for j, window in enumerate(WINDOWS[:1] if several else WINDOWS):
            values = rolling_sharpe(returns, window, 365.0)
            if len(values):
                name = f"{record.called(track)}, {window} days" if several else f"{window} days"
                lines.append(Line(name, values, ends[window - 1 :], SERIES[i + j]))
    if not lines:
        days = max(len(days_of(track)) for track in record.tracks)
        return Section("rolling", title, (), f"it takes {WINDOWS[0]} whole days, and there are {days}")
    first = lines[0]
    message = (
        f"{first.name}: above 0 in {SHARE.shown(float((first.y > 0).mean()))} of the time, last "
        f"{RATIO.shown(float(first.y[-1]))}."
    )
    return Section("rolling", title, (
        Lines("rolling", "Sharpe ratio of the last days, on a year", message, tuple(lines), "Sharpe ratio",
              marks=(0.0,)),
    ))  # fmt: skip


def distribution(record: Record) -> Section:
    """Net returns of days, of all accounts together."""
    title = "Distribution of returns"
    if not record.tracks:
        return Section("distribution", title, (), _why(record, "equity"))
    pooled = [days_of(track) for track in record.tracks]
    returns = np.concatenate(pooled)
    if len(returns) < 5:
        return Section("distribution", title, (), f"it takes 5 whole days, and there are {len(returns)}")
    counts, edges = _histogram(returns)
    middles = 100.0 * (edges[:-1] + edges[1:]) / 2.0
    digits = max(0, min(4, int(np.ceil(-np.log10(max(middles[1] - middles[0], 1e-9))) + 1))) if len(middles) > 1 else 2
    message = (
        f"{len(returns):,} days: mean {PERCENT.shown(float(returns.mean()))}, one day in twenty below "
        f"{PERCENT.shown(value_at_risk(returns))}, and then {PERCENT.shown(conditional_value_at_risk(returns))} on "
        f"average; best {PERCENT.shown(float(returns.max()))}, worst {PERCENT.shown(float(returns.min()))}."
    )
    names = tuple(f"{value:+.{digits}f}%".replace("-", "\N{MINUS SIGN}") for value in middles)
    many = f" of {len(pooled)} accounts" if len(pooled) > 1 else ""
    return Section("distribution", title, (
        Bars("distribution", f"Net returns of UTC days{many}", message, names, {"days": counts.astype(np.float64)},
             {"days": "main"}, "days", "return of the day"),
    ))  # fmt: skip


def _histogram(returns: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Counts and edges, between the outer 0.5% at either end the same width; what lies beyond counts at the ends."""
    low, high = np.quantile(returns, [0.005, 0.995])
    if high <= low:
        low, high = low - 0.001, high + 0.001
    bins = int(np.clip(np.sqrt(len(returns)), 9, 41))
    counts, edges = np.histogram(np.clip(returns, low, high), bins=bins, range=(float(low), float(high)))
    return counts, edges


def _why(record: Record, what: str) -> str:
    return record.missing.get(what, "the run kept no equity over time")
