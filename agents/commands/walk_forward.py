"""`cryptoenv walk-forward`: a recipe trained again and again as time goes on, judged on what comes next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agents.commands.options import (
    TASK_HELP,
    Exogenous,
    Extractor,
    Features,
    RecipeSeed,
    Reference,
    Steps,
    Timeframes,
    market_inputs,
    one_source,
)
from agents.run_folders.new_outputs import told_when_interrupted

if TYPE_CHECKING:
    import pandas as pd

    from agents.evaluation.walk_forward.findings import Findings

#: Columns of the table of folds: heading, scale, format.
FOLDS = {
    "test_from": ("judged from", 1.0, "s"), "trained_to": ("learned to", 1.0, "s"),
    "weights": ("weights", 1.0, "s"), "train_per_day": ("train % / day", 100.0, "+.3f"),
    "test_per_day": ("test % / day", 100.0, "+.3f"), "efficiency": ("efficiency", 1.0, ".2f"),
}  # fmt: skip
LONGEST_NAME = 24  #: of a market, in a table
REGIMES = {
    "bars": ("bars", 1.0, ",.0f"), "log_return_per_day": ("log-return % / day", 100.0, "+.3f"),
    "log_return": ("log-return %", 100.0, "+.1f"), "buy_and_hold": ("buy and hold %", 100.0, "+.1f"),
}  # fmt: skip


def walk_forward(
    recipe: Annotated[str, typer.Argument(help="Of an agent: one that ships (ppo, dqn, ...) or a YAML file.")],
    bars: Annotated[
        list[Path] | None, typer.Option(help="Bars: a file, a saved market, or a store's series. Once per market.")
    ] = None,
    task: Annotated[str | None, typer.Option(help=f"{TASK_HELP} Its markets in place of --bars.")] = None,
    markets: Annotated[int, typer.Option(help="How many markets of --task, from its validation family.", min=1)] = 2,
    days: Annotated[int, typer.Option(help="Tradable days of each market of --task.", min=1)] = 240,
    folds: Annotated[int, typer.Option(help="Parts of equal length that are judged.", min=1)] = 6,
    seeds: Annotated[int, typer.Option(help="Trainings of each fold.", min=1)] = 3,
    train: Annotated[str, typer.Option(help="Before the first fold: a share of time; with --test e.g. 12M.")] = "0.5",
    test: Annotated[str | None, typer.Option(help="Judged parts on the calendar, e.g. 3M, not --folds.")] = None,
    rolling: Annotated[bool, typer.Option(help="Learn from as much in each fold, not from all before it.")] = False,
    frozen: Annotated[bool, typer.Option(help="Train the first fold only, judge its agent on all.")] = False,
    validation: Annotated[float, typer.Option(help="Share of what is learned from that is chosen by.")] = 0.25,
    embargo: Annotated[float, typer.Option(help="Days left out before every border.", min=0.0)] = 0.0,
    swing: Annotated[float, typer.Option(help="Rise or fall that begins a bull or bear regime.")] = 0.2,
    segmenter: Annotated[str | None, typer.Option(help="Folder of a segmenter whose states are regimes, too.")] = None,
    states: Annotated[str, typer.Option(help="Timescale of its states, as 4h, or all.")] = "all",
    extractor: Extractor = None,
    timeframes: Timeframes = None,
    features: Features = None,
    reference: Reference = None,
    exogenous: Exogenous = None,
    seed: RecipeSeed = None,
    steps: Steps = None,
    workers: Annotated[int | None, typer.Option(help="Processes side by side; one per core.", min=1)] = None,
    ray: Annotated[bool, typer.Option(help="Side by side over Ray.")] = False,
    ledger: Annotated[Path | None, typer.Option(help="Ledger of trials; trials.jsonl beside --out.")] = None,
    out: Annotated[Path, typer.Option(help="Its folder; an interrupted one goes on.")] = Path("runs/walk-forward"),
) -> None:
    """Train a recipe fold by fold on growing history, trade every fold on one account, give a verdict.

    The same command goes on with an interrupted one.
    """
    from agents.evaluation.backtest.traded import task_market_name
    from agents.evaluation.walk_forward.plan import WalkForwardPlan
    from agents.evaluation.walk_forward.regimes import RegimeRules
    from agents.markets.expert_market import require_task
    from agents.training.recipe import AgentRecipe
    from agents.training.walk_forward import StatesOf, WalkForward
    from agents.training.walk_forward import walk_forward as walked

    chosen = AgentRecipe.read(recipe).changed(extractor=extractor, seed=seed).with_steps(steps)
    inputs = market_inputs(timeframes, features, reference, exogenous)
    chosen = chosen.changed(inputs=inputs.over(chosen.inputs))
    plan = WalkForwardPlan(
        folds, seeds, 0.5 if test else _share(train), test, train if test and train != "0.5" else "12M", not rolling,
        frozen, validation, embargo,
    )  # fmt: skip
    named = one_source(task, bars)
    if named is None:
        raise ValueError("say what is traded: --bars, or --task")
    if task is not None:
        require_task(task)
        named = tuple(task_market_name(task, "validation", number, days) for number in range(markets))
    walk = WalkForward(out, chosen, plan, (named,) if isinstance(named, str) else named)
    rules = RegimeRules(swing=swing)
    with told_when_interrupted(lambda: f"what is trained is kept in {out}: the same command goes on"):
        found = walked(
            walk, workers=workers, ray=ray, ledger=ledger, rules=rules,
            states=None if segmenter is None else StatesOf(segmenter, states),
        )  # fmt: skip
    show(found, walk.recipe.algorithm, out)


def show(found: Findings, algorithm: str, out: Path) -> None:
    """Print folds, regimes, figures and the verdict."""
    from agents.reports.backtest_table import SHOWN, print_figures

    short = short_names([str(name) for name in found.folds["market"].unique()])
    folds = found.folds.assign(market=found.folds["market"].map(short))
    print_figures(_folds(folds), f"{algorithm}, mean over seeds", columns=FOLDS, first="fold, market")
    regimes = found.regimes.set_index(found.regimes["market"].map(short) + ", " + found.regimes["regime"])
    print_figures(regimes, "regimes, mean over seeds", columns=REGIMES, first="market, regime")
    methods = found.methods.rename(index=lambda name: _shortened(str(name), short))
    lines = [_shortened(line, short) for line in found.lines()]
    print_figures(methods, "over all folds, one account each", columns=SHOWN, lines=[
        *lines, f"written:    {out}", f"report:     cryptoenv report {shlex.quote(str(out))}"])  # fmt: skip


def short_names(names: Sequence[str]) -> dict[str, str]:
    """What tells markets apart: long names without the parts that all of them have; a long name alone is cut."""
    if max(map(len, names)) <= LONGEST_NAME:
        return {name: name for name in names}
    parts = [name.split("_") for name in names]
    shared = set(parts[0]).intersection(*parts[1:]) if len(names) > 1 else set()
    found = ["_".join(part for part in of if part not in shared)[:LONGEST_NAME] for of in parts]
    return dict(zip(names, found if len(set(found)) == len(names) and all(found) else names, strict=True))


def _shortened(text: str, short: dict[str, str]) -> str:
    for name, instead in short.items():
        text = text.replace(name, instead)
    return text


def _folds(table: pd.DataFrame) -> pd.DataFrame:
    """A row per fold and market: means over seeds, the first seed's weights by name."""
    from agents.evaluation.walk_forward.findings import efficiency

    rows = {}
    for (fold, market), of in table.groupby(["fold", "market"], sort=True):
        train, test = float(of["train_per_day"].mean()), float(of["test_per_day"].mean())
        hashes = [str(one)[:6] for one in of["weights"]]
        rows[f"{fold}, {market}"] = {
            "test_from": str(of["test_from"].iloc[0])[:10], "trained_to": str(of["trained_to"].iloc[0])[:10],
            "weights": " ".join(hashes[:3]) + (" ..." if len(hashes) > 3 else ""), "train_per_day": train,
            "test_per_day": test, "efficiency": efficiency(train, test),
        }  # fmt: skip
    import pandas as pd

    return pd.DataFrame.from_dict(rows, orient="index")


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--train {text!r} is a length on the calendar: give --test, too, such as 3M") from None
