"""Backtests: given targets on a market through the kernel, beside buy and hold and beside chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.analysis.figures import Figure, figures
from cryptoenv.analysis.returns import bars_per_year, period_returns, simple_returns
from cryptoenv.analysis.trades import trades_of
from cryptoenv.bars.price_columns import CLOSE, HIGH, LOW, OPEN
from cryptoenv.bars.timeframe import DAY_MS, timeframe_ms
from cryptoenv.market.market import Market
from cryptoenv.trading.account import ExitKind, OrderStatus
from cryptoenv.trading.config import Sizing, TradingConfig
from cryptoenv.trading.replay import Opening, Trace, replay

COSTS = ("fees", "slippage", "funding", "borrow")
OHLC = {"open": OPEN, "high": HIGH, "low": LOW, "close": CLOSE}
CHANCES = 200  #: random positions that a strategy is compared with


@dataclass(frozen=True)
class Desk:
    """How targets are traded.

    Attributes:
        trading: instrument, costs, limits, sizing and the venue's rules; the default has all costs on.
        cash: at the start, in quote currency.
        stay_out: after a stop or a take-profit stay flat until another target is asked for.
    """

    trading: TradingConfig = field(default_factory=TradingConfig)
    cash: float = 10_000.0
    stay_out: bool = True

    def parameters(self, market: Market) -> NDArray[np.float64]:
        """(PARAMETER_WIDTH,) float64, the kernel's parameters on bars of the market."""
        return self.trading.parameters(timeframe_ms(market.timeframes[0]) / 1000.0)

    def bounded(self, targets: NDArray[np.float64]) -> NDArray[np.float64]:
        """Targets (n,) within what instrument and limits allow; NaN stays.

        Raises:
            ValueError: a short target on spot: it would silently be another strategy.
        """
        if not self.trading.shorts_allowed and (targets < 0.0).any():
            at = int((targets < 0.0).argmax())
            raise ValueError(f"target {targets[at]:g} at bar {at} is short, and 'spot' allows none: say short=0")
        limit = self.trading.limits.exposure
        return np.clip(targets, -limit, limit)


@dataclass(frozen=True)
class Backtest:
    """What became of given targets on a market.

    Attributes:
        market: what was traded.
        desk: how.
        targets: (S,) float64, one per step; NaN kept the one before.
        trace: what happened.
        name: of the strategy.
    """

    market: Market
    desk: Desk
    targets: NDArray[np.float64]
    trace: Trace
    name: str = "strategy"

    @property
    def equity(self) -> NDArray[np.float64]:
        """(S + 1,) float64, quote currency."""
        return self.trace.equity

    @property
    def log_return(self) -> float:
        """Net log-return of the whole."""
        return float(np.log(self.equity[-1] / self.equity[0]))

    @cached_property
    def closes_ms(self) -> NDArray[np.int64]:
        """(S + 1,) int64, when each mark was made, milliseconds since 1970."""
        step = timeframe_ms(self.market.timeframes[0])
        rows = np.arange(self.trace.first + 1, self.trace.first + 2 + len(self.targets), dtype=np.int64)
        return self.market.start_ms + rows * step

    @cached_property
    def trades(self) -> pd.DataFrame:
        """Trades, as of `cryptoenv.analysis.trades.trades_of`, with the opens of the bars they fill in and words."""
        table = trades_of(self.trace, self.market.prices[:, CLOSE])
        index = self.market.bars.index
        table.insert(0, "entry_time", index[table["entry_bar"].to_numpy()])
        table.insert(1, "exit_time", index[table["exit_bar"].to_numpy()])
        table["exit_kind"] = [ExitKind(kind).name.lower() if kind else "order" for kind in table["exit_kind"]]
        return table

    def days(self) -> NDArray[np.float64]:
        """(days,) net returns of whole UTC days, or of bars where those are longer; ends that are left are not told."""
        return daily_returns(self.equity, self.closes_ms)

    def monthly_returns(self) -> dict[str, float]:
        """Net return of each calendar month (UTC), as {"2024-01": 0.02}; the first and the last may be parts of one."""
        months, gains = period_returns(self.equity, self.closes_ms)
        return {
            f"{1970 + month // 12}-{month % 12 + 1:02d}": gain
            for month, gain in zip(months.tolist(), gains.tolist(), strict=True)
        }

    def costs(self) -> dict[str, float]:
        """Costs by kind, quote currency."""
        return {kind: float(self.trace.column(kind).sum()) for kind in COSTS}

    def figures(self, benchmark: Backtest | None = None) -> dict[str, Figure]:
        """Every figure, by name."""
        told = figures(
            self.equity, bars_per_year(self.market.timeframes[0]), exposure=self.trace.column("exposure"),
            turnover=self.trace.column("turnover"), trades=self.trades, costs=self.costs(),
            benchmark=None if benchmark is None else benchmark.equity,
        )  # fmt: skip
        status = self.trace.column("order_status").astype(np.int64)
        refused = [OrderStatus.NO_VOLUME, OrderStatus.BELOW_MIN_NOTIONAL, OrderStatus.ROUNDED_TO_ZERO]
        told["orders_unfilled"] = float(np.isin(status, refused).sum())
        told["orders_partial"] = float((status == OrderStatus.PARTIAL).sum())
        told["ruined"] = float(self.trace.column("ruined")[-1])
        return told

    def equity_table(self, **others: Backtest) -> pd.DataFrame:
        """A row per mark, on a UTC index of closes: equity, open, high, low and close of the bar that ends there, what
        exposure was held until then, target, costs by kind of the bar, and the equity of `others` by name."""
        index = pd.DatetimeIndex(self.closes_ms.astype("datetime64[ms]"), name="close_time").tz_localize("UTC")
        rows = slice(self.trace.first, self.trace.first + 1 + len(self.targets))
        prices = {name: self.market.prices[rows, at] for name, at in OHLC.items()}
        table = pd.DataFrame({"equity": self.equity, **prices}, index=index)
        for name in ("exposure", "target", "turnover", *COSTS):
            table[name] = np.concatenate(([0.0], self.trace.column(name)))
        for name, other in others.items():
            table[name] = other.equity
        return table


def daily_returns(equity: NDArray[np.float64], closes_ms: NDArray[np.int64]) -> NDArray[np.float64]:
    """(days,) returns between marks (S + 1,) at 00:00 UTC, or between all marks where those are days apart or more."""
    marks = np.flatnonzero(closes_ms % DAY_MS == 0) if closes_ms[1] - closes_ms[0] < DAY_MS else np.arange(len(equity))
    return simple_returns(equity[marks]) if len(marks) > 1 else np.empty(0)


def backtest(
    market: Market,
    targets: NDArray[np.float64],
    desk: Desk | None = None,
    *,
    first: int = 0,
    last: int | None = None,
    name: str = "strategy",
) -> Backtest:
    """Trade targets on a market.

    Args:
        market: what is traded.
        targets: (T,) float64, the exposure asked for at the close of each bar; NaN keeps the one before.
        desk: how it is traded.
        first: bar of the first decision. What was asked for before it is asked for there.
        last: bar of the last decision; the last but one where None.
        name: of the strategy.

    Raises:
        ValueError: targets of another length, short ones on spot, or bars outside the market.
    """
    desk = desk or Desk()
    stop = len(market) - 1 if last is None else last + 1
    if targets.shape != (len(market),):
        raise ValueError(f"targets have shape {targets.shape}; allowed: ({len(market)},), one per bar of the market")
    if not 0 <= first < stop <= len(market) - 1:
        raise ValueError(f"bars {first} to {stop - 1} are not allowed: decisions from 0 to {len(market) - 2}")
    asked = desk.bounded(np.asarray(targets, dtype=np.float64)[first:stop]).copy()
    before = np.asarray(targets[: first + 1], dtype=np.float64)
    known = before[~np.isnan(before)]
    asked[0] = desk.bounded(known[-1:])[0] if len(known) else 0.0
    parameters = desk.parameters(market)
    trace = replay(market.prices, asked, parameters, first=first, opening=Opening(desk.cash), stay_out=desk.stay_out)
    return Backtest(market, desk, asked, trace, name)


def buy_and_hold(like: Backtest) -> Backtest:
    """Long from the first decision of another backtest to its end, with its costs and no stops, as far as allowed."""
    trading = like.desk.trading
    limits = replace(trading.limits, stop_loss=None, take_profit=None, drawdown_stop=None)
    desk = replace(like.desk, trading=replace(trading, limits=limits, sizing=Sizing()))
    targets = np.full(len(like.targets), min(1.0, limits.exposure))
    return traded_again(like, targets, "buy and hold", desk=desk)


def traded_again(
    like: Backtest,
    targets: NDArray[np.float64],
    name: str,
    *,
    desk: Desk | None = None,
    market: Market | None = None,
) -> Backtest:
    """Other targets (S,) over the bars of a backtest, or the same at another desk or on another market."""
    desk, market = desk or like.desk, market or like.market
    opening = Opening(desk.cash)
    parameters = desk.parameters(market)
    trace = replay(
        market.prices, targets, parameters, first=like.trace.first, opening=opening, stay_out=desk.stay_out
    )
    return Backtest(market, desk, targets, trace, name)


@dataclass(frozen=True)
class Chance:
    """A strategy among random ones that hold as much, as long and change as often.

    Attributes:
        p_value: share of the random ones that earned at least as much, it among them; 1 where nothing can be drawn.
        earned: (n,) net log-returns of the random ones.
        turnover: mean turnover of the random ones over the strategy's.
    """

    p_value: float
    earned: NDArray[np.float64]
    turnover: float

    @property
    def words(self) -> str:
        """In one line."""
        if len(self.earned) == 0:
            return "it holds one position throughout: nothing random to compare it with"
        middle = 100.0 * float(np.median(self.earned))
        return f"p = {self.p_value:.3f} ({len(self.earned)} random ones, median net log-return {middle:+.2f}%)"


def against_chance(found: Backtest, count: int = CHANCES, seed: int = 0, *, states: bool = False) -> Chance:
    """Compare a backtest with random positions of equal turnover and equal dwell, with the same costs.

    A random one has the strategy's positions in their order, each as long as some stretch of that position of the
    strategy, and begins anywhere: it holds each position as long and changes as often, at times that know nothing.

    Args:
        found: the strategy's.
        count: random ones.
        seed: of what is drawn.
        states: what is drawn are states of equal dwell (long, short or out, and the one in which what is held is kept),
            as `found` was asked for them, which then trade by the same rule.
    """
    held = found.targets.copy() if states else _kept(found.targets)
    changed = (held[1:] != held[:-1]) & ~(np.isnan(held[1:]) & np.isnan(held[:-1]))
    edges = np.concatenate(([0], np.flatnonzero(changed) + 1, [len(held)]))
    values, lengths = held[edges[:-1]], np.diff(edges)
    if len(values) < 2:
        return Chance(1.0, np.empty(0), 1.0)
    rng = np.random.default_rng(seed)
    earned, turnover = np.empty(count), np.empty(count)
    for number in range(count):
        targets = np.roll(np.repeat(values, _shuffled(values, lengths, rng)), rng.integers(len(held)))
        drawn = traded_again(found, targets, "random")
        earned[number], turnover[number] = drawn.log_return, drawn.trace.column("turnover").sum()
    own = float(found.trace.column("turnover").sum())
    p_value = (1.0 + float((earned >= found.log_return).sum())) / (1.0 + count)
    return Chance(p_value, earned, float(turnover.mean()) / own if own > 0.0 else 1.0)


def _shuffled(
    values: NDArray[np.float64], lengths: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """The lengths, dealt out anew among the stretches of each position."""
    out = lengths.copy()
    for value in np.unique(values):
        mine = np.flatnonzero(np.isnan(values) if np.isnan(value) else values == value)
        out[mine] = rng.permutation(lengths[mine])
    return out


def _kept(targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Targets with what is kept filled in; 0 before the first."""
    last = np.maximum.accumulate(np.where(np.isnan(targets), -1, np.arange(len(targets))))
    return np.where(last < 0, 0.0, targets[np.maximum(last, 0)])


def decision_rows(market: Market, start: str | None, stop: str | None, earliest: int = 0) -> tuple[int, int]:
    """Bars of the first and the last decision from `start` to `stop` (times of bars' closes, UTC), at most all.

    Raises:
        ValueError: no times, or no bar between them.
    """
    step = timeframe_ms(market.timeframes[0])
    closes = market.start_ms + step * np.arange(1, len(market) + 1, dtype=np.int64)
    first, last = earliest, len(market) - 2
    if start is not None:
        first = max(first, int(np.searchsorted(closes, _ms(start), side="left")))
    if stop is not None:
        last = min(last, int(np.searchsorted(closes, _ms(stop), side="right")) - 2)
    if first > last:
        raise ValueError(f"no bar to trade in from {start or 'the start'} to {stop or 'the end'} of {market!r}")
    return first, last


def _ms(text: str) -> int:
    try:
        moment = pd.Timestamp(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no time: say 2024-01-31, or 2024-01-31T12:00") from error
    moment = moment.tz_localize("UTC") if moment.tz is None else moment.tz_convert("UTC")
    return int(moment.value // 1_000_000)


def summary(found: Sequence[Backtest]) -> pd.DataFrame:
    """A line per backtest: the figures that are looked at first."""
    columns = ("total_return", "annualised_return", "sharpe", "max_drawdown", "trades", "win_rate", "turnover_per_day",
               "time_in_market", "cost_share")  # fmt: skip
    lines: dict[str, dict[str, Any]] = {}
    for one in found:
        told = one.figures()
        lines[one.name] = {name: told[name] for name in columns}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("method")
