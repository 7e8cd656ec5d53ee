"""Dated texts as hourly scores that are known when they say so: exogenous features of a market."""
