"""What ccxt's answers mean: orders, balances and positions, each plain or unknown, never guessed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cryptoenv.live.broker import OrderKind, OrderPhase, OrderReport, Payment, UnknownStateError

PHASES = {
    "open": OrderPhase.OPEN, "closed": OrderPhase.FILLED, "canceled": OrderPhase.CANCELED,
    "cancelled": OrderPhase.CANCELED, "expired": OrderPhase.CANCELED, "rejected": OrderPhase.CANCELED,
}  # fmt: skip


def finite(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def best_prices(found: Any) -> tuple[float, float]:
    """Best bid and ask of an order book.

    Raises:
        UnknownStateError: it does not plainly say so, or they cross.
    """
    told = found if isinstance(found, dict) else {}
    best = []
    for name in ("bids", "asks"):
        rows = told.get(name)
        first = rows[0] if isinstance(rows, list) and rows else None
        price = finite(first[0]) if isinstance(first, list) and first else None
        if price is None or price <= 0.0:
            raise UnknownStateError(f"the order book has no {name}: {rows!r:.60}")
        best.append(price)
    if best[0] > best[1]:
        raise UnknownStateError(f"the order book crosses: bid {best[0]:g}, ask {best[1]:g}")
    return best[0], best[1]


def order_report(
    found: Any, market: Mapping[str, Any], client_id: str, quantity: float, kind: OrderKind, size: float
) -> OrderReport:
    """ccxt's order as a report.

    Args:
        found: of ccxt. market: ccxt's. client_id: that was asked for. quantity: signed, as it was meant, 0.0 unknown.
        kind: of the order. size: base coins per contract, 1.0 on spot.

    Raises:
        UnknownStateError: it does not plainly say which order it is, what it came to, or how much has filled.
    """
    told = found if isinstance(found, dict) else {}
    ident, status = told.get("id"), told.get("status")
    if not ident or status not in PHASES:
        raise UnknownStateError(f"an answer without id or status: id {ident!r:.40}, status {status!r:.40}")
    if client_id and told.get("clientOrderId") not in (client_id, None):
        raise UnknownStateError(f"asked for {client_id}, the answer is of {told.get('clientOrderId')!r:.60}")
    filled, amount = finite(told.get("filled")), finite(told.get("amount"))
    if filled is None or filled < 0.0:
        raise UnknownStateError(f"order {ident}: how much has filled is not said: {told.get('filled')!r:.40}")
    average = finite(told.get("average"))
    cost = finite(told.get("cost"))
    if filled > 0.0 and average is None:
        average = cost / filled if cost else None
    if filled > 0.0 and (average is None or average <= 0.0):
        raise UnknownStateError(f"order {ident}: {filled:g} filled at a price that is not said")
    side = -1.0 if told.get("side") == "sell" else 1.0
    signed = quantity if quantity else side * (amount or 0.0) * size
    phase = PHASES[status]
    if phase is OrderPhase.FILLED and amount is not None and filled < amount * (1.0 - 1e-9):
        phase = OrderPhase.CANCELED  # closed with less than was ordered
    quote, base = fees_of(told, market)
    named = client_id or str(told.get("clientOrderId") or "")
    return OrderReport(named, str(ident), phase, signed, filled * size, math.nan if average is None else average,
                       quote, base, kind)  # fmt: skip


def triggered_order(found: Any, report: OrderReport) -> str | None:
    """Id of the order that a stop or take-profit has sent; None where it has not been triggered.

    Binance's conditional orders, as one example, are "closed" with nothing filled once they are triggered: what was
    filled is told of another order, that they name.

    Raises:
        UnknownStateError: it was triggered, and what it filled is not to be found.
    """
    if report.phase is OrderPhase.OPEN or report.filled > 0.0:
        return None
    told = found if isinstance(found, dict) else {}
    info = told.get("info")
    sent = info.get("actualOrderId") if isinstance(info, dict) else None
    if sent not in (None, "", "0", 0):
        return str(sent)
    if told.get("status") == "closed":
        raise UnknownStateError(f"order {report.client_id} was triggered, and what it has filled is not said")
    return None


def funding_payments(found: Any, symbol: str) -> list[Payment]:
    """Funding that was charged, oldest first.

    Raises:
        UnknownStateError: an entry without time or amount, or no list.
    """
    if not isinstance(found, list):
        raise UnknownStateError(f"funding that was paid is no list: {found!r:.60}")
    out = []
    for one in found:
        if not isinstance(one, dict) or one.get("symbol") != symbol:
            continue
        at, amount = finite(one.get("timestamp")), finite(one.get("amount"))
        if at is None or amount is None:
            raise UnknownStateError(f"a payment of funding without time or amount: {one!r:.100}")
        out.append(Payment(str(one.get("id") or int(at)), int(at), -amount))
    return sorted(out, key=lambda payment: (payment.at_ms, payment.ident))


def fees_of(told: Mapping[str, Any], market: Mapping[str, Any]) -> tuple[float, float]:
    """Fees in quote (or settlement) and in base currency; those in other coins are not of this account."""
    listed = told.get("fees") or ([told["fee"]] if told.get("fee") else [])
    quote = base = 0.0
    for fee in listed:
        cost = finite(fee.get("cost")) if isinstance(fee, dict) else None
        if cost is None:
            continue
        if fee.get("currency") in (market.get("settle"), market["quote"]):
            quote += cost
        elif fee.get("currency") == market["base"] and not market.get("swap"):
            base += cost
    return quote, base


def has_fees(told: Mapping[str, Any]) -> bool:
    """Whether an order says what it was charged."""
    listed = told.get("fees") or ([told["fee"]] if told.get("fee") else [])
    return any(isinstance(fee, dict) and fee.get("currency") and finite(fee.get("cost")) is not None for fee in listed)


def fees_of_trades(
    found: Any, venue_id: str, market: Mapping[str, Any], size: float
) -> tuple[float, float, float, bool]:
    """What the trades of an order were charged: fees in quote and base currency, base quantity that they cover, and
    whether any of them says a fee. `found`: ccxt's trades, of other orders, too. `size`: base coins per contract."""
    mine = [trade for trade in found if isinstance(trade, dict) and trade.get("order") == venue_id] \
        if isinstance(found, list) else []  # fmt: skip
    covered = math.fsum(finite(trade.get("amount")) or 0.0 for trade in mine) * size
    told = [trade["fee"] for trade in mine if isinstance(trade.get("fee"), dict)]
    quote, base = fees_of({"fees": told}, market)
    return quote, base, covered, has_fees({"fees": told})


def spot_balance(found: Any, market: Mapping[str, Any]) -> tuple[float, float]:
    """Quote and base currency held.

    Raises:
        UnknownStateError: an answer that names neither, or a number that is none: unknown is not zero.
    """
    told = found if isinstance(found, dict) else {}
    held: dict[str, float] = {}
    for name in (market["quote"], market["base"]):
        entry = told.get(name)
        if entry is None:
            continue
        total = finite(entry.get("total")) if isinstance(entry, dict) else None
        if total is None or total < 0.0:
            raise UnknownStateError(f"the balance of {name} is not said: {entry!r:.100}")
        held[name] = total
    if not held:
        raise UnknownStateError(f"the balance names neither {market['quote']} nor {market['base']}: unknown, not zero")
    return held.get(market["quote"], 0.0), held.get(market["base"], 0.0)


def margin_balance(found: Any, market: Mapping[str, Any]) -> float:
    """Settlement currency of a perpetual's account, with what open positions have won or lost, as ccxt's total is.

    Raises:
        UnknownStateError: it is not said.
    """
    told = found if isinstance(found, dict) else {}
    entry = told.get(market["settle"])
    total = finite(entry.get("total")) if isinstance(entry, dict) else None
    if total is None:
        raise UnknownStateError(f"the balance of {market['settle']} is not said: {entry!r:.100}: unknown, not zero")
    return total


def position_of(found: Any, symbol: str, size: float) -> tuple[float, float, float]:
    """Signed base quantity, average entry price and open profit of a perpetual's position (0.0, NaN, 0.0 without one).

    Raises:
        UnknownStateError: it is not plainly said, or both sides are held (hedge mode).
    """
    if not isinstance(found, list):
        raise UnknownStateError(f"positions are no list: {found!r:.60}")
    held: list[tuple[float, float, float]] = []
    for one in found:
        if not isinstance(one, dict) or one.get("symbol") != symbol:
            continue
        contracts = finite(one.get("contracts"))
        if contracts is None:
            raise UnknownStateError(f"a position of {symbol} without a number of contracts")
        if contracts == 0.0:
            continue
        entry = finite(one.get("entryPrice"))
        profit = finite(one.get("unrealizedPnl"))
        if one.get("side") not in ("long", "short") or entry is None or profit is None:
            raise UnknownStateError(f"a position of {symbol} without side, entry price or open profit")
        held.append((contracts * size * (1.0 if one["side"] == "long" else -1.0), entry, profit))
    if len(held) > 1:
        raise UnknownStateError(f"{symbol} is held on both sides: switch the account to one-way mode")
    return held[0] if held else (0.0, math.nan, 0.0)
