"""`cryptoenv evaluate` of a pretrained extractor: its own action head trades, beside the baselines and the optimum."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from agents.commands.evaluate_choice import Choice
    from agents.evaluation.extractor_trader import ExtractorTrader
    from pretrain.fitting.market_inputs import MarketInputs

NAME = "extractor"  #: its line in the table


def evaluate_extractor(run: Path, choice: Choice, inputs: MarketInputs, out: Path | None) -> None:
    """Score what an extractor's action head asks for on unseen markets of a task, or on a part of bars of one's own.

    For --split test its hysteresis is tuned on validation markets; to choose by, it has none.

    Raises:
        ValueError: markets that do not fit it, an unknown split, or bars that it has learned from.
    """
    from agents.algorithms.threads import one_thread
    from agents.evaluation.charges import charged_in_words
    from agents.evaluation.extractor_trader import ExtractorTrader
    from agents.reports.table import print_table
    from agents.run_folders.new_outputs import write_table
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
    source = recipe.task if choice.source is None else choice.source
    trader = ExtractorTrader(extractor, AgentTrainingConfig().settings_for(extractor))
    task = source if isinstance(source, str) and source in TASKS else None
    with one_thread():
        if task is not None:
            table, judged = _on_task(trader, task, choice)
        else:
            table, judged = _on_bars(trader, source, choice, inputs)
    charged = charged_in_words(trader.settings, real=task is None, funded=False)
    print_table(table, f"{judged}, an extractor's own actions", charged=charged)
    write_table(table, out)


def _on_task(trader: ExtractorTrader, task: str, choice: Choice) -> tuple[pd.DataFrame, str]:
    """Scores on unseen markets of a task, and what those are called."""
    from agents.evaluation.rollout import roll, whole_markets
    from agents.evaluation.tables import baseline_policies, judging_markets, rollouts, score_table
    from agents.markets.expert_market import synthetic_markets

    settings, layout = trader.settings, trader.extractor.layout
    labelled, rule = judging_markets(
        task, choice.split, choice.markets, choice.days, settings, seeds=choice.seeds, layout=layout
    )
    if choice.split == "test":
        trader = trader.tuned(
            synthetic_markets(task, "validation", 8, choice.days, settings, layout=layout, progress=False)
        )
    found = {NAME: roll(trader.on(labelled), labelled, whole_markets(labelled), settings)}
    found |= rollouts(baseline_policies(labelled, settings, rule, 0), labelled, settings)
    return score_table(found, labelled, settings), f"{len(labelled)} markets of {choice.split!r}, task {task!r}"


def _on_bars(
    trader: ExtractorTrader, source: str | Sequence[str], choice: Choice, inputs: MarketInputs
) -> tuple[pd.DataFrame, str]:
    """Net figures on a part in time of bars of one's own, with market impact, and what that is called."""
    from agents.evaluation.charges import with_impact
    from agents.evaluation.rollout import roll, rows_by_length
    from agents.evaluation.tables import baseline_policies, judging_parts, plain_table, rollouts_of_each
    from agents.markets.own_markets import maker_for, several
    from cryptoenv.bar_files.reading import file_stem

    settings = with_impact(trader.settings)
    maker = maker_for(trader.extractor, inputs)
    parts, rule = judging_parts(source, choice.split, settings, _learned(trader.extractor), maker=maker)
    mine = [roll(trader.on(parts), parts, rows, settings) for rows in rows_by_length(parts)]
    others = rollouts_of_each(baseline_policies(parts, settings, rule, 0), parts, settings)
    names = ", ".join(file_stem(Path(str(one))) for one in several(source))
    return plain_table({NAME: mine} | others, settings), f"{names}, the {choice.split} part in time"


def _learned(extractor: Any) -> list[Any]:
    """The last bars of one's own that it learned from."""
    import pandas as pd

    from pretrain.data.rewards import REWARDS_OF_SYNTHETIC
    from pretrain.data.teachers import ORACLE_LABELS, PATTERN_LABELS

    synthetic = (ORACLE_LABELS, PATTERN_LABELS, REWARDS_OF_SYNTHETIC)
    own = [one for one in extractor.provenance.data if one.teacher not in synthetic]
    return [pd.Timestamp(one.last) for one in own]
