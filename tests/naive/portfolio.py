"""A plain-Python account of several assets, written from the rules of portfolios; it never imports the kernel or numba.

Each asset has a naive ledger (`tests.naive.kernel`). What the account owns (cash, costs, realised profit) is handed to
a ledger while something is done with its asset, and taken back: there is one purse.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.naive.kernel import (
    Bar,
    Ledger,
    Rules,
    exits,
    hold_costs,
    leave,
    open_ledger,
    order_size,
    send_order,
    toward_zero,
    trade,
    wanted_position,
    worse_price,
)

SHARED = ("cash", "fees", "slippage", "funding", "borrow", "realised", "traded", "equity", "halted")


@dataclass
class Portfolio:
    """One purse and a book for each asset."""

    rules: Rules
    start: float
    books: list[Ledger]
    cash: float
    fees: float = 0.0
    slippage: float = 0.0
    funding: float = 0.0
    borrow: float = 0.0
    realised: float = 0.0
    traded: float = 0.0
    equity: float = 0.0
    peak: float = 0.0
    shortfall: float = 0.0
    halted: bool = False
    ruined: bool = False
    movements: list[tuple[str, float, float, float]] = field(default_factory=list)

    @contextmanager
    def purse(self, book: Ledger) -> Iterator[Ledger]:
        """`book` with what the account owns in its hands."""
        for name in SHARED:
            setattr(book, name, getattr(self, name))
        yield book
        for name in SHARED:
            setattr(self, name, getattr(book, name))


def limited(weights: list[float], gross: float, net: float) -> list[float]:
    """Weights scaled down to the limits."""
    size, total = 0.0, 0.0
    for weight in weights:
        size += abs(weight)
        total += weight
    factor = 1.0
    if size > gross:
        factor = gross / size
    if abs(total) * factor > net:
        factor = net / abs(total)
    return [weight * factor for weight in weights] if factor < 1.0 else list(weights)


def open_portfolio(rules: Rules, cash: float, closes: list[float], weights: list[float]) -> Portfolio:
    """An account that holds `weights` at `closes`; a close of 0 stands for an asset that is not there."""
    books, left = [], cash
    for close, weight in zip(closes, weights, strict=True):
        book = open_ledger(rules, cash, close if close else 1.0, weight)
        if not close:
            book.close = 0.0
        books.append(book)
        left -= weight * cash
    return Portfolio(rules, cash, books, left, equity=cash, peak=cash)


def buying_cost(book: Ledger, wanted: float, bar: Bar, sigma: float) -> float:
    """What a purchase would cost, fee included, if cash did not matter; 0 of a sale or a refused order."""
    rules = book.rules
    if wanted == book.held or not bar.volume > 0:
        return 0.0
    quantity = order_size(book, wanted)
    if quantity <= 0 or quantity * book.close < rules.min_notional:
        return 0.0
    if quantity > rules.participation * bar.volume:
        quantity = toward_zero(rules.participation * bar.volume, rules.step)
        if quantity == 0 or quantity * book.close < rules.min_notional:
            return 0.0
    return quantity * (worse_price(bar.open, quantity, bar, sigma, rules) * (1.0 + rules.fee))


def buy_within(account: Portfolio, book: Ledger, wanted: float, bar: Bar, sigma: float, share: float) -> None:
    """A spot purchase that may spend `share` of the account's cash."""
    before = account.cash
    with account.purse(book):
        book.cash = share
        book.status = send_order(book, wanted, bar, sigma)
    account.cash = before
    if book.fill is not None:
        quantity, price = book.fill
        account.cash = before - (quantity * price + account.rules.fee * (quantity * price))
        if book.status == "CASH_CAPPED":
            account.cash = max(account.cash, 0.0)


def send_orders(account: Portfolio, wishes: list[tuple[Ledger, float, Bar, float]]) -> None:
    """All orders of a bar: (book, wanted quantity, bar, sigma) each."""
    if account.rules.instrument != "spot":
        for book, wanted, bar, sigma in wishes:
            with account.purse(book):
                book.status = send_order(book, wanted, bar, sigma)
        return
    costs = [buying_cost(*wish) for wish in wishes]
    for (book, wanted, bar, sigma), cost in zip(wishes, costs, strict=True):
        if cost == 0.0:
            with account.purse(book):
                book.status = send_order(book, wanted, bar, sigma)
    total, cash = 0.0, account.cash
    for cost in costs:
        total += cost
    for wish, cost in zip(wishes, costs, strict=True):
        if cost > 0.0:
            buy_within(account, *wish, cash * (cost / total))


Open = list[tuple[Ledger, Bar, float]]


def still_open(present: Open) -> Open:
    """The books that hold something."""
    return [entry for entry in present if entry[0].held != 0]


def adverse_price(book: Ledger, bar: Bar) -> float:
    """The bar's worst price for what is held."""
    return bar.low if book.held > 0 else bar.high


def free_margin(account: Portfolio, present: Open, worst: bool) -> float:
    """Equity beyond maintenance at the opens, or with everything at its worst."""
    free = account.cash
    for book, bar, _ in still_open(present):
        price = adverse_price(book, bar) if worst else bar.open
        free = free + book.held * price - account.rules.maintenance * abs(book.held) * price
    return free


def liquidate(account: Portfolio, present: Open, way: float) -> None:
    """All positions go where prices are on `way` from open to worst."""
    for book, bar, sigma in still_open(present):
        level = bar.open + way * (adverse_price(book, bar) - bar.open)
        with account.purse(book):
            leave(book, level, bar, sigma, "LIQUIDATION")


def profit_level(book: Ledger, bar: Bar) -> float | None:
    """Where the take-profit lies, if it can fill."""
    rules = book.rules
    if rules.take_profit is None or not bar.volume > 0:
        return None
    level = book.entry * (1.0 + rules.take_profit) if book.held > 0 else book.entry * (1.0 - rules.take_profit)
    return level if level > 0 else None


def stop_level(book: Ledger, bar: Bar) -> float | None:
    """Where the stop lies, if it can fill."""
    rules = book.rules
    if rules.stop_loss is None or not bar.volume > 0:
        return None
    return book.entry * (1.0 - rules.stop_loss) if book.held > 0 else book.entry * (1.0 + rules.stop_loss)


def exits_of_several(account: Portfolio, present: Open) -> None:
    """What closes positions inside a bar where two or more are open."""
    rules = account.rules
    margined = rules.instrument != "spot"
    if margined and free_margin(account, present, worst=False) <= 0:
        return liquidate(account, present, 0.0)
    for book, bar, sigma in still_open(present):  # at the opens
        goal, stop, long = profit_level(book, bar), stop_level(book, bar), book.held > 0
        with account.purse(book):
            if goal is not None and (bar.open >= goal if long else bar.open <= goal):
                leave(book, bar.open, bar, sigma, "TAKE_PROFIT")
            elif stop is not None and (bar.open <= stop if long else bar.open >= stop):
                leave(book, bar.open, bar, sigma, "STOP_LOSS")
    now = 0.0
    while True:  # on the way to the worst
        events = []
        for i, (book, bar, _) in enumerate(present):
            stop = stop_level(book, bar) if book.held != 0 else None
            if stop is not None and (bar.low <= stop if book.held > 0 else bar.high >= stop):
                events.append(((bar.open - stop) / (bar.open - adverse_price(book, bar)), 0, i))
        if margined and still_open(present):
            begin, end = free_margin(account, present, worst=False), free_margin(account, present, worst=True)
            if end <= 0:
                way = now if begin <= 0 else min(max(begin / (begin - end), now), 1.0)
                events.append((way, 1, len(present)))
        if not events:
            break
        way, kind, i = min(events)
        if kind == 1:
            return liquidate(account, present, way)
        book, bar, sigma = present[i]
        level = stop_level(book, bar)
        assert level is not None
        with account.purse(book):
            leave(book, level, bar, sigma, "STOP_LOSS")
        now = max(now, way)
    for book, bar, sigma in still_open(present):
        goal = profit_level(book, bar)
        if goal is not None and (bar.high >= goal if book.held > 0 else bar.low <= goal):
            with account.purse(book):
                leave(book, goal, bar, sigma, "TAKE_PROFIT")
    return None


def settle(account: Portfolio, book: Ledger) -> None:
    """What is held of an asset whose bars have ended goes at its last close, with the fee."""
    quantity, price = -book.held, book.close
    with account.purse(book):
        trade(book, quantity, price, account.rules.fee * (abs(quantity) * price))
        book.exit, book.exit_price = "SETTLEMENT", price
        book.traded += abs(quantity) * price


def mark(account: Portfolio, closes: list[float]) -> None:
    """The end of a step."""
    equity = account.cash
    for book, close in zip(account.books, closes, strict=True):
        equity += book.held * close
    floor = account.start * 1e-3
    if equity <= floor:
        for book, close in zip(account.books, closes, strict=True):
            account.realised += book.held * (close - book.entry)
            book.held, book.lots, book.entry, book.age = 0.0, 0, 0.0, 0
        account.shortfall += floor - equity
        account.cash, account.ruined, equity = floor, True, floor
    account.equity = equity
    for book, close in zip(account.books, closes, strict=True):
        book.close = close
        book.age += book.held != 0
    if equity > account.peak:
        account.peak = equity
    elif account.rules.drawdown_stop is not None and 1.0 - equity / account.peak >= account.rules.drawdown_stop:
        account.halted = True


def step(account: Portfolio, bars: list[Bar | None], sigmas: list[float], targets: list[float]) -> None:
    """One step; a bar is None where the asset cannot be had. What it is marked at then is its last close."""
    account.traded = 0.0
    wishes: list[tuple[Ledger, float, Bar, float]] = []
    present: Open = []
    for book, bar, sigma, target in zip(account.books, bars, sigmas, targets, strict=True):
        book.exit, book.fill, book.exit_price = "NONE", None, None
        if bar is None:
            if book.held != 0:
                settle(account, book)
            book.status = "NO_VOLUME" if target != 0 else "NONE"
        else:
            with account.purse(book):
                wanted = wanted_position(book, target, sigma)
                hold_costs(book, bar)
            wishes.append((book, wanted, bar, sigma))
            present.append((book, bar, sigma))
        book.target = target
    send_orders(account, wishes)
    holding = still_open(present)
    if len(holding) == 1:
        book, bar, sigma = holding[0]
        with account.purse(book):
            exits(book, bar, sigma)
    elif holding:
        exits_of_several(account, present)
    mark(account, [book.close if bar is None else bar.close for book, bar in zip(account.books, bars, strict=True)])
