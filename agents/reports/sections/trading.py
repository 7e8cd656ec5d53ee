"""Candles with fills, exposure, costs over time and the table of trades."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.reports.document.blocks import (
    COUNT,
    MONEY,
    PERCENT,
    SHARE,
    Block,
    Column,
    Section,
    Style,
    Trades,
    milliseconds,
)
from agents.reports.document.charts import Bars, Candles, Line, Lines
from agents.reports.document.colours import SERIES
from agents.reports.records.record import COSTS, Record, Track
from cryptoenv.analysis.trades import exit_levels
from cryptoenv.bars.timeframe import DAY_MS

MONDAY = 3  #: days from one to 1970-01-01
MOST_STEPS = 6_000  #: closes that an exposure is drawn at
MOST_CHARTS = 2  #: markets whose candles are shown
PRICE = Style(1.0, ",.8g")
#: Columns of the table of trades, of those that a run has.
COLUMNS = (
    Column("account", "Account", "text"), Column("number", "No.", "number", COUNT), Column("side", "Side", "text"),
    Column("entry_ms", "Entry (UTC)", "time"), Column("exit_ms", "Exit (UTC)", "time"),
    Column("bars", "Bars", "number", COUNT), Column("quantity", "Quantity", "number", PRICE),
    Column("entry_price", "Entry price", "number", PRICE), Column("exit_price", "Exit price", "number", PRICE),
    Column("return", "Return", "number", PERCENT), Column("gain", "Net gain", "number", MONEY),
    Column("fees", "Fees", "number", MONEY), Column("slippage", "Slippage", "number", MONEY),
    Column("funding", "Funding", "number", MONEY), Column("borrow", "Borrow", "number", MONEY),
    Column("exit_kind", "Closed by", "text"),
)  # fmt: skip
COST_COLOURS = {"fees": "main", "slippage": "second", "funding": "third", "borrow": "fourth"}


def candles(record: Record) -> Section:
    """Candles with fills, stops and the position, of the first markets."""
    title = "Candles, fills and positions"
    drawn = [track for track in _a_track_per_market(record) if track.bars is not None and track.trades is not None]
    if not drawn:
        why = record.missing.get("trades") or record.missing.get("candles") or record.missing.get("equity")
        return Section(
            "candles", title, (), why or "the run kept no prices of its bars: make it again with this version"
        )
    charts = [_candles(track, record.called(track), i) for i, track in enumerate(drawn[:MOST_CHARTS])]
    return Section("candles", title, tuple(charts))


def candle_key(record: Record, track: Track) -> str:
    """Key of the chart that shows a track's trades, or "" where there is none."""
    drawn = [one for one in _a_track_per_market(record) if one.bars is not None and one.trades is not None]
    names = [one.name for one in drawn[:MOST_CHARTS]]
    return f"candles-{names.index(track.name)}" if track.name in names else ""


def _a_track_per_market(record: Record) -> list[Track]:
    """The first account of each market that traded, or the first."""
    found: dict[str, Track] = {}
    for track in record.tracks:
        before = found.get(track.market)
        if before is None or (not _traded(before) and _traded(track)):
            found[track.market] = track
    return list(found.values())


def _traded(track: Track) -> bool:
    return track.trades is not None and len(track.trades) > 0


def _candles(track: Track, name: str, number: int) -> Candles:
    assert track.bars is not None and track.trades is not None
    trades = dated_trades(track)
    stops = int((trades["exit_kind"] == "stop loss").sum())
    opens = track.closes_ms - track.step_ms
    prices = {name: track.bars[name].to_numpy(dtype=np.float64) for name in ("open", "high", "low", "close")}
    won, many = int((trades["gain"] > 0).sum()), "trade" if len(trades) == 1 else "trades"
    message = (
        f"{len(opens):,} bars and {len(trades):,} {many} of {name}, {won:,} of them "
        f"with a gain, {stops:,} closed by a stop. Prices go from {PRICE.shown(float(prices['open'][0]))} to "
        f"{PRICE.shown(float(prices['close'][-1]))}."
    )
    return Candles(f"candles-{number}", f"{track.market}: candles with the fills of {name}", message, opens,
                   track.step_ms, **prices, trades=trades)  # fmt: skip


def dated_trades(track: Track) -> pd.DataFrame:
    """Trades with times in milliseconds, sides in words and the levels at which they would be closed."""
    assert track.trades is not None
    table = track.trades.reset_index(drop=True)
    stop, profit = exit_levels(table["entry_price"], table["side"], track.stop_loss, track.take_profit)
    return table.assign(
        entry_ms=milliseconds(table["entry_time"]), exit_ms=milliseconds(table["exit_time"]),
        side=np.where(table["side"] > 0, "long", "short"), stop=stop, profit=profit,
        exit_kind=np.where(table["open"], "still open", table["exit_kind"].astype(str).str.replace("_", " ")),
        number=np.arange(1, len(table) + 1),
    )  # fmt: skip


def exposure(record: Record) -> Section:
    """What was held over time."""
    title = "Exposure"
    drawn = [track for track in record.tracks if track.exposure is not None]
    if not drawn:
        why = record.missing.get("accounts") or record.missing.get("equity")
        return Section("exposure", title, (), why or "the run kept no exposures over time")
    first = drawn[0]
    daily = len(first.closes_ms) > MOST_STEPS
    lines = [_held_line(track, record.called(track), SERIES[i], daily)
             for i, track in enumerate(drawn[:4])]  # fmt: skip
    assert first.exposure is not None
    held = first.exposure
    message = (
        f"{lines[0].name} is long in {SHARE.shown(float((held > 0.001).mean()))}, short in "
        f"{SHARE.shown(float((held < -0.001).mean()))} and flat in "
        f"{SHARE.shown(float((np.abs(held) <= 0.001).mean()))} of the bars."
    )
    return Section("exposure", title, (
        Lines("exposure", "Position over equity, " + ("mean of each day" if daily else "at each close"), message,
              tuple(lines), "exposure, share of equity",
              percent=True, marks=(0.0,)),
    ))  # fmt: skip


def _held_line(track: Track, name: str, colour: str, daily: bool) -> Line:
    """Exposure at each close, or its mean over each UTC day, where closes are too many to tell apart."""
    assert track.exposure is not None
    if not daily:
        return Line(name, track.exposure, track.closes_ms, colour, stepped=True)
    days = (track.closes_ms - 1) // DAY_MS
    numbers = days - days[0]
    counts = np.bincount(numbers)
    means = np.bincount(numbers, track.exposure) / np.maximum(counts, 1)
    ends = (days[0] + 1 + np.arange(len(counts))) * DAY_MS
    return Line(name, means[counts > 0], ends[counts > 0], colour)


def costs(record: Record) -> Section:
    """What was paid, by kind and period, all accounts together."""
    title = "Costs over time"
    paid = [track for track in record.tracks if track.costs is not None]
    if not paid:
        why = record.missing.get("accounts") or record.missing.get("equity")
        return Section("costs", title, (), why or "the run kept no costs over time")
    unit, width = _period(paid[0].closes_ms)
    found = [_periods(track.closes_ms, width) for track in paid]
    first, last = min(int(one[0]) for one in found), max(int(one[-1]) for one in found)
    labels = _starts(np.arange(first, last + 1), width)
    series = {kind: np.zeros(len(labels)) for kind in COSTS}
    for track, periods in zip(paid, found, strict=True):
        assert track.costs is not None
        for kind in COSTS:
            series[kind] += np.bincount(periods - first, track.costs[kind], len(labels))
    shown = {kind: values for kind, values in series.items() if np.any(values != 0.0)}
    if not shown:
        return Section("costs", title, (), "nothing was paid: no order was filled")
    parts = ", ".join(f"{kind} {MONEY.shown(float(values.sum()))}" for kind, values in shown.items())
    many = f", {len(paid)} accounts together" if len(paid) > 1 else ""
    message = f"In all: {parts}, quote currency{many}. Slippage is inside the fill prices."
    return Section("costs", title, (
        Bars("costs", f"Costs by kind and {unit}", message, labels, shown, COST_COLOURS, "quote currency",
             f"{unit} (UTC)"),
    ))  # fmt: skip


def _period(closes: NDArray[np.int64]) -> tuple[str, int]:
    """Word and length in days (0: calendar months) of periods that suit a record's length."""
    days = float(closes[-1] - closes[0]) / DAY_MS
    return ("month", 0) if days > 120 else ("week", 7) if days > 21 else ("day", 1)


def _periods(closes: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Months, or weeks from Monday on, or days since 1970 of marks; one at midnight belongs to what ends there."""
    moments = closes - 1
    if width == 0:
        return moments.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    shift = MONDAY if width == 7 else 0
    return (moments + shift * DAY_MS) // (width * DAY_MS)


def _starts(periods: NDArray[np.int64], width: int) -> tuple[str, ...]:
    """The first day or the month of each period."""
    if width == 0:
        return tuple(map(str, periods.astype("datetime64[M]")))
    shift = MONDAY if width == 7 else 0
    return tuple(map(str, (periods * width - shift).astype("datetime64[D]")))


def trades(record: Record) -> Section:
    """Every trade, to be sorted, filtered and saved."""
    title = "Trades"
    kept = [track for track in record.tracks if track.trades is not None]
    if record.trades is not None:
        kept = [Track(record.name, np.empty(0, dtype=np.int64), 0, {record.name: np.empty(0)}, trades=record.trades)]
    if not kept:
        return Section("trades", title, (), record.missing.get("trades", "the run kept no trades"))
    tables = [
        dated_trades(track).assign(account=record.called(track), chart=candle_key(record, track)) for track in kept
    ]
    table = pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0]
    if not len(table):
        return Section("trades", title, (), "there was no trade: the position never changed")
    columns = tuple(c for c in COLUMNS if c.name in table and (c.name != "account" or len(kept) > 1))
    block: list[Block] = [Trades("trades", columns, table, "candles-0" if (table["chart"] != "").any() else "")]
    return Section("trades", title, tuple(block))
