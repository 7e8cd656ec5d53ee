"""The options by which `backtest`, `stress` and others are told what decides, on which bars, at which costs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from agents.commands.options import TASK_HELP, Exogenous, Reference, Seed, market_inputs
from agents.commands.strategies import Charged, Given, Prepared

if TYPE_CHECKING:
    from agents.evaluation.backtest.backtesting import Backtest
    from agents.evaluation.backtest.sweeping import Sweep
    from agents.evaluation.backtest.traded import Traded

RULE_HELP = (
    "hold, cross fast=.. slow=.. band=.., momentum bars=.. band=.., breakout bars=.., reversion bars=.. band=.., "
    "threshold column=.. above=.. below=.. (of a model's table); with long=.. short=..; lists (fast=8,16) are a grid."
)
WHAT_HELP = "Folder of a run (its agent decides) or of a model, or `default`; not with --signals or a plain rule."
STATES_HELP = "Timescale of a segmenter's states, as 4h, or all: long in bull, out (--short: short) in bear, else kept."
SIZE_HELP = "fixed, or confidence: of the signals, or of the model as a position begins, times the target."


@dataclass(frozen=True)
class StrategyOptions:
    """What a command that trades a strategy is told: its fields are its options."""

    what: Annotated[str | None, typer.Argument(help=WHAT_HELP)] = None
    bars: Annotated[Path | None, typer.Option(help="Bars: a file, a saved market, or a store's series.")] = None
    task: Annotated[str | None, typer.Option(help=f"{TASK_HELP} In place of --bars; the ceiling is told, too.")] = None
    split: Annotated[str, typer.Option(help="Seed family of --task: validation, test or demo.")] = "validation"
    number: Annotated[int, typer.Option(help="Which market of the --task, from 0 on.", min=0)] = 0
    days: Annotated[int, typer.Option(help="Tradable days of --task.", min=1)] = 120
    rule: Annotated[str | None, typer.Option(help=RULE_HELP)] = None
    signals: Annotated[Path | None, typer.Option(help="CSV or Parquet: time (known), target, confidence.")] = None
    states: Annotated[str | None, typer.Option(help=STATES_HELP)] = None
    short: Annotated[bool, typer.Option("--short", help="With --states: short in bear, in place of out.")] = False
    size: Annotated[str, typer.Option(help=SIZE_HELP)] = "fixed"
    timeframe: Annotated[str | None, typer.Option(help="Of the bars traded, for rules and signals.")] = None
    reference: Reference = None
    exogenous: Exogenous = None
    since: Annotated[str | None, typer.Option(help="First decision not before this time (UTC).")] = None
    until: Annotated[str | None, typer.Option(help="Nothing after this time (UTC).")] = None
    instrument: Annotated[str | None, typer.Option(help="spot, margin or perpetual (the default).")] = None
    cash: Annotated[float, typer.Option(help="Quote currency at the start.")] = 10_000.0
    fee: Annotated[float | None, typer.Option(help="Per filled notional; 0.001 where not said.")] = None
    half_spread: Annotated[float | None, typer.Option(help="Half the spread, a fraction.")] = None
    impact: Annotated[float | None, typer.Option(help="Factor of the square-root impact.")] = None
    funding: Annotated[float | None, typer.Option(help="Rate per 8 hours, where there is no series.")] = None
    exposure: Annotated[float | None, typer.Option(help="Largest exposure; above 1 is leverage.")] = None
    stop_loss: Annotated[float | None, typer.Option(help="Close at this loss on the entry, a fraction.")] = None
    take_profit: Annotated[float | None, typer.Option(help="Close at this profit, a fraction.")] = None
    fraction: Annotated[float | None, typer.Option(help="Share of every target that is traded.")] = None
    volatility: Annotated[float | None, typer.Option(help="A year, that a full target aims at.")] = None
    seed: Seed = 0

    def traded(self) -> Traded:
        """What is traded: bars of a file, or a market of a task with its truth.

        Raises:
            ValueError: neither --bars nor --task, or both; a task or a split that there is not.
        """
        from agents.evaluation.backtest.traded import Traded

        if (self.bars is None) == (self.task is None):
            raise ValueError("say what is traded: --bars, or --task (one of them)")
        if self.bars is not None:
            return Traded.of_bars(self.bars)
        assert self.task is not None
        return Traded.of_task(self.task, self.split, self.number, self.days)

    def prepared(self) -> tuple[Prepared, Traded]:
        """The strategy on its market, and what that is.

        Raises:
            ValueError: options that contradict each other, or bars that will not do.
        """
        inputs = market_inputs(None, None, self.reference, self.exogenous)
        given = Given(self.what, self.rule, self.signals, self.states, self.short, self.size, inputs)
        given.check()
        traded = self.traded()
        limits = {"exposure": self.exposure, "stop_loss": self.stop_loss, "take_profit": self.take_profit}
        costs = {"fee": self.fee, "half_spread": self.half_spread, "impact": self.impact, "funding": self.funding}
        sizing = {"fraction": self.fraction, "volatility": self.volatility}
        charged = Charged(self.instrument, costs, limits, sizing, self.cash)
        return given.prepared(traded, self.timeframe, charged), traded

    def run(self, prepared: Prepared) -> tuple[Backtest, Sweep | None]:
        """Trade it from --since to --until; of a grid the best rule, and the sweep."""
        from agents.evaluation.backtest.backtesting import decision_rows

        return prepared.run(*decision_rows(prepared.market, self.since, self.until, prepared.earliest))


def takes_strategy(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command whose first argument, `given`, becomes the options of `StrategyOptions`."""
    shared = get_type_hints(StrategyOptions, include_extras=True)
    own = get_type_hints(command, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(one.name, keyword, default=one.default, annotation=shared[one.name])
        for one in fields(StrategyOptions)
    ]
    names = {one.name for one in parameters}
    for name, one in list(inspect.signature(command).parameters.items())[1:]:
        parameters.append(one.replace(kind=keyword, annotation=own[name]))

    @wraps(command)
    def called(**told: Any) -> Any:
        given = StrategyOptions(**{name: value for name, value in told.items() if name in names})
        return command(given, **{name: value for name, value in told.items() if name not in names})

    del called.__wrapped__  # type: ignore[attr-defined]  # typer would read the options of that one
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {one.name: one.annotation for one in parameters}
    return called
