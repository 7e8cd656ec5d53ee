"""`cryptoenv bench`: agents judged by the benchmark's protocol, their results checked, and the leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(help="Judge any agent by the benchmark's protocol, check results, make the leaderboard.")
AGENT_HELP = (
    "A run's folder (or one of several seeds), an extractor's, default (the shipped one), a .zip of "
    "Stable-Baselines3, MODULE:NAME of a policy or of a function (seed) that makes one, or a baseline by name."
)


@app.command()
def run(
    agent: Annotated[str, typer.Option(help=AGENT_HELP)],
    out: Annotated[Path, typer.Option(help="File of the result, .json; it must not exist yet.")],
    task: Annotated[Literal["easy", "standard", "hard"], typer.Option(help="Markets to be judged on.")] = "standard",
    seeds: Annotated[int, typer.Option(help="Trained agents, of what has seeds.", min=1)] = 5,
    name: Annotated[str, typer.Option(help="What the leaderboard calls it.")] = "",
    notes: Annotated[str, typer.Option(help="A line on how it was made, or where that is said.")] = "",
    bars: Annotated[float | None, typer.Option(help="Bars that training looked at, repeats counted.", min=0)] = None,
    cpu_seconds: Annotated[float | None, typer.Option(help="CPU seconds that training took.", min=0)] = None,
    observation: Annotated[
        Literal["window", "index", "flat"] | None, typer.Option(help="What a policy of yours observes; window.")
    ] = None,
    continuous: Annotated[bool, typer.Option(help="A policy of yours answers with exposures.")] = False,
    trust: Annotated[bool, typer.Option(help="Read a .zip although it holds pickles, which could run code.")] = False,
    markets: Annotated[
        int | None, typer.Option(help="How many markets, fewer than the protocol's, for trying out.", min=1)
    ] = None,
    days: Annotated[int | None, typer.Option(help="Shorter than the protocol's, for trying out.", min=1)] = None,
) -> None:
    """Let an agent trade the protocol's unseen markets, and write what it did and what that came to."""
    from dataclasses import replace

    from agents.evaluation.protocol.contenders import entry_of
    from agents.evaluation.protocol.judged import run_bench
    from agents.evaluation.protocol.result_file import result_text
    from agents.evaluation.protocol.rules import STANDARD_V1, Budget
    from agents.run_folders.new_outputs import require_new_file, write_new_file
    from cryptoenv.files.durable_files import write_file

    require_new_file(out, ".json")
    entry = entry_of(
        agent, task, seeds, trust=trust, observation=observation, actions="continuous" if continuous else None
    )
    if name:
        entry = replace(entry, name=name)
    protocol = STANDARD_V1.sized(markets, days)
    values = run_bench(entry, task, protocol, Budget(bars, cpu_seconds), notes=notes, told=print)
    write_new_file(out, lambda path: write_file(path, result_text(values)))
    found = values["figures"]["score"]
    print(f"{entry.name} on {task}: {found['value']:.3f} of the optimum [{found['low']:.3f}, {found['high']:.3f}]")
    print(f"result: {out}")


@app.command()
def verify(
    files: Annotated[list[Path], typer.Argument(help="Results.")],
) -> None:
    """Replay the actions in results and recompute every figure; the first that is not right ends it with code 2."""
    from agents.evaluation.protocol.result_file import ResultError, read_result
    from agents.evaluation.protocol.verification import verify as verify_values

    for path in files:
        try:
            remarks = verify_values(read_result(path))
        except ResultError as error:
            raise ResultError(f"{path}: refused: {error}" if str(path) not in str(error) else str(error)) from error
        print(f"{path}: every figure is that of its actions; {'; '.join(remarks)}")


@app.command()
def table(
    folder: Annotated[Path, typer.Argument(help="Folder of results.")],
    form: Annotated[Literal["markdown", "html"], typer.Option("--format", help="Text, or a page.")] = "markdown",
    out: Annotated[Path | None, typer.Option(help="New file; text is printed where none is named.")] = None,
) -> None:
    """Rank results of the protocol's size: scores, and paired differences from the best."""
    from agents.reports.formats.markdown import markdown
    from agents.reports.leaderboard import leaderboard, read_results
    from agents.reports.report_files import require_place, write_report

    if form == "html" and out is None:
        raise ValueError("--format html needs --out, the page's file")
    if out is not None:
        require_place(out, form)
    results = list(read_results(folder).values())
    if out is None:
        print(markdown(leaderboard(results)))
        return
    write_report(leaderboard(results), out, form, progress=False)
    print(f"leaderboard: {out}")
