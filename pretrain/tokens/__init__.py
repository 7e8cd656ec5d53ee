"""Tokens: their store, and a forecaster of all their features and of pumps."""
