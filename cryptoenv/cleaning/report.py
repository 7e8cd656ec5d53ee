"""What `clean` found: one row per finding, and one printed table."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

NOTED = "noted"
"""A fact of the market, such as a gap: nothing is wrong with the file."""
KEPT = "kept"
"""Likely wrong, but what is right cannot be known: left as it is, for you to decide."""
REPORT_COLUMNS = ("kind", "first", "last", "rows", "action", "detail")


@dataclass(frozen=True)
class Finding:
    """One stretch of bars of which something is to be said.

    Attributes:
        kind: what it is, e.g. "gap".
        first: time of its first bar.
        last: time of its last bar.
        rows: number of bars (of a gap: bars missing).
        action: what was done: "noted", "kept", or the repair.
        detail: values, in words.
    """

    kind: str
    first: pd.Timestamp
    last: pd.Timestamp
    rows: int
    action: str
    detail: str = ""


def stretches(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and last position of each run of True in `mask` (T,) bool."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


@dataclass(frozen=True)
class CleaningReport:
    """Everything that `clean` found; `print` it for one table, a line per kind.

    Attributes:
        table: a row per finding: kind, first, last (UTC times), rows, action, detail. Actions: "noted" (a fact of the
            market), "kept" (likely wrong, not certain: decide yourself), anything else is a repair.
        rows_in: rows given.
        rows_out: rows returned.
        timeframe: of the bars.
        unusable: times of rows that `validate_bars` would refuse; `bars.drop(report.unusable)` leaves gaps there.
    """

    table: pd.DataFrame
    rows_in: int
    rows_out: int
    timeframe: str
    unusable: pd.DatetimeIndex

    def of(self, kind: str) -> pd.DataFrame:
        """The findings of one kind."""
        return self.table[self.table["kind"] == kind]

    @property
    def alarms(self) -> pd.DataFrame:
        """The findings that are likely errors and were kept as they are."""
        return self.table[self.table["action"] == KEPT]

    def __str__(self) -> str:
        head = f"{self.rows_in} rows in, {self.rows_out} out, {self.timeframe} bars"
        if self.table.empty:
            return f"{head}: nothing to report"
        lines = self.table.groupby(["kind", "action"], sort=False).agg(
            findings=("rows", "size"), rows=("rows", "sum"), first=("first", "min"), last=("last", "max"),
            example=("detail", "first"),
        )  # fmt: skip
        lines = lines.reset_index()
        for column in ("first", "last"):
            lines[column] = lines[column].dt.strftime("%Y-%m-%d %H:%M")
        text = f"{head}\n{lines.to_string(index=False, justify='left', max_colwidth=80)}"
        if len(self.unusable):
            text += f"\n{len(self.unusable)} row(s) cannot be used: bars.drop(report.unusable) leaves gaps there"
        return text


def findings_table(findings: Iterable[Finding]) -> pd.DataFrame:
    """Findings as a table with `REPORT_COLUMNS`; times in UTC."""
    rows = [(f.kind, f.first, f.last, f.rows, f.action, f.detail) for f in findings]
    table = pd.DataFrame(rows, columns=list(REPORT_COLUMNS))
    for column in ("first", "last"):
        table[column] = pd.to_datetime(table[column], utc=True).astype("datetime64[us, UTC]")
    return table.astype({"rows": "int64"})
