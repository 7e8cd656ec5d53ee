"""What figures are net of, and what was not charged, in words."""

from __future__ import annotations

from dataclasses import fields, replace

from agents.settings import TradingSettings
from cryptoenv.trading.config import Costs


def with_impact(settings: TradingSettings) -> TradingSettings:
    """The settings with the env's default market impact, which real bars are judged with, where they have none."""
    if settings.costs.impact:
        return settings
    return replace(settings, costs=replace(settings.costs, impact=Costs().impact))


def charged_in_words(settings: TradingSettings, *, real: bool, funded: bool = False) -> str:
    """What a table's figures are net of, and what was not charged.

    Args:
        settings: instrument and costs.
        real: whether the markets are real bars: market impact is charged there.
        funded: whether the markets bring funding rates.
    """
    costs = with_impact(settings).costs if real else settings.costs
    rates = [("fee", costs.fee), ("half-spread", costs.half_spread)]
    charged = [f"{name} {100.0 * rate:g}%" for name, rate in rates if rate]
    left_out = [name for name, rate in rates if not rate]
    (charged if costs.impact else left_out).append("market impact")
    holding = {"perpetual": ("funding", costs.funding), "margin": ("borrowing", costs.borrow)}.get(settings.instrument)
    if funded and settings.instrument == "perpetual":
        charged.append("funding by its rates")
    elif holding is not None:
        name, rate = holding
        (charged if rate else left_out).append(f"{name} {100.0 * rate:g}%" if rate else name)
    not_charged = f" Not charged: {', '.join(left_out)}." if left_out else ""
    return f"Charged: {', '.join(charged) or 'nothing'}.{not_charged}{_rules_in_words(settings)}"


def _rules_in_words(settings: TradingSettings) -> str:
    """Limits, sizing and the venue's rules that are not the defaults, as their fields are called."""
    told = []
    for part in (settings.limits, settings.sizing, settings.rules):
        told += [
            f"{item.name} {getattr(part, item.name):g}"
            for item in fields(part)
            if getattr(part, item.name) not in (None, getattr(type(part)(), item.name))
        ]
    return f" Rules: {', '.join(told)}." if told else ""
