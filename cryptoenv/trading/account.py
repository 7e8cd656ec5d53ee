"""The account row: what a position is worth and what it has cost, one float64 vector per environment.

The first `INFO_WIDTH` columns are what `info` shows; the first four suffice for a step in which nothing happened.
"""

from enum import IntEnum

EQUITY = 0  #: cash + quantity * close, in quote currency, marked at the last close
EXPOSURE = 1  #: quantity * close / equity, signed fraction
CLOSE_PRICE = 2  #: the close that marked the account
EVENTFUL = 3  #: 1.0 if the step saw an order, an exit, a holding cost or ruin
FILL_PRICE = 4  #: price of the step's order fill, NaN if nothing filled
FILL_QUANTITY = 5  #: signed base quantity of the step's order fill
FEES = 6  #: cumulative fees, quote
SLIPPAGE = 7  #: cumulative cost of half-spread, impact and liquidation, quote (already inside fill prices)
FUNDING_PAID = 8  #: cumulative funding paid (negative: received), quote
BORROW_PAID = 9  #: cumulative borrow interest paid, quote
EXIT_PRICE = 10  #: price of the step's intrabar exit, NaN if there was none
STEP_FEES = 11  #: fees of the step, quote
STEP_SLIPPAGE = 12  #: slippage of the step, quote
STEP_FUNDING = 13  #: funding paid in the step, quote
STEP_BORROW = 14  #: borrow interest paid in the step, quote
ORDER_STATUS = 15  #: `OrderStatus` of the step
EXIT_KIND = 16  #: `ExitKind` of the step
RUINED = 17  #: 1.0 once equity has reached the floor
INFO_WIDTH = 18

CASH = 18  #: quote currency; short sales add to it
QUANTITY = 19  #: signed base quantity held
ENTRY_PRICE = 20  #: average fill price of the open position, 0 when flat
PEAK_EQUITY = 21  #: highest marked equity of the episode
START_EQUITY = 22  #: equity at reset
REALISED = 23  #: cumulative realised profit against average entry, before fees, quote
SHORTFALL = 24  #: quote added at ruin to lift equity to the floor
TARGET = 25  #: last target exposure asked for, before sizing
BARS_HELD = 26  #: bars since the position was opened or changed sign
HALTED = 27  #: 1.0 once the drawdown stop has tripped
TURNOVER = 28  #: notional traded in the step / equity before it
PREVIOUS_EQUITY = 29  #: equity at the close before the step
DRAWDOWN = 30  #: fraction below the peak equity
PREVIOUS_DRAWDOWN = 31  #: drawdown at the close before the step
MEAN_RETURN = 32  #: exponential mean of log returns (differential ratios)
MEAN_SQUARE = 33  #: exponential mean of squared log returns (differential Sharpe)
MEAN_DOWNSIDE = 34  #: exponential mean of squared negative log returns (differential downside)
HIT_RATE = 35  #: exponential mean of the sign of log returns (consistency)
ACCOUNT_WIDTH = 36


class OrderStatus(IntEnum):
    """What became of the order of a step."""

    NONE = 0  #: no order was due
    FILLED = 1  #: filled in full
    PARTIAL = 2  #: filled up to the participation cap; the rest stays due for the same target
    CASH_CAPPED = 3  #: a spot buy filled with all the cash there is
    ROUNDED_TO_ZERO = 4  #: smaller than one step of quantity; not sent
    BELOW_MIN_NOTIONAL = 5  #: refused: smaller than the venue accepts
    NO_VOLUME = 6  #: the bar traded nothing, or too little for an order the venue accepts; still due


class ExitKind(IntEnum):
    """What closed the position inside a bar, if anything did."""

    NONE = 0
    STOP_LOSS = 1
    TAKE_PROFIT = 2
    LIQUIDATION = 3
    SETTLEMENT = 4  #: of a portfolio: the asset's bars ended, and what was held went at its last close
