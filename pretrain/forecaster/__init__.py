"""Forecasts of returns and prices: quantiles at several horizons, and sampled paths."""
