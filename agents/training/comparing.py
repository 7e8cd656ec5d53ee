"""Two versions of an agent on the same bars, which neither of them has seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agents.evaluation.backtest.backtesting import Backtest, backtest
from agents.evaluation.backtest.deciders import agent_desk, agent_targets
from agents.evaluation.charges import with_impact
from agents.evaluation.walk_forward.plan import row_of
from agents.markets.own_markets import maker_for, own_markets
from agents.run_folders.run_folder import RECIPE, Run
from agents.run_folders.versions.models_folder import ModelsFolder
from agents.run_folders.versions.version import AGENT_KIND, MODEL, Version, VersionError, require_whole
from agents.training.recipe import AgentRecipe
from agents.training.retraining import paired_difference
from cryptoenv.bars.timeframe import DAY_MS, timeframe_ms
from cryptoenv.market.market import Market
from pretrain.fitting.market_inputs import MarketInputs


@dataclass(frozen=True)
class Compared:
    """Two versions side by side.

    Attributes:
        figures: by version, of the bars.
        judged_from: first decision (UTC).
        difference: per day, the second less the first, with its interval; None where there are too few bars.
    """

    figures: dict[str, dict[str, Any]]
    judged_from: pd.Timestamp
    difference: dict[str, float] | None


def compare_on(models: ModelsFolder, names: tuple[str, str], bars: Path) -> Compared:
    """Trade both versions on bars later than what either has learned from or chosen by.

    Raises:
        VersionError: a version that is not there, damaged, or no agent; or base timeframes that differ. ValueError:
            bars that will not do, or none that are later.
    """
    versions = [require_whole(models.place(name)) for name in names]
    runs = [_run(models, version) for version in versions]
    markets = [_market(run, bars) for run in runs]
    bases = [market.timeframes[0] for market in markets]
    if bases[0] != bases[1]:
        raise VersionError(f"version {names[0]} decides every {bases[0]}, version {names[1]} every {bases[1]}")
    seen = max((int(v.last_bar.timestamp() * 1000) + timeframe_ms(bases[0]) for v in versions if v.last_bar), default=0)
    began = max(m.start_ms + (m.first_decision(r.agent.settings.window) + 1) * timeframe_ms(bases[0])
                for m, r in zip(markets, runs, strict=True))  # fmt: skip
    moment = max(seen, began)
    if row_of(markets[0], moment) >= len(markets[0]) - 2:
        raise ValueError(f"{bars} has no bars after {pd.Timestamp(moment, unit='ms')}, which the versions have seen")
    found = [_traded(run, market, moment) for run, market in zip(runs, markets, strict=True)]
    returns = [np.diff(np.log(one.equity)) for one in found]
    difference = paired_difference(returns[1], returns[0], DAY_MS / timeframe_ms(bases[0]))
    figures: dict[str, dict[str, Any]] = {n: dict(one.figures()) for n, one in zip(names, found, strict=True)}
    return Compared(figures, pd.Timestamp(moment, unit="ms", tz="UTC"), difference)


def _run(models: ModelsFolder, version: Version) -> Run:
    if version.kind != AGENT_KIND:
        raise VersionError(f"version {version.name} is a {version.kind}: bars compare agents alone")
    return Run.load(models.place(version.name) / MODEL)


def _market(run: Run, bars: Path) -> Market:
    recipe = run.folder / RECIPE
    inputs = AgentRecipe.read(recipe).inputs if recipe.is_file() else MarketInputs()
    (market,) = own_markets((str(bars),), run.agent.settings, maker_for(run.agent.extractor, inputs))
    return market


def _traded(run: Run, market: Market, moment: int) -> Backtest:
    settings = with_impact(run.agent.settings)
    targets = agent_targets(run.agent, market, settings)
    first = row_of(market, moment)
    targets[:first] = np.nan  # it begins flat
    return backtest(market, targets, agent_desk(settings), first=first)
