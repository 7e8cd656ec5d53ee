"""Backtests of anything that decides: rules, files of signals, tables of a model, agents; all through the kernel."""
