"""Bars and funding rates from exchanges, through ccxt."""
