"""`cryptoenv evaluate` of a forecaster."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.run_folders.new_outputs import require_new_file, write_table
from cryptoenv.files.typed_values import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from cryptoenv.market.market import Market
    from pretrain.data.forecast_windows import Part
    from pretrain.fitting.market_inputs import MarketInputs
    from pretrain.fitting.market_layout import MarketLayout
    from pretrain.forecaster.artifact import Forecaster

SHOWN = (
    "rows", "skill", "direction", "crps_of_historical", "crps_low", "crps_high", "cover_50", "cover_80", "cover_90"
)  # fmt: skip
PARTS = ("train", "validation", "test")
MOST_ROWS = 1_500  #: decisions of a forecaster of others, which is slow, that are judged


def evaluate_forecaster_command(
    run: Path,
    source: tuple[str | None, Sequence[Path] | None, str, int],
    split: str,
    inputs: MarketInputs,
    out: Path | None,
) -> None:
    """Print scores by horizon, and write the table and pictures beside it.

    Args:
        run: folder of a forecaster or its run.
        source: task, bars, number of markets, days.
        split: "validation" or "test": a task's seed family; of bars that the run was trained on, that part of its
            split, of others all of them.
        inputs: of the command line.
        out: a CSV file; pictures go into the folder of its name.

    Raises:
        ConfigError: neither task nor bars, both, or an unknown split.
    """
    import pretrain
    from pretrain.forecaster.artifact import Forecaster
    from pretrain.forecaster.evaluation import evaluate_forecaster
    from pretrain.forecaster.pictures import draw_run

    model = pretrain.load(run)
    assert isinstance(model, Forecaster)
    _check(source, split, out)
    task, bars, markets, days = source
    if bars:
        parts = _parts_of_bars(run, model, bars, split, inputs)
    else:
        parts = _parts_of_task(model.layout, task or "standard", split, int(markets), days)
    for told in model.provenance.data:
        print(f"the weights saw bars from {told.first} to {told.last} ({told.markets} market(s))")
    table = evaluate_forecaster(model, parts)
    _print(table, f"{len(parts)} market(s), {split}")
    write_table(table, out)
    if out is not None:
        for picture in draw_run(model, parts, out.with_suffix("")):
            print(f"picture: {picture}")


def evaluate_external_command(
    recipe_file: Path,
    source: tuple[str | None, Sequence[Path] | None, str, int],
    split: str,
    inputs: MarketInputs,
    out: Path | None,
) -> None:
    """As `evaluate_forecaster_command`, of a forecaster of others that a recipe names; at most `MOST_ROWS` decisions.

    Args:
        recipe_file: with `forecaster: external`.
        source: as there; of bars all decisions are judged, as nothing here was trained on them.
        split: of a task.
        inputs: of the command line.
        out: a CSV file.

    Raises:
        ConfigError: another recipe, or weights that are missing. ImportError: its package is not installed.
    """
    import numpy as np

    from pretrain.data.forecast_windows import ForecastDataset, Part
    from pretrain.fitting.market_inputs import MarketMaker
    from pretrain.forecaster.evaluation import judge_beside_baselines
    from pretrain.forecaster.external import CONTEXT, External
    from pretrain.forecaster.recipe import OWN, ForecasterRecipe
    from pretrain.loading import read_recipe

    recipe = read_recipe(recipe_file)
    if not isinstance(recipe, ForecasterRecipe) or recipe.forecaster == OWN:
        raise ConfigError(f"{recipe_file} is no recipe with `forecaster: external`: give a run's folder, or such a one")
    _check(source, split, out)
    recipe = recipe.with_inputs(inputs)
    model, (task, bars, markets, days) = External(recipe.external, recipe.weights or None), source
    if bars:
        maker = MarketMaker(recipe.layout, recipe.inputs)
        parts = [Part(maker.market_at(file)) for file in bars]
    else:
        parts = _parts_of_task(recipe.layout, task or recipe.task, split, int(markets), days)
    dataset = ForecastDataset(parts, recipe.architecture.layout_window, recipe.architecture.horizons)
    rows = np.flatnonzero(dataset.t >= CONTEXT)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS)).round().astype(np.int64))]
    print("what data its weights saw is not known here")
    table = judge_beside_baselines(recipe.external, model, dataset, rows)
    _print(table, f"{len(parts)} market(s), {len(rows):,} decisions")
    write_table(table, out)


def _check(source: tuple[str | None, Sequence[Path] | None, str, int], split: str, out: Path | None) -> None:
    if out is not None:
        require_new_file(out)
    if split not in PARTS[1:]:
        raise ConfigError(f"--split {split!r} is unknown; choose one of {PARTS[1:]}")
    task, bars, markets, _ = source
    if bars and task is not None:
        raise ConfigError("--task and --bars: name one of them at a time")
    if not bars and (not markets.isdigit() or int(markets) < 1):
        raise ConfigError(f"--markets {markets} is not allowed: a whole number >= 1")


def _parts_of_task(layout: MarketLayout, task: str, split: str, count: int, days: int) -> list[Part]:
    from pretrain.data.forecast_windows import Part
    from synthetic import TASKS, regime_market, task_seeds

    if task not in TASKS:
        raise ConfigError(f"--task {task!r} is unknown; choose one of {tuple(TASKS)}")
    samples = [regime_market(task, days, seed) for seed in task_seeds(task, split, count)]
    return [Part(layout.market(sample.bars, name=sample.name)) for sample in samples]


def _parts_of_bars(
    run: Path, model: Forecaster, bars: Sequence[Path], split: str, inputs: MarketInputs
) -> list[Part]:
    from pretrain.data.forecast_windows import Part
    from pretrain.fitting.market_inputs import MarketMaker

    inputs.require_fits(model.layout, str(run))
    maker = MarketMaker(model.layout, inputs)
    markets = [maker.market_at(file) for file in bars]
    trained = _trained_on(run)
    parts = []
    for market in markets:
        spans = trained.get(split, {}).get(market.hash, [])
        parts += [Part(market, start, stop) for start, stop in spans]
        if not spans and any(market.hash in part for part in trained.values()):
            raise ConfigError(f"{market.name} was trained on, and has no {split} part in the run's split")
        if not spans:
            parts.append(Part(market))
            print(f"{market.name}: all of its decisions; the run has no split of these very bars")
            if until := _learned_until(model, market):
                print(f"{market.name}: those before {until} are held out only if the weights learned from other prices")
    return parts


def _learned_until(model: Forecaster, market: Market) -> str | None:
    """Open of the last bar that the weights learned from, where the market has bars of that time."""
    import pandas as pd

    first, last = market.bars.index[0], market.bars.index[-1]
    seen = [one for one in model.provenance.data if pd.Timestamp(one.first) <= last and first <= pd.Timestamp(one.last)]
    return max(one.last for one in seen) if seen else None


def _trained_on(run: Path) -> dict[str, dict[str, list[tuple[int, int]]]]:
    """By part of the run's split and hash of market: the rows."""
    inputs = run / "inputs.json"
    if not inputs.is_file():
        return {}
    told: Any = json.loads(inputs.read_text(encoding="utf-8"))
    found: dict[str, dict[str, list[tuple[int, int]]]] = {name: {} for name in PARTS}
    for name in PARTS:
        for span in told["splits"][name]:
            digest = told["markets"][span["market"]]["hash"]
            found[name].setdefault(digest, []).append((span["start"], span["stop"]))
    return found


def _print(table: pd.DataFrame, title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table("contender", "bars ahead", *SHOWN, title=title, title_justify="left")
    for key, row in table.iterrows():
        name, horizon = key if isinstance(key, tuple) else (key, "")
        values = [f"{row[column]:,.0f}" if column == "rows" else f"{row[column]:.3f}" for column in SHOWN]
        shown.add_row(str(name), str(horizon), *values)
    Console(width=150).print(shown)
