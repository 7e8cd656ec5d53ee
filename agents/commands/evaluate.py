"""`cryptoenv evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agents.run_folders.new_outputs import (
    require_new_file,
    write_new_file,
)


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder, or a folder of seeds.", exists=True, file_okay=False)],
    markets: Annotated[
        str | None, typer.Option(help="Synthetic task. Without it: what the run was trained on, bars too.")
    ] = None,
    bars: Annotated[Path | None, typer.Option(help="Bars instead: the last fifth of them.", dir_okay=False)] = None,
    split: Annotated[str, typer.Option(help="Seed family: validation to choose, test for final figures.")] = "test",
    count: Annotated[int, typer.Option(help="Markets.", min=1)] = 32,
    seeds: Annotated[list[int] | None, typer.Option(help="Markets by seed instead; give it once per market.")] = None,
    days: Annotated[int, typer.Option(help="Tradable days of each.", min=1)] = 60,
    out: Annotated[Path | None, typer.Option(help="Also write the table as CSV.")] = None,
) -> None:
    """Score a run's agent and clone beside the baselines on unseen markets."""
    from agents.evaluation.tables import DEFAULT_TASK, charged_in_words, evaluate_on_bars, evaluate_runs
    from agents.reports.table import print_table
    from agents.run_folders.run_folder import load_runs
    from agents.run_folders.run_origin import KEPT_CLONE, kept_clone, own_market

    if out is not None:
        require_new_file(out)
    runs = load_runs(run)
    if bars is not None and markets is not None:
        raise ValueError("--bars and --markets: judge on one of them at a time")
    chosen = bars or markets or own_market(runs[0])
    own = ", what it was trained on" if chosen is not None and bars is None and markets is None else ""
    if isinstance(chosen, Path):
        table = evaluate_on_bars(runs, chosen)
        title = f"{chosen.name}, the last fifth of the bars{own}"
    else:
        task = chosen or DEFAULT_TASK
        table = evaluate_runs(runs, market=task, split=split, markets=count, days=days, seeds=seeds or ())
        which = f"{len(seeds)} markets by seed" if seeds else f"{count} markets of {split!r}"
        title = f"{which}, task {task!r}{own}, {len(runs)} run(s)"
    if any(kept_clone(one) for one in runs):
        title += f"\n{KEPT_CLONE}" + (" (= clone)" if len(runs) > 1 else "")
    print_table(table, title, charged=charged_in_words(runs[0].agent.settings, real=isinstance(chosen, Path)))
    if out is not None:
        write_new_file(out, table.to_csv)
        print(f"table: {out}")
