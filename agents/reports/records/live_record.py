"""The folder of `cryptoenv trade`, on paper or for real, as a record: what its journal has kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agents.reports.records.record import COSTS, Reading, Record, Track, finite_curve
from cryptoenv.live.journal import JOURNAL, Journal
from cryptoenv.trading.account import EQUITY, EXPOSURE, STEP_BORROW, STEP_FEES, STEP_FUNDING, STEP_SLIPPAGE

ACCOUNT = "trade.json"  #: in the folder: which account the journal is of
SHOWN = 200  #: of the last fills
STEPS = dict(zip(COSTS, (STEP_FEES, STEP_SLIPPAGE, STEP_FUNDING, STEP_BORROW), strict=True))
PER_MYRIAD = 10_000.0


def live_record(folder: Path) -> Record:
    """The state folder of `cryptoenv trade`; the process that trades may go on meanwhile."""
    reading = Reading(folder)
    told = reading.json(ACCOUNT, "account", "the file is missing")
    journal = Journal(folder)
    try:
        opens, accounts = journal.books()
        fills, counts, latched = journal.fills(), journal.counts(), journal.latched()
    finally:
        journal.close()
    name = str(told.get("decider", folder.name))
    where = str(told.get("symbol") or told.get("bars") or "market")
    track = reading.attempt("equity", lambda: _track(name, where, opens, accounts))
    metrics: dict[str, Any] = {"orders": counts, **_figures(fills)}
    for breaker, reason in latched.items():
        reading.notes.append(f"breaker {breaker} has tripped: {reason}")
    return Record(
        folder, "live", f"{name} at {told.get('broker', 'paper')}", metrics, None, "net returns of days",
        () if track is None else (track,), settings={"account": told},
        listings={f"fills, the last {min(len(fills), SHOWN):,}": _listed(fills)} if fills else {},
        sources=({"what": "journal", "path": str(folder / JOURNAL)},),
        missing=reading.missing | {
            "trades": "a journal keeps fills, which are listed with the settings",
            "candles": "a journal keeps no prices of bars",
            "curves": "nothing was trained here",
        },
        notes=tuple(reading.notes),
    )  # fmt: skip


def _track(name: str, where: str, opens: np.ndarray, accounts: np.ndarray) -> Track:
    curve = finite_curve(accounts[:, EQUITY], JOURNAL)
    step = int(np.diff(opens).min())
    costs = {kind: accounts[:, column] for kind, column in STEPS.items()}
    return Track(where, opens + step, step, {name: curve}, accounts[:, EXPOSURE], costs)


def _figures(fills: list[dict[str, Any]]) -> dict[str, Any]:
    """Fees, slippage and what the model says of it, each over what was traded, in hundredths of a percent."""
    if not fills:
        return {}
    table = pd.DataFrame(fills)
    traded = table["quantity"].abs() * table["price"]
    over = PER_MYRIAD / float(traded.sum())
    paid = table["quantity"] * (table["price"] - table["open"])
    model = table["quantity"] * (table["model"] - table["open"])
    return {
        "fills": len(table), "traded_quote": float(traded.sum()), "fees_bp": float(table["fees"].sum()) * over,
        "slippage_bp": float(paid.sum()) * over, "slippage_of_model_bp": float(model.sum()) * over,
        "slippage_against_model_bp": float((paid - model).sum()) * over,
    }  # fmt: skip


def _listed(fills: list[dict[str, Any]]) -> str:
    table = pd.DataFrame(fills[-SHOWN:])
    table.insert(0, "bar", pd.to_datetime(table.pop("bar_ms"), unit="ms"))
    side = np.sign(table["quantity"])
    table["against_open_bp"] = PER_MYRIAD * side * (table["price"] / table["open"] - 1.0)
    table["against_model_bp"] = PER_MYRIAD * side * (table["price"] / table["model"] - 1.0)
    return table.to_string(index=False, float_format=lambda value: f"{value:.8g}")
