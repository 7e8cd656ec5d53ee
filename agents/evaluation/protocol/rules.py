"""What the protocol fixes: docs/protocol.md in code."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from agents.settings import TradingSettings

FAMILY: Final = "test"  #: of the markets that are judged on; nothing may be learned or chosen on it


@dataclass(frozen=True)
class Protocol:
    """A version of the rules; another size is for trying out, and stands on no leaderboard.

    Attributes:
        name: with its version.
        markets: judged on, the first of the family. days: tradable ones of each. seeds: least, of what is trained.
    """

    name: str = "cryptoenv-standard-v1"
    markets: int = 48
    days: int = 60
    seeds: int = 5

    def require_trading(self, settings: TradingSettings) -> None:
        """Check that an agent trades as all do: instrument, costs, limits, rules and sizing; windows are its own.

        Raises:
            ValueError: it does not; what differs is named.
        """
        fixed = TradingSettings()
        for name in ("instrument", "costs", "limits", "rules", "sizing"):
            mine, theirs = getattr(settings, name), getattr(fixed, name)
            if mine != theirs:
                raise ValueError(f"{self.name} is traded with {name}={theirs!r}, and the agent was made for {mine!r}")
        if settings.timeframes[0] != fixed.timeframes[0]:
            base = fixed.timeframes[0]
            raise ValueError(f"{self.name} decides at every close of {base}, not {settings.timeframes[0]}")

    def sized(self, markets: int | None, days: int | None) -> Protocol:
        """The same rules on fewer or shorter markets; itself where neither is given."""
        return replace(self, markets=markets or self.markets, days=days or self.days)


STANDARD_V1: Final = Protocol()


@dataclass(frozen=True)
class Budget:
    """What an agent was trained with, as its makers say; a class is what both figures fit into.

    Attributes:
        bars: market bars that all of its training looked at, repeats counted. cpu_seconds: of all processes together.
    """

    bars: float | None = None
    cpu_seconds: float | None = None

    @property
    def name(self) -> str:
        """Of the class; "not said" where a figure is missing."""
        if self.bars is None or self.cpu_seconds is None:
            return NOT_SAID
        for name, (bars, seconds) in BUDGETS.items():
            if self.bars <= bars and self.cpu_seconds <= seconds:
                return name
        return "open"


NOT_SAID: Final = "not said"
#: Most bars and CPU seconds of a class; "open" is beyond all.
BUDGETS: Final = {
    "none": (0.0, 0.0),
    "small": (10e6, 3_600.0),
    "medium": (100e6, 36_000.0),
    "large": (1e9, 360_000.0),
}
