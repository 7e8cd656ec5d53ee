"""`CryptoTrade-v0`: the single and the vector environment, their arguments, episodes and registration."""

from cryptoenv.env.single import (
    CUMULATIVE,
    EXIT_KINDS,
    IN_RESET,
    IN_STEP,
    NOT_FILLED,
    ONLY_ROW,
    ORDER_STATUSES,
    QUIET,
    RESET_OPTIONS,
    CryptoTradeEnv,
    NotFilled,
)

__all__ = [
    "CUMULATIVE",
    "EXIT_KINDS",
    "IN_RESET",
    "IN_STEP",
    "NOT_FILLED",
    "ONLY_ROW",
    "ORDER_STATUSES",
    "QUIET",
    "RESET_OPTIONS",
    "CryptoTradeEnv",
    "NotFilled",
]
