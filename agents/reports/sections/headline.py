"""What a report begins with, and every figure of the run with all its digits."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from agents.reports.document.blocks import (
    EXACT,
    Block,
    Column,
    Figures,
    Number,
    Section,
    Table,
    Words,
    plain_value,
    table_of,
)
from agents.reports.document.charts import Intervals
from agents.reports.records.record import Record
from agents.reports.sections.days import days_of
from agents.reports.sections.labels import FIGURES, column_of, flattened, number
from cryptoenv.analysis.resampling import LEAST, block_interval

BACKTEST = (
    "figures.total_return", "figures.benchmark_return", "figures.annualised_return", "figures.sharpe",
    "figures.max_drawdown", "figures.calmar", "figures.trades", "figures.win_rate", "figures.profit_factor",
    "figures.time_in_market", "figures.cost_total", "chance.p_value", "search.trials", "verdict.deflated_sharpe",
    "luck.probability_of_overfitting",
)  # fmt: skip
OUTSIDE = -2.0  #: scores below this would squeeze the others into one spot
#: Columns of the table of methods that have intervals.
ESTIMATES = ("score", "realised_score", "daily_log_return")
METHODS = (
    "score", "realised_score", "daily_log_return", "total_return", "log_return", "return_per_day",
    "annualised_return", "sharpe", "sortino", "max_drawdown", "turnover_per_day", "mean_exposure", "time_in_market",
    "trades", "win_rate", "profit_factor", "cost_total",
)  # fmt: skip


def headline(record: Record) -> Section:
    """The figures that are looked at first, and the agent among what it is compared with."""
    blocks: list[Block] = []
    if record.notes:
        blocks.append(Words(record.notes, warning=True))
    numbers = _numbers(record)
    if numbers:
        blocks.append(Figures(tuple(numbers)))
    blocks += _methods(record)
    if record.judged and record.verdict is not None:
        blocks.append(Words((f"The verdict rests on {record.judged}.",)))
    empty = "" if numbers or blocks else record.missing.get("figures", "the run left no figures")
    return Section("headline", "What came of it", tuple(blocks), empty)


def _numbers(record: Record) -> list[Number]:
    metrics = record.metrics
    if record.kind == "backtest":
        found = [number(metrics, path) for path in BACKTEST]
        return [one for one in [_mean(record), *found[:4], _sharpe(record), *found[4:]] if one is not None]
    if record.kind == "walk-forward":
        found = [_of_seeds(record, "log_return_per_day"), _of_seeds(record, "beats_holding"), _mean(record)]
        found += [
            number(metrics, f"figures.{name}") for name in ("train_per_day", "test_per_day", "efficiency", "days")
        ]
        found += [number(metrics, "search.trials"), number(metrics, "verdict.deflated_sharpe")]
        return [one for one in found if one is not None]
    if record.methods is not None and len(record.methods):
        return _of_method(record)
    return [one for name in ("validation.loss", "loss", "accuracy") if (one := number(metrics, name)) is not None]


def _of_method(record: Record) -> list[Number]:
    """The first line of the table of methods, intervals where it has them."""
    assert record.methods is not None
    name, line = str(record.methods.index[0]), record.methods.iloc[0]
    in_metrics = name in record.metrics.get("table", {})
    found = []
    for key in METHODS:
        if key not in line or pd.isna(line[key]):
            continue
        label, style, note = FIGURES[key]
        low, high = (plain_value(line.get(f"{key}_{end}")) for end in ("low", "high"))
        there = isinstance(low, float) and isinstance(high, float) and not math.isnan(low)
        found.append(Number(
            f"table.{name}.{key}", label, plain_value(line[key]), style, low if there else None,  # type: ignore[arg-type]
            high if there else None, note, own=not in_metrics,  # type: ignore[arg-type]
        ))  # fmt: skip
    return found


def _interval(record: Record, value: str, ends: str, name: str | None = None) -> Number | None:
    """The figure at a path, with the interval that stands at `ends` and "low", "high"."""
    found = number(record.metrics, value, name)
    read = (number(record.metrics, f"{ends}{end}") for end in ("low", "high"))
    low, high = (one.value if one else None for one in read)
    if found is None or not isinstance(low, int | float) or not isinstance(high, int | float):
        return found
    return replace(found, low=low, high=high)


def _of_seeds(record: Record, name: str) -> Number | None:
    """A figure of a walk-forward, over seeds and markets."""
    return _interval(record, f"figures.{name}.value", f"figures.{name}.", name)


def _mean(record: Record) -> Number | None:
    return _interval(record, "verdict.mean_per_day", "verdict.mean_")


def _sharpe(record: Record) -> Number | None:
    """The Sharpe ratio of days with an interval: that of bars has none."""
    if not record.tracks:
        return None
    returns = days_of(record.tracks[0])
    if len(returns) < LEAST:
        return None
    interval = block_interval(returns, "sharpe")
    scale, style = math.sqrt(365.0), FIGURES["sharpe"][1]
    return Number(
        "own.sharpe_of_days", "Sharpe ratio of days", scale * interval.value, style, scale * interval.low,
        scale * interval.high, "Of net returns of UTC days, on a year, with a block-bootstrap interval.", own=True,
    )  # fmt: skip


def _methods(record: Record) -> list[Block]:
    table = record.methods
    if table is None or not len(table):
        return []
    blocks: list[Block] = []
    for name in ESTIMATES:
        if {name, f"{name}_low", f"{name}_high"} <= set(table):
            there = table[~table[name].isna()]
            outside = there[there[name] < OUTSIDE] if name.endswith("score") else there.iloc[:0]
            there = there.drop(outside.index)
            values, low, high = (there[one].to_numpy(dtype=np.float64) for one in (name, f"{name}_low", f"{name}_high"))
            label, style, note = FIGURES[name]
            best = str(there[name].idxmax()) if len(there) else "none"
            blocks.append(Intervals(
                f"methods-{name}", f"{label} of every method, with 95% intervals",
                f"{note} Highest: {best} with {style.shown(float(np.max(values)))}; {there.index[0]} has "
                f"{style.shown(float(values[0]))}." + "".join(
                    f" {other} is not drawn: {style.shown(float(value))}." for other, value in outside[name].items()
                ) if len(there) else note,
                tuple(map(str, there.index)), values, low, high, label, percent=name == "daily_log_return",
            ))  # fmt: skip
            break
    frame = table.reset_index(names="method")
    columns = [Column("method", "Method", "text"), *(column_of(name) for name in METHODS if name in table)]
    made = table_of("methods", "Methods side by side", frame, columns)
    blocks.append(replace(made, keys=_keys(record, made)))
    return blocks


def _keys(record: Record, table: Table) -> dict[tuple[int, int], str]:
    """Where the cells stand in `metrics.json`."""
    places: tuple[str, ...] = ()
    if record.kind == "backtest":
        places = ("figures", "buy_and_hold", *(f"ceilings.{name}" for name in record.metrics.get("ceilings", {})))
    in_metrics = record.metrics.get("table", {})
    found = {}
    for i, row in enumerate(table.rows):
        for j, column in enumerate(table.columns[1:], start=1):
            if i < len(places):
                found[i, j] = f"{places[i]}.{column.name}"
            elif isinstance(in_metrics, dict) and row[0] in in_metrics and column.name in in_metrics[row[0]]:
                found[i, j] = f"table.{row[0]}.{column.name}"
    return found


def all_figures(record: Record) -> Section:
    """Everything in `metrics.json`, digit by digit."""
    title = "All figures"
    leaves = flattened(record.metrics)
    if not leaves:
        why = record.missing.get("figures", "there is no metrics.json")
        return Section("figures", title, (), why)
    rows = tuple((path, value) for path, value in leaves)
    columns = (Column("name", "Name in metrics.json", "text"), Column("value", "Value", "number", EXACT))
    keys = {(i, 1): path for i, (path, _) in enumerate(leaves)}
    return Section("figures", title, (
        Words(("As the run wrote them, with every digit.",)), Table("figures", "metrics.json", columns, rows, keys),
    ))  # fmt: skip
