"""`cryptoenv backtest` and `cryptoenv stress`: what decides, through the kernel, as it is and where things go wrong."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from agents.commands.options import Exogenous, Reference, Seed, market_inputs
from agents.commands.strategies import (
    Cash,
    Charged,
    Exposure,
    Fee,
    Fraction,
    Funding,
    Given,
    HalfSpread,
    Impact,
    Instrument,
    Ledger,
    RuleOption,
    Short,
    Signals,
    Size,
    Start,
    States,
    Stop,
    StopLoss,
    StrategyBars,
    TakeProfit,
    Timeframe,
    Volatility,
    What,
    span_of,
)
from agents.run_folders.new_outputs import require_new_file, require_new_folder, write_new_file, write_new_folder

#: Columns of the table of stresses: heading, scale, format.
STRESSES = {
    "total_return": ("return", 100.0, "+.1f%"), "sharpe": ("Sharpe", 1.0, "+.2f"),
    "max_drawdown": ("drawdown", 100.0, ".1f%"), "cost_share": ("costs", 100.0, ".1f%"),
    "stopped": ("stopped", 1.0, ".0f"), "liquidated": ("liquidated", 1.0, ".0f"), "ruined": ("ruined", 1.0, ".0f"),
    "change": ("log-return, change in %", 100.0, "+.1f"),
}  # fmt: skip


def backtest(
    bars: StrategyBars,
    what: What = None,
    rule: RuleOption = None,
    signals: Signals = None,
    states: States = None,
    short: Short = False,
    size: Size = "fixed",
    timeframe: Timeframe = None,
    reference: Reference = None,
    exogenous: Exogenous = None,
    start: Start = None,
    stop: Stop = None,
    instrument: Instrument = None,
    cash: Cash = 10_000.0,
    fee: Fee = None,
    half_spread: HalfSpread = None,
    impact: Impact = None,
    funding: Funding = None,
    exposure: Exposure = None,
    stop_loss: StopLoss = None,
    take_profit: TakeProfit = None,
    fraction: Fraction = None,
    volatility: Volatility = None,
    seed: Seed = 0,
    chances: Annotated[int, typer.Option(help="Random positions to compare with.", min=1)] = 200,
    ledger: Ledger = None,
    out: Annotated[Path, typer.Option(help="New folder for trades, equity, metrics, picture.")] = Path("runs/backtest"),
) -> None:
    """Trade history by an agent, a model, a rule or signals, with all costs; compare with chance; give a verdict."""
    from agents.evaluation.backtest.backtesting import decision_rows, summary
    from agents.evaluation.backtest.judgement import judge, write_backtest
    from agents.markets.own_markets import data_named
    from agents.reports.backtest_table import print_figures
    from agents.reports.portfolio_picture import draw_portfolio
    from agents.run_folders.run_origin import origin_of
    from cryptoenv.analysis.trial_ledger import ledger_beside

    require_new_folder(out)
    given = Given(what, rule, signals, states, short, size, market_inputs(None, None, reference, exogenous))
    given.check()
    limits = {"exposure": exposure, "stop_loss": stop_loss, "take_profit": take_profit}
    costs = {"fee": fee, "half_spread": half_spread, "impact": impact, "funding": funding}
    sizing = {"fraction": fraction, "volatility": volatility}
    told = given.prepared(bars, timeframe, Charged(instrument, costs, limits, sizing, cash))
    found, sweep = told.run(*decision_rows(told.market, start, stop, told.earliest))
    data = data_named(str(bars))
    judged = judge(found, ledger or ledger_beside(out), data, sweep=sweep, chances=chances, seed=seed)
    title = f"{data}, {span_of(found)}"

    def write(folder: Path) -> None:
        write_backtest(judged, folder, sweep=sweep, origin=origin_of([bars]) | {"seed": seed})
        draw_portfolio(found, {"buy and hold": judged.held}, folder / "portfolio.png", title=f"{found.name}: {title}")

    write_new_folder(out, write)
    many = f", the best of {len(sweep.rules)} rules" if sweep is not None else ""
    report = f"report:  cryptoenv report {shlex.quote(str(out))}"
    print_figures(summary([found, judged.held]), title + many, lines=[*judged.lines(), f"written: {out}", report])


def stress(
    bars: StrategyBars,
    what: What = None,
    rule: RuleOption = None,
    signals: Signals = None,
    states: States = None,
    short: Short = False,
    size: Size = "fixed",
    timeframe: Timeframe = None,
    reference: Reference = None,
    exogenous: Exogenous = None,
    start: Start = None,
    stop: Stop = None,
    instrument: Instrument = None,
    cash: Cash = 10_000.0,
    fee: Fee = None,
    half_spread: HalfSpread = None,
    impact: Impact = None,
    funding: Funding = None,
    exposure: Exposure = None,
    stop_loss: StopLoss = None,
    take_profit: TakeProfit = None,
    fraction: Fraction = None,
    volatility: Volatility = None,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Also write the table as CSV.")] = None,
) -> None:
    """The same decisions at higher costs, one to four bars late, through outages and crashes: how the figures move."""
    from agents.evaluation.backtest.backtesting import decision_rows
    from agents.evaluation.stress import StressConfig, stress_table, stressed
    from agents.markets.own_markets import data_named
    from agents.reports.backtest_table import print_figures

    if out is not None:
        require_new_file(out)
    given = Given(what, rule, signals, states, short, size, market_inputs(None, None, reference, exogenous))
    given.check()
    limits = {"exposure": exposure, "stop_loss": stop_loss, "take_profit": take_profit}
    costs = {"fee": fee, "half_spread": half_spread, "impact": impact, "funding": funding}
    sizing = {"fraction": fraction, "volatility": volatility}
    told = given.prepared(bars, timeframe, Charged(instrument, costs, limits, sizing, cash))
    found, sweep = told.run(*decision_rows(told.market, start, stop, told.earliest))
    if sweep is not None:
        raise ValueError(f"--rule names {len(sweep.rules)} rules: stress one of them")
    table = stress_table(list(stressed(found, StressConfig(seed=seed))))
    print_figures(table, f"{found.name}: {data_named(str(bars))}, {span_of(found)}", columns=STRESSES, first="stress")
    if out is not None:
        write_new_file(out, table.to_csv)
        print(f"table: {out}")
