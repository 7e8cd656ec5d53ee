"""Where the stream's bars come from: a replay of a file, a store that grows, or an exchange; and who listens."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from agents.live.deciders import bar_frame
from agents.live.serving.answers import Answering
from agents.live.serving.shelf import Shelf
from agents.live.venues import history_bars_of
from cryptoenv.bars.bars import bars_timeframe
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.live.feed import Feed, FeedBar, FeedEndedError, FeedError, ReplayFeed
from pretrain import MarketLayout, Predictor
from pretrain.fitting.market_inputs import MarketInputs, MarketMaker

WAITING = 64  #: predictions that a listener may be behind; then it is let go
log = logging.getLogger(__name__)


class GrowingFeed:
    """Bars of a file or a store's series that grows: looked at again and again.

    Args:
        path: of the bars, as --bars takes them.
        layout: of the model that reads them.
        seconds: between two looks.
        now: of this machine, ms; a bar that has not ended by then is left aside.
        sleep: waits between looks.

    Raises:
        BarsError, OSError: bars that cannot be used.
    """

    has_funding = False

    def __init__(
        self,
        path: Path,
        layout: MarketLayout,
        seconds: float = 1.0,
        *,
        now: Callable[[], int] = lambda: int(time.time() * 1000),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.timeframe = layout.timeframes[0]
        self._path, self._layout, self._seconds = path, layout, seconds
        self._now, self._sleep, self._ended = now, sleep, False
        self._bars = self._read()

    def _read(self) -> pd.DataFrame:
        found = MarketMaker(self._layout, replace(MarketInputs())).bars_at(self._path)
        step = timeframe_ms(bars_timeframe(found)) if len(found) > 1 else timeframe_ms(self.timeframe)
        closed: pd.DataFrame = found[found.index <= pd.Timestamp(self._now() - step, unit="ms", tz="UTC")]
        return closed

    def history(self) -> pd.DataFrame:
        """See `Feed`."""
        return self._bars

    def next_bars(self, after_ms: int) -> list[FeedBar]:
        """See `Feed`: waits until there are later bars.

        Raises:
            FeedError: the feed was closed.
        """
        after = pd.Timestamp(after_ms, unit="ms", tz="UTC")
        while not self._ended:
            try:
                later = self._read()
            except (OSError, ValueError) as error:  # it is being written
                log.warning("%s cannot be read now: %s", self._path.name, error)
            else:
                later = later[later.index > after]
                if len(later):
                    return [_feed_bar(at, row, self._layout, self._now()) for at, row in later.iterrows()]
            self._sleep(self._seconds)
        raise FeedError("the feed was closed")

    def now_ms(self) -> int:
        """See `Feed`."""
        return self._now()

    def close(self) -> None:
        """See `Feed`."""
        self._ended = True


def _feed_bar(at: Any, row: pd.Series, layout: MarketLayout, heard: int) -> FeedBar:
    opened = int(pd.Timestamp(at).timestamp() * 1000)
    values = [float(row[name]) for name in ("open", "high", "low", "close", "volume")]
    further = {name: float(row[name]) for name in layout.columns if name in row.index}
    return FeedBar(opened, (values[0], values[1], values[2], values[3], values[4]), further, 0.0, heard, "file")


def replay_feed(path: Path, layout: MarketLayout, speed: float | None) -> ReplayFeed:
    """A file's bars, the first of them as history, the rest one after the other.

    Args:
        path: as --bars takes it.
        layout: of the model that reads them.
        speed: times as fast as the market; None waits not at all.

    Raises:
        BarsError, ValueError: bars that cannot be used, or too few for one decision.
    """
    maker = MarketMaker(layout, MarketInputs())
    bars = maker.bars_at(path)
    first = maker.market(bars).first_decision(layout.window) + 1
    return ReplayFeed(bars, layout.timeframes[0], first, columns=layout.columns, speed=speed)


def exchange_feed(exchange: str, symbol: str, layout: MarketLayout) -> Feed:
    """An exchange's public bars; no key is used, nor held.

    Raises:
        FeedError: no such market, or no answer.
    """
    from cryptoenv.exchange.client import new_client
    from cryptoenv.exchange.client_thread import ClientThread
    from cryptoenv.live.ccxt_feed import CcxtFeed

    thread = ClientThread(lambda: new_client(exchange, sandbox=False, streams=True))
    try:
        return CcxtFeed(thread, symbol, layout.timeframes[0], history_bars_of(layout))
    except BaseException:
        thread.close()
        raise


class Stream:
    """One model's predictions as bars close, for whoever listens.

    Args:
        shelf: with the model.
        name: of the model.
        feed: makes the feed for the model's layout.

    Attributes:
        state: "waiting", "open", "ended" or "failed".
    """

    def __init__(self, shelf: Shelf, name: str, feed: Callable[[MarketLayout], Feed]) -> None:
        self._shelf, self.name, self._make = shelf, name, feed
        self._lock = threading.Lock()
        self._listeners: dict[asyncio.Queue[str | None], asyncio.AbstractEventLoop] = {}
        self._last: str | None = None
        self._feed: Feed | None = None
        self._ended = False
        self.state = "waiting"
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)

    def start(self) -> None:
        """Begin to read the feed."""
        self._thread.start()

    def close(self) -> None:
        """End, and tell listeners."""
        self._ended = True
        if self._feed is not None:
            self._feed.close()
        self._tell(None)

    def join(self, seconds: float) -> None:
        """Wait until its thread has ended: a process must not end while one reads a model."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def listen(self) -> asyncio.Queue[str | None]:
        """A queue of the predictions to come, as JSON; the newest one is there at once. None: it has ended."""
        mine: asyncio.Queue[str | None] = asyncio.Queue(WAITING)
        with self._lock:
            if self._last is not None:
                mine.put_nowait(self._last)
            if self.state in ("ended", "failed"):
                mine.put_nowait(None)
            self._listeners[mine] = asyncio.get_running_loop()
        return mine

    def leave(self, queue: asyncio.Queue[str | None]) -> None:
        """Listen no more."""
        with self._lock:
            self._listeners.pop(queue, None)

    def _tell(self, said: str | None) -> None:
        with self._lock:
            if said is not None:
                self._last = said
            for queue, loop in list(self._listeners.items()):
                if loop.is_closed():
                    del self._listeners[queue]
                else:
                    loop.call_soon_threadsafe(_put, queue, said)

    def _run(self) -> None:
        try:
            self._read()
        except FeedEndedError:
            self.state = "ended"
        except Exception:
            self.state = "failed"
            if not self._ended:
                log.exception("the stream of %s failed", self.name)
        self._tell(None)

    def _read(self) -> None:
        slot = self._shelf.slot(self.name)
        answering = slot.answering
        model = answering.model
        assert isinstance(model, Predictor)
        self._feed = self._make(model.layout)
        history = self._feed.history()
        keep = max(len(history), history_bars_of(model.layout))
        after = int(history.index[-1].timestamp() * 1000)
        stream = model.stream(history, timeframe=self._feed.timeframe)
        self._say(answering, model.predict(history).iloc[-1:], float(history["close"].iloc[-1]), "history")
        self.state = "open"
        while not self._ended:
            for bar in self._feed.next_bars(after):
                if self._ended:
                    return
                if slot.answering is not answering:  # a new version reads on from all that is known
                    answering, model = slot.answering, slot.answering.model
                    assert isinstance(model, Predictor)
                    stream = model.stream(history, timeframe=self._feed.timeframe)
                frame = bar_frame(bar)
                table = stream.append(frame)
                history = pd.concat([history, frame.reindex(columns=history.columns)]).iloc[-keep:]
                after = bar.open_ms
                if len(table):
                    self._say(answering, table.iloc[-1:], bar.ohlcv[3], bar.source)

    def _say(self, answering: Answering, table: pd.DataFrame, close: float, source: str) -> None:
        columns = [str(name) for name in table.columns]
        values = dict(zip(columns, table.to_numpy().tolist()[-1], strict=True))
        at = table.index[-1].isoformat().replace("+00:00", "Z")
        told = {
            "model": self.name, "version": answering.version, "time": at, "close": close, "source": source,
            "values": values, **answering.headline(values, close),
        }  # fmt: skip
        self._tell(json.dumps(told, allow_nan=False))


def _put(queue: asyncio.Queue[str | None], said: str | None) -> None:
    """Give a listener a message; one that is too far behind is told that it ends."""
    if queue.full():
        while not queue.empty():
            queue.get_nowait()
        said = None
    queue.put_nowait(said)
