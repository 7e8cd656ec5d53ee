"""How things stand now, as the page and the metrics show it: figures, costs, health, drift."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from agents.live.dashboard.board import Board, Seen, plain, wall_now
from agents.live.dashboard.controls import Account, Controls, Status

LATE_MS, DEAD_MS = 15_000, 60_000  #: after a bar should have closed: late, and dead
BASIS = 10_000.0


def trading_state(controls: Controls) -> tuple[str, str]:
    """One of "starting", "trading", "halted", "tripped" or "stopped", and why."""
    latest = controls.board.latest
    if latest.stopped:
        return "stopped", latest.stopped
    if (reason := controls.account.switch.reason) is not None:
        return "halted", reason
    if controls.latched:
        return "tripped", "; ".join(f"{name}: {reason}" for name, reason in controls.latched.items())
    return ("starting", "no bar yet") if latest.bar is None else ("trading", "")


def feed_lateness(controls: Controls, now_ms: int) -> int | None:
    """By how much the next bar is late, ms; None before the first bar, in a replay and once the loop has ended."""
    latest = controls.board.latest
    if latest.bar is None or controls.account.replay or latest.stopped:
        return None
    due = latest.bar.event.close_time + controls.board.step_ms
    return now_ms + latest.bar.offset_ms - due


def feed_age(board: Board, now_ms: int) -> float:
    """Seconds since the last bar was known; NaN before the first."""
    return (now_ms - board.latest.heard_ms) / 1000.0 if board.latest.bar is not None else math.nan


def latency_quantiles(board: Board) -> tuple[float, float, float]:
    """Seconds from a bar known to its order answered: last, median, 99%; NaN where no order went out."""
    known = board.latest.latencies
    if not known:
        return math.nan, math.nan, math.nan
    middle, late = np.quantile(np.array(known), (0.5, 0.99))
    return known[-1], float(middle), float(late)


def slippage_basis_points(board: Board) -> tuple[float, float]:
    """What fills have paid against the bar's open, live and modelled: basis points of their notional."""
    sums = board.latest.slippage
    if not sums.notional:
        return math.nan, math.nan
    return BASIS * sums.live / sums.notional, BASIS * sums.modelled / sums.notional


def present(controls: Controls) -> dict[str, Any]:
    """Everything that has one value, as plain JSON."""
    board, latest, now = controls.board, controls.board.latest, wall_now()
    state, words = trading_state(controls)
    live, modelled = slippage_basis_points(board)
    sums = latest.slippage
    return {
        "now": now, "state": state, "words": words, "account": about(controls.account),
        "figures": figures(latest.bar or latest.seen, latest.first_equity),
        "slippage": {"fills": sums.fills, "live": plain(live), "modelled": plain(modelled),
                     "excess": plain(sums.live - sums.modelled)},
        "health": [[name, *status] for name, status in health(controls, now).items()],
        "drift": None if controls.account.drift is None else [[name, *one] for name, one in controls.drift.items()],
        "counts": controls.counts, "lost": board.lost,
    }  # fmt: skip


def about(account: Account) -> dict[str, Any]:
    """What the page is about."""
    return {"name": account.name, "place": account.place, "mode": account.mode, "replay": account.replay}


def figures(seen: Seen | None, first_equity: float) -> dict[str, Any]:
    """The account at the newest close; empty before the first."""
    if seen is None:
        return {}
    event, book = seen.event, seen.event.book
    entry, sign = book.entry, math.copysign(1.0, book.quantity)
    held = book.quantity != 0.0 and entry > 0.0
    values = {
        "equity": book.equity, "firstEquity": first_equity, "dayEquity": seen.day_equity, "cash": book.cash,
        "exposure": book.exposure, "target": book.target, "quantity": book.quantity,
        "entry": entry if held else math.nan,
        "sinceEntry": sign * (event.close / entry - 1.0) if held else math.nan, "drawdown": book.drawdown,
        "close": event.close, "fees": book.fees, "slippagePaid": book.slippage, "funding": book.funding,
        "borrow": seen.borrow, "bars": event.bars, "orders": event.orders,
    }  # fmt: skip
    return {name: plain(value) for name, value in values.items()} | {"closeMs": event.close_time}


def health(controls: Controls, now_ms: int) -> dict[str, Status]:
    """How each thing stands that trading needs."""
    latest = controls.board.latest
    if latest.seen is None:
        return {"Feed": Status("off", "no bar yet")}
    return {
        "Feed": _feed(controls, now_ms),
        "Latency": _latency(controls.board),
        "Clock": _clock(latest.seen, controls.account),
        "Reconciliation": _reconciled(latest.seen),
        "Breakers": _breakers(controls, latest.seen),
        "Last signal": _signal(latest.seen),
    }


def _feed(controls: Controls, now_ms: int) -> Status:
    board, latest = controls.board, controls.board.latest
    if latest.bar is None:
        return Status("off", "no bar yet")
    event = latest.bar.event
    source = event.bar.source if event.bar is not None else "history"
    words = f"last bar {spoken(feed_age(board, now_ms))} ago, from {source}"
    if latest.stopped:
        return Status("off", words)
    if latest.outage:
        return Status("bad", f"{latest.outage}; {words}")
    late = feed_lateness(controls, now_ms)
    if late is not None and late > LATE_MS:
        return Status("bad" if late > DEAD_MS else "watch", f"the next bar is {spoken(late / 1000.0)} late; {words}")
    outages = latest.bar.event.health.outages
    return Status("ok", words + (f"; {outages:,} outages before" if outages else ""))


def _latency(board: Board) -> Status:
    last, middle, late = latency_quantiles(board)
    if math.isnan(last):
        return Status("off", "no order yet")
    slow = late * 1000.0 > 0.5 * board.step_ms
    words = ", ".join(f"{name} {1000.0 * value:,.{1 if value < 0.01 else 0}f}" for name, value in (
        ("last", last), ("median", middle), ("99%", late)))  # fmt: skip
    return Status("watch" if slow else "ok", f"bar to order, ms: {words}")


def _clock(seen: Seen, account: Account) -> Status:
    if account.replay:
        return Status("off", "a replay has its own clock")
    skew = seen.skew_ms if seen.skew_ms is not None else -seen.offset_ms
    limit = account.limits.clock_skew_ms
    words = f"{skew / 1000.0:+.2f} s against the exchange, allowed are {limit / 1000.0:g} s"
    return Status("bad" if abs(skew) > limit else "watch" if abs(skew) > limit / 2 else "ok", words)


def _reconciled(seen: Seen) -> Status:
    found = seen.event.health
    if not found.reconciled:
        return Status("bad", "book and venue are not known to agree: nothing is sent")
    if found.undone:
        return Status("watch", f"{found.undone} order(s) under way")
    return Status("ok", "book and venue agree")


def _breakers(controls: Controls, seen: Seen) -> Status:
    if controls.latched:
        return Status("bad", "; ".join(f"{name}: {reason}" for name, reason in controls.latched.items()))
    book, limits = seen.event.book, controls.account.limits
    day = book.equity / seen.day_equity - 1.0 if seen.day_equity > 0.0 else 0.0
    parts, used = [], 0.0
    if limits.daily_loss is not None:
        parts.append(f"today {100.0 * day:+.1f}% (halts at -{100.0 * limits.daily_loss:g}%)")
        used = max(used, -day / limits.daily_loss)
    if limits.drawdown is not None:
        parts.append(f"drawdown {100.0 * book.drawdown:.1f}% (halts at {100.0 * limits.drawdown:g}%)")
        used = max(used, book.drawdown / limits.drawdown)
    return Status("watch" if used > 0.75 else "ok", ", ".join(parts) or "none are set")


def _signal(seen: Seen) -> Status:
    event = seen.event
    if event.health.objection:
        return Status("watch", f"no order: {event.health.objection}")
    if event.asked is None:
        return Status("off", "none yet")
    target, confidence = event.asked.target, event.asked.confidence
    return Status("ok", f"target {target:+.2f} at confidence {confidence:.2f}; order {event.order_status.lower()}")


def spoken(seconds: float) -> str:
    """A duration for people: "3 s", "12 min", "5 h"."""
    if seconds < 120.0:
        return f"{max(seconds, 0.0):.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 7_200.0 else f"{seconds / 3_600.0:.0f} h"
