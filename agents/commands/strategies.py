"""What decides in a backtest or a stress, as the command line names it: an agent, a model, a rule, signals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from agents.evaluation.backtest.backtesting import Backtest, Desk
    from agents.evaluation.backtest.rule import Rule
    from agents.evaluation.backtest.sweeping import Sweep
    from agents.evaluation.backtest.traded import Traded
    from cryptoenv.market.market import Market
    from pretrain.fitting.market_inputs import MarketInputs

BY_CONFIDENCE = ", by confidence"  #: behind the name of what is sized so


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
    """A strategy on its market: targets (T,), or rules to be swept.

    Attributes:
        market, desk, name: what is traded, how, and what decides.
        targets: (T,), or None where rules do.
        rules: one, or a grid that is swept. table: of a model, whose columns they read.
        earliest: bar of the first decision that is allowed.
        traded: where the market comes from. states, below: of a segmenter, its timescale and the exposure in "bear".
    """

    market: Market
    desk: Desk
    name: str
    targets: NDArray[np.float64] | None
    rules: Sequence[Rule] = ()
    table: pd.DataFrame | None = None
    earliest: int = 0
    traded: Traded | None = None
    states: str | None = None
    below: float = 0.0

    def ceilings(self, found: Backtest, sweep: Sweep | None) -> list[Backtest]:
        """What nobody can beat, where the truth is known (`Traded.ceilings`), of what `run` gave."""
        if self.traded is None:
            return []
        rules = self.rules if sweep is None else (sweep.rules[sweep.best],)
        return self.traded.ceilings(found, self.states, self.below, rules[0] if rules else None)

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
        if self.size == "confidence" and self.signals is None and self.what is None:
            raise ValueError("--size confidence reads the confidence of --signals, or of a model: give one, too")
        if self.states is not None and (self.what is None or self.rule):
            raise ValueError("--states reads a segmenter's table: name its folder, and leave --rule out")
        if self.what is None and self.rule is None and self.signals is None:
            raise ValueError("say what decides: the folder of a run or a model, --rule, or --signals")
        if self.rule is not None:
            kind = parse_rules(self.rule)[0].kind
            if (kind == "threshold") != (self.what is not None):
                raise ValueError("--rule threshold reads a model's table: name its folder; other rules name none")

    def prepared(self, traded: Traded, timeframe: str | None, charged: Charged) -> Prepared:
        """The strategy on its market."""
        from dataclasses import replace

        from agents.evaluation.backtest.backtesting import Desk
        from agents.run_folders.run_folder import CONFIG as RUN_CONFIG

        if self.what is None:
            if self.inputs is not None and self.inputs.given:
                raise ValueError("--reference and --exogenous are for an agent or a model: name its folder")
            found = self._of_bars(traded, timeframe, charged.desk(Desk()))
        elif timeframe is not None:
            raise ValueError("--timeframe is for rules and signals: a model brings its own")
        elif (Path(self.what) / RUN_CONFIG).is_file() and (Path(self.what) / "agent").is_dir():
            if self.rule or self.states or self.size != "fixed":
                told = "leave --rule, --states and --size out"
                raise ValueError(f"{self.what} holds an agent, which decides itself: {told}")
            found = _of_agent(Path(self.what), traded, charged, self.inputs)
        else:
            found = self._of_model(traded, charged.desk(Desk()))
        return replace(found, traded=traded, earliest=max(found.earliest, traded.earliest(found.market)))

    def _of_bars(self, traded: Traded, timeframe: str | None, desk: Desk) -> Prepared:
        from agents.evaluation.backtest.rule import parse_rules
        from agents.evaluation.backtest.signals import read_signals, signal_targets

        market = traded.plain_market(timeframe)
        if self.signals is not None:
            sized = self.size == "confidence"
            targets = signal_targets(read_signals(self.signals), market, sized=sized)
            return Prepared(market, desk, self.signals.stem + (BY_CONFIDENCE if sized else ""), targets)
        return Prepared(market, desk, "", None, parse_rules(self.rule or ""))

    def _of_model(self, traded: Traded, desk: Desk) -> Prepared:
        import pretrain
        from agents.evaluation.backtest.rule import parse_rules
        from agents.evaluation.backtest.signals import by_rise_confidence, by_state_confidence, state_targets
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
        market = traded.market_of(MarketMaker(model.layout, inputs))
        table = model.predict(market)
        earliest = int(market.bars.index.searchsorted(table.index[0]))
        if self.states is not None:
            below = (-1.0 if self.short else 0.0) if desk.trading.shorts_allowed else 0.0
            told = model.states(table) if isinstance(model, Segmenter) else table
            targets = state_targets(told, market, self.states, below=below)
            name = f"{Path(self.what).name} {self.states}"
            if self.size == "confidence":
                targets, name = by_state_confidence(targets, table, market, self.states), name + BY_CONFIDENCE
            return Prepared(market, desk, name, targets, earliest=earliest, states=self.states, below=below)
        rules = parse_rules(self.rule or "")
        if self.size == "confidence":
            if len(rules) > 1:
                raise ValueError(f"--rule names {len(rules)} rules: --size confidence trades one")
            targets = by_rise_confidence(rules[0], market, table, shorts=desk.trading.shorts_allowed)
            return Prepared(market, desk, rules[0].words + BY_CONFIDENCE, targets, rules, earliest=earliest)
        return Prepared(market, desk, "", None, rules, table, earliest)


def _of_agent(folder: Path, traded: Traded, charged: Charged, inputs: MarketInputs | None) -> Prepared:
    from agents.evaluation.backtest.deciders import agent_desk, agent_targets, settings_at
    from agents.evaluation.charges import with_impact
    from agents.evaluation.tables import run_maker
    from agents.markets.own_markets import own_markets
    from agents.run_folders.run_folder import Run, learned_until

    run = Run.load(folder)
    desk = charged.desk(agent_desk(with_impact(run.agent.settings)))
    settings = settings_at(desk, run.agent.settings)
    source = traded.market_source
    (market,) = own_markets(source, settings, run_maker(run, inputs, source))
    targets = agent_targets(run.agent, market, settings)
    earliest = market.first_decision(settings.window)
    until = learned_until(run) if traded.sample is None else None
    if until is not None:
        seen = int(market.bars.index.searchsorted(until, side="right"))
        if seen >= len(market) - 1:
            raise ValueError(f"the agent has learned from bars until {until}: bring bars that go on after that")
        if seen > earliest:
            typer.echo(f"cryptoenv: note: only what follows {until}, which the agent learned from, is traded", err=True)
            earliest = seen
    return Prepared(market, desk, folder.name, targets, earliest=earliest)
