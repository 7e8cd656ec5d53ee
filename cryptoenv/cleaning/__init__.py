"""Mending of dirty bars, with a report of every finding."""

from cryptoenv.cleaning.cleaning import clean

__all__ = [
    "clean",
]
