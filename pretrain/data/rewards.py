"""What every position would have earned, in stretches of many markets side by side: the teacher "rewards".

A lane is one market, or a piece of one, read from its beginning to its end in stretches; all lanes of a pool are as
long, and a memory's state is carried from a stretch to the next. When a pool has been read, the next one is drawn.
Shape legend: `N` lanes, `L` bars of a stretch, `P` positions, `H` horizons.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.files.typed_values import Range, later_field, require, require_ranges, require_types
from cryptoenv.market.market import Market
from cryptoenv.trading.config import Costs, TradingConfig
from cryptoenv.trading.position_returns import position_returns
from pretrain.data.oracle_tables import OracleStretch, OracleTable
from pretrain.data.splits import JUDGED_BY, Span, refuse_families
from pretrain.data.teachers import ORACLE_LABELS
from pretrain.data.windows import Counted, future_returns
from synthetic import RegimeSample, regime_market, task_seeds

REWARDS = "rewards"  #: the teacher: in a recipe
#: Its name in an artifact that learned from bars of one's own, and from synthetic markets.
REWARDS_OF_POSITIONS, REWARDS_OF_SYNTHETIC = "rewards of positions", "rewards of positions on synthetic markets"
PERCENT = 100.0
HALF_LIVES = (12.0, 96.0)  #: bars, of the two means of squared returns that make a bar's volatility
LEAST_VOLATILITY = 0.02  #: percent a bar: what does not move is not divided by nothing
FORGOTTEN = 1_200  #: bars before a piece that its volatility is computed from
TOLD_EVERY = 8  #: of so many bars one also teaches the heads that do not steer

_RANGES = {
    "lanes": Range(1, 65_536), "stretch": Range(2, 1_000_000), "piece": Range(2, 100_000_000),
    "gamma": Range(0.0, 1.0), "averaging": Range(0.0, 1.0, above=True), "huber": Range(0.0, 1e6, above=True),
    "value_weight": Range(0.0, 1e6), "action_weight": Range(0.0, 1e6),
}  # fmt: skip


@dataclass(frozen=True)
class RewardsConfig:
    """How `teacher: rewards` learns, and what trading costs there.

    Attributes:
        lanes: markets that are read side by side.
        stretch: bars between two steps of the optimiser.
        piece: bars of a lane that is cut from bars of one's own, at most; a synthetic market is read whole.
        gamma: discount per bar.
        averaging: share of the new weights that goes into the averaged network, which says what follows, per step.
        huber: errors beyond so many volatilities of the bar count linearly.
        fee, half_spread, borrow, funding: of `cryptoenv.Costs`; funding is the constant rate of markets without one of
            their own.
        instrument: "spot", "margin" or "perpetual".
        value_weight, action_weight: of the causal optimum's values and actions, where the teacher is "oracle" and
            values decide; `training.regime_weight` is that of its beliefs, which need `architecture.regimes`.

    Raises:
        ConfigError: a value out of range. ValueError: costs that no environment has.
    """

    lanes: int = 64
    stretch: int = 256
    piece: int = 11_520
    gamma: float = 0.99
    averaging: float = 0.01
    huber: float = 1.5
    fee: float = 0.001
    half_spread: float = 0.0001
    borrow: float = 0.0
    funding: float = 0.0
    instrument: Literal["spot", "margin", "perpetual"] = "perpetual"
    value_weight: float = later_field(1.0)
    action_weight: float = later_field(1.0)

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))
        require_ranges(self, _RANGES)
        require(self.piece >= self.stretch, "piece", self.piece, f"at least a stretch, {self.stretch} bars")
        self.trading  # noqa: B018 -- refuses what contradicts itself

    @property
    def trading(self) -> TradingConfig:
        """Instrument and costs of the environment, without impact, which would depend on an account's size."""
        costs = Costs(self.fee, self.half_spread, impact=0.0, borrow=self.borrow, funding=self.funding)
        return TradingConfig(self.instrument, costs)

    @property
    def turnover_cost(self) -> float:
        """Log-return lost per unit of turnover, to first order."""
        return self.fee + self.half_spread


class Piece(NamedTuple):
    """Rows `start <= t < stop` of a market, that a lane reads; whatever is earned after them is not looked at.

    `oracle`: what the causal optimum says of the market's bars, where that teaches.
    """

    market: Market
    start: int
    stop: int
    oracle: OracleTable | None = None

    @property
    def end(self) -> int:
        """First row after them."""
        return self.stop


class RewardBatch(NamedTuple):
    """A stretch of N lanes.

    `bars` (N, L, F_0) float32, features of the base bars, unscaled; `rewards` (N, L, P) float32, percent of equity that
    a position chosen at the bar's close earns; `volatility` (N, L) float32, percent;
    `returns` (N, L / TOLD_EVERY, H) float32 in units of sigma * sqrt(horizon), NaN unknown; `begins`: whether the lanes
    begin here; `oracle`: what the causal optimum says of these bars, where that teaches.
    """

    bars: Tensor
    rewards: Tensor
    volatility: Tensor
    returns: Tensor
    begins: bool
    oracle: OracleStretch | None = None


class Lanes:
    """Pieces of equal length, side by side.

    Args:
        pieces: of markets of one layout.
        positions: P exposures.
        horizons: H base bars ahead of which returns are told.
        config: what trading costs.

    Raises:
        ValueError: pieces that differ in length.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        positions: tuple[float, ...],
        horizons: tuple[int, ...],
        config: RewardsConfig,
    ) -> None:
        lengths = {piece.stop - piece.start for piece in pieces}
        if len(lengths) != 1:
            raise ValueError(f"lanes are as long as each other; these have {sorted(lengths)[:8]} bars")
        self.pieces, self.length = tuple(pieces), lengths.pop()
        step = timeframe_ms(pieces[0].market.timeframes[0])
        self.parameters = config.trading.parameters(step / 1000.0)
        self.per_day = 24 * 3600 * 1000 / step
        rewards = [self._rewards(piece, positions) for piece in pieces]
        self._rewards_of = torch.from_numpy((PERCENT * np.stack(rewards)).astype(np.float32))
        self._volatility = torch.from_numpy(np.stack([bar_volatility(piece) for piece in pieces]))
        self._horizons = horizons

    def _rewards(self, piece: Piece, positions: tuple[float, ...]) -> NDArray[np.float64]:
        return position_returns(piece.market.prices[piece.start : piece.stop], positions, self.parameters)

    def stretch(self, begin: int, length: int) -> RewardBatch:
        """Bars `begin` to `begin + length` of all lanes, or to their end."""
        end = min(begin + length, self.length)
        rows = [piece.start + np.arange(begin, end) for piece in self.pieces]
        bars = [piece.market.features[0][at] for piece, at in zip(self.pieces, rows, strict=True)]
        told = [
            future_returns(piece.market.prices, piece.stop, at[::TOLD_EVERY], self._horizons)
            for piece, at in zip(self.pieces, rows, strict=True)
        ]
        tables = [piece.oracle for piece in self.pieces if piece.oracle is not None]
        oracle = OracleStretch.at(tables, rows) if tables else None
        return RewardBatch(
            torch.from_numpy(np.stack(bars)), self._rewards_of[:, begin:end], self._volatility[:, begin:end],
            torch.from_numpy(np.stack(told)), begins=begin == 0, oracle=oracle,
        )  # fmt: skip


def bar_volatility(piece: Piece) -> NDArray[np.float32]:
    """(L,) float32, percent: root of two exponential means of squared returns, half of each, known at each close.

    What an error of a value is divided by, as a regression whose noise has another size at every bar asks for.
    """
    begin = max(piece.start - FORGOTTEN, 0)
    close = np.log(piece.market.prices[begin : piece.stop, CLOSE])
    squares = pd.Series((PERCENT * np.diff(close, prepend=close[0])) ** 2)
    mean = sum(0.5 * squares.ewm(halflife=bars).mean().to_numpy() for bars in HALF_LIVES)
    found: NDArray[np.float32] = (np.sqrt(mean) + LEAST_VOLATILITY).astype(np.float32)[piece.start - begin :]
    return found


class Source(Protocol):
    """Where pools of lanes come from."""

    teacher: str  #: its name in an artifact
    length: int  #: bars of every lane
    hash: str  #: sha256 (hex) over what the pieces are cut from

    def pool(self, number: int, lanes: int) -> list[Piece]:
        """The pieces of pool `number`, the same ones whenever it is asked for."""


class DrawnMarkets:
    """Synthetic markets of a task, made as they are needed and let go after they were read.

    Args:
        task: name of a task; its "extractor" seeds are taken, in their order.
        markets: how many different ones there are; after them the first ones come again.
        days: tradable days of each.
        make: a market of the generator's bars.
        window: bars per timeframe of a decision.
    """

    teacher = REWARDS_OF_SYNTHETIC

    def __init__(
        self, task: str, markets: int, days: int, make: Callable[[pd.DataFrame], Market], window: tuple[int, ...]
    ) -> None:
        self._task, self._days, self._make, self._window = task, days, make, window
        self.seeds = task_seeds(task, "extractor", markets)
        first = self._piece(self.seeds[0])
        self.length = first.stop - first.start
        digest = hashlib.sha256(repr((task, self.seeds[0], markets, days, first.market.hash)).encode())
        self.hash = digest.hexdigest()

    def pool(self, number: int, lanes: int) -> list[Piece]:
        """As `Source.pool`."""
        count = len(self.seeds)
        return [self._piece(self.seeds[(number * lanes + lane) % count]) for lane in range(lanes)]

    def _piece(self, seed: int) -> Piece:
        return self._piece_of(regime_market(self._task, self._days, seed))

    def _piece_of(self, sample: RegimeSample) -> Piece:
        market = self._make(sample.bars)
        refuse_families([market], ("train", *JUDGED_BY), "train")
        return Piece(market, market.first_decision(self._window), len(market))


class OracleMarkets(DrawnMarkets):
    """The same with what the causal optimum says of every bar.

    Args:
        task, markets, days, make, window: as of `DrawnMarkets`.
        cost: log-return lost per unit of turnover.
        positions: exposures to choose from.
    """

    teacher = ORACLE_LABELS

    def __init__(
        self, task: str, markets: int, days: int, make: Callable[[pd.DataFrame], Market], window: tuple[int, ...],
        *, cost: float, positions: tuple[float, ...],
    ) -> None:  # fmt: skip
        self._cost, self._positions = cost, positions
        super().__init__(task, markets, days, make, window)
        self.hash = hashlib.sha256(repr((self.hash, cost, positions)).encode()).hexdigest()

    def _piece_of(self, sample: RegimeSample) -> Piece:
        return super()._piece_of(sample)._replace(oracle=OracleTable.of(sample, self._cost, self._positions))


class OwnPieces:
    """Pieces of bars of one's own, drawn at random from spans of them: a longer span is drawn more often.

    Args:
        markets: of one layout; memory-mapped ones are read where they are.
        spans: rows of them to learn from, `pretrain.data.splits`.
        config: how long a piece is at most, and a stretch.
        seed: of the draws.

    Raises:
        ValueError: no span is as long as a stretch, or a synthetic market is kept to judge by.
    """

    teacher = REWARDS_OF_POSITIONS

    def __init__(self, markets: Sequence[Market], spans: Sequence[Span], config: RewardsConfig, seed: int) -> None:
        refuse_families(markets, ("train", *JUDGED_BY), "train")
        long = [span for span in spans if span.stop - span.start >= config.stretch]
        if not long:
            raise ValueError(f"no span of the bars to learn from has {config.stretch} rows, one stretch")
        self._markets, self._spans, self._seed = tuple(markets), tuple(long), seed
        self._rows = np.array([span.stop - span.start for span in long])
        self.length = min(config.piece, int(self._rows.min()))
        told = [(markets[span.market].hash, span.start, span.stop) for span in long]
        self.hash = hashlib.sha256(repr((told, self.length, seed)).encode()).hexdigest()

    def pool(self, number: int, lanes: int) -> list[Piece]:
        """As `Source.pool`."""
        rng = np.random.default_rng((self._seed, number))
        chosen = rng.choice(len(self._spans), size=lanes, p=self._rows / self._rows.sum())
        starts = rng.integers(self._rows[chosen] - self.length + 1)
        found = []
        for one, start in zip(chosen, starts, strict=True):
            span = self._spans[one]
            begin = span.start + int(start)
            found.append(Piece(self._markets[span.market], begin, begin + self.length))
        return found


class RewardStream(Counted):
    """`count` stretches of pools that follow each other.

    Args:
        source: of the pools.
        lanes: makes a pool's pieces lanes.
        config: how many lanes, and how long a stretch.
        count: stretches in all.
    """

    def __init__(
        self, source: Source, lanes: Callable[[Sequence[Piece]], Lanes], config: RewardsConfig, count: int
    ) -> None:
        super().__init__(count)
        self._source, self._lanes, self._config = source, lanes, config

    @property
    def pools(self) -> int:
        """Pools that are read, or begun."""
        return -(-self._count // self._per_pool)

    @property
    def _per_pool(self) -> int:
        return max(self._source.length // self._config.stretch, 1)

    def __iter__(self) -> Iterator[RewardBatch]:
        start = self._begin()
        held: tuple[int, Lanes] | None = None
        for number in range(start, self._count):
            pool, place = divmod(number, self._per_pool)
            if held is None or held[0] != pool:
                held = pool, self._lanes(self._source.pool(pool, self._config.lanes))
            self._given = number + 1
            yield held[1].stretch(place * self._config.stretch, self._config.stretch)
