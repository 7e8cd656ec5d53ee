"""Figures by name: how they are called and shown, and what they mean in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.reports.document.blocks import (
    CHANCE,
    COUNT,
    MONEY,
    PERCENT,
    PLAIN,
    RATIO,
    SCORE,
    SHARE,
    Column,
    Number,
    Style,
    Value,
)

PER_DAY = Style(100.0, "+,.4f", "%/day")
BARS = Style(1.0, ",.0f", " bars")
DAYS = Style(1.0, ",.1f", " days")
TIMES = Style(1.0, ",.2f", "\N{MULTIPLICATION SIGN}")

#: Name in `metrics.json` and in tables -> label, style, meaning.
FIGURES: dict[str, tuple[str, Style, str]] = {
    "total_return": ("Total return", PERCENT, "Last equity over the first, minus 1, net of all costs."),
    "benchmark_return": ("Buy and hold", PERCENT, "Total return of buy and hold over the same bars."),
    "log_return": ("Log-return", PERCENT, "Logarithm of last over first equity."),
    "annualised_return": ("Return a year", PERCENT, "Compound growth per 365 days."),
    "volatility": ("Volatility a year", SHARE, "Deviation of returns, times the root of bars per year."),
    "sharpe": ("Sharpe ratio", RATIO, "Mean over deviation of returns of bars, on a year; risk-free rate 0."),
    "sortino": ("Sortino ratio", RATIO, "Mean over downside deviation of returns, on a year."),
    "calmar": ("Calmar ratio", RATIO, "Return a year over the deepest drawdown."),
    "max_drawdown": ("Deepest drawdown", SHARE, "Largest fall from the highest equity so far."),
    "longest_drawdown_bars": ("Longest drawdown", BARS, "From a peak until equity is back there, or the end."),
    "ulcer_index": ("Ulcer index", SHARE, "Root mean square of the drawdown."),
    "var_95": ("VaR 95%, a bar", PERCENT, "Return that one bar in twenty lies below."),
    "cvar_95": ("CVaR 95%, a bar", PERCENT, "Mean return of the worst bars in twenty."),
    "tail_ratio": ("Tail ratio", TIMES, "95% over 5% quantile of returns, in size."),
    "best_bar": ("Best bar", PERCENT, "Largest return of a bar."),
    "worst_bar": ("Worst bar", PERCENT, "Smallest return of a bar."),
    "time_in_market": ("Time in market", SHARE, "Share of bars with a position."),
    "mean_exposure": ("Mean exposure", SHARE, "Mean size of the position over equity."),
    "turnover": ("Turnover", TIMES, "Traded notional over equity, in all."),
    "turnover_per_day": ("Turnover a day", TIMES, "Traded notional over equity, per day."),
    "trades": ("Closed trades", COUNT, "From flat or the other side, until flat or the other side."),
    "win_rate": ("Trades won", SHARE, "Share of closed trades with a gain after all costs."),
    "win_loss_ratio": ("Won per lost", TIMES, "Number of gains over number of losses."),
    "profit_factor": ("Profit factor", TIMES, "Sum of gains over sum of losses."),
    "payoff": ("Payoff", TIMES, "Mean gain over mean loss."),
    "expectancy": ("Mean gain of a trade", MONEY, "Quote currency, net."),
    "expectancy_return": ("Mean return of a trade", PERCENT, "Over the equity at its entry, net."),
    "best_trade": ("Best trade", MONEY, "Quote currency, net."),
    "worst_trade": ("Worst trade", MONEY, "Quote currency, net."),
    "longest_losing_run": ("Longest losing run", COUNT, "Lost trades in a row."),
    "mean_holding_bars": ("Mean holding", BARS, "Bars that a trade was held."),
    "median_holding_bars": ("Median holding", BARS, "Bars that a trade was held."),
    "cost_total": ("All costs", MONEY, "Fees, slippage, funding and borrow, quote currency."),
    "cost_fees": ("Fees", MONEY, "Quote currency."),
    "cost_slippage": ("Slippage", MONEY, "Quote currency; it is inside the fill prices."),
    "cost_funding": ("Funding", MONEY, "Quote currency; negative is received."),
    "cost_borrow": ("Borrow", MONEY, "Quote currency."),
    "cost_share": ("Costs over start", SHARE, "All costs over the first equity."),
    "information_ratio": ("Information ratio", RATIO, "Sharpe ratio of what was earned beyond buy and hold."),
    "beta": ("Beta", RATIO, "Slope of returns on those of buy and hold."),
    "orders_unfilled": ("Orders not filled", COUNT, "Too small, or nothing was traded in the bar."),
    "orders_partial": ("Orders filled in part", COUNT, "Capped by the share of a bar's volume that may be taken."),
    "ruined": ("Ruined", COUNT, "1 where equity reached the floor."),
    "bars": ("Bars", COUNT, "Bars traded."),
    "days": ("Days", DAYS, "Time traded."),
    "score": ("Score", SCORE, "Expected net log-return over the causal optimum's: 1 is the optimum, 0 is flat."),
    "realised_score": ("Realised score", SCORE, "The same from what was realised."),
    "daily_log_return": ("Log-return a day", PER_DAY, "Net, mean over weeks."),
    "return_per_day": ("Log-return a day", PER_DAY, "Net, mean over markets."),
    "log_return_per_day": ("Log-return a day", PER_DAY, "Net; interquartile mean over seeds and markets."),
    "train_per_day": ("Where it learned", PER_DAY, "Net log-return per day on what was learned from."),
    "test_per_day": ("Where it is judged", PER_DAY, "Net log-return per day on what came after."),
    "change_per_day": ("Change", PER_DAY, "Judged minus learned."),
    "efficiency": ("Efficiency", TIMES, "What was earned where it is judged over what was earned where it learned."),
    "beats_holding": ("Beats buy and hold", SHARE, "Probability, over seeds and markets."),
    "mean_per_day": ("Mean return a day", PER_DAY, "Net, with a block-bootstrap interval."),
    "probabilistic_sharpe": ("Probabilistic Sharpe", CHANCE, "Probability that the true Sharpe ratio is above 0."),
    "deflated_sharpe": ("Deflated Sharpe", CHANCE, "The same after all trials on this data; 0.95 is asked for."),
    "minimum_track_record_days": ("Days needed", COUNT, "Record that would show a Sharpe ratio of this size."),
    "p_value": ("Chance", CHANCE, "Share of random strategies of equal turnover that earned as much."),
    "trials": ("Trials on this data", COUNT, "All that were written into the ledger."),
    "probability_of_overfitting": ("Overfitting", SHARE, "That the best of a grid is below the median later."),
    "reality_check": ("Reality check", CHANCE, "p-value (White 2000)."),
    "superior_predictive_ability": ("Superior predictive ability", CHANCE, "p-value (Hansen 2005)."),
}  # fmt: skip


def style_of(name: str) -> Style:
    """How a figure of this name is shown."""
    return FIGURES[name][1] if name in FIGURES else PLAIN


def label_of(name: str) -> str:
    """How a figure of this name is called."""
    return FIGURES[name][0] if name in FIGURES else name.replace("_", " ")


def column_of(name: str) -> Column:
    """The column of a table that holds such figures."""
    return Column(name, label_of(name), "number", style_of(name))


def number(metrics: Mapping[str, Any], path: str, name: str | None = None) -> Number | None:
    """The figure at a dotted path of `metrics.json`, or None where there is none."""
    value: Any = metrics
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    if isinstance(value, Mapping | list):
        return None
    name = name or path.rpartition(".")[2]
    label, style, note = FIGURES.get(name, (label_of(name), PLAIN, ""))
    return Number(path, label, value, style, note=note)


def flattened(values: Any, path: str = "") -> list[tuple[str, Value]]:
    """Every leaf with its dotted path, lists by position; long lists of numbers are left where they are."""
    if isinstance(values, Mapping):
        return [
            leaf for key, value in values.items() for leaf in flattened(value, f"{path}.{key}" if path else str(key))
        ]
    if isinstance(values, list | tuple):
        if len(values) > 12 or not values:
            return [(path, f"{len(values)} values" if values else "none given")]
        if all(isinstance(one, str | int | float) for one in values):
            return [(path, ", ".join(map(str, values)))]
        return [leaf for i, value in enumerate(values) for leaf in flattened(value, f"{path}.{i}")]
    return [(path, values if isinstance(values, str | int | float | bool) or values is None else str(values))]
