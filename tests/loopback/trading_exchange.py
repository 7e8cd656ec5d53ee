"""A Binance-like exchange that trades, spot and perpetual, on the loopback interface, and fails as exchanges do."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.loopback.exchange import Answer, Loopback, bar, route

KEY, SECRET = "canary-key-5f1e0c9d7b", "canary-secret-a83d41e6f2"
FEE = 0.001
SYMBOL = "BTCUSDT"
#: What may become of a request: the order is worked on or not, and the reply is one of these.
LOST = ("timeout", "503", "reset", "truncated", "empty", "html", "-1001")


OPEN = ("NEW", "PARTIALLY_FILLED")


class Refused(Exception):
    """An error as the exchange tells it: code, words, HTTP status."""

    def __init__(self, code: int, words: str, status: int = 400) -> None:
        super().__init__(words)
        self.answer = status, {"code": code, "msg": words}


@dataclass
class Account:
    """What is held: spot coins and cash, or a perpetual's wallet and position."""

    cash: float = 10_000.0
    coins: float = 0.0
    entry: float = 0.0
    leverage: int = 20
    margin: str = "cross"


@dataclass
class TradingExchange(Loopback):
    """The running exchange.

    Attributes:
        account: what its one account holds.
        perpetual: whether orders are of the perpetual.
        order_fault: called with the number of a new order; one of `LOST` (worked on, the reply is lost), "dropped"
            (never arrives), "late" (the reply says that it failed; it is worked on after `late` seconds), "hidden" (the
            reply is lost, and it is not to be found for `late` seconds), or None.
        fills: share of a market order that fills; the rest expires.
        fee_in_coins: purchases are charged in coins.
        orders: by id.
        posts: how many orders were sent.
        caps_leverage: the most that is given, whatever is asked for.
        resting: share of a resting limit order that fills each time that the price is found beyond it.
        before_cancel: called with an order that is about to be taken back.
        depth: what the order book says instead, if not None.
        triggers: stops and take-profits of the perpetual, by id; each names the order that it has sent.
        income: funding that was charged.
        refuses_triggers: every stop is answered with "would immediately trigger".
    """

    account: Account = field(default_factory=Account)
    perpetual: bool = False
    order_fault: Callable[[int], str | None] = lambda _: None
    fills: float = 1.0
    fee_in_coins: bool = False
    late: float = 0.3
    caps_leverage: int = 125
    orders: dict[int, dict[str, Any]] = field(default_factory=dict)
    posts: int = 0
    down: bool = False
    state_fault: Callable[[str], Any] = lambda _: None
    skew: int = 0
    arrived: list[float] = field(default_factory=list)
    resting: float = 1.0
    before_cancel: Callable[[dict[str, Any]], None] = lambda _: None
    depth: Any = None
    triggers: dict[int, dict[str, Any]] = field(default_factory=dict)
    income: list[dict[str, Any]] = field(default_factory=list)
    refuses_triggers: bool = False
    triggers_refused: int = 0

    def __post_init__(self) -> None:
        self._book = threading.RLock()
        self._hidden: dict[int, float] = {}
        self._coming: list[tuple[float, Mapping[str, str]]] = []

    def answer(self, path: str, query: Mapping[str, str]) -> Any:
        """What a healthy exchange says; it takes stops and take-profits, too."""
        told = super().answer(path, query)
        if path.endswith("exchangeInfo"):
            for listed in told["symbols"]:
                listed["orderTypes"] = ["LIMIT", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT",
                                        "TAKE_PROFIT_LIMIT", "STOP_MARKET", "TAKE_PROFIT_MARKET"]  # fmt: skip
        if path.endswith("depth"):
            price = self.price()
            best = {"bids": [[f"{price * 0.9999:.2f}", "1"]], "asks": [[f"{price * 1.0001:.2f}", "1"]]}
            return {"lastUpdateId": 1, **best} if self.depth is None else self.depth
        return told

    def price(self) -> float:
        """The last price."""
        now = self.market.now()
        return bar(SYMBOL, now // 60_000 * 60_000, 60_000)[0]

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer a request, public ones as the exchange without an account does."""
        parts = urlsplit(handler.path)
        length = int(handler.headers.get("Content-Length") or 0)
        text = parts.query or handler.rfile.read(length).decode()
        query = dict(parse_qsl(text))
        if self.down:
            self.send(handler, 503, {}, b"<html>down</html>")
            return
        if "signature" not in query:
            super().serve(handler)
            return
        try:
            self.signed(handler, text, query)
            answer, fault = self.private(handler.command, parts.path, query)
        except Refused as refused:
            status, told = refused.answer
            self.send(handler, status, {}, json.dumps(told).encode())
            return
        body = json.dumps(answer).encode()
        if fault == "reset":
            handler.close_connection = True
            handler.connection.close()
        elif fault == "timeout":
            time.sleep(1.0)  # longer than the client waits
            handler.close_connection = True
        elif fault in ("503", "late", "hidden", "dropped"):
            self.send(handler, 503, {}, b"<html>unavailable</html>")
        elif fault == "truncated":
            self.send(handler, 200, {}, body[: len(body) // 2])
        elif fault == "empty":
            self.send(handler, 200, {}, b"")
        elif fault == "html":
            self.send(handler, 200, {}, b"<html>hello</html>")
        elif fault == "-1001":
            self.send(handler, 400, {}, json.dumps({"code": -1001, "msg": "Internal error"}).encode())
        else:
            self.send(handler, 200, {}, body)

    def send(self, handler: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str], body: bytes) -> None:
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    def signed(self, handler: BaseHTTPRequestHandler, text: str, query: Mapping[str, str]) -> None:
        """Refuse what is not signed by the account's secret, or too old."""
        before, _, signature = text.rpartition("&signature=")
        expected = hmac.new(SECRET.encode(), before.encode(), hashlib.sha256).hexdigest()
        if handler.headers.get("X-MBX-APIKEY") != KEY or signature != expected:
            raise Refused(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        now, sent = self.market.now() + self.skew, int(query["timestamp"])
        if abs(now - sent) > 600_000_000_000:
            raise Refused(-1021, "Timestamp for this request is outside of the recvWindow.")

    def private(self, method: str, path: str, query: Mapping[str, str]) -> tuple[Any, str | None]:
        """Answer and fault of a signed request."""
        name = path.rpartition("/")[2]
        planted = self.state_fault(f"{method} {name}")
        if isinstance(planted, str):
            return {}, planted
        if planted is not None:
            return planted, None
        with self._book:
            while self._coming and self._coming[0][0] <= self.market.now():
                self._work(self._coming.pop(0)[1])
            self.match()
            self._trigger()
            if name in ("algoOrder", "openAlgoOrders"):
                return self.conditional(method, name, query)
            if name == "income":
                since = int(query.get("startTime", 0))
                return [one for one in self.income if one["time"] >= since and one["symbol"] == query["symbol"]], None
            if name == "order" and method == "POST":
                return self.post(query)
            if name == "order":
                order = self.known(query)
                if method == "DELETE":
                    self.before_cancel(order)
                if method == "DELETE" and order["status"] in OPEN:
                    order["status"] = "CANCELED"
                elif method == "DELETE":
                    raise Refused(-2011, "Unknown order sent.")
                return asked_for(order), None
            if name == "openOrders":
                return [asked_for(order) for order in self.orders.values() if order["status"] in OPEN], None
            if name == "myTrades" or name == "userTrades":
                return [trade for trade in self.trades if str(trade["orderId"]) == query.get("orderId")], None
            return self.other(name, query), None

    def other(self, name: str, query: Mapping[str, str]) -> Any:
        """Answers about account and margin."""
        account, price = self.account, self.price()
        if name == "account" and not self.perpetual:
            held = (("USDT", account.cash), ("BTC", account.coins))
            return {"balances": [{"asset": coin, "free": f"{x:.10f}", "locked": "0"} for coin, x in held],
                    "updateTime": self.market.now()}  # fmt: skip
        profit = account.coins * (price - account.entry) if account.coins else 0.0
        if name == "account":
            equity = f"{account.cash + profit:.8f}"
            return {"assets": [{"asset": "USDT", "walletBalance": f"{account.cash:.8f}", "marginBalance": equity,
                                "availableBalance": equity, "initialMargin": "0", "updateTime": 1}]}  # fmt: skip
        if name == "positionRisk":
            return [{"symbol": SYMBOL, "positionSide": "BOTH", "positionAmt": f"{account.coins:.5f}",
                     "entryPrice": f"{account.entry:.8f}", "markPrice": f"{price:.2f}",
                     "unRealizedProfit": f"{profit:.8f}", "liquidationPrice": "0", "isolatedMargin": "1",
                     "notional": f"{account.coins * price:.8f}", "isolatedWallet": "1",
                     "updateTime": self.market.now(), "initialMargin": "1", "maintMargin": "1"}]  # fmt: skip
        if name == "leverageBracket":
            return [{"symbol": SYMBOL, "brackets": [{"bracket": 1, "initialLeverage": 125, "notionalFloor": 0,
                                                     "notionalCap": 1e9, "maintMarginRatio": 0.004}]}]  # fmt: skip
        if name == "symbolConfig":
            return [{"symbol": SYMBOL, "marginType": "CROSSED" if account.margin == "cross" else "ISOLATED",
                     "leverage": account.leverage, "isAutoAddMargin": "false", "maxNotionalValue": "1"}]  # fmt: skip
        if name == "leverage":
            account.leverage = min(int(query["leverage"]), self.caps_leverage)
            return {"symbol": SYMBOL, "leverage": account.leverage, "maxNotionalValue": "1"}
        if name == "marginType":
            asked = "cross" if query["marginType"] == "CROSSED" else "isolated"
            if asked == account.margin:
                raise Refused(-4046, "No need to change margin type.")
            if account.coins or any(one["algoStatus"] == "NEW" for one in self.triggers.values()):
                raise Refused(-4048, "Margin type cannot be changed if there exists position.")
            account.margin = asked
            return {"code": 200, "msg": "success"}
        raise Refused(-1, f"unknown {name}")

    @property
    def trades(self) -> list[dict[str, Any]]:
        """One trade for each order that has filled."""
        return [
            {"symbol": SYMBOL, "id": order["orderId"], "orderId": order["orderId"], "side": order["side"],
             "price": order["avgPrice"], "qty": order["executedQty"], "commission": order["charged"],
             "commissionAsset": "BTC" if order.get("in_coins") else "USDT",
             "time": self.market.now(), "isBuyer": order["side"] == "BUY"}
            for order in self.orders.values() if float(order["executedQty"]) > 0.0
        ]  # fmt: skip

    def known(self, query: Mapping[str, str]) -> dict[str, Any]:
        """The order of an id or a client id."""
        for ident, order in self.orders.items():
            named = query.get("origClientOrderId") in (order["clientOrderId"], None)
            if named and query.get("orderId") in (str(ident), None):
                if self._hidden.get(ident, 0.0) > self.market.now():
                    break
                return order
        raise Refused(-2013, "Order does not exist.")

    def post(self, query: Mapping[str, str]) -> tuple[Any, str | None]:
        """A new order."""
        self.arrived.append(time.perf_counter())
        number = self.posts
        self.posts += 1
        fault = self.order_fault(number)
        if fault == "dropped":
            return {}, "reset"
        if any(order["clientOrderId"] == query["newClientOrderId"] for order in self.orders.values()):
            raise Refused(-2010, "Duplicate order sent.")
        if fault == "late":
            self._coming.append((self.market.now() + 1000.0 * self.late, query))
            return {}, fault
        held, sign = self.account.coins, 1.0 if query["side"] == "BUY" else -1.0
        if query.get("reduceOnly") == "true" and held * sign >= 0.0:
            raise Refused(-2022, "ReduceOnly Order is rejected.")
        order = self._work(query)
        if fault == "hidden":
            self._hidden[order["orderId"]] = self.market.now() + 1000.0 * self.late
        return order, fault

    def _work(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Fill what can be filled of an order, and keep it."""
        quantity, kind, side = float(query["quantity"]), query["type"], query["side"]
        price = self.price()
        if round(quantity / 0.00001) * 0.00001 - quantity > 1e-9 or quantity * price < 5.0:
            raise Refused(-1013, "Filter failure: NOTIONAL")
        ident = len(self.orders) + 1
        order: dict[str, Any] = {
            "symbol": SYMBOL, "orderId": ident, "clientOrderId": query["newClientOrderId"],
            "price": query.get("price", "0"), "stopPrice": query.get("stopPrice", "0"), "origQty": query["quantity"],
            "executedQty": "0", "cummulativeQuoteQty": "0", "cumQuote": "0", "avgPrice": "0", "status": "NEW",
            "timeInForce": "GTC", "type": kind, "side": side, "transactTime": self.market.now(),
            "time": self.market.now(), "updateTime": self.market.now(), "fills": [], "charged": "0",
        }  # fmt: skip
        crossed = False
        if kind in ("STOP_LOSS", "STOP_MARKET"):
            trigger = float(query["stopPrice"])
            crossed = price <= trigger if side == "SELL" else price >= trigger
            if crossed and not self.perpetual:
                crossed = True  # it goes at once
        if kind == "LIMIT":
            crossed = float(query["price"]) >= price if side == "BUY" else float(query["price"]) <= price
        if kind == "MARKET" or crossed:
            self.fill(order, round(quantity * self.fills, 5), price)
        self.orders[ident] = order
        return order

    def charge_funding(self, rate: float) -> float:
        """Charge what is held, as at a funding time; the amount that leaves the account."""
        paid = round(self.account.coins * self.price() * rate, 8)
        self.account.cash -= paid
        self.income.append({"symbol": SYMBOL, "incomeType": "FUNDING_FEE", "income": f"{-paid:.8f}", "asset": "USDT",
                            "time": self.market.now(), "info": "FUNDING_FEE", "tranId": str(900 + len(self.income)),
                            "tradeId": ""})  # fmt: skip
        return paid

    def conditional(self, method: str, name: str, query: Mapping[str, str]) -> tuple[Any, str | None]:
        """Stops and take-profits of the perpetual, which Binance keeps apart from other orders."""
        if name == "openAlgoOrders":
            return [one for one in self.triggers.values() if one["algoStatus"] == "NEW"], None
        if method == "POST":
            self.posts += 1
            fault = self.order_fault(self.posts - 1)
            if fault == "dropped":
                return {}, "reset"
            long_held, at, price = self.account.coins > 0.0, float(query["triggerPrice"]), self.price()
            rises = (query["type"] == "STOP_MARKET") == (query["side"] == "BUY")
            if (price >= at if rises else price <= at) or self.refuses_triggers:
                self.triggers_refused += 1
                raise Refused(-2021, "Order would immediately trigger.")
            assert query["reduceOnly"] == "true" and long_held == (query["side"] == "SELL")
            ident = 5_000 + len(self.triggers)
            self.triggers[ident] = {
                "algoId": ident, "clientAlgoId": query["clientAlgoId"], "algoType": "CONDITIONAL",
                "orderType": query["type"], "symbol": SYMBOL, "side": query["side"], "positionSide": "BOTH",
                "timeInForce": "GTC", "quantity": query["quantity"], "algoStatus": "NEW", "price": "0",
                "triggerPrice": query["triggerPrice"], "reduceOnly": True, "createTime": self.market.now(),
                "updateTime": self.market.now(), "actualOrderId": "", "rises": rises,
            }  # fmt: skip
            return self.triggers[ident], fault
        for ident, one in self.triggers.items():
            if query.get("clientAlgoId") in (one["clientAlgoId"], None) and query.get("algoId") in (str(ident), None):
                if method == "DELETE":
                    if one["algoStatus"] != "NEW":
                        raise Refused(-2011, "Unknown order sent.")
                    one["algoStatus"] = "CANCELED"
                    return {"algoId": ident, "clientAlgoId": one["clientAlgoId"], "code": "200", "msg": "success"}, None
                return one, None
        raise Refused(-2013, "Order does not exist.")

    def _trigger(self) -> None:
        """Send the orders of stops and take-profits whose price is reached; reduce-only without a position expires."""
        price = self.price()
        for one in self.triggers.values():
            at = float(one["triggerPrice"])
            if one["algoStatus"] != "NEW" or not (price >= at if one["rises"] else price <= at):
                continue
            sign, held = (1.0 if one["side"] == "BUY" else -1.0), self.account.coins
            quantity = min(float(one["quantity"]), abs(held)) if held * sign < 0.0 else 0.0
            if quantity == 0.0:
                one["algoStatus"] = "EXPIRED"
                continue
            sent = self._work({"quantity": f"{quantity:.5f}", "type": "MARKET", "side": one["side"],
                               "newClientOrderId": f"sent-{one['algoId']}"})  # fmt: skip
            one |= {"algoStatus": "FINISHED", "actualOrderId": str(sent["orderId"]), "actualPrice": sent["avgPrice"]}

    def match(self) -> None:
        """Fill resting limit orders that the price has passed, each at its own price."""
        price = self.price()
        for order in self.orders.values():
            if order["type"] != "LIMIT" or order["status"] not in OPEN or order.get("seen") == price:
                continue
            order["seen"] = price  # it fills once at each price
            limit, left = float(order["price"]), float(order["origQty"]) - float(order["executedQty"])
            if price < limit if order["side"] == "BUY" else price > limit:
                part = max(round(left * self.resting, 5), 0.00001)
                self.fill(order, min(part, left), limit, rests=True)

    def fill(self, order: dict[str, Any], quantity: float, price: float, *, rests: bool = False) -> None:
        """Book a fill of an order at a price; the rest of it expires, or rests."""
        sign = 1.0 if order["side"] == "BUY" else -1.0
        price = price if rests else round(price * (1.0 + sign * 1e-4), 2)
        before_cost, before_fee = float(order["cumQuote"]), float(order["charged"])
        cost, account = quantity * price, self.account
        if not self.perpetual and sign > 0.0 and cost > account.cash:
            raise Refused(-2010, "Account has insufficient balance for requested action.")
        if not self.perpetual and sign < 0.0 and quantity > account.coins + 1e-12:
            raise Refused(-2010, "Account has insufficient balance for requested action.")
        in_coins = self.fee_in_coins and sign > 0.0 and not self.perpetual
        fee = quantity * FEE if in_coins else cost * FEE
        if self.perpetual:
            before, after = account.coins, round(account.coins + sign * quantity, 10)
            if before * sign < 0.0:
                closed = min(quantity, abs(before))
                account.cash += closed * (price - account.entry) * (1.0 if before > 0.0 else -1.0)
                account.entry = account.entry if after * before > 0.0 else price
            else:
                account.entry = (account.entry * abs(before) + cost) / abs(after)
            account.coins, account.cash = after, account.cash - fee
        else:
            account.coins += sign * quantity - (fee if in_coins else 0.0)
            account.cash -= sign * cost + (0.0 if in_coins else fee)
        done, paid, charged_all = float(order["executedQty"]) + quantity, before_cost + cost, before_fee + fee
        whole = done >= float(order["origQty"]) - 1e-9
        order |= {
            "executedQty": f"{done:.5f}", "cummulativeQuoteQty": f"{paid:.8f}", "cumQuote": f"{paid:.8f}",
            "avgPrice": f"{paid / done:.8f}", "charged": f"{charged_all:.10f}", "in_coins": in_coins,
            "status": "FILLED" if whole else "PARTIALLY_FILLED" if rests else "EXPIRED",
        }  # fmt: skip
        if not self.perpetual:
            charged = {"commission": f"{fee:.10f}", "commissionAsset": "BTC" if in_coins else "USDT"}
            fill = {"price": f"{price:.2f}", "qty": f"{quantity:.5f}", "tradeId": order["orderId"]}
            order["fills"] = [*order["fills"], fill | charged]

    def client(self, exchange: str = "binance", *, streams: bool = False, keys: bool = True) -> Any:
        """The real ccxt client with the account's keys, every address of it pointed here."""
        from cryptoenv.exchange.client import new_client

        probe = new_client(exchange, streams=streams)
        routes: dict[str, Any] = {
            name: dict.fromkeys(known, "ws://127.0.0.1:9") if isinstance(known, dict) else self.base + route(name)
            for name, known in probe.urls["api"].items()
        }
        given = {"apiKey": KEY, "secret": SECRET} if keys else None
        client = new_client(exchange, urls=routes, timeout=0.8, keys=given, streams=streams)
        client.enableRateLimit = self.limits_rate
        client.options["fetchMarkets"] = {"types": ["linear" if self.perpetual else "spot"]}
        client.options["warnOnFetchOpenOrdersWithoutSymbol"] = False
        return client


def asked_for(order: Mapping[str, Any]) -> dict[str, Any]:
    """An order as the exchange tells it later: its fills, and with them its fees, are in the answer to sending it."""
    return {name: value for name, value in order.items() if name != "fills"}


def plain(answer: Any) -> Answer:
    """An answer with status 200."""
    return 200, {}, json.dumps(answer).encode()
