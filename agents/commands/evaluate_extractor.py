"""`cryptoenv evaluate` of a pretrained extractor: its own action head trades, beside the baselines and the optimum."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.commands.evaluate_choice import Choice
    from pretrain.fitting.market_inputs import MarketInputs


def evaluate_extractor(run: Path, choice: Choice, inputs: MarketInputs, out: Path | None) -> None:
    """Score what an extractor's action head asks for on unseen markets of a task, or on a part of bars of one's own.

    For --split test its hysteresis is tuned on validation markets; to choose by, it has none.

    Raises:
        ValueError: markets that do not fit it, an unknown split, or bars that it has learned from.
    """
    from agents.algorithms.threads import one_thread
    from agents.evaluation.charges import charged_in_words, with_impact
    from agents.evaluation.extractor_trader import ExtractorTrader
    from agents.evaluation.rollout import roll, rows_by_length
    from agents.evaluation.tables import (
        baseline_policies,
        judging_markets,
        judging_parts,
        plain_table,
        rollouts_of_each,
        score_table,
    )
    from agents.markets.expert_market import synthetic_markets
    from agents.markets.own_markets import maker_for
    from agents.reports.table import print_table
    from agents.run_folders.new_outputs import write_new_file
    from agents.training.config import AgentTrainingConfig
    from pretrain import Extractor, load
    from pretrain.fitting.run_folder import RECIPE
    from pretrain.loading import read_recipe
    from synthetic import TASKS

    extractor: Any = load(run)
    assert isinstance(extractor, Extractor)
    recipe: Any = read_recipe(run / RECIPE)
    inputs = inputs.over(recipe.inputs)
    inputs.require_fits(extractor.layout, str(run))
    settings = AgentTrainingConfig().settings_for(extractor)
    source = recipe.task if choice.source is None else choice.source
    trader = ExtractorTrader(extractor, settings)
    with one_thread():
        if isinstance(source, str) and source in TASKS:
            labelled, rule = judging_markets(
                source, choice.split, choice.markets, choice.days, settings, seeds=choice.seeds, layout=extractor.layout
            )
            if choice.split == "test":
                chosen_by = synthetic_markets(
                    source, "validation", 8, choice.days, settings, layout=extractor.layout, progress=False
                )
                trader = trader.tuned(chosen_by)
            title = f"{len(labelled)} markets of {choice.split!r}, task {source!r}, an extractor's own actions"
        else:
            settings = with_impact(settings)
            learned = _learned(extractor)
            parts, rule = judging_parts(source, choice.split, settings, learned, maker=maker_for(extractor, inputs))
            labelled = tuple(parts)
            title = f"the {choice.split} part in time of {source}, an extractor's own actions"
        others = rollouts_of_each(baseline_policies(labelled, settings, rule, 0), labelled, settings)
        groups = rows_by_length(labelled)
        mine = [roll(trader.on(labelled), labelled, rows, settings) for rows in groups]
    if isinstance(source, str) and source in TASKS:
        table = score_table({"extractor": mine[0]} | {name: one[0] for name, one in others.items()}, labelled, settings)
    else:
        table = plain_table({"extractor": mine} | others, settings)
    print_table(table, title, charged=charged_in_words(settings, real=source not in TASKS, funded=False))
    if out is not None:
        write_new_file(out, table.to_csv)
        print(f"table: {out}")


def _learned(extractor: Any) -> list[Any]:
    """The last bars of one's own that it learned from."""
    import pandas as pd

    from pretrain.data.teachers import ORACLE_LABELS, PATTERN_LABELS

    own = [one for one in extractor.provenance.data if one.teacher not in (ORACLE_LABELS, PATTERN_LABELS)]
    return [pd.Timestamp(one.last) for one in own]
