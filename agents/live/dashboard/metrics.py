"""What trading does, as Prometheus reads it: taken from the board when it is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from agents.live.dashboard.board import wall_now
from agents.live.dashboard.controls import Controls
from agents.live.dashboard.present import (
    feed_age,
    feed_lateness,
    latency_quantiles,
    slippage_basis_points,
    trading_state,
)

NAME = "cryptoenv_trade"
STATES = ("starting", "trading", "halted", "tripped", "stopped")
DRIFT_LEVELS = {"ok": 0.0, "watch": 1.0, "bad": 2.0}
MOST_LABELS = 50  #: values of a label that comes from outside


class Registry(Protocol):
    """Where collectors are registered."""

    def register(self, collector: Collector) -> None:
        """Add one."""
        ...


class TradeCollector(Collector):
    """Figures of one trading process.

    Args:
        controls: of the page; read in the server's thread.
    """

    def __init__(self, controls: Controls) -> None:
        self._controls = controls

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        controls, board, latest, now = self._controls, self._controls.board, self._controls.board.latest, wall_now()
        state = trading_state(controls)[0]
        yield _labelled("state", "1 for the state that trading is in.", "state",
                        {name: float(name == state) for name in STATES})  # fmt: skip
        yield _labelled("breaker", "1 for a circuit breaker that has tripped.", "breaker",
                        dict.fromkeys(controls.latched, 1.0))  # fmt: skip
        yield _labelled("journal_orders", "Orders in the journal by what became of them.", "state",
                        {name: float(count) for name, count in controls.counts.items()})  # fmt: skip
        yield _labelled("drift", "Of a drift monitor: 0 in order, 1 to be watched, 2 wrong, NaN not known.", "of",
                        {name: DRIFT_LEVELS.get(one.state, math.nan) for name, one in controls.drift.items()})
        yield _gauge("messages_lost", "Messages that came faster than the page's server took them.", board.lost)
        last, middle, late = latency_quantiles(board)
        yield _labelled("latency_seconds", "From a bar being known to its order being answered, of recent orders.",
                        "quantile", {"last": last, "0.5": middle, "0.99": late})  # fmt: skip
        live, modelled = slippage_basis_points(board)
        yield _labelled("slippage_basis_points", "Paid against the bar's open since this start, by notional.", "kind",
                        {"live": live, "modelled": modelled})  # fmt: skip
        yield _gauge("feed_age_seconds", "Since the last bar was known.", feed_age(board, now))
        lateness = feed_lateness(controls, now)
        yield _gauge("feed_late_seconds", "By how much the next bar is late; below 0 before it is due.",
                     math.nan if lateness is None else lateness / 1000.0)  # fmt: skip
        if latest.bar is not None:
            yield from self._account()

    def _account(self) -> Iterator[Metric]:
        latest = self._controls.board.latest
        assert latest.bar is not None and latest.seen is not None
        seen, event, book, found = latest.bar, latest.bar.event, latest.bar.event.book, latest.seen.event.health
        skew = seen.skew_ms if seen.skew_ms is not None else -seen.offset_ms
        for name, words, value in (
            ("equity", "Equity at the last close, quote currency.", book.equity),
            ("cash", "Cash, quote currency.", book.cash),
            ("exposure", "Signed fraction of equity that is held.", book.exposure),
            ("target", "Exposure that was asked for last.", book.target),
            ("position", "Signed base quantity.", book.quantity),
            ("drawdown", "Fraction below the peak equity.", book.drawdown),
            ("close_price", "Of the last bar.", event.close),
            ("last_bar_timestamp_seconds", "When the last bar closed.", event.close_time / 1000.0),
            ("clock_skew_seconds", "This machine's clock less the exchange's.", skew / 1000.0),
            ("reconciled", "1 while book and venue are known to agree.", float(found.reconciled)),
            ("orders_under_way", "Orders whose last word has not been heard.", found.undone),
            ("funding_paid", "Since the account began, quote currency; negative: received.", book.funding),
        ):
            yield _gauge(name, words, value)
        for name, words, value in (
            ("fees", "Paid since the account began, quote currency.", book.fees),
            ("slippage", "Paid since the account began, quote currency.", book.slippage),
            ("borrow", "Interest paid since the account began, quote currency.", seen.borrow),
            ("bars", "Bars decided at since this start.", event.bars),
            ("orders", "Orders sent since this start.", event.orders),
            ("outages", "Times that no bar could be had, since this start.", found.outages),
        ):
            yield CounterMetricFamily(f"{NAME}_{name}", words, value=float(value))


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{NAME}_{name}", words, value=float(value))


def _labelled(name: str, words: str, label: str, values: dict[str, float]) -> Metric:
    found = GaugeMetricFamily(f"{NAME}_{name}", words, labels=(label,))
    for key, value in list(values.items())[:MOST_LABELS]:
        found.add_metric((key,), value)
    return found
