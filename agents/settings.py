"""What every stage of an agent agrees on: timeframes, windows, positions and costs; and the envs made from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from cryptoenv.env.vector import CryptoTradeVectorEnv
from cryptoenv.market.market import Market
from cryptoenv.trading.config import Costs, Instrument


@dataclass(frozen=True)
class TradingSettings:
    """How the agent looks at a market and trades in it.

    Attributes:
        timeframes: the first is the base; a decision is made at each of its closes.
        window: bars seen per timeframe.
        instrument: "spot", "margin" or "perpetual".
        positions: target exposures; action `i` asks for `positions[i]`.
        costs: costs of the env. The default is the scored one: no impact, 0.0011 per unit of turnover.

    Raises:
        ValueError: positions without flat (0.0), which is where every evaluation starts.
    """

    timeframes: tuple[str, ...] = ("15m", "4h", "1d")
    window: tuple[int, ...] = (32, 16, 8)
    instrument: Instrument = "perpetual"
    positions: tuple[float, ...] = (-1.0, 0.0, 1.0)
    costs: Costs = field(default_factory=lambda: Costs(impact=0.0))

    def __post_init__(self) -> None:
        if 0.0 not in self.positions:
            raise ValueError(f"positions={self.positions} must contain 0.0, the position an evaluation starts from")

    @property
    def turnover_cost(self) -> float:
        """Cost per unit of turnover that does not depend on size: fee plus half the spread, a fraction."""
        return self.costs.fee + self.costs.half_spread

    @property
    def flat(self) -> int:
        """Index of the flat position."""
        return self.positions.index(0.0)

    def market(self, bars: pd.DataFrame, *, name: str = "") -> Market:
        """The market of bars, at the base timeframe or finer, as these settings look at it.

        Raises:
            BarsError: bars that cannot be used.
        """
        return Market.from_bars(bars, self.timeframes, name=name)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TradingSettings:
        """The inverse of `as_dict`, also after a trip through JSON (lists become tuples again)."""
        return cls(
            timeframes=tuple(values["timeframes"]),
            window=tuple(values["window"]),
            instrument=values["instrument"],
            positions=tuple(values["positions"]),
            costs=Costs(**values["costs"]),
        )


def vector_env(
    markets: Sequence[Market],
    settings: TradingSettings,
    *,
    num_envs: int,
    episode_bars: int,
    autoreset_mode: Any = None,
    continuous: bool = False,
    observation: str = "index",
) -> CryptoTradeVectorEnv:
    """The native vector env over `markets`, with observation "index" (market and bar numbers, account) by default.

    Args:
        markets: the pool; the env numbers them in this order.
        settings: what is traded and at which cost.
        num_envs: rows `N`.
        episode_bars: steps until truncation.
        autoreset_mode: a `gymnasium.vector.AutoresetMode`; the env's default where None.
        continuous: actions are exposures instead of the settings' positions.
        observation: "index", or "window".
    """
    options = {} if autoreset_mode is None else {"autoreset_mode": autoreset_mode}
    return CryptoTradeVectorEnv(
        num_envs=num_envs,
        market=list(markets),
        timeframes=settings.timeframes,
        window=settings.window,
        instrument=settings.instrument,
        actions="continuous" if continuous else settings.positions,
        observation=observation,
        costs=settings.costs,
        episode_bars=episode_bars,
        **options,
    )
