"""What is traded: bars of one's own, or a synthetic market, of which the truth is known and so the ceiling is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.evaluation.backtest.backtesting import Backtest, backtest
from agents.evaluation.backtest.rule import Rule, grid_of
from agents.evaluation.tables import ORACLE, require_judged
from agents.markets.expert_market import require_task
from agents.markets.own_markets import data_named
from cryptoenv.bars.bars import bars_timeframe
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.features import FeatureSpec
from cryptoenv.market.market import Market
from cryptoenv.market.stored_bars import bars_at, name_of_place
from pretrain.fitting.market_inputs import MarketMaker
from pretrain.segmenter.classes import REGIME_NAMES, class_truth
from pretrain.segmenter.recipe import SegmenterRecipe
from synthetic import WARMUP_DAYS, RegimeSample, oracle_labels, regime_market, task_seeds

_NAME = re.compile(r"(\w+), (\w+) (\d+), (\d+) days")
TRUE_STATES, TRUE_DRIFT = "the same rule on true states", "the same rule on the true drift"


@dataclass(frozen=True)
class Traded:
    """Where bars come from.

    Attributes:
        source: a file, a saved market, a store's series; or the bars of a synthetic market.
        data: what the ledger of trials calls them.
        place: for who wants to find them again.
        sample: a synthetic market with its truth; None for bars of one's own.
    """

    source: Path | pd.DataFrame
    data: str
    place: str
    sample: RegimeSample | None = None

    @classmethod
    def of_bars(cls, path: Path) -> Self:
        """Bars of one's own."""
        return cls(path, data_named(str(path)), str(path))

    @classmethod
    def of_task(cls, task: str, split: str, number: int, days: int) -> Self:
        """The market `number` of a task's seed family, of so many tradable days.

        Raises:
            ValueError: an unknown task, or a family that is learned from.
        """
        require_task(task)
        require_judged(split)
        sample = regime_market(task, days, list(task_seeds(task, split, number + 1))[number])
        name = task_market_name(task, split, number, days)
        bars = sample.bars.copy()
        bars.attrs["name"] = name
        return cls(bars, name, name, sample)

    @classmethod
    def named(cls, name: str) -> Self:
        """A market by its name (`task_market_name`), or else the path of bars."""
        found = None if Path(name).exists() else _NAME.fullmatch(name)
        if found is None:
            return cls.of_bars(Path(name))
        return cls.of_task(found[1], found[2], int(found[3]), int(found[4]))

    @property
    def market_source(self) -> str | pd.DataFrame:
        """As `agents.markets.own_markets` takes it."""
        return str(self.source) if isinstance(self.source, Path) else self.source

    def plain_market(self, timeframe: str | None = None) -> Market:
        """The market without features, at its own timeframe or a longer one.

        Raises:
            ValueError: bars that cannot be used.
        """
        bars = bars_at(self.source) if isinstance(self.source, Path) else self.source
        name = name_of_place(self.source) if isinstance(self.source, Path) else self.data
        return Market.from_bars(bars, (timeframe or bars_timeframe(bars),), features=FeatureSpec.none(), name=name)

    def market_of(self, maker: MarketMaker) -> Market:
        """The market as a model reads it."""
        if isinstance(self.source, Path):
            return maker.market_at(self.source)
        return maker.market(self.source, name=self.data)

    def earliest(self, market: Market) -> int:
        """Row of the first decision that counts: on a synthetic market after its warm-up."""
        if self.sample is None:
            return 0
        begin = self.sample.bars.index[0] + pd.Timedelta(WARMUP_DAYS, "D")
        return max(int(market.bars.index.searchsorted(begin)) - 1, 0)

    def ceilings(
        self, found: Backtest, states: str | None = None, below: float = 0.0, rule: Rule | None = None
    ) -> list[Backtest]:
        """What nobody can beat, or no rule of this kind, at the same desk over the same bars; none on one's own.

        The causal optimum (the filter oracle, which reckons with fee and half-spread, as scores do), and what was
        traded where it reads a model's table: on the true states, or on the true drift in place of a forecast.

        Args:
            found: a backtest.
            states: timescale of the states that were traded, or None.
            below: exposure in "bear".
            rule: that was traded, or None.
        """
        if self.sample is None:
            return []
        kinds = [(ORACLE, optimum_targets(self.sample, found))]
        if states is not None:
            kinds.insert(0, (TRUE_STATES, true_state_targets(self.sample, found.market, states, below)))
        elif rule is not None and rule.kind == "threshold":
            kinds.insert(0, (TRUE_DRIFT, true_drift_targets(self.sample, found, rule)))
        first = found.trace.first
        last = first + len(found.targets) - 1
        return [backtest(found.market, at, found.desk, first=first, last=last, name=name) for name, at in kinds]


def task_market_name(task: str, split: str, number: int, days: int) -> str:
    """What a market of a task is called, by which it is found again."""
    return f"{task}, {split} {number}, {days} days"


def at_closes(values: NDArray[np.float64], sample: RegimeSample, market: Market) -> NDArray[np.float64]:
    """(T,) at the closes of a market's bars, of values (T0,) that are known at the closes of the sample's."""
    own = timeframe_ms(bars_timeframe(sample.bars))
    step = timeframe_ms(market.timeframes[0])
    start = int(sample.bars.index[0].value // 1_000_000)
    rows = (market.start_ms + step * np.arange(1, len(market) + 1, dtype=np.int64) - start) // own - 1
    return values[np.clip(rows, 0, len(values) - 1)]


def optimum_targets(sample: RegimeSample, like: Backtest) -> NDArray[np.float64]:
    """(T,) targets of the causal optimum at each close, among short (where it is allowed), flat and long."""
    trading = like.desk.trading
    positions = (-1.0, 0.0, 1.0) if trading.shorts_allowed else (0.0, 1.0)
    actions = oracle_labels(sample, trading.costs.fee + trading.costs.half_spread, positions)
    held, asked = positions.index(0.0), np.empty(len(actions))
    for t, row in enumerate(actions):
        held = held if row[held] < 0 else int(row[held])
        asked[t] = positions[held]
    return at_closes(asked, sample, like.market)


def true_state_targets(sample: RegimeSample, market: Market, timescale: str, below: float) -> NDArray[np.float64]:
    """(T,) long in "bull", `below` in "bear", kept in any other, by the states that the bars were drawn from.

    What state a generator's regime is on a timescale says the segmenter's recipe; of a timescale that it does not have,
    and of all together, its longest one.
    """
    scales = SegmenterRecipe.read("segmenter").timescales
    chosen = next((scale for scale in scales if scale.name == timescale), scales[-1])
    (truth,) = class_truth(sample, [chosen])
    names = np.array(REGIME_NAMES)[truth]
    asked = np.select([names == "bull", names == "bear"], [1.0, below], np.nan)
    return at_closes(asked, sample, market)


def true_drift_targets(sample: RegimeSample, like: Backtest, rule: Rule) -> NDArray[np.float64]:
    """(T,) targets of a threshold rule, by what a bar earns on average in the true state at each close.

    A column of a return over H bars ("return_4_mean") is H times it; of anything else the rule's middle is taken for
    the threshold of a rise, 0.
    """
    values = dict(rule.values)
    column = str(values["column"])
    bars = re.search(r"return_(\d+)", column)
    drift = sample.truth["drift"].to_numpy(np.float64)  # of the state at each close, which lasts
    if bars is None:
        middle = (values["above"] + values["below"]) / 2.0
        drift = middle + np.sign(drift) * 1e9
    else:
        drift = drift * int(bars.group(1))
    known = pd.DataFrame({column: at_closes(drift, sample, like.market)}, index=like.market.bars.index)
    grid = grid_of([rule], like.market, shorts=like.desk.trading.shorts_allowed, table=known)
    return grid.targets(0)
