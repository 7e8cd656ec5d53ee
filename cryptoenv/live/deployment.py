"""Gradual deployment: a share of the capital that grows by schedule, and only after a record that was shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from cryptoenv.files.typed_values import ConfigError, Range, require_numbers
from cryptoenv.live.journal import Journal, JournalError

DEPLOYMENT = "deployment"
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Stage:
    """A share of the capital, and what has to be shown with it before the next share.

    Attributes:
        fraction: of every target that is traded.
        days: it is traded for at least.
        orders: that have to have filled in it.
        loss: fraction of the stage's first equity that may be lost in it.
    """

    fraction: float
    days: float = 7.0
    orders: int = 5
    loss: float = 0.05

    def __post_init__(self) -> None:
        require_numbers(self, {
            "fraction": Range(0.0, 1.0, above=True), "days": Range(0.0, 3650.0), "orders": Range(0),
            "loss": Range(0.0, 1.0),
        })  # fmt: skip


GRADUAL = (Stage(0.1), Stage(0.25), Stage(0.5, 14.0), Stage(1.0))
WHOLE = (Stage(1.0),)


class Deployment:
    """Which stage an account is in; it is kept in the journal.

    Args:
        journal: of the account.
        stages: fractions that grow.

    Raises:
        ConfigError: stages that do not grow. JournalError: what the journal says of it is not whole.
    """

    def __init__(self, journal: Journal, stages: Sequence[Stage]) -> None:
        fractions = [stage.fraction for stage in stages]
        if not stages or fractions != sorted(set(fractions)):
            raise ConfigError(f"stages of deployment have fractions {fractions}; allowed: growing ones, one at least")
        self._journal, self.stages = journal, tuple(stages)
        said = journal.told(DEPLOYMENT)
        try:
            found = json.loads(said) if said is not None else None
            self._stage = 0 if found is None else min(int(found["stage"]), len(stages) - 1)
            self._since: int | None = None if found is None else int(found["since"])
            self._equity = 0.0 if found is None else float(found["equity"])
        except (ValueError, KeyError, TypeError) as error:
            raise JournalError(f"{journal.path}: the stage of deployment cannot be read: {said!r:.100}") from error

    @property
    def fraction(self) -> float:
        """Of every target, in the present stage."""
        return self.stages[self._stage].fraction

    def update(self, now_ms: int, equity: float) -> None:
        """Go on to the next stage where the present one has been shown; begin it again after a loss."""
        if self._since is None:
            self._enter(0, now_ms, equity)
        stage = self.stages[self._stage]
        if self._stage + 1 == len(self.stages) or now_ms - (self._since or 0) < stage.days * DAY_MS:
            return
        shown = self._journal.filled_since(self._since or 0)
        if equity < self._equity * (1.0 - stage.loss):
            self._enter(self._stage, now_ms, equity)
        elif shown >= stage.orders:
            self._enter(self._stage + 1, now_ms, equity)

    def fall_back(self, now_ms: int, equity: float) -> None:
        """Begin with the smallest share again, after a breaker has tripped."""
        self._enter(0, now_ms, equity)

    def _enter(self, stage: int, now_ms: int, equity: float) -> None:
        self._journal.tell(DEPLOYMENT, json.dumps({"stage": stage, "since": now_ms, "equity": equity}))
        self._stage, self._since, self._equity = stage, now_ms, equity
