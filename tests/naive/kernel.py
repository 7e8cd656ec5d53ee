"""A plain-Python account, written from the design's order of events; it never imports the kernel or numba.

It keeps a ledger of every cash movement. `Ledger.equity_from_scratch` recomputes equity from the ledger alone, and
`Ledger.profit_from_scratch` entry price and realised profit in exact fractions, so that the running books can be
checked against them. Positions of a venue with a step size are counted in whole lots, as integers.
"""

import math
from dataclasses import dataclass, field
from fractions import Fraction

COSTS_BY_INSTRUMENT = {"spot": "nothing", "margin": "borrow", "perpetual": "funding"}


@dataclass
class Rules:
    """The numbers of a trading configuration, in plain floats; None switches a rule off."""

    instrument: str = "perpetual"
    fee: float = 0.001
    half_spread: float = 0.0001
    impact: float = 0.1
    borrow_per_day: float = 0.0
    funding_per_8h: float = 0.0
    liquidation_fee: float = 0.005
    exposure: float = 1.0
    participation: float = 0.1
    stop_loss: float | None = None
    take_profit: float | None = None
    drawdown_stop: float | None = None
    tolerance: float = 0.05
    step: float = 0.0
    tick: float = 0.0
    min_notional: float = 0.0
    maintenance: float = 0.005
    fraction: float = 1.0
    volatility_per_bar: float | None = None
    bar_days: float = 1.0 / 96.0


@dataclass
class Bar:
    """One bar, with the volatility known at its close and the funding that falls due at its open."""

    open: float
    high: float
    low: float
    close: float
    volume: float
    sigma: float
    funding: float
    marks: float


@dataclass
class Ledger:
    """Every cash movement of an account, and what it holds."""

    rules: Rules
    start: float
    held: float
    entry: float
    close: float
    target: float
    cash: float
    movements: list[tuple[str, float, float, float]] = field(default_factory=list)
    equity: float = 0.0
    peak: float = 0.0
    halted: bool = False
    ruined: bool = False
    age: int = 0
    status: str = "NONE"
    exit: str = "NONE"
    fill: tuple[float, float] | None = None
    exit_price: float | None = None
    slippage: float = 0.0
    fees: float = 0.0
    funding: float = 0.0
    borrow: float = 0.0
    realised: float = 0.0
    shortfall: float = 0.0
    traded: float = 0.0
    lots: int | None = 0  # what is held in whole steps; None: a start between two steps

    def equity_from_scratch(self, price: float) -> float:
        """Equity from the ledger alone: starting cash and holding, every movement since, the holding at `price`."""
        cash = math.fsum([amount for _, _, _, amount in self.movements])
        held = math.fsum([quantity for _, quantity, _, _ in self.movements])
        return cash + held * price

    def profit_from_scratch(self) -> tuple[float, float]:
        """Realised profit and average entry price (0 when flat) by cost basis, exactly, from the ledger alone."""
        held = cost = realised = Fraction(0)
        for kind, quantity, price, _ in self.movements:
            change, at = Fraction(quantity), Fraction(price)
            if kind not in {"start", "fill", "write-off"} or change == 0:
                continue
            if held * change < 0:
                share = min(Fraction(1), -change / held)
                realised += share * (held * at - cost)
                cost, left = cost * (1 - share), held + change
                if abs(left) <= abs(change) / 10**9:  # the binary remainder of decimal lots
                    held = cost = Fraction(0)
                    continue
                cost = left * at if left * held < 0 else cost
                held = left
            else:
                held, cost = held + change, cost + change * at
        return float(realised), float(cost / held) if held else 0.0


def open_ledger(rules: Rules, cash: float, close: float, exposure: float) -> Ledger:
    """A ledger that starts with `exposure` of `cash` held at `close`, at no cost."""
    held = exposure * cash / close
    book = Ledger(rules, cash, held, close if exposure else 0.0, close, exposure, cash - exposure * cash)
    book.movements.append(("start", held, close, book.cash))
    book.equity = book.peak = cash
    if rules.step:
        nearest = round(Fraction(held) / Fraction(rules.step))
        between = abs(Fraction(held) / Fraction(rules.step) - nearest)
        book.lots = nearest if between <= Fraction(1, 10**6) else None
    return book


def whole_lots(quantity: float | Fraction, step: float, forgiven: Fraction = Fraction(1, 10**9)) -> int:
    """Signed number of whole steps in a quantity, cut toward zero; a sliver of a step is forgiven."""
    number = math.floor(abs(Fraction(quantity)) / Fraction(step) + forgiven)
    return number if quantity > 0 else -number


def lots_worth(lots: int, step: float) -> float:
    """The quantity of whole steps, exact but for the last rounding to a float."""
    return float(Fraction(step) * lots)


def toward_zero(quantity: float, step: float) -> float:
    """Quantity cut to whole steps; as it is where there are none."""
    return lots_worth(whole_lots(quantity, step), step) if step else quantity


def order_size(book: Ledger, wanted: float) -> float:
    """What to trade to hold `wanted`: whole lots, or everything when nothing is to be held."""
    step = book.rules.step
    if not step:
        return wanted - book.held
    goal = whole_lots(wanted, step)
    if goal == 0:
        return -book.held
    if book.lots is not None:
        return lots_worth(goal - book.lots, step)
    between = Fraction(lots_worth(goal, step)) - Fraction(book.held)
    return lots_worth(whole_lots(between, step, Fraction(1, 10**6)), step)


def worse_price(price: float, quantity: float, bar: Bar, sigma: float, rules: Rules) -> float:
    """The price of a market order: half-spread and square-root impact, always against the trader, on the tick."""
    slip = rules.half_spread + rules.impact * sigma * math.sqrt(abs(quantity) / bar.volume)
    slip = min(slip, 0.9)
    if quantity > 0:
        bought = price * (1.0 + slip)
        return bought if rules.tick == 0 else math.ceil(bought / rules.tick - 1e-9) * rules.tick
    sold = price * (1.0 - slip)
    if rules.tick == 0 or sold + 1e-9 * rules.tick < rules.tick:
        return sold
    return math.floor(sold / rules.tick + 1e-9) * rules.tick


def trade(book: Ledger, quantity: float, price: float, fee: float) -> None:
    """Book one fill: realise what it closes, average what it opens."""
    before, after, step = book.held, book.held + quantity, book.rules.step
    if step and quantity == -before:
        book.lots = 0
    elif step and book.lots is not None:
        book.lots += round(Fraction(quantity) / Fraction(step))
        after = lots_worth(book.lots, step)
    opposite = (before > 0) != (quantity > 0) and before != 0
    if opposite:
        gained_per_unit = (price - book.entry) if before > 0 else -(price - book.entry)
        book.realised += min(abs(before), abs(quantity)) * gained_per_unit
        if after == 0:
            book.entry, book.age = 0.0, 0
        elif (after > 0) != (before > 0):
            book.entry, book.age = price, 0
    else:
        book.entry = (book.entry * abs(before) + price * abs(quantity)) / abs(after)
        if before == 0:
            book.age = 0
    book.cash = book.cash - (quantity * price + fee)
    book.fees += fee
    book.movements.append(("fill", quantity, price, -(quantity * price + fee)))
    book.held = after


def hold_costs(book: Ledger, bar: Bar) -> None:
    """Event 1: what the position held before the fill owes at the open."""
    rules = book.rules
    if book.held == 0:
        return
    kind = COSTS_BY_INSTRUMENT[rules.instrument]
    if kind == "funding":
        due = book.held * bar.open * (bar.funding + rules.funding_per_8h * bar.marks)
        book.funding += due
    elif kind == "borrow" and book.held < 0:
        due = abs(book.held) * bar.open * rules.borrow_per_day * rules.bar_days
        book.borrow += due
    else:
        return
    book.cash -= due
    book.movements.append((kind, 0.0, bar.open, -due))


def wanted_position(book: Ledger, target: float, sigma: float) -> float:
    """Event 2, first half: the quantity that close `t` says to hold."""
    rules = book.rules
    target = 0.0 if book.halted else target
    scale = rules.fraction
    if rules.volatility_per_bar is not None and sigma > rules.volatility_per_bar:
        scale *= rules.volatility_per_bar / sigma
    exposure = max(-rules.exposure, min(rules.exposure, target * scale))
    now = book.held * book.close / book.equity
    unfinished = book.status in {"PARTIAL", "NO_VOLUME"}
    if target == book.target and not unfinished and not abs(exposure - now) > rules.tolerance:
        return book.held
    return exposure * book.equity / book.close


def send_order(book: Ledger, wanted: float, bar: Bar, sigma: float) -> str:
    """Events 2 and 3: round, cap, refuse, fill at the open."""
    rules = book.rules
    if wanted == book.held:
        return "NONE"
    quantity = order_size(book, wanted)
    if quantity == 0:
        return "ROUNDED_TO_ZERO"
    if not bar.volume > 0:
        return "NO_VOLUME"
    if abs(quantity) * book.close < rules.min_notional:
        return "BELOW_MIN_NOTIONAL"
    status = "FILLED"
    if abs(quantity) > rules.participation * bar.volume:
        most = rules.participation * bar.volume
        quantity = toward_zero(most if quantity > 0 else -most, rules.step)
        status = "PARTIAL"
        if quantity == 0 or abs(quantity) * book.close < rules.min_notional:
            return "NO_VOLUME"
    price = worse_price(bar.open, quantity, bar, sigma, rules)
    if rules.instrument == "spot" and quantity > 0:
        most = toward_zero(book.cash / (price * (1.0 + rules.fee)), rules.step)
        if most < quantity:
            quantity, status = most, "CASH_CAPPED"
            if quantity <= 0:
                return "ROUNDED_TO_ZERO"
            if quantity * book.close < rules.min_notional:
                return "BELOW_MIN_NOTIONAL"
            price = worse_price(bar.open, quantity, bar, sigma, rules)
    value = abs(quantity) * price
    trade(book, quantity, price, rules.fee * value)
    if status == "CASH_CAPPED":
        book.cash = max(book.cash, 0.0)
    book.slippage += abs(quantity) * abs(price - bar.open)
    book.fill = (quantity, price)
    book.traded += value
    return status


def leave(book: Ledger, level: float, bar: Bar, sigma: float, kind: str) -> None:
    """Close the position inside the bar at `level`, worsened."""
    quantity, rules = -book.held, book.rules
    if kind == "LIQUIDATION":
        worse = 1.0 + rules.liquidation_fee if quantity > 0 else 1.0 + -rules.liquidation_fee
        price, fee = level * worse, 0.0
    else:
        price = worse_price(level, quantity, bar, sigma, rules)
        fee = rules.fee * abs(quantity) * price
    trade(book, quantity, price, fee)
    book.slippage += abs(quantity) * abs(price - level)
    book.exit, book.exit_price = kind, price
    book.traded += abs(quantity) * price


def margin_price(book: Ledger) -> float | None:
    """The price at which equity is down to the maintenance margin, if there is one above zero."""
    rules = book.rules
    if rules.instrument == "spot":
        return None
    if book.held > 0:
        price = -book.cash / (book.held * (1.0 - rules.maintenance))
    else:
        price = book.cash / (abs(book.held) * (1.0 + rules.maintenance))
    return price if price > 0 else None


def exits(book: Ledger, bar: Bar, sigma: float) -> None:
    """Event 4: what the open passed, then the nearer of stop and liquidation, then the profit.

    Without volume nothing but liquidation.
    """
    rules = book.rules
    if book.held == 0:
        return None
    long = book.held > 0
    worth, value = book.cash + book.held * bar.open, abs(book.held) * bar.open
    if rules.instrument != "spot" and worth - rules.maintenance * value <= 0:
        return leave(book, bar.open, bar, sigma, "LIQUIDATION")
    goal = None
    if rules.take_profit is not None and bar.volume > 0:
        goal = book.entry * (1.0 + rules.take_profit) if long else book.entry * (1.0 - rules.take_profit)
        goal = goal if goal > 0 else None
    if goal is not None and (bar.open >= goal if long else bar.open <= goal):
        return leave(book, bar.open, bar, sigma, "TAKE_PROFIT")
    margin = margin_price(book)
    adverse = []
    if margin is not None and (bar.low <= margin if long else bar.high >= margin):
        adverse.append((abs(bar.open - margin), 1, margin, "LIQUIDATION"))
    if rules.stop_loss is not None and bar.volume > 0:
        stop = book.entry * (1.0 - rules.stop_loss) if long else book.entry * (1.0 + rules.stop_loss)
        gapped = bar.open <= stop if long else bar.open >= stop
        if gapped:
            adverse.append((0.0, 0, bar.open, "STOP_LOSS"))
        elif bar.low <= stop if long else bar.high >= stop:
            adverse.append((abs(bar.open - stop), 0, stop, "STOP_LOSS"))
    if adverse:
        _, _, level, kind = min(adverse)
        return leave(book, level, bar, sigma, kind)
    if goal is not None and (bar.high >= goal if long else bar.low <= goal):
        return leave(book, goal, bar, sigma, "TAKE_PROFIT")
    return None


def step(book: Ledger, bar: Bar, sigma: float, target: float) -> None:
    """One step: decision at the previous close, everything else inside `bar`."""
    book.exit, book.fill, book.exit_price, book.traded = "NONE", None, None, 0.0
    wanted = wanted_position(book, target, sigma)
    hold_costs(book, bar)
    book.status = send_order(book, wanted, bar, sigma)
    book.target = target
    exits(book, bar, sigma)
    equity = book.cash + book.held * bar.close
    floor = book.start * 1e-3
    if equity <= floor:
        if book.held != 0:
            book.realised += book.held * (bar.close - book.entry)
            book.movements.append(("write-off", -book.held, bar.close, book.held * bar.close))
        book.movements.append(("shortfall", 0.0, bar.close, floor - equity))
        book.shortfall = floor - equity
        book.held, book.lots, book.entry, book.age, book.cash, book.ruined = 0.0, 0, 0.0, 0, floor, True
        equity = floor
    book.equity, book.close = equity, bar.close
    book.age += book.held != 0
    if equity > book.peak:
        book.peak = equity
    elif book.rules.drawdown_stop is not None and 1.0 - equity / book.peak >= book.rules.drawdown_stop:
        book.halted = True
