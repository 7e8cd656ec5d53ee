"""Frozen, validated configuration of the environment, and the float64 vector that the kernel reads it from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from cryptoenv.files.typed_values import Range, require_numbers, section

Instrument = Literal["spot", "margin", "perpetual"]
INSTRUMENTS: tuple[Instrument, ...] = ("spot", "margin", "perpetual")
Values = Mapping[str, float | None]  #: fields of `Costs`, `RiskLimits`, ... by name, as YAML and JSON have them
Part = TypeVar("Part")
# Indices into the kernel's parameter vector.
FEE, HALF_SPREAD, IMPACT, BORROW, FUNDING_RATE, LIQUIDATION_FEE = range(6)
EXPOSURE_LIMIT, PARTICIPATION, STOP_LOSS, TAKE_PROFIT, DRAWDOWN_STOP, TOLERANCE = range(6, 12)
STEP_SIZE, TICK_SIZE, MIN_NOTIONAL, MAINTENANCE = range(12, 16)
SIZING_FRACTION, SIZING_VOLATILITY = 16, 17
IS_SPOT, IS_PERPETUAL, BAR_DAYS, REWARD_ADAPTATION = range(18, 22)
PARAMETER_WIDTH = 22


@dataclass(frozen=True)
class Costs:
    """What trading and holding cost, all as fractions.

    Attributes:
        fee: fee per filled notional (0.001 = 0.1%).
        half_spread: half the bid-ask spread, paid by every market order.
        impact: factor of the square-root impact `impact * sigma * sqrt(quantity / volume)` (Almgren et al. 2005,
            "Direct estimation of equity market impact"; Toth et al. 2011, Phys. Rev. X 1, 021006). Half-spread and
            impact together are cut at 90% of the price; only stops and take-profits, which no participation limit
            holds back, can be larger than their bar and get there.
        borrow: interest per day on the value of a short ("margin" only).
        funding: constant funding rate per 8 hours at 00, 08 and 16 UTC, paid by longs to shorts ("perpetual"
            only, and only where the market brings no funding series; other instruments leave that series alone).
        liquidation_fee: how much worse than the liquidation price a forced exit fills; it replaces fee, half-spread
            and impact there.

    Raises:
        ValueError: a value outside its range. TypeError: not a number.
    """

    fee: float = 0.001
    half_spread: float = 0.0001
    impact: float = 0.1
    borrow: float = 0.0
    funding: float = 0.0
    liquidation_fee: float = 0.005

    def __post_init__(self) -> None:
        shares = dict.fromkeys(("fee", "half_spread", "liquidation_fee"), Range(0.0, 0.5))
        further = {"impact": Range(0.0, 100.0), "borrow": Range(0.0, 1.0), "funding": Range(-0.1, 0.1)}
        require_numbers(self, shares | further)


@dataclass(frozen=True)
class RiskLimits:
    """What the account may risk. `None` switches a limit off.

    Attributes:
        exposure: largest absolute exposure, as a multiple of equity (above 1 is leverage: "perpetual" only).
        participation: largest share of a bar's volume that one order may take; the rest stays due in the next bar.
            Stops, take-profits and liquidations are emergency orders that it does not hold back: they close the whole
            position in their bar, stops and take-profits at the impact of its whole quantity.
        stop_loss: fraction below (above, for shorts) the average entry price at which the position is closed.
        take_profit: fraction of profit against the average entry price at which the position is closed.
        drawdown_stop: fall from peak equity after which the account only closes, until the next reset.
        rebalance_tolerance: how far exposure may drift from an unchanged target before an order goes out. It does not
            end an order that a bar's volume left unfinished (`PARTIAL`, `NO_VOLUME`): that one stays due.

    Raises:
        ValueError: a value outside its range. TypeError: not a number.
    """

    exposure: float = 1.0
    participation: float = 0.1
    stop_loss: float | None = None
    take_profit: float | None = None
    drawdown_stop: float | None = None
    rebalance_tolerance: float = 0.05

    def __post_init__(self) -> None:
        shares = dict.fromkeys(("participation", "stop_loss", "drawdown_stop"), Range(0.0, 1.0, above=True))
        multiples = {"exposure": Range(0.0, 125.0, above=True), "rebalance_tolerance": Range(0.0, 125.0)}
        require_numbers(self, shares | multiples | {"take_profit": Range(0.0, 100.0, above=True)})


@dataclass(frozen=True)
class PortfolioLimits:
    """What the weights of a portfolio may add up to; weights beyond are scaled down by one factor.

    Attributes:
        gross: largest sum of absolute weights. None: `RiskLimits.exposure`.
        net: largest absolute sum of weights. None: `gross`.

    Raises:
        ValueError: a value outside its range. TypeError: not a number.
    """

    gross: float | None = None
    net: float | None = None

    def __post_init__(self) -> None:
        require_numbers(self, dict.fromkeys(("gross", "net"), Range(0.0, 125.0, above=True)))


@dataclass(frozen=True)
class VenueRules:
    """What the venue accepts; 0 switches a rounding or minimum off.

    Attributes:
        step_size: base quantity increment; orders round toward less risk, and are whole steps unless they close all.
        tick_size: price increment; fills round to the adverse side.
        min_notional: smallest order value in quote currency; smaller ones are refused.
        maintenance_margin: fraction of the position's value below which equity is liquidated.

    Raises:
        ValueError: a value outside its range. TypeError: not a number.
    """

    step_size: float = 0.0
    tick_size: float = 0.0
    min_notional: float = 0.0
    maintenance_margin: float = 0.005

    def __post_init__(self) -> None:
        sizes = dict.fromkeys(("step_size", "tick_size", "min_notional"), Range(0.0, 1e12))
        require_numbers(self, sizes | {"maintenance_margin": Range(0.0, 0.5)})


@dataclass(frozen=True)
class Sizing:
    """How a target exposure becomes an effective one: `target * fraction * min(1, volatility / sigma)`.

    Attributes:
        fraction: fixed fraction of the target that is traded.
        volatility: annualised volatility that a full target aims at (None: no volatility targeting). It only ever
            reduces exposure; `sigma` is the annualised deviation of the last 96 log-returns.

    Raises:
        ValueError: a value outside its range. TypeError: not a number.
    """

    fraction: float = 1.0
    volatility: float | None = None

    def __post_init__(self) -> None:
        require_numbers(
            self, {"fraction": Range(0.0, 1.0, above=True), "volatility": Range(0.0, 100.0, above=True)}
        )


@dataclass(frozen=True)
class TradingConfig:
    """Everything about trading that is not the market: validated as a whole.

    Attributes:
        instrument: "spot" (no shorts, no leverage), "margin" (shorts pay borrow) or "perpetual" (funding, leverage).
        reward_adaptation: rate of the exponential means behind the differential rewards.

    Raises:
        ValueError: an unknown instrument, or a pair that contradicts itself.
    """

    instrument: Instrument = "perpetual"
    costs: Costs = field(default_factory=Costs)
    limits: RiskLimits = field(default_factory=RiskLimits)
    rules: VenueRules = field(default_factory=VenueRules)
    sizing: Sizing = field(default_factory=Sizing)
    reward_adaptation: float = 0.01

    def __post_init__(self) -> None:
        for item in fields(self):
            expected = {"costs": Costs, "limits": RiskLimits, "rules": VenueRules, "sizing": Sizing}.get(item.name)
            if expected is not None and not isinstance(getattr(self, item.name), expected):
                raise TypeError(f"{item.name} must be a {expected.__name__}, got {getattr(self, item.name)!r}")
        if self.instrument not in INSTRUMENTS:
            raise ValueError(f"instrument={self.instrument!r} is unknown; choose one of {INSTRUMENTS}")
        require_numbers(self, {"reward_adaptation": Range(0.0, 1.0, above=True)})
        if self.instrument != "perpetual" and self.limits.exposure > 1.0:
            raise ValueError(
                f"RiskLimits.exposure={self.limits.exposure} needs leverage, which {self.instrument!r} does not give; "
                "use instrument='perpetual' or exposure <= 1"
            )
        if self.instrument != "margin" and self.costs.borrow != 0.0:
            raise ValueError(f"Costs.borrow is charged on 'margin' only; instrument is {self.instrument!r}")
        if self.instrument != "perpetual" and self.costs.funding != 0.0:
            raise ValueError(f"Costs.funding is paid on 'perpetual' only; instrument is {self.instrument!r}")
        if self.instrument == "perpetual" and self.rules.maintenance_margin * self.limits.exposure >= 1.0:
            raise ValueError(
                f"VenueRules.maintenance_margin={self.rules.maintenance_margin} liquidates an exposure of "
                f"{self.limits.exposure} at once; their product must stay below 1"
            )

    @property
    def shorts_allowed(self) -> bool:
        """Whether negative exposures are possible."""
        return self.instrument != "spot"

    def parameters(self, bar_seconds: float) -> NDArray[np.float64]:
        """The kernel's parameter vector, shape (PARAMETER_WIDTH,), for bars of `bar_seconds`."""
        p = np.zeros(PARAMETER_WIDTH, dtype=np.float64)
        c, limits, r = self.costs, self.limits, self.rules
        p[FEE : LIQUIDATION_FEE + 1] = (c.fee, c.half_spread, c.impact, c.borrow, c.funding, c.liquidation_fee)
        p[EXPOSURE_LIMIT : TOLERANCE + 1] = (
            limits.exposure,
            limits.participation,
            math.inf if limits.stop_loss is None else limits.stop_loss,
            math.inf if limits.take_profit is None else limits.take_profit,
            math.inf if limits.drawdown_stop is None else limits.drawdown_stop,
            limits.rebalance_tolerance,
        )
        p[STEP_SIZE : MAINTENANCE + 1] = (r.step_size, r.tick_size, r.min_notional, r.maintenance_margin)
        p[SIZING_FRACTION] = self.sizing.fraction
        bars_per_year = 365.0 * 86_400.0 / bar_seconds
        volatility = math.inf if self.sizing.volatility is None else self.sizing.volatility
        p[SIZING_VOLATILITY] = volatility / math.sqrt(bars_per_year)
        p[IS_SPOT] = float(self.instrument == "spot")
        p[IS_PERPETUAL] = float(self.instrument == "perpetual")
        p[BAR_DAYS] = bar_seconds / 86_400.0
        p[REWARD_ADAPTATION] = self.reward_adaptation
        return p


def config_part(kind: type[Part], given: Part | Values | None, name: str) -> Part:
    """A part of the trading configuration: itself, one of the values that a mapping names, or the default for None.

    Raises:
        ConfigError: an unknown name, or a value that is not allowed; `name` says where.
    """
    if given is None:
        return kind()
    return section(given, kind, name) if isinstance(given, Mapping) else given
