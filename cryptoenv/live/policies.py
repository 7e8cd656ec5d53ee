"""What an executor is held to, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptoenv.live.deployment import WHOLE, Stage
from cryptoenv.live.price_policy import LimitOrders
from cryptoenv.live.safeguards import SanityLimits, TradeLimits


@dataclass(frozen=True)
class Patience:
    """How an order whose fate is not known is looked for.

    Attributes:
        settle: seconds for which it has to stay unknown to the venue before it counts as never arrived.
        first: seconds until the second look; each later wait is half as long again.
        rest: seconds between two looks at a limit order that lives for less than a bar.
    """

    settle: float = 10.0
    first: float = 0.25
    rest: float = 1.0


@dataclass(frozen=True)
class Policies:
    """What an executor is held to: sanity of signals, limits of risk, stages of deployment, patience with doubt.

    `sized`: orders are sized by the signal's confidence. `limit`: orders go out at a limit; None: at the market.
    """

    sanity: SanityLimits = field(default_factory=SanityLimits)
    limits: TradeLimits = field(default_factory=TradeLimits)
    stages: tuple[Stage, ...] = WHOLE
    patience: Patience = field(default_factory=Patience)
    sized: bool = False
    limit: LimitOrders | None = None
