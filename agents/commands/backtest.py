"""`cryptoenv backtest` and `cryptoenv stress`: what decides, through the kernel, as it is and where things go wrong."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agents.commands.strategy_options import StrategyOptions, takes_strategy
from agents.run_folders.new_outputs import require_new_file, require_new_folder, write_new_folder, write_table

if TYPE_CHECKING:
    from agents.evaluation.backtest.backtesting import Backtest

#: Columns of the table of stresses: heading, scale, format.
STRESSES = {
    "total_return": ("return", 100.0, "+.1f%"), "sharpe": ("Sharpe", 1.0, "+.2f"),
    "max_drawdown": ("drawdown", 100.0, ".1f%"), "cost_share": ("costs", 100.0, ".1f%"),
    "stopped": ("stopped", 1.0, ".0f"), "liquidated": ("liquidated", 1.0, ".0f"), "ruined": ("ruined", 1.0, ".0f"),
    "change": ("log-return, change in %", 100.0, "+.1f"),
}  # fmt: skip


@takes_strategy
def backtest(
    given: StrategyOptions,
    chances: Annotated[int, typer.Option(help="Random positions to compare with.", min=1)] = 200,
    ledger: Annotated[Path | None, typer.Option(help="Ledger of trials; trials.jsonl beside --out.")] = None,
    out: Annotated[Path, typer.Option(help="New folder for trades, equity, metrics, picture.")] = Path("runs/backtest"),
) -> None:
    """Trade history by an agent, a model, a rule or signals, with all costs; compare with chance; give a verdict.

    On a market of a --task the ceiling stands beside it: the same rule on true states, and the causal optimum.
    """
    from agents.evaluation.backtest.backtesting import summary
    from agents.evaluation.backtest.judgement import judge, write_backtest
    from agents.reports.backtest_table import print_figures
    from agents.reports.portfolio_picture import draw_portfolio
    from agents.run_folders.run_origin import origin_of
    from cryptoenv.analysis.trial_ledger import ledger_beside

    require_new_folder(out)
    told, traded = given.prepared()
    found, sweep = given.run(told)
    ceilings = told.ceilings(found, sweep)
    judged = judge(
        found, ledger or ledger_beside(out), traded.data, sweep=sweep, chances=chances, seed=given.seed,
        ceilings=ceilings, states=given.states is not None,
    )  # fmt: skip
    title = f"{traded.data}, {span_of(found)}"
    beside = {"buy and hold": judged.held} | {one.name: one for one in ceilings}

    def write(folder: Path) -> None:
        origin = origin_of([traded.place]) | {"seed": given.seed}
        write_backtest(judged, folder, sweep=sweep, origin=origin)
        draw_portfolio(found, beside, folder / "portfolio.png", title=f"{found.name}: {title}")

    write_new_folder(out, write)
    many = f", the best of {len(sweep.rules)} rules" if sweep is not None else ""
    report = f"report:  cryptoenv report {shlex.quote(str(out))}"
    print_figures(summary([found, *beside.values()]), title + many, lines=[*judged.lines(), f"written: {out}", report])


@takes_strategy
def stress(
    given: StrategyOptions,
    out: Annotated[Path | None, typer.Option(help="Also write the table as CSV.")] = None,
) -> None:
    """The same decisions at higher costs, one to four bars late, through outages and crashes: how the figures move."""
    from agents.evaluation.stress import StressConfig, stress_table, stressed
    from agents.reports.backtest_table import print_figures

    if out is not None:
        require_new_file(out)
    told, traded = given.prepared()
    found, sweep = given.run(told)
    if sweep is not None:
        raise ValueError(f"--rule names {len(sweep.rules)} rules: stress one of them")
    table = stress_table(list(stressed(found, StressConfig(seed=given.seed))))
    print_figures(table, f"{found.name}: {traded.data}, {span_of(found)}", columns=STRESSES, first="stress")
    write_table(table, out)


def span_of(found: Backtest) -> str:
    """First and last bar of a backtest, in words."""
    index = found.market.bars.index
    last = index[found.trace.first + len(found.targets)]
    return f"{index[found.trace.first]:%Y-%m-%d} to {last:%Y-%m-%d}, {found.market.timeframes[0]}"
