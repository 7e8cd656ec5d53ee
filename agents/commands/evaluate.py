"""`cryptoenv evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from agents.commands.options import (
    Accelerator,
    Days,
    Exogenous,
    Features,
    Funding,
    Reference,
    SeveralBars,
    SplitFractions,
    Task,
    Timeframes,
    earlier,
    hidden,
    market_inputs,
    of_earlier,
    one_source,
)
from agents.run_folders.new_outputs import require_new_file, write_table

SPLIT_HELP = "validation to choose by, test for final figures: a task's seed family, or a part in time of your bars."


def evaluate(
    run: Annotated[
        Path, typer.Argument(help="Run folder, a folder of seeds, or a recipe of a forecaster of others.", exists=True)
    ],
    task: Task = None,
    bars: SeveralBars = None,
    split: Annotated[str, typer.Option(help=SPLIT_HELP)] = "validation",
    markets: Annotated[str, typer.Option(help="How many markets of the task.", metavar="INTEGER")] = "32",
    market_seed: Annotated[
        list[int] | None, typer.Option(help="A market of the task by its seed instead; once per market.")
    ] = None,
    days: Days = 60,
    timeframes: Timeframes = None,
    features: Features = None,
    reference: Reference = None,
    exogenous: Exogenous = None,
    funding: Funding = None,
    split_fractions: SplitFractions = None,
    accelerator: Accelerator = None,
    ensemble: Annotated[bool, typer.Option("--ensemble", help="Also all seeds deciding together, on a task.")] = False,
    out: Annotated[Path | None, typer.Option(help="Also write the table as CSV.")] = None,
    count: Annotated[int | None, hidden("--count")] = None,
    seeds: Annotated[list[int] | None, hidden("--seeds")] = None,
) -> None:
    """Score a run's agent and clone beside the baselines on unseen markets; without --task and --bars, on its own.

    Of a forecaster: errors, CRPS and coverage by horizon beside persistence and historical volatility, and pictures.
    Of a segmenter: scores by timescale beside the exact filter. Of an extractor: what its own actions earn. Of a
    forecaster of tokens: errors and pumps on the tokens and times that its run held out.
    """
    from pretrain.loading import holds

    if run.is_file() or holds(run, "cryptoenv-forecaster"):
        from agents.commands.evaluate_forecaster import evaluate_external_command, evaluate_forecaster_command

        if funding or split_fractions:
            raise ValueError("a forecaster pays no funding, and is judged on the parts that its run was split into")
        if ensemble:
            raise ValueError("--ensemble is of agents, and this is a forecaster")
        inputs = market_inputs(timeframes, features, reference, exogenous)
        judged = evaluate_external_command if run.is_file() else evaluate_forecaster_command
        judged(run, (task, bars, markets, days), split, inputs, out)
        return
    from agents.commands.evaluate_models import EVALUATIONS, Choice, kind_of_run

    if out is not None:
        require_new_file(out)
    number, task, bars = _number(markets, count, task, bars)
    if seeds:
        earlier("--seeds", "--market-seed")
    by_seed = [*(market_seed or ()), *(seeds or ())]
    given = one_source(task, bars)
    inputs = market_inputs(timeframes, features, reference, exogenous, funding=funding, split_fractions=split_fractions)
    if (kind := kind_of_run(run)) is not None:
        if ensemble:
            raise ValueError(f"--ensemble is of agents, and {run} holds another kind of run")
        choice = Choice(given, split, number, tuple(by_seed), days)
        EVALUATIONS[kind](run, choice, inputs, out)
        return
    from agents.evaluation.tables import DEFAULT_TASK, charged_in_words, evaluate_runs, run_maker
    from agents.markets.embedded import embedding_on
    from agents.markets.own_markets import pays_funding
    from agents.reports.table import print_table
    from agents.run_folders.run_folder import load_runs
    from agents.run_folders.run_origin import KEPT_CLONE, kept_clone, own_market

    runs = load_runs(run)
    chosen = given or own_market(runs[0]) or DEFAULT_TASK
    own = "" if given else ", what it was trained on"
    is_task = isinstance(chosen, str) and not bars
    with ExitStack() as stack:
        for one in runs:
            stack.enter_context(embedding_on(one.agent.extractor, accelerator or "cpu"))
        table = evaluate_runs(
            runs, market=chosen, split=split, markets=number, days=days, seeds=by_seed, inputs=inputs,
            together=ensemble,
        )  # fmt: skip
    if is_task:
        which = f"{len(by_seed)} markets by seed" if by_seed else f"{number} markets of {split!r}"
        title = f"{which}, task {chosen!r}{own}, {len(runs)} run(s)"
    else:
        title = f"{_names(chosen)}, the {split} part in time{own}, {len(runs)} run(s)"
    if any(kept_clone(one) for one in runs):
        title += f"\n{KEPT_CLONE}" + (" (= clone)" if len(runs) > 1 else "")
    funded = not is_task and pays_funding(chosen, run_maker(runs[0], inputs, chosen).inputs)
    print_table(table, title, charged=charged_in_words(runs[0].agent.settings, real=not is_task, funded=funded))
    write_table(table, out)


def _number(
    markets: str, count: int | None, task: str | None, bars: list[Path] | None
) -> tuple[int, str | None, list[Path] | None]:
    """How many markets, the task and the bars: in the version before, --markets named a task, and --count a number.

    Raises:
        ValueError: not a whole number >= 1.
    """
    if count is not None:
        earlier("--count", "--markets")
    if not markets.lstrip("-").isdigit():
        task, bars = of_earlier(markets, "--markets TASK", task, bars)
        markets = "32"
    number = int(markets) if count is None else count
    if number < 1:
        raise ValueError(f"--markets {number} is not allowed: a whole number >= 1")
    return number, task, bars


def _names(source: str | Path | Sequence[str | Path]) -> str:
    return Path(source).name if isinstance(source, str | Path) else ", ".join(Path(one).name for one in source)
