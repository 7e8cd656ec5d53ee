"""What is kept for drift of the markets that a training saw, and of what its agent earned where it did not learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from agents.evaluation.backtest.backtesting import backtest
from agents.evaluation.backtest.deciders import agent_desk, agent_targets
from agents.evaluation.charges import with_impact
from agents.markets.expert_market import ExpertMarket
from agents.markets.own_markets import maker_for
from agents.policies.agent import Agent
from agents.run_folders.run_folder import RECIPE, Run
from agents.run_folders.versions.drift_file import ModelReference
from agents.training.pipeline import expert_markets_for
from agents.training.recipe import AgentRecipe
from cryptoenv.analysis.drift.calibration import CalibrationReference
from cryptoenv.analysis.drift.equity import EquityReference
from cryptoenv.analysis.drift.losses import LossReference
from cryptoenv.analysis.drift.reference import TableReference
from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.market.market import Market
from pretrain import Extractor


@dataclass(frozen=True)
class Learned:
    """A market, and the first row of it that counts."""

    market: Market
    first: int


def feature_tables(parts: Sequence[ExpertMarket | Learned]) -> tuple[TableReference, ...]:
    """Per timeframe the features of all bars that parts of markets decide at, as they were known then."""
    first = parts[0].market
    found = []
    for k, timeframe in enumerate(first.timeframes):
        rows = [
            part.market.features[k][max(int(part.market.align[part.first, k]), 0) : int(part.market.align[-1, k]) + 1]
            for part in parts
        ]
        found.append(TableReference.of(timeframe, first.feature_names[k], rows))
    return tuple(found)


def model_reference(
    learned: Sequence[ExpertMarket | Learned],
    returns: ArrayLike | None,
    calibration: CalibrationReference | None = None,
) -> ModelReference:
    """What live data are compared with.

    Args:
        learned: parts of markets that were learned from.
        returns: (n,) net log-returns per bar where nothing was learned, or None; too few of them are left out.
        calibration: of the probabilities that the extractor says, or None.
    """
    until = max(
        part.market.start_ms + len(part.market) * timeframe_ms(part.market.timeframes[0]) for part in learned
    )
    losses = equity = None
    if returns is not None:
        values = np.asarray(returns, dtype=np.float64)
        try:
            equity = EquityReference.of(values)
            losses = LossReference.of(-values)
        except ValueError:  # too short, or an agent that never trades: nothing is promised
            pass
    return ModelReference(feature_tables(learned), int(until), losses, equity, calibration)


def returns_of(agent: Agent, parts: Sequence[ExpertMarket]) -> np.ndarray:
    """(n,) float64 net log-returns per bar of an agent on parts of markets, one after the other, each begun flat."""
    settings = with_impact(agent.settings)
    found = []
    for part in parts:
        told = backtest(part.market, agent_targets(agent, part.market), agent_desk(settings), first=part.first)
        found.append(np.diff(np.log(told.equity)))
    return np.concatenate(found)


def calibration_of(extractor: Extractor, parts: Sequence[ExpertMarket | Learned]) -> CalibrationReference | None:
    """How well the chances of a rise over the first horizon are calibrated on parts of markets; None for too few."""
    ahead = extractor.config.horizons[0]
    said, came = [], []
    for part in parts:
        market = part.market
        table = extractor.predict(market)[f"up_{ahead}"].to_numpy()
        closes = market.prices[:, CLOSE]
        rows = np.arange(max(part.first, len(market) - len(table)), len(market) - ahead)
        said.append(table[rows - (len(market) - len(table))].astype(np.float64))
        came.append((closes[rows + ahead] > closes[rows]).astype(np.float64))
    try:
        return CalibrationReference.of(np.concatenate(said), np.concatenate(came), ahead)
    except ValueError:  # too few: nothing is promised
        return None


def reference_of_run(run: Run, *, progress: bool = True) -> ModelReference:
    """The reference of a run, from the markets that its recipe names: features of its training part, results on the
    part that it was chosen by (somewhat better than on bars that nothing was chosen by).

    Raises:
        FileNotFoundError: the run has no recipe. ValueError: its markets are not there any more.
    """
    if not (run.folder / RECIPE).is_file():
        raise FileNotFoundError(f"{run.folder} has no {RECIPE}: which markets it learned from is not known")
    recipe = AgentRecipe.read(run.folder / RECIPE)
    settings = recipe.training.settings_for(run.agent.extractor)
    maker = maker_for(run.agent.extractor, recipe.inputs, f"the extractor of {run.folder}")
    train, validation = expert_markets_for(recipe.market, settings, recipe.training, maker, progress=progress)
    calibration = calibration_of(run.agent.extractor, validation)
    return model_reference(train, returns_of(run.agent, validation), calibration)
