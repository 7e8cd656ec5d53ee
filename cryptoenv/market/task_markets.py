"""Markets of synthetic tasks: what each is drawn from, and sequences of them that are made when first asked for."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

from cryptoenv.market.market import Market
from synthetic.regimes.chain_task import RegimeTask
from synthetic.regimes.macro_task import MacroTask
from synthetic.regimes.market import regime_market
from synthetic.regimes.tasks import task_seeds

STREAM_MARKETS = 10**9  #: markets of a stream: all seeds of a task's family
Task = RegimeTask | MacroTask


@dataclass(frozen=True)
class TaskMarket:
    """What one synthetic market is drawn from; same values, same market, bit for bit.

    Attributes:
        task: its parameters. seed: what it is drawn with. days: tradable ones. timeframes: base first.
    """

    task: Task
    seed: int
    days: int
    timeframes: tuple[str, ...]

    def make(self) -> Market:
        """The market; the one that this process still holds, if there is one."""
        market = _HELD.get(self)
        if market is None:
            market = self.draw()
            _HELD[self] = market
        return market

    def draw(self) -> Market:
        """The market, drawn anew."""
        sample = regime_market(self.task, days=self.days, seed=self.seed)
        return Market.from_bars(sample.bars, self.timeframes, name=sample.name)

    @property
    def kind(self) -> tuple[Any, ...]:
        """What it shares with every market of the same length, timeframes and features."""
        return self.task, self.days, self.timeframes


#: Markets that some pool of this process keeps, so that pools of the same task share them.
_HELD: "weakref.WeakValueDictionary[TaskMarket, Market]" = weakref.WeakValueDictionary()


class LazyMarkets(Sequence[Market]):
    """Markets by number; a `TaskMarket` is made when it is first asked for, and kept.

    A pickle holds what they are drawn from, not what was made: it stays small, and the other process makes its own.

    Attributes:
        entries: M markets, or what they are drawn from.
        representatives: numbers of one market of each kind: one's own are each of a kind.
    """

    def __init__(self, entries: Sequence[Market | TaskMarket]) -> None:
        self.entries = tuple(entries)
        self._made: dict[int, Market] = {}
        first = {e.kind if isinstance(e, TaskMarket) else i: i for i, e in reversed(tuple(enumerate(self.entries)))}
        self.representatives = tuple(sorted(first.values()))
        self._like = [first[e.kind if isinstance(e, TaskMarket) else i] for i, e in enumerate(self.entries)]

    def like(self, number: int) -> int:
        """The representative of market `number`'s kind."""
        return self._like[number]

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, number: int) -> Market: ...

    @overload
    def __getitem__(self, number: slice) -> tuple[Market, ...]: ...

    def __getitem__(self, number: int | slice) -> Market | tuple[Market, ...]:
        if isinstance(number, slice):
            return tuple(self[i] for i in range(*number.indices(len(self))))
        place = range(len(self))[number]
        market = self._made.get(place)
        if market is None:
            entry = self.entries[place]
            made = entry.make() if isinstance(entry, TaskMarket) else entry
            market = self._made.setdefault(place, made)  # of two threads that made it, one market is kept
        return market

    def __reduce__(self) -> tuple[Any, ...]:
        return LazyMarkets, (self.entries,)

    def __deepcopy__(self, memo: dict[int, Any]) -> "LazyMarkets":
        return self

    def __repr__(self) -> str:
        return f"<{len(self)} markets, {len(self._made)} made>"


@dataclass(frozen=True)
class MarketStream:
    """Every episode's own market, drawn from the seeds of a family; number n is drawn from the family's n-th seed.

    Attributes:
        tasks: of which number n takes the one at `n % len(tasks)`. split: the seed family. days: tradable ones of each
            market. timeframes: base first.
    """

    tasks: tuple[Task, ...]
    split: str
    days: int
    timeframes: tuple[str, ...]

    @cached_property
    def _first_seeds(self) -> tuple[int, ...]:
        return tuple(task_seeds(task, self.split, 1)[0] for task in self.tasks)

    def source(self, number: int) -> TaskMarket:
        """What market `number`, from 0 to `STREAM_MARKETS - 1`, is drawn from."""
        which = number % len(self.tasks)
        return TaskMarket(self.tasks[which], self._first_seeds[which] + number, self.days, self.timeframes)

    def draw(self, number: int) -> Market:
        """Market `number`; nothing of it is kept here."""
        return self.source(number).draw()
