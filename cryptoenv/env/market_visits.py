"""Which market each episode begins on, and its arrays' addresses: markets are made before jitted code reads them.

An episode's market follows from seed and episode number by the counter hash that the jitted code draws with, so that
what an env will visit is known before it is stepped.
"""

from typing import Any, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.env.episode import BAR, DRAWN, END, ENDED, EPISODE, MARKET_DRAW, SEED, STREAM_DRAW, episode_draw
from cryptoenv.market.market import Market
from cryptoenv.market.markets_ahead import MarketsAhead
from cryptoenv.market.pool import MarketPool
from cryptoenv.market.table import PRICES, without_addresses
from cryptoenv.market.task_markets import STREAM_MARKETS, MarketStream, TaskMarket

Clocks = NDArray[np.int64]


@njit(cache=True, error_model="numpy")
def market_draws(clocks: Clocks, rows: NDArray[np.int64], later: int, salt: int, bound: int) -> NDArray[np.int64]:
    """(R,) draws of a market in [0, bound) for the episode that is `later` ones after each row's present.

    `clocks`: (N, CLOCK_WIDTH); `rows`: (R,) of them.
    """
    out = np.empty(rows.shape[0], dtype=np.int64)
    for i, row in enumerate(rows):
        out[i] = episode_draw(clocks[row, SEED], clocks[row, EPISODE] + later, salt, bound)
    return out


@njit(cache=True, error_model="numpy")
def any_ended(clocks: Clocks) -> bool:
    """Whether an episode has ended in one of the rows of (N, CLOCK_WIDTH)."""
    found = False
    for row in range(clocks.shape[0]):
        found = found or clocks[row, ENDED] == 1
    return found


class Visits(Protocol):
    """What the envs ask of the markets that their episodes visit.

    Attributes:
        table: (M, 5 + 3K) int64, `market_table`; addresses of markets that no episode may begin on yet are 0.
        settled: whether every market is there, so that nothing has to be prepared.
        count: how many numbers `reset` options may choose from.
    """

    table: NDArray[np.int64]
    settled: bool
    count: int

    def prepare(
        self, clocks: Clocks, rows: NDArray[np.int64], asked: NDArray[np.int64] | None = None, later: int = 0
    ) -> NDArray[np.int64]:
        """Have the markets ready that episodes are about to begin on; the rows of the table, (R,) int64.

        Args:
            clocks: (N, CLOCK_WIDTH), seeds and episode numbers set. rows: (R,), which of them begin.
            asked: (R,) numbers asked for, DRAWN where they are not.
            later: 1 where the clocks still show the episode before the one that begins.
        """
        ...

    def restored(self, numbers: NDArray[np.int64]) -> list[Market]:
        """The market of each row of a state, by what `numbers` (N,) said of it; nothing changes until `put_back`."""
        ...

    def put_back(self, numbers: NDArray[np.int64], markets: list[Market]) -> None:
        """Take up a state whose markets are those of `restored`, with the same `numbers` (N,)."""
        ...

    def place(self, number: int) -> int:
        """A row of the table with first and last bar of market `number`."""
        ...

    def market(self, row: int) -> Market:
        """The market at a row of the table."""
        ...

    def numbers(self, markets: NDArray[np.int64]) -> NDArray[np.int64]:
        """(N,) int64: what infos call the markets at the rows `markets` (N,) of the table."""
        ...

    def source(self, number: int) -> Market | TaskMarket:
        """What market `number` is drawn from; the market itself where it is one's own."""
        ...


class PoolVisits:
    """Visits to the numbered markets of a pool, each made when the first episode begins on it, and kept."""

    def __init__(self, pool: MarketPool, window: tuple[int, ...]) -> None:
        self.pool, self.window = pool, window
        self.count = len(pool.markets)
        self._begin(())

    def _begin(self, visited: tuple[int, ...]) -> None:
        self.table = self.pool.table(self.window)
        self._visited = self.table[:, PRICES] != 0
        self.settled = False
        self._visit(np.array(visited, dtype=np.int64))

    def _visit(self, numbers: NDArray[np.int64]) -> None:
        for number in np.unique(numbers[~self._visited[numbers]]).tolist():
            self.table[number] = self.pool.row(number, self.window)
            self._visited[number] = True
        self.settled = bool(self._visited.all())

    def __getstate__(self) -> dict[str, Any]:
        visited = tuple(np.flatnonzero(self._visited).tolist())
        return {"pool": self.pool, "window": self.window, "count": self.count, "visited": visited}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickle: addresses of another process mean nothing here, so the table is made anew."""
        visited = state.pop("visited")
        self.__dict__.update(state)
        self._begin(visited)

    def prepare(
        self, clocks: Clocks, rows: NDArray[np.int64], asked: NDArray[np.int64] | None = None, later: int = 0
    ) -> NDArray[np.int64]:
        """See `Visits`: (R,) int64."""
        chosen = np.full(len(rows), DRAWN) if asked is None else asked
        if self.settled:
            return chosen
        drawn = market_draws(clocks, rows, later, MARKET_DRAW, self.count)
        chosen = np.where(chosen == DRAWN, drawn, chosen)
        self._visit(chosen)
        return chosen

    def restored(self, numbers: NDArray[np.int64]) -> list[Market]:
        """See `Visits`; `numbers`: (N,)."""
        return [self.pool.markets[number] for number in numbers.tolist()]

    def put_back(self, numbers: NDArray[np.int64], markets: list[Market]) -> None:
        """See `Visits`; `numbers`: (N,)."""
        self._visit(numbers)

    def place(self, number: int) -> int:
        """See `Visits`."""
        return number

    def market(self, row: int) -> Market:
        """See `Visits`."""
        return self.pool.markets[row]

    def numbers(self, markets: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `Visits`: (N,) int64."""
        return markets

    def source(self, number: int) -> Market | TaskMarket:
        """See `Visits`."""
        return self.pool.source(number)


class StreamVisits:
    """Visits to a stream: each row has a place of its own in the table, which every episode fills with a new market.

    While episodes last, the markets of those that come next are made in a thread, soonest first. Which market an
    episode has does not depend on that: seed and episode number alone say it.
    """

    settled = False
    count = STREAM_MARKETS

    def __init__(self, stream: MarketStream, template: MarketPool, window: tuple[int, ...], rows: int) -> None:
        self.stream, self.window, self._template = stream, window, template
        self._numbers = np.full(rows, DRAWN, dtype=np.int64)
        self._begin()

    def _begin(self) -> None:
        self.table = np.tile(without_addresses(self._template.row(0, self.window)), (len(self._numbers), 1))
        self._markets: list[Market | None] = [None] * len(self._numbers)
        self._ahead = MarketsAhead(self.stream.draw)
        for row, number in enumerate(self._numbers.tolist()):
            if number != DRAWN:
                self._put(row, number, self.stream.draw(number))

    def _put(self, row: int, number: int, market: Market) -> None:
        self.table[row] = MarketPool((market,)).row(0, self.window)
        self._markets[row], self._numbers[row] = market, number  # the one before it may go now

    def __getstate__(self) -> dict[str, Any]:
        gone = ("table", "_markets", "_ahead")
        return {name: value for name, value in self.__dict__.items() if name not in gone}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickle or a deep copy: the markets are drawn again."""
        self.__dict__.update(state)
        self._begin()

    def prepare(
        self, clocks: Clocks, rows: NDArray[np.int64], asked: NDArray[np.int64] | None = None, later: int = 0
    ) -> NDArray[np.int64]:
        """See `Visits`: (R,) int64."""
        chosen = market_draws(clocks, rows, later, STREAM_DRAW, STREAM_MARKETS)
        if asked is not None:
            chosen = np.where(asked == DRAWN, chosen, asked)
        for row, number in zip(rows.tolist(), chosen.tolist(), strict=True):
            if self._numbers[row] != number:
                self._put(row, number, self._ahead.take(row, number))
        self._look_ahead(clocks, rows, later)
        return rows

    def _look_ahead(self, clocks: Clocks, beginning: NDArray[np.int64], later: int) -> None:
        """Ask for the next markets of the rows whose episodes end first."""
        if self._ahead.room <= 0:
            return
        left = clocks[:, END] - clocks[:, BAR]
        left[beginning] = np.iinfo(np.int64).max
        following = market_draws(clocks, np.arange(len(clocks)), 1, STREAM_DRAW, STREAM_MARKETS)
        following[beginning] = market_draws(clocks, beginning, later + 1, STREAM_DRAW, STREAM_MARKETS)
        for row in np.argsort(left, kind="stable").tolist():
            if row not in self._ahead:
                self._ahead.expect(row, int(following[row]))
                if self._ahead.room <= 0:
                    return

    def restored(self, numbers: NDArray[np.int64]) -> list[Market]:
        """See `Visits`; `numbers`: (N,)."""
        held = dict(zip(self._numbers.tolist(), self._markets, strict=True))
        return [held.get(number) or self.stream.draw(number) for number in numbers.tolist()]

    def put_back(self, numbers: NDArray[np.int64], markets: list[Market]) -> None:
        """See `Visits`; `numbers`: (N,)."""
        for row, (number, market) in enumerate(zip(numbers.tolist(), markets, strict=True)):
            self._put(row, number, market)

    def place(self, number: int) -> int:
        """See `Visits`."""
        return 0

    def market(self, row: int) -> Market:
        """See `Visits`."""
        market = self._markets[row]
        assert market is not None, "no episode was begun"
        return market

    def numbers(self, markets: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `Visits`: (N,) int64."""
        return self._numbers.copy()

    def source(self, number: int) -> Market | TaskMarket:
        """See `Visits`."""
        return self.stream.source(number)
