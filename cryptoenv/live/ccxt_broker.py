"""A real venue, any of ccxt's: orders by client id, positions, balances; what is not plain is unknown."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cryptoenv.exchange.client import new_client
from cryptoenv.exchange.client_thread import CallTimeoutError, ClientThread
from cryptoenv.files.json_log import Redactor
from cryptoenv.live.broker import (
    Book,
    BrokerError,
    Order,
    OrderDoubtError,
    OrderKind,
    OrderPhase,
    OrderRefusedError,
    OrderReport,
    Payment,
    Step,
    UnknownStateError,
)
from cryptoenv.live.ccxt_answers import (
    best_prices,
    fees_of_trades,
    finite,
    funding_payments,
    has_fees,
    margin_balance,
    order_report,
    position_of,
    spot_balance,
    triggered_order,
)
from cryptoenv.trading.config import VenueRules
from cryptoenv.trading.venue_account import perpetual_cash, settle

log = logging.getLogger(__name__)
TICK_SIZE_MODE, DECIMAL_MODE = 4, 2  #: ccxt's precision modes
TRADES = 500  #: of an order, that its fees are read from
SLACK = 1e-6  #: of a step, by which a quantity may miss a multiple of it


class CcxtBroker:
    """Trades one market of an exchange.

    Args:
        exchange: ccxt's name, such as "binance".
        symbol: ccxt's name: "BTC/USDT" on spot, "BTC/USDT:USDT" as a perpetual.
        keys: of the account, by ccxt's names.
        leverage: set and verified on a perpetual before anything is traded.
        margin_mode: "isolated" or "cross", likewise.
        sandbox: the exchange's sandbox.
        timeout: seconds for one request.
        client: makes the ccxt client; tests point it to a loopback exchange.

    Attributes:
        rules: steps, ticks and minimum of the market, once connected.
        step_size: base quantity.
    """

    is_live = True

    def __init__(
        self,
        exchange: str,
        symbol: str,
        *,
        keys: Mapping[str, str],
        leverage: float = 1.0,
        margin_mode: str = "isolated",
        sandbox: bool = False,
        timeout: float = 10.0,
        client: Callable[[], Any] | None = None,
    ) -> None:
        if not keys.get("apiKey"):
            raise BrokerError("an account needs its apiKey: give keys")
        if margin_mode not in ("isolated", "cross"):
            raise ValueError(f"margin_mode={margin_mode!r} is not allowed: isolated or cross")
        self.name, self.symbol = exchange, symbol
        digest = hashlib.sha256(f"{exchange} {keys['apiKey']}".encode()).hexdigest()
        self.account_id = digest[:16]
        self.rules, self.step_size = VenueRules(), 0.0
        self._redact = Redactor(value for value in keys.values() if value)
        self._leverage, self._margin_mode = leverage, margin_mode
        make = client or (lambda: new_client(exchange, timeout=timeout, keys=keys, sandbox=sandbox, streams=True))
        self.thread = ClientThread(make, timeout)
        self._market: dict[str, Any] = {}
        self._size = 1.0
        self._ready = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # `gymnasium.make` copies what an environment is made with

    @property
    def is_perpetual(self) -> bool:
        """Whether the market is one (once connected)."""
        return bool(self._market.get("swap"))

    def words(self, error: BaseException) -> str:
        """An error in words without keys or signatures."""
        return self._redact(f"{type(error).__name__}: {error}")[:500]

    def connect(self) -> None:
        """See `Broker`."""
        if self._ready:
            return
        try:
            markets = self.thread.call("load_markets", True)
        except Exception as error:
            raise BrokerError(f"{self.name} cannot be reached: {self.words(error)}") from None
        if not isinstance(markets, dict) or self.symbol not in markets:
            raise BrokerError(f"{self.name} has no market {self.symbol!r}")
        self._market = markets[self.symbol]
        if self._market.get("active") is False:
            raise BrokerError(f"{self.symbol} is not traded at {self.name} now")
        if not (self._market.get("spot") or (self._market.get("swap") and self._market.get("linear"))):
            raise BrokerError(f"{self.symbol}: spot markets and linear perpetuals alone are traded")
        self._size = (finite(self._market.get("contractSize")) or 1.0) if self.is_perpetual else 1.0
        self.rules = self._rules()
        self.step_size = self.rules.step_size
        if self.is_perpetual:
            self._set_leverage()
        self._ready = True

    def _rules(self) -> VenueRules:
        """Steps, ticks and minimum of the market.

        Raises:
            BrokerError: they are not said in a way that is known.
        """
        precision, limits = self._market["precision"], self._market["limits"]
        mode = self.thread.client.precisionMode
        steps = []
        for name in ("amount", "price"):
            said = finite(precision.get(name))
            if said is None or said < 0.0 or mode not in (TICK_SIZE_MODE, DECIMAL_MODE):
                raise BrokerError(f"{self.symbol}: the {name} step of {self.name} is not known: {said!r}")
            steps.append(said if mode == TICK_SIZE_MODE else 10.0**-said)
        cost = finite((limits.get("cost") or {}).get("min")) or 0.0
        return VenueRules(step_size=steps[0] * self._size, tick_size=steps[1], min_notional=cost)

    def _set_leverage(self) -> None:
        """Set margin mode and leverage, and read back that they stand.

        Raises:
            BrokerError: they do not: no order may be sized by what the venue does not give.
        """
        asked = int(self._leverage) if self._leverage == int(self._leverage) else self._leverage
        refused = ""
        for method, value in (("set_margin_mode", self._margin_mode), ("set_leverage", asked)):
            try:
                self.thread.call(method, value, self.symbol)
            except Exception as error:  # some venues refuse to set what stands already: what is read back counts
                refused += f"; {method}: {self.words(error)}"
        try:
            found = self.thread.call("fetch_leverage", self.symbol)
        except Exception as error:
            raise BrokerError(f"{self.symbol}: leverage cannot be read back: {self.words(error)}{refused}") from None
        told = found if isinstance(found, dict) else {}
        leverage, mode = finite(told.get("longLeverage")), told.get("marginMode")
        if leverage != self._leverage or finite(told.get("shortLeverage")) != self._leverage:
            raise BrokerError(
                f"{self.symbol}: leverage {self._leverage:g} was asked for and {leverage!r} stands: nothing is traded"
                f"{refused}"
            )
        if mode != self._margin_mode:
            raise BrokerError(
                f"{self.symbol}: margin mode {self._margin_mode} was asked for and {mode!r} stands{refused}"
            )

    def now_ms(self) -> int | None:
        """See `Broker`."""
        try:
            return int(self.thread.call("fetch_time"))
        except Exception as error:
            raise BrokerError(self.words(error)) from None

    def touch(self) -> tuple[float, float] | None:
        """See `Broker`."""
        self._require_ready()
        try:
            found = self.thread.call("fetch_order_book", self.symbol, 5)
        except Exception as error:
            raise UnknownStateError(f"the order book of {self.symbol} is not known: {self.words(error)}") from None
        return best_prices(found)

    def book(self) -> Book:
        """See `Broker`."""
        self._require_ready()
        try:
            orders = self.thread.call("fetch_open_orders", self.symbol)
            triggers = []
            if self._apart("fetchOpenOrders", OrderKind.STOP_LOSS):
                triggers = self.thread.call("fetch_open_orders", self.symbol, None, None, {"trigger": True})
            kind = {"type": "swap"} if self.is_perpetual else {"type": "spot"}
            balance = self.thread.call("fetch_balance", kind)
            positions = self.thread.call("fetch_positions", [self.symbol]) if self.is_perpetual else []
        except Exception as error:
            raise UnknownStateError(f"what {self.name} holds is not known: {self.words(error)}") from None
        if not isinstance(orders, list) or not isinstance(triggers, list):
            raise UnknownStateError(f"open orders are no list: {orders!r:.60}, {triggers!r:.60}")
        reports = tuple(self._report(one, "", 0.0, OrderKind.MARKET) for one in orders)
        known = {report.venue_id for report in reports}
        waiting = tuple(self._report(one, "", 0.0, OrderKind.STOP_LOSS) for one in triggers)
        reports += tuple(report for report in waiting if report.venue_id not in known)
        if not self.is_perpetual:
            cash, quantity = spot_balance(balance, self._market)
            return Book(cash, quantity, math.nan, reports)
        quantity, entry, profit = position_of(positions, self.symbol, self._size)
        equity = margin_balance(balance, self._market)
        cash = perpetual_cash(equity, profit, quantity, 0.0 if math.isnan(entry) else entry)
        return Book(cash, quantity, entry, reports)

    def place(self, order: Order) -> OrderReport:
        """See `Broker`."""
        self._require_ready()
        amount, price = self._amount(order), self._price(order)
        params: dict[str, Any] = {"clientOrderId": order.client_id}
        if order.reduce_only and self.is_perpetual:
            params["reduceOnly"] = True
        kind, limit = "market", None
        if order.kind is OrderKind.LIMIT:
            kind, limit = "limit", price
        elif order.kind is not OrderKind.MARKET:
            params["stopLossPrice" if order.kind is OrderKind.STOP_LOSS else "takeProfitPrice"] = price
        self._require_allowed()
        side = "buy" if order.quantity > 0.0 else "sell"
        try:
            found = self.thread.call("create_order", self.symbol, kind, side, amount, limit, params)
        except CallTimeoutError as error:
            raise OrderDoubtError(str(error)) from None
        except Exception as error:  # even a refusal is doubt until the venue plainly does not know the order
            raise OrderDoubtError(self.words(error)) from None
        try:
            return self._with_fees(found, self._report(found, order.client_id, order.quantity, order.kind))
        except BrokerError as error:
            raise OrderDoubtError(str(error)) from None

    def _require_allowed(self) -> None:
        """Refuse to queue an order behind a venue's order to wait: it would be sent late."""
        client = self.thread.client
        left = getattr(client, "wait_until", 0.0) - self.thread.time()
        if left > 0.0:
            raise OrderRefusedError(f"{self.name} asks to wait another {left:.0f} s: nothing is sent")

    def _amount(self, order: Order) -> float:
        """Of the order in the venue's unit, whole steps.

        Raises:
            OrderRefusedError: it breaks a rule of the venue's.
        """
        step, size = self.rules.step_size, self._size
        wanted = abs(order.quantity)
        if not (math.isfinite(wanted) and wanted > 0.0):
            raise OrderRefusedError(f"a quantity of {order.quantity} is none")
        steps = wanted / step if step > 0.0 else 0.0
        if step > 0.0 and steps < 1.0 - SLACK:
            raise OrderRefusedError(f"{wanted:g} is less than a step of {step:g}")
        try:
            amount = float(self.thread.client.amount_to_precision(self.symbol, wanted / size * (1.0 + 1e-12)))
        except Exception as error:  # ccxt raises InvalidOrder below its precision
            raise OrderRefusedError(self.words(error)) from None
        limits = self._market["limits"].get("amount") or {}
        least, most = finite(limits.get("min")), finite(limits.get("max"))
        if least is not None and amount < least * (1.0 - 1e-12):
            raise OrderRefusedError(f"{amount:g} is less than the venue's minimum of {least:g}")
        if most is not None and amount > most:
            raise OrderRefusedError(f"{amount:g} is more than the venue's maximum of {most:g}")
        if order.price is not None and order.kind is OrderKind.LIMIT:
            value = amount * size * order.price
            if value < self.rules.min_notional:
                raise OrderRefusedError(f"worth {value:g}, the venue's minimum is {self.rules.min_notional:g}")
        return amount

    def _price(self, order: Order) -> float | None:
        if order.kind is OrderKind.MARKET:
            return None
        if order.price is None or not (math.isfinite(order.price) and order.price > 0.0):
            raise OrderRefusedError(f"a {order.kind.value} order needs a price, got {order.price!r}")
        return float(self.thread.client.price_to_precision(self.symbol, order.price))

    def find(self, client_id: str, kind: OrderKind = OrderKind.MARKET) -> OrderReport:
        """See `Broker`."""
        self._require_ready()
        from ccxt.base.errors import OrderNotFound

        params: dict[str, Any] = {"clientOrderId": client_id}
        if self._apart("fetchOrder", kind):
            params["trigger"] = True
        try:
            found = self.thread.call("fetch_order", None, self.symbol, params)
        except OrderNotFound:
            return OrderReport(client_id, "", OrderPhase.ABSENT, 0.0, kind=kind)
        except Exception as error:
            raise UnknownStateError(f"order {client_id}: {self.words(error)}") from None
        report = self._report(found, client_id, 0.0, kind)
        if "trigger" in params and (sent := triggered_order(found, report)) is not None:
            return self._of_trigger(sent, report)
        return self._with_fees(found, report)

    def _apart(self, method: str, kind: OrderKind) -> bool:
        """Whether the venue keeps stops and take-profits of perpetuals apart from other orders."""
        if not self.is_perpetual or kind not in (OrderKind.STOP_LOSS, OrderKind.TAKE_PROFIT):
            return False
        return bool(self.thread.client.feature_value(self.symbol, method, "trigger", method == "cancelOrder"))

    def _of_trigger(self, ident: str, report: OrderReport) -> OrderReport:
        """What the order came to that a stop or take-profit has sent when it was triggered.

        Raises:
            UnknownStateError: no plain answer.
        """
        try:
            found = self.thread.call("fetch_order", ident, self.symbol)
        except Exception as error:
            raise UnknownStateError(f"order {ident} of {report.client_id}: {self.words(error)}") from None
        told = replace(self._report(found, "", report.quantity, report.kind), client_id=report.client_id)
        return self._with_fees(found, told)

    def funding_since(self, at_ms: int) -> list[Payment] | None:
        """See `Broker`."""
        self._require_ready()
        if not self.is_perpetual or not self.thread.client.has.get("fetchFundingHistory"):
            return None
        try:
            found = self.thread.call("fetch_funding_history", self.symbol, at_ms, 100)
        except Exception as error:
            raise BrokerError(f"funding that was paid is not known: {self.words(error)}") from None
        return funding_payments(found, self.symbol)

    def cancel(self, report: OrderReport) -> None:
        """See `Broker`."""
        self._require_ready()
        from ccxt.base.errors import OrderNotFound

        params: dict[str, Any] = {}
        if self._apart("cancelOrder", report.kind):
            params["trigger"] = True
        try:
            self.thread.call("cancel_order", report.venue_id, self.symbol, params)
        except OrderNotFound:
            return  # it is done
        except Exception as error:
            raise BrokerError(f"order {report.client_id or report.venue_id}: {self.words(error)}") from None

    def _report(self, found: Any, client_id: str, quantity: float, kind: OrderKind) -> OrderReport:
        return order_report(found, self._market, client_id, quantity, kind, self._size)

    def _with_fees(self, found: Any, report: OrderReport) -> OrderReport:
        """The report with its fees, asked for where the order does not say them (as on perpetuals).

        What cannot be asked for now, or of trades that are not all there yet, is not known, which is not none.
        """
        if report.filled == 0.0 or has_fees(found):
            return report
        if not self.thread.client.has.get("fetchMyTrades"):
            return self._reckoned(report)
        try:
            trades = self.thread.call("fetch_my_trades", self.symbol, None, TRADES, {"orderId": report.venue_id})
        except Exception as error:
            log.warning("fees of order %s are not known now: %s", report.client_id, self.words(error))
            return replace(report, fees_known=False)
        quote, base, covered, said = fees_of_trades(trades, report.venue_id, self._market, self._size)
        if covered < report.filled * (1.0 - 1e-9):
            return replace(report, fees_known=False)
        return replace(report, fee_quote=quote, fee_base=base) if said else self._reckoned(report)

    def _reckoned(self, report: OrderReport) -> OrderReport:
        """The report with fees by the venue's usual rate, where it does not say what an order was charged."""
        usual = finite(self._market.get("maker" if report.kind is OrderKind.LIMIT else "taker")) or 0.0
        return replace(report, fee_quote=usual * report.filled * report.average)

    def carry(self, account: NDArray[np.float64], step: Step) -> tuple[OrderReport, ...]:
        """See `Broker`; `account` (36,) is carried by what the venue has filled."""
        target = math.nan if step.holds else step.target
        settle(account, step.prices[1], target, step.fills, step.status, step.parameters, step.funding)
        return ()

    def _require_ready(self) -> None:
        if not self._ready:
            raise BrokerError(f"{self.name} is not connected")

    def close(self) -> None:
        """See `Broker`."""
        self.thread.close()
