"""Regimes, folds of a walk-forward, delays and costs, and a grid that was searched."""

from __future__ import annotations

import numpy as np
import pandas as pd

from agents.reports.document.blocks import COUNT, PERCENT, Block, Column, Section, Style, plain_value, table_of
from agents.reports.document.charts import Bars, Heat, Line, Lines
from agents.reports.document.colours import SERIES
from agents.reports.records.record import Record
from agents.reports.sections.labels import PER_DAY, column_of, label_of

AS_IT_IS = "as it is"
RETURN = Style(100.0, "+,.1f", "%")
LOG = Style(100.0, "+,.1f", "")


def regimes(record: Record) -> Section:
    """What was earned in each regime, beside buy and hold."""
    title = "Regimes"
    if record.regimes is None or not len(record.regimes):
        return Section(
            "regimes", title, (), record.missing.get("regimes", "regimes are told of backtests and walk-forwards")
        )
    frame = _numbers(record.regimes)
    columns = [
        Column("market", "Market", "text"), Column("regime", "Regime", "text"), Column("bars", "Bars", "number", COUNT),
        Column("log_return_per_day", "Log-return a day", "number", PER_DAY),
        Column("log_return", "Log-return, %", "number", LOG), Column("buy_and_hold", "Buy and hold, %", "number", LOG),
    ]  # fmt: skip
    blocks: list[Block] = []
    for number, (market, mine) in enumerate(frame.groupby("market", sort=False)):
        told = mine[mine["log_return"].map(lambda value: isinstance(value, float))]
        if len(told) and number < 3:
            series = {"strategy": told["log_return"].to_numpy(dtype=np.float64),
                      "buy and hold": told["buy_and_hold"].to_numpy(dtype=np.float64)}  # fmt: skip
            ends = "; ".join(f"{name} {LOG.shown(value)}%, buy and hold {LOG.shown(other)}%" for name, value, other in
                             zip(told["regime"], series["strategy"], series["buy and hold"], strict=True))  # fmt: skip
            blocks.append(Bars(
                f"regimes-{number}", f"Log-return by regime, {market}", f"In {ends}.", tuple(map(str, told["regime"])),
                series, {"strategy": "main", "buy and hold": "held"}, "log-return", "regime", percent=True,
                grouped=True,
            ))  # fmt: skip
    blocks.append(table_of("regimes", "What was earned in each regime; a bar may be in several", frame, columns))
    return Section("regimes", title, tuple(blocks))


def folds(record: Record) -> Section:
    """The folds of a walk-forward by seed."""
    title = "Walk-forward: folds and seeds"
    if record.folds is None or not len(record.folds):
        why = "this is no walk-forward: `cryptoenv walk-forward` trains again and again as time goes on"
        return Section("folds", title, (), record.missing.get("folds", why))
    frame = _numbers(record.folds)
    blocks: list[Block] = []
    if "test_per_day" in frame:
        for number, (market, mine) in enumerate(frame.groupby("market", sort=False)):
            grid = mine.pivot(index="seed", columns="fold", values="test_per_day").astype(np.float64)
            values = grid.to_numpy()
            gained = int((values > 0.0).sum())
            blocks.append(Heat(
                f"folds-{number}", f"Log-return a day where it is judged, {market}",
                f"{gained} of {values.size} folds and seeds gained; best {PER_DAY.shown(float(values.max()))}, worst "
                f"{PER_DAY.shown(float(values.min()))}.",
                tuple(f"seed {int(seed)}" for seed in grid.index), tuple(f"fold {int(fold)}" for fold in grid.columns),
                values, row_title="seed",
            ))  # fmt: skip
    days = ("test_from", "test_to", "trained_from", "trained_to", "chosen_to")
    frame = frame.assign(**{name: frame[name].map(lambda text: str(text)[:10]) for name in days if name in frame})
    frame = frame.assign(weights=frame["weights"].map(lambda text: str(text)[:12]))
    frame = frame.drop(columns="market") if "market" in frame and frame["market"].nunique() == 1 else frame
    columns = [
        Column("fold", "Fold", "number", COUNT), Column("seed", "Seed", "number", COUNT),
        Column("market", "Market", "text"), Column("test_from", "Judged from", "text"),
        Column("test_to", "to (UTC)", "text"),
        Column("trained_to", "Learned to", "text"), Column("chosen_to", "Chosen to", "text"),
        Column("weights", "Weights (sha256)", "text"), column_of("train_per_day"), column_of("test_per_day"),
        column_of("efficiency"), column_of("change_per_day"),
    ]  # fmt: skip
    blocks.append(table_of("folds", "Folds, seeds and the weights that decided", frame, columns))
    return Section("folds", title, tuple(blocks))


def stress(record: Record) -> Section:
    """The same decisions later and at higher costs."""
    title = "Delays, costs and other stress"
    if record.stress is None or not len(record.stress):
        why = "`cryptoenv stress` trades the same decisions later and at higher costs"
        return Section("stress", title, (), record.missing.get("stress", why))
    frame = _numbers(record.stress)
    frame["account"] = _accounts(frame)
    several = frame["account"].nunique() > 1
    blocks: list[Block] = []
    late = frame[frame["stress"].str.match(r"^(as it is|\d+ bars? late)$")]
    if len(late) > 1:
        lines = []
        for i, (account, mine) in enumerate(late.groupby("account", sort=False)):
            bars = mine["stress"].str.extract(r"^(\d+)")[0].fillna("0").to_numpy(dtype=np.float64)
            lines.append(Line(str(account) or "total return", mine["total_return"].to_numpy(dtype=np.float64), bars,
                              SERIES[i % len(SERIES)]))  # fmt: skip
        first = lines[0]
        assert first.x is not None
        ends = ", ".join(f"{int(x)} late {RETURN.shown(float(y))}" for x, y in zip(first.x, first.y, strict=True))
        blocks.append(Lines(
            "delays", "Total return when every decision is carried out so many bars late",
            f"{'Of ' + first.name + ': ' if several else ''}{ends}. An edge that is gone one bar later was one of "
            "microseconds, or of the future.",
            tuple(lines[:6]), "total return", "bars late", timed=False, percent=True, marks=(0.0,),
        ))  # fmt: skip
    mine = frame[frame["account"] == frame["account"].iloc[0]]
    worse = mine[~mine["stress"].str.match(r"^\d+ bars? late$")]
    blocks.append(Bars(
        "stresses", "Total return under each stress" + (f", {mine['account'].iloc[0]}" if several else ""),
        ", ".join(f"{name} {RETURN.shown(float(value))}" for name, value in
                  zip(worse["stress"], worse["total_return"], strict=True)) + ".",
        tuple(map(str, worse["stress"])), {"total return": worse["total_return"].to_numpy(dtype=np.float64)}, {},
        "total return", "stress", percent=True, signed=True,
    ))  # fmt: skip
    names = ("total_return", "sharpe", "max_drawdown", "cost_share")
    columns = [Column("account", "Account", "text")] if several else []
    columns += [Column("stress", "Stress", "text"), *(column_of(name) for name in names)]
    columns += [Column(name, name, "number", COUNT) for name in ("stopped", "liquidated", "ruined")]
    columns.append(Column("change", "Change of log-return, %", "number", LOG))
    blocks.append(table_of("stress", "Every stress", frame, columns))
    return Section("stress", title, tuple(blocks))


def _accounts(frame: pd.DataFrame) -> pd.Series:
    """Market and seed of each row, as far as there are several."""
    parts = [frame[name].map(lambda value, name=name: f"seed {value:.0f}" if name == "seed" else str(value))
             for name in ("market", "seed") if name in frame and frame[name].nunique() > 1]  # fmt: skip
    if not parts:
        return pd.Series("", index=frame.index)
    return parts[0] if len(parts) == 1 else parts[0] + ", " + parts[1]


def sweep(record: Record) -> Section:
    """All rules of a grid, the best first, and what choosing it is worth."""
    title = "The grid that was searched"
    if record.sweep is None or not len(record.sweep):
        return Section("sweep", title, (), record.missing.get("sweep", "one strategy was traded, not a grid of them"))
    frame = _numbers(record.sweep)
    columns = [Column("rule", "Rule", "text"), *(
        Column(name, label_of(name), "number", style) for name, style in
        {"log_return": PERCENT, "sharpe_per_day": Style(1.0, "+.4f"), "max_drawdown": PERCENT, "turnover": COUNT,
         "fills": COUNT, "exposed": PERCENT, "fees": COUNT, "slippage": COUNT}.items()
    )]  # fmt: skip
    best = frame.sort_values("log_return", ascending=False).head(40)
    values = frame["log_return"].to_numpy(dtype=np.float64)
    ends = (PERCENT.shown(float(value)) for value in (values.max(), np.median(values), values.min()))
    message = f"{len(frame)} rules: {int((values > 0).sum())} gained; best {{}}, median {{}}, worst {{}}.".format(*ends)
    order = np.sort(values)[::-1]
    blocks: list[Block] = [
        Lines("grid", "Log-return of every rule, the best first", message,
              (Line("log-return", order, np.arange(1, len(order) + 1, dtype=np.float64)),), "log-return", "rank",
              timed=False, percent=True, marks=(0.0,)),
        table_of("sweep", f"The best rules, {len(best)} of {len(frame)}", best, columns),
    ]  # fmt: skip
    return Section("sweep", title, tuple(blocks))


def _numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame whose text that is a number is one."""
    return frame.reset_index(drop=True).map(plain_value)
