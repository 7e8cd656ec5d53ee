"""A backtest's folder, and tables of `evaluate` and `stress`, as records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agents.reports.document.blocks import milliseconds
from agents.reports.records.record import COSTS, HOLDING, Reading, Record, Track, finite_curve

OLDER = "the run was written by an earlier version, which did not keep it: make the backtest again"
CUT = "the file is missing: the run did not end, or parts of it were removed"
STRESS_COLUMNS = ("stress", "total_return", "change")
#: Columns of `equity.parquet` that are no account's equity but the own one's.
OF_BARS = ("equity", "open", "high", "low", "close", "exposure", "target", "turnover", *COSTS)


def backtest_record(folder: Path) -> Record:
    """The folder of `cryptoenv backtest`, as far as it can be read."""
    reading = Reading(folder)
    metrics = reading.json("metrics.json", "figures", CUT)
    equity = reading.table("equity.parquet", "equity", CUT)
    trades = reading.table("trades.parquet", "trades", CUT)
    regimes = reading.table("regimes.parquet", "regimes", OLDER)
    stress = reading.table("stress.parquet", "stress", OLDER)
    sweep = reading.table("sweep.parquet", "sweep", "one rule was traded, not a grid of them") if (
        folder / "sweep.parquet").is_file() else None  # fmt: skip
    name = str(metrics.get("strategy", folder.name))
    track = None
    if equity is not None:
        track = reading.attempt("equity", lambda: _track(metrics, name, equity, trades))
    desk = metrics.get("desk")
    return Record(
        folder, "backtest", name, metrics, verdict_in(metrics), "net returns of days",
        () if track is None else (track,),
        _methods(metrics, name), trades if track is None else None, None, regimes, _by_name(stress), sweep,
        settings={"desk": desk} if isinstance(desk, dict) else {}, sources=_sources(metrics),
        missing=reading.missing | {"curves": "nothing was trained: a rule, signals or a finished model decided"},
        notes=tuple(reading.notes),
    )  # fmt: skip


def table_record(path: Path) -> Record:
    """A CSV file that `evaluate --out` or `stress --out` wrote.

    Raises:
        ValueError: another table.
    """
    try:
        table = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no table: {error}") from error
    why = "a table holds final figures alone: report the folder of the backtest or of the run for this"
    lacking = dict.fromkeys(("equity", "trades", "curves", "regimes", "figures"), why)
    if set(STRESS_COLUMNS) <= set(table):
        return Record(
            path, "stress", path.stem, stress=table, missing=lacking, sources=({"what": "table", "path": str(path)},)
        )
    if "method" in table:
        methods = table.set_index("method")
        return Record(path, "evaluation", str(methods.index[0]), methods=methods, missing=lacking,
                      sources=({"what": "table", "path": str(path)},))  # fmt: skip
    raise ValueError(f"{path} is no table of `evaluate --out` or `stress --out`: its columns are {list(table)[:6]}")


def verdict_in(metrics: Any) -> tuple[str, str] | None:
    """Word and reason among the figures."""
    said = metrics.get("verdict") if hasattr(metrics, "get") else None
    if not isinstance(said, dict) or "word" not in said:
        return None
    return str(said["word"]), str(said.get("because", ""))


def _by_name(stress: pd.DataFrame | None) -> pd.DataFrame | None:
    return None if stress is None else stress.reset_index()


def _methods(metrics: dict[str, Any], name: str) -> pd.DataFrame | None:
    ceilings = metrics.get("ceilings", {})
    found = {name: metrics.get("figures"), HOLDING: metrics.get("buy_and_hold")}
    found |= ceilings if isinstance(ceilings, dict) else {}
    lines = {key: values for key, values in found.items() if isinstance(values, dict)}
    return pd.DataFrame.from_dict(lines, orient="index") if lines else None


def _sources(metrics: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    market, files = metrics.get("market"), metrics.get("origin", {}).get("files", [])
    rows = [{"what": "file", "path": one.get("path"), "hash": one.get("sha256")} for one in files]
    if isinstance(market, dict):
        rows.append({"what": "market", "path": market.get("name"), "from": metrics.get("first"),
                     "to": metrics.get("last"), "bars": market.get("bars"), "hash": market.get("hash")})  # fmt: skip
    return tuple(rows)


def _track(metrics: dict[str, Any], name: str, equity: pd.DataFrame, trades: pd.DataFrame | None) -> Track:
    closes = milliseconds(pd.DatetimeIndex(equity.index))
    curves = {name: finite_curve(equity["equity"].to_numpy(), "equity.parquet")}
    others = [name for name in equity.columns if name not in OF_BARS]  # buy and hold, ceilings of synthetic markets
    for column in others:
        curves[str(column).replace("_", " ")] = finite_curve(equity[column].to_numpy(), "equity.parquet")
    limits = metrics.get("desk", {}).get("trading", {}).get("limits", {})
    market = metrics.get("market", {}).get("name") or "market"
    return Track(
        str(market), closes, int(closes[1] - closes[0]), curves,
        equity["exposure"].to_numpy(dtype=np.float64) if "exposure" in equity else None,
        {kind: equity[kind].to_numpy(dtype=np.float64) for kind in COSTS} if set(COSTS) <= set(equity) else None,
        equity[["open", "high", "low", "close"]] if {"open", "high", "low"} <= set(equity) else None,
        trades, limits.get("stop_loss"), limits.get("take_profit"),
    )  # fmt: skip
