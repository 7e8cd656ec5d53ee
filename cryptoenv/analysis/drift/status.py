"""What a detector says at a moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

State = Literal["ok", "alarm", "unknown"]


@dataclass(frozen=True)
class Status:
    """What is known of one thing that is watched.

    Attributes:
        state: "ok", "alarm", or "unknown" where nothing can be said (too few rows, a column that is empty or constant).
        statistic, threshold: the one is an alarm beyond the other; None where there is none.
        since: when the state began, ms since the epoch; None before anything was heard.
        words: which statistic it is, or why nothing is known.
    """

    state: State = "unknown"
    statistic: float | None = None
    threshold: float | None = None
    since: int | None = None
    words: str = "nothing was seen yet"

    def then(self, state: State, at_ms: int, words: str, statistic: float | None = None,
             threshold: float | None = None) -> Status:  # fmt: skip
        """The status after a look at `at_ms`; `since` stays where the state does."""
        since = self.since if state == self.state and self.since is not None else at_ms
        return Status(state, statistic, threshold, since, words)

    def became(self, before: Status) -> bool:
        """Whether that is news: another state than `before`, but for what becomes known and is well."""
        return self.state != before.state and not (before.state == "unknown" and self.state == "ok")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "state": self.state, "statistic": self.statistic, "threshold": self.threshold, "since": self.since,
            "words": self.words,
        }  # fmt: skip
