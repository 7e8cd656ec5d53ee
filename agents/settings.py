"""What every stage of an agent agrees on: timeframes, windows, positions and costs; and the envs made from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal

import pandas as pd

from cryptoenv.env.vector import CryptoTradeVectorEnv
from cryptoenv.market.market import Market
from cryptoenv.trading.config import Costs, Instrument, RiskLimits, Sizing, TradingConfig, VenueRules
from cryptoenv.trading.rewards import reward_weights

CONTINUOUS: Final = "continuous"  #: actions that are exposures
SCORED_COSTS = Costs(impact=0.0)  #: what scores are net of
PARTS: dict[str, Any] = {"costs": Costs, "limits": RiskLimits, "sizing": Sizing, "rules": VenueRules}


@dataclass(frozen=True)
class TradingSettings:
    """How the agent looks at a market and trades in it.

    Attributes:
        timeframes: the first is the base; a decision is made at each of its closes.
        window: bars seen per timeframe.
        instrument: "spot", "margin" or "perpetual".
        positions: target exposures; action `i` asks for `positions[i]`.
        costs: costs of the env. The default is the scored one: no impact, 0.0011 per unit of turnover.
        reward: what learning is paid: a name, or weights of several (`cryptoenv.trading.rewards`).
        limits, rules, sizing: of the env; the defaults are the env's.
        reward_adaptation: rate of the exponential means behind the differential rewards.
        continuous: an agent that can answers with exposures instead of choosing a position; `positions` are then what
            its teacher and its clone choose from.

    Raises:
        ValueError: positions without flat (0.0), which is where every evaluation starts, or beyond what instrument and
            limits allow; values that contradict each other; an unknown reward.
    """

    timeframes: tuple[str, ...] = ("15m", "4h", "1d")
    window: tuple[int, ...] = (32, 16, 8)
    instrument: Instrument = "perpetual"
    positions: tuple[float, ...] = (-1.0, 0.0, 1.0)
    costs: Costs = field(default_factory=lambda: SCORED_COSTS)
    reward: str | dict[str, float] = "log_return"
    limits: RiskLimits = field(default_factory=RiskLimits)
    rules: VenueRules = field(default_factory=VenueRules)
    sizing: Sizing = field(default_factory=Sizing)
    reward_adaptation: float = 0.01
    continuous: bool = False

    def __post_init__(self) -> None:
        if 0.0 not in self.positions:
            raise ValueError(f"positions={self.positions} must contain 0.0, the position an evaluation starts from")
        TradingConfig(  # refuses values that contradict each other
            self.instrument, self.costs, self.limits, self.rules, self.sizing, self.reward_adaptation
        )
        reward_weights(self.reward)
        low, high = self.exposure_bounds
        if not all(low <= position <= high for position in self.positions):
            raise ValueError(
                f"positions={self.positions} are not all from {low:g} to {high:g}, what instrument={self.instrument!r} "
                f"with an exposure limit of {high:g} allows"
            )

    @property
    def exposure_bounds(self) -> tuple[float, float]:
        """The lowest and the highest target exposure that instrument and limits allow."""
        high = float(self.limits.exposure)
        return (0.0 if self.instrument == "spot" else -high), high

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

    @property
    def env_arguments(self) -> dict[str, Any]:
        """Keyword arguments of `CryptoTrade-v0` that say what is looked at, and how it is traded and paid."""
        return {
            "timeframes": self.timeframes, "window": self.window, "instrument": self.instrument, "costs": self.costs,
            "limits": self.limits, "rules": self.rules, "sizing": self.sizing, "reward": self.reward,
            "reward_adaptation": self.reward_adaptation,
        }  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TradingSettings:
        """The inverse of `as_dict`, also after a trip through JSON (lists become tuples again).

        What a version before this one did not write has its default.

        Raises:
            KeyError: a value is missing. TypeError, ValueError: one that is not allowed.
        """
        if not isinstance(values, dict):
            raise TypeError(f"expected names and values, got {type(values).__name__}")
        parts = {name: kind(**values.get(name, {})) for name, kind in PARTS.items() if name != "costs"}
        return cls(
            timeframes=tuple(values["timeframes"]),
            window=tuple(values["window"]),
            instrument=values["instrument"],
            positions=tuple(values["positions"]),
            costs=Costs(**values["costs"]),
            reward=values.get("reward", "log_return"),
            reward_adaptation=values.get("reward_adaptation", 0.01),
            continuous=values.get("continuous", False),
            **parts,
        )


@dataclass(frozen=True)
class TradingChoice:
    """What a recipe says of trading; None is what there was before it could say so: the env's, at the scored costs.

    Attributes:
        instrument: "spot", "margin" or "perpetual".
        actions: target exposures, flat (0.0) among them; the extractor's positions where None, those of them that the
            instrument allows; or "continuous": any exposure, for ppo, sac and tqc.
        reward: what learning is paid: a name, or weights of several.
        costs, limits, sizing, rules: as of the env.
    """

    instrument: Instrument | None = None
    actions: tuple[float, ...] | Literal["continuous"] | None = None
    reward: str | dict[str, float] | None = None
    costs: Costs | None = None
    limits: RiskLimits | None = None
    sizing: Sizing | None = None
    rules: VenueRules | None = None

    def settings(
        self, timeframes: tuple[str, ...], window: tuple[int, ...], positions: tuple[float, ...]
    ) -> TradingSettings:
        """The settings of an agent on an extractor that looks at these, and knows these positions.

        Raises:
            ValueError: a choice that contradicts itself.
        """
        given = {item.name: value for item in fields(self) if (value := getattr(self, item.name)) is not None}
        targets = given.pop("actions", None)
        if targets == CONTINUOUS:
            given["continuous"], targets = True, None
        if targets is None:
            targets = tuple(at for at in positions if at >= 0.0 or self.instrument != "spot")
        return TradingSettings(timeframes, window, positions=targets, **given)

    @property
    def given(self) -> dict[str, Any]:
        """What it says, as plain values for a recipe's file."""
        return {name: value for name, value in asdict(self).items() if value is not None}


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
        actions="continuous" if continuous else settings.positions,
        observation=observation,
        episode_bars=episode_bars,
        **settings.env_arguments,
        **options,
    )
