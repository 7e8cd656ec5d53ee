"""Whether the journal of an account tells of drift that the newest version has not seen."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cryptoenv.live.journal import EVENTS_KEPT, JOURNAL, Journal

EVENT = "drift"  #: what the journal calls a change of a state that a monitor of drift saw


def standing_alarm(state: Path, since: pd.Timestamp | None) -> str | None:
    """The alarms of a journal that began after `since` and have not ended, in words; None where there are none.

    Args:
        state: folder of the journal of `cryptoenv trade`.
        since: the newest bar that the newest version has seen; None for all alarms.

    Raises:
        FileNotFoundError: no journal. JournalError: it cannot be read.
    """
    if not (state / JOURNAL).is_file():
        raise FileNotFoundError(f"{state} holds no journal of trades: it has no {JOURNAL}")
    journal = Journal(state)
    try:
        events = journal.events(EVENTS_KEPT)
    finally:
        journal.close()
    begin = None if since is None else int(pd.DatetimeIndex([since]).as_unit("ms").asi8[0])
    standing: dict[str, str] = {}
    for at, what, detail in events:
        if what != EVENT or (begin is not None and at <= begin):
            continue
        name = str(detail.get("name"))
        standing.pop(name, None)
        if detail.get("state") == "alarm":
            standing[name] = f"{name} ({detail.get('words')}) since {pd.Timestamp(at, unit='ms'):%Y-%m-%d %H:%M}"
    return "; ".join(standing.values()) or None
