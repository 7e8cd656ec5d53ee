"""What decides in a backtest or a stress, as the command line names it: an agent, a model, a rule, signals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from agents.evaluation.backtest.backtesting import Backtest, Desk
    from agents.evaluation.backtest.sweeping import Sweep
    from cryptoenv.market.market import Market
    from pretrain.fitting.market_inputs import MarketInputs

RULE_HELP = (
    "hold, cross fast=.. slow=.. band=.., momentum bars=.. band=.., breakout bars=.., reversion bars=.. band=.., "
    "threshold column=.. above=.. below=.. (of a model's table); with long=.. short=..; lists (fast=8,16) are a grid."
)
WHAT_HELP = "Folder of a run (its agent decides) or of a model, or `default`; not with --signals or a plain rule."
STATES_HELP = "Timescale of a segmenter's states, as 4h, or all: long in bull, out (--short: short) in bear, else kept."

StrategyBars = Annotated[Path, typer.Option("--bars", help="Bars: a file, a saved market, or a store's series.")]
What = Annotated[str | None, typer.Argument(help=WHAT_HELP)]
RuleOption = Annotated[str | None, typer.Option("--rule", help=RULE_HELP)]
Signals = Annotated[Path | None, typer.Option("--signals", help="CSV or Parquet: time (known), target, confidence.")]
States = Annotated[str | None, typer.Option("--states", help=STATES_HELP)]
Short = Annotated[bool, typer.Option("--short", help="With --states: short in bear, in place of out.")]
Size = Annotated[str, typer.Option("--size", help="fixed, or confidence: targets times the signals' confidence.")]
Timeframe = Annotated[str | None, typer.Option("--timeframe", help="Of the bars traded, for rules and signals.")]
Start = Annotated[str | None, typer.Option("--since", help="First decision not before this time (UTC).")]
Stop = Annotated[str | None, typer.Option("--until", help="Nothing after this time (UTC).")]
Instrument = Annotated[str | None, typer.Option("--instrument", help="spot, margin or perpetual (the default).")]
Cash = Annotated[float, typer.Option("--cash", help="Quote currency at the start.")]
Fee = Annotated[float | None, typer.Option("--fee", help="Per filled notional; 0.001 where not said.")]
HalfSpread = Annotated[float | None, typer.Option("--half-spread", help="Half the spread, a fraction.")]
Impact = Annotated[float | None, typer.Option("--impact", help="Factor of the square-root impact.")]
Funding = Annotated[float | None, typer.Option("--funding", help="Rate per 8 hours, where there is no series.")]
Exposure = Annotated[float | None, typer.Option("--exposure", help="Largest exposure; above 1 is leverage.")]
StopLoss = Annotated[float | None, typer.Option("--stop-loss", help="Close at this loss on the entry, a fraction.")]
TakeProfit = Annotated[float | None, typer.Option("--take-profit", help="Close at this profit, a fraction.")]
Fraction = Annotated[float | None, typer.Option("--fraction", help="Share of every target that is traded.")]
Volatility = Annotated[float | None, typer.Option("--volatility", help="A year, that a full target aims at.")]
Ledger = Annotated[Path | None, typer.Option("--ledger", help="Ledger of trials; trials.jsonl beside --out.")]

@dataclass(frozen=True)
class Charged:
    """What the command line says of costs and limits; None leaves the default."""

    instrument: str | None
    costs: dict[str, float | None]
    limits: dict[str, float | None]
    sizing: dict[str, float | None]
    cash: float

    def desk(self, base: Desk) -> Desk:
        """The desk of a strategy with what was said instead.

        Raises:
            ValueError: values that contradict each other.
        """
        from dataclasses import replace

        said = [{k: v for k, v in part.items() if v is not None} for part in (self.costs, self.limits, self.sizing)]
        trading = base.trading
        instrument: Any = self.instrument or trading.instrument
        costs = replace(trading.costs, **said[0])
        if instrument != "perpetual" and "funding" not in said[0]:
            costs = replace(costs, funding=0.0)
        trading = replace(
            trading, instrument=instrument, costs=costs, limits=replace(trading.limits, **said[1]),
            sizing=replace(trading.sizing, **said[2]),
        )  # fmt: skip
        return replace(base, trading=trading, cash=self.cash)


@dataclass(frozen=True)
class Prepared:
    """A strategy on its market: targets (T,), or rules to be swept."""

    market: Market
    desk: Desk
    name: str
    targets: NDArray[np.float64] | None
    rules: Any = None
    table: pd.DataFrame | None = None
    earliest: int = 0

    def run(self, first: int, last: int) -> tuple[Backtest, Sweep | None]:
        """The backtest from one decision to another; of a grid the best rule's, and the sweep."""
        from agents.evaluation.backtest.backtesting import backtest as traded
        from agents.evaluation.backtest.sweeping import sweep_rules

        if self.targets is not None:
            return traded(self.market, self.targets, self.desk, first=first, last=last, name=self.name), None
        market = self.market if last == len(self.market) - 2 else self.market.part(0, last + 2)
        table = self.table
        swept = sweep_rules(self.rules, market, self.desk, first=first, table=table)
        return swept.backtest(), swept if len(self.rules) > 1 else None


@dataclass(frozen=True)
class Given:
    """What decides, as the command line names it."""

    what: str | None
    rule: str | None
    signals: Path | None
    states: str | None
    short: bool
    size: str
    inputs: MarketInputs | None = None

    def check(self) -> None:
        """Refuse what contradicts itself, before anything is read.

        Raises:
            ValueError: nothing that decides, or too much.
        """
        from agents.evaluation.backtest.rule import parse_rules

        if self.size not in ("fixed", "confidence"):
            raise ValueError(f"--size {self.size!r} is not allowed: fixed or confidence")
        if self.signals is not None and (self.rule or self.what or self.states):
            raise ValueError("--signals says all: leave the model, --rule and --states out")
        if self.size == "confidence" and self.signals is None:
            raise ValueError("--size confidence reads the confidence of --signals: give them, too")
        if self.states is not None and (self.what is None or self.rule):
            raise ValueError("--states reads a segmenter's table: name its folder, and leave --rule out")
        if self.what is None and self.rule is None and self.signals is None:
            raise ValueError("say what decides: the folder of a run or a model, --rule, or --signals")
        if self.rule is not None:
            kind = parse_rules(self.rule)[0].kind
            if (kind == "threshold") != (self.what is not None):
                raise ValueError("--rule threshold reads a model's table: name its folder; other rules name none")

    def prepared(self, bars: Path, timeframe: str | None, charged: Charged) -> Prepared:
        """The strategy on its market."""
        from agents.evaluation.backtest.backtesting import Desk
        from agents.run_folders.run_folder import CONFIG as RUN_CONFIG

        if self.what is None:
            if self.inputs is not None and self.inputs.given:
                raise ValueError("--reference and --exogenous are for an agent or a model: name its folder")
            return self._of_bars(bars, timeframe, charged.desk(Desk()))
        if timeframe is not None:
            raise ValueError("--timeframe is for rules and signals: a model brings its own")
        if (Path(self.what) / RUN_CONFIG).is_file() and (Path(self.what) / "agent").is_dir():
            if self.rule or self.states:
                raise ValueError(f"{self.what} holds an agent, which decides itself: leave --rule and --states out")
            return _of_agent(Path(self.what), bars, charged, self.inputs)
        return self._of_model(bars, charged.desk(Desk()))

    def _of_bars(self, bars: Path, timeframe: str | None, desk: Desk) -> Prepared:
        from agents.evaluation.backtest.rule import parse_rules
        from agents.evaluation.backtest.signals import read_signals, signal_targets

        market = plain_market(bars, timeframe)
        if self.signals is not None:
            sized = self.size == "confidence"
            targets = signal_targets(read_signals(self.signals), market, sized=sized)
            return Prepared(market, desk, self.signals.stem + (", by confidence" if sized else ""), targets)
        return Prepared(market, desk, "", None, parse_rules(self.rule or ""))

    def _of_model(self, bars: Path, desk: Desk) -> Prepared:
        import pretrain
        from agents.evaluation.backtest.rule import parse_rules
        from agents.evaluation.backtest.signals import state_targets
        from pretrain.fitting.market_inputs import MarketInputs, MarketMaker
        from pretrain.segmenter.artifact import Segmenter

        assert self.what is not None
        if not (self.rule or self.states):
            raise ValueError("a model predicts, and does not trade: say how with --rule threshold ... or --states 4h")
        model = pretrain.load(self.what)
        if not isinstance(model, pretrain.Predictor):
            raise ValueError(f"{self.what} holds a {type(model).__name__}, which predicts nothing of bars")
        inputs = self.inputs or MarketInputs()
        inputs.require_fits(model.layout, self.what)
        market = MarketMaker(model.layout, inputs).market_at(bars)
        table = model.predict(market)
        earliest = int(market.bars.index.searchsorted(table.index[0]))
        if self.states is not None:
            below = (-1.0 if self.short else 0.0) if desk.trading.shorts_allowed else 0.0
            told = model.states(table) if isinstance(model, Segmenter) else table
            targets = state_targets(told, market, self.states, below=below)
            return Prepared(market, desk, f"{Path(self.what).name} {self.states}", targets, earliest=earliest)
        return Prepared(market, desk, "", None, parse_rules(self.rule or ""), table, earliest)


def _of_agent(folder: Path, bars: Path, charged: Charged, inputs: MarketInputs | None) -> Prepared:
    from agents.evaluation.backtest.deciders import agent_desk, agent_targets, settings_at
    from agents.evaluation.charges import with_impact
    from agents.evaluation.tables import run_maker
    from agents.markets.own_markets import own_markets
    from agents.run_folders.run_folder import Run, learned_until

    run = Run.load(folder)
    desk = charged.desk(agent_desk(with_impact(run.agent.settings)))
    settings = settings_at(desk, run.agent.settings)
    (market,) = own_markets(str(bars), settings, run_maker(run, inputs, str(bars)))
    targets = agent_targets(run.agent, market, settings)
    earliest = market.first_decision(settings.window)
    until = learned_until(run)
    if until is not None:
        seen = int(market.bars.index.searchsorted(until, side="right"))
        if seen >= len(market) - 1:
            raise ValueError(f"the agent has learned from bars until {until}: bring bars that go on after that")
        if seen > earliest:
            typer.echo(f"cryptoenv: note: only what follows {until}, which the agent learned from, is traded", err=True)
            earliest = seen
    return Prepared(market, desk, folder.name, targets, earliest=earliest)


def plain_market(bars: Path, timeframe: str | None) -> Market:
    """Bars as a market without features, at their own timeframe or a longer one.

    Raises:
        ValueError: bars that cannot be used.
    """
    from cryptoenv.bars.bars import bars_timeframe
    from cryptoenv.features import FeatureSpec
    from cryptoenv.market.market import Market
    from cryptoenv.market.stored_bars import bars_at, name_of_place

    found = bars_at(bars)
    return Market.from_bars(
        found, (timeframe or bars_timeframe(found),), features=FeatureSpec.none(), name=name_of_place(bars)
    )


def span_of(found: Backtest) -> str:
    """First and last bar of a backtest, in words."""
    index = found.market.bars.index
    last = index[found.trace.first + len(found.targets)]
    return f"{index[found.trace.first]:%Y-%m-%d} to {last:%Y-%m-%d}, {found.market.timeframes[0]}"
