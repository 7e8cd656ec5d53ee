"""The folder of a walk-forward as a record, finished or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agents.reports.document.blocks import milliseconds
from agents.reports.records.record import COSTS, HOLDING, Reading, Record, Track, finite_curve
from agents.reports.records.tables import CUT, verdict_in
from agents.run_folders.run_folder import PLAN, read_json
from cryptoenv.market.market import Market

GO_ON = "the walk-forward has not ended: give its command again, it goes on"
OLDER = "an earlier version wrote this walk-forward and did not keep it: the same command writes it anew"


def walk_record(folder: Path) -> Record:
    """The folder of `cryptoenv walk-forward`; of an unfinished one, the trainings that have ended."""
    reading = Reading(folder)
    done = (folder / "metrics.json").is_file()
    why = OLDER if done else GO_ON
    metrics = reading.json("metrics.json", "figures", why)
    plan = reading.json(PLAN, "plan", CUT)
    tables = {name: reading.table(f"{name}.parquet", name, why) for name in
              ("folds", "regimes", "methods", "stress", "equity", "accounts", "trades")}  # fmt: skip
    folds = tables["folds"]
    if not done:
        folds = reading.attempt("folds", lambda: _trained(folder)) if folds is None else folds
        count = 0 if folds is None else len(folds)
        wanted = plan.get("plan", {})
        total = f" of {wanted.get('folds', 0) * wanted.get('seeds', 0)}" if wanted.get("test") is None else ""
        reading.notes.append(f"this walk-forward has not ended: {count}{total} trainings stand; {GO_ON.split(': ')[1]}")
    recipe = reading.text("recipe.yaml")
    equity = tables["equity"]
    tracks: tuple[Track, ...] = ()
    if equity is not None:
        tracks = reading.attempt("equity", lambda: _tracks(folder, equity, tables, reading)) or ()
    names = sorted({str(one) for one in folds["market"]}) if folds is not None and "market" in folds else []
    return Record(
        folder, "walk-forward", _algorithm(recipe) + (f" on {', '.join(names[:4])}" if names else ""), metrics,
        verdict_in(metrics), "net returns of days, the mean over seeds and markets", tracks, tables["methods"],
        None, folds, tables["regimes"], tables["stress"], None, settings={"plan": plan.get("plan", {})},
        listings={"recipe.yaml": recipe} if recipe else {}, sources=_sources(folder, metrics, plan, reading),
        missing=reading.missing | {"curves": "each fold's training keeps its figures in fold-*/seed-*/metrics.json"},
        notes=tuple(reading.notes),
    )  # fmt: skip


def _trained(folder: Path) -> pd.DataFrame:
    """What has been trained until now, a row per fold and seed."""
    rows = []
    for path in sorted(folder.glob("fold-*/seed-*/trained.json")):
        told = read_json(path)
        rows.append({"fold": told["fold"], "seed": told["seed"], "weights": told["weights"],
                     "trained_from": told["trained"][0][0], "trained_to": told["trained"][0][1],
                     "chosen_to": told["chosen"][0][1], "train_per_day": float(np.mean(told["earned"]))})  # fmt: skip
    return pd.DataFrame(rows)


def _algorithm(recipe: str | None) -> str:
    for line in (recipe or "").splitlines():
        if line.startswith("algorithm:"):
            return line.partition(":")[2].strip()
    return "walk-forward"


def _markets(folder: Path) -> dict[str, Market]:
    """The markets that were traded, by name; they are mapped, not read."""
    found = {}
    for number, place in enumerate(sorted((folder / "markets").glob("*"), key=lambda one: int(one.name))):
        market = Market.load(place)
        found[market.name or f"market {number}"] = market
    return found


def _tracks(
    folder: Path, equity: pd.DataFrame, tables: dict[str, pd.DataFrame | None], reading: Reading
) -> tuple[Track, ...]:
    """An account per market and seed, each beside the market's other seeds and buy and hold."""
    closes = milliseconds(pd.DatetimeIndex(equity.index))
    step = int(closes[1] - closes[0])
    markets = reading.attempt("candles", lambda: _markets(folder)) or {}
    accounts, trades = tables["accounts"], tables["trades"]
    curves = {str(name): finite_curve(equity[name].to_numpy(), "equity.parquet") for name in equity}
    found = []
    for name in curves:
        market, _, seed = name.rpartition(", ")
        if not seed.startswith("seed "):
            continue
        others = {HOLDING: curves[f"{market}, {HOLDING}"]} if f"{market}, {HOLDING}" in curves else {}
        exposure = costs = None
        if accounts is not None and f"{name}: exposure" in accounts:
            exposure = accounts[f"{name}: exposure"].to_numpy(dtype=np.float64)
            costs = {kind: accounts[f"{name}: {kind}"].to_numpy(dtype=np.float64) for kind in COSTS}
        mine = None
        if trades is not None:
            mine = trades[(trades["market"].astype(str) == market) & (trades["seed"] == int(seed[5:]))]
        bars = _bars(markets.get(market), closes, step)
        found.append(Track(name, closes, step, {name: curves[name], **others}, exposure, costs, bars, mine))
    return tuple(found)


def _bars(market: Market | None, closes: np.ndarray, step: int) -> pd.DataFrame | None:
    """Open, high, low and close of the bars that end at the marks."""
    if market is None:
        return None
    from cryptoenv.bars.price_columns import CLOSE, HIGH, LOW, OPEN

    rows = (closes - market.start_ms) // step - 1
    if rows[0] < 0 or rows[-1] >= len(market):
        return None
    names = {"open": OPEN, "high": HIGH, "low": LOW, "close": CLOSE}
    return pd.DataFrame({name: market.prices[rows, at] for name, at in names.items()})


def _sources(
    folder: Path, metrics: dict[str, Any], plan: dict[str, Any], reading: Reading
) -> tuple[dict[str, Any], ...]:
    files = metrics.get("origin", {}).get("files") or [{"path": path} for path in plan.get("bars", [])]
    rows: list[dict[str, Any]] = [{"what": "file", "path": one.get("path"), "hash": one.get("sha256")} for one in files]
    for name, market in (reading.attempt("markets", lambda: _markets(folder)) or {}).items():
        index = market.bars.index
        rows.append({"what": "market", "path": name, "from": index[0].isoformat(), "to": index[-1].isoformat(),
                     "bars": len(market), "hash": market.hash})  # fmt: skip
    return tuple(rows)
