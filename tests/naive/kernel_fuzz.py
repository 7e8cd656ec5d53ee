"""Random prices and random trading rules for the kernel, and the translation between it and the naive ledger."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from cryptoenv.trading.config import Costs, RiskLimits, Sizing, TradingConfig, VenueRules
from tests.naive.kernel import Bar, Rules

BAR_SECONDS = 900.0
BARS_PER_YEAR = 365.0 * 86_400.0 / BAR_SECONDS


def random_prices(rng: np.random.Generator, bars: int, wild: bool) -> NDArray[np.float64]:
    """(bars, 8) price rows with gaps, jumps, empty bars, funding; `wild` ones ruin leveraged accounts often."""
    scale = 0.12 if wild else 0.005
    prices = np.zeros((bars, 8))
    close = 100.0 * 10.0 ** rng.uniform(-6, 3)
    for t in range(bars):
        gap = rng.random() < 0.05
        opened = close if rng.random() < 0.5 else close * np.exp(scale * rng.standard_normal())
        closed = opened * np.exp(scale * rng.standard_t(3))
        high = max(opened, closed) * (1 + abs(scale * rng.standard_normal()))
        low = min(opened, closed) / (1 + abs(scale * rng.standard_normal()))
        volume = rng.lognormal(np.log(1e6 / close), 3.0)
        prices[t, :5] = (close, close, close, close, 0.0) if gap else (opened, high, low, closed, volume)
        prices[t, 5] = 0.0 if rng.random() < 0.02 else abs(scale * rng.standard_normal())
        prices[t, 6] = rng.normal(0, 1e-3) if rng.random() < 0.1 else 0.0
        prices[t, 7] = float(t % 32 == 0)
        close = prices[t, 3]
    return prices


def _maybe(rng: np.random.Generator, low: float, high: float) -> float | None:
    return float(rng.uniform(low, high)) if rng.random() < 0.5 else None


def random_config(rng: np.random.Generator, price: float) -> TradingConfig:
    """A random valid trading configuration for a market that trades near `price`."""
    instrument = str(rng.choice(["spot", "margin", "perpetual"]))
    perpetual, margin = instrument == "perpetual", instrument == "margin"
    return TradingConfig(
        instrument=instrument,  # type: ignore[arg-type]
        costs=Costs(
            fee=float(rng.choice([0.0, 0.001, 0.01])),
            half_spread=float(rng.choice([0.0, 0.0001, 0.002])),
            impact=float(rng.choice([0.0, 0.1, 1.0])),
            borrow=float(rng.uniform(0, 0.01)) if margin else 0.0,
            funding=float(rng.normal(0, 1e-3)) if perpetual else 0.0,
            liquidation_fee=float(rng.uniform(0, 0.02)),
        ),
        limits=RiskLimits(
            exposure=float(rng.choice([1.0, 3.0, 10.0])) if perpetual else float(rng.choice([0.5, 1.0])),
            participation=float(rng.choice([0.001, 0.1, 1.0])),
            stop_loss=_maybe(rng, 0.005, 0.1),
            take_profit=_maybe(rng, 0.005, 0.1),
            drawdown_stop=_maybe(rng, 0.2, 0.9) if rng.random() < 0.3 else None,
            rebalance_tolerance=float(rng.choice([0.0, 0.05, 0.5])),
        ),
        rules=VenueRules(
            step_size=float(rng.choice([0.0, 1.0, 10.0])) / price,
            tick_size=float(rng.choice([0.0, 1e-4])) * price,
            min_notional=float(rng.choice([0.0, 10.0, 3000.0])),
            maintenance_margin=float(rng.choice([0.0, 0.005, 0.05])),
        ),
        sizing=Sizing(fraction=float(rng.choice([1.0, 0.5])), volatility=_maybe(rng, 0.2, 3.0)),
    )


def naive_rules(config: TradingConfig) -> Rules:
    """The same rules for the naive ledger."""
    costs, limits, rules = config.costs, config.limits, config.rules
    volatility = config.sizing.volatility
    return Rules(
        instrument=config.instrument,
        **{k: v for k, v in dataclasses.asdict(costs).items() if k not in {"borrow", "funding"}},
        borrow_per_day=costs.borrow,
        funding_per_8h=costs.funding,
        exposure=limits.exposure,
        participation=limits.participation,
        stop_loss=limits.stop_loss,
        take_profit=limits.take_profit,
        drawdown_stop=limits.drawdown_stop,
        tolerance=limits.rebalance_tolerance,
        step=rules.step_size,
        tick=rules.tick_size,
        min_notional=rules.min_notional,
        maintenance=rules.maintenance_margin,
        fraction=config.sizing.fraction,
        volatility_per_bar=None if volatility is None else volatility / BARS_PER_YEAR**0.5,
        bar_days=BAR_SECONDS / 86_400.0,
    )


def naive_bar(row: NDArray[np.float64]) -> Bar:
    """The naive bar of one (8,) price row."""
    return Bar(*(float(x) for x in row))
