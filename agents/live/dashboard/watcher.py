"""What fills the board from the trading thread: the loop's events and the log; neither waits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agents.live.dashboard.board import BARS, Board, Line, Seen, wall_now
from agents.live.watching import Watched, Watcher
from cryptoenv.files.json_log import PACKAGES
from cryptoenv.live.ccxt_feed import CcxtFeed
from cryptoenv.live.environment import CryptoLiveEnv
from cryptoenv.trading.account import BORROW_PAID

HISTORY = 300  #: bars before the first decision that the candles begin with


def board_watcher(env: CryptoLiveEnv, board: Board) -> Watcher:
    """A watcher of the loop of `env` that fills `board`; the bars that there are already go in at once."""
    frame = env.feed.history().iloc[-min(HISTORY, BARS) :]
    times = frame.index.as_unit("ms").asi8.tolist()  # type: ignore[attr-defined]
    rows = frame[["open", "high", "low", "close", "volume"]].to_numpy(float).tolist()
    board.put("history", [[at, *row] for at, row in zip(times, rows, strict=True)])
    feed, executor = env.feed, env.executor

    def watch(event: Watched) -> None:
        now = wall_now()
        offset = feed.now_quietly() - now if isinstance(feed, CcxtFeed) else 0
        board.put("event", Seen(now, event, offset, executor.skew_ms, float(env.account[BORROW_PAID]),
                                executor.day_equity))  # fmt: skip

    return watch


class LogLines(logging.Handler):
    """Puts what is logged on a board, without secrets.

    Args:
        board: that it goes to.
        redact: takes secrets out of a text.
    """

    def __init__(self, board: Board, redact: Callable[[str], str]) -> None:
        super().__init__(logging.INFO)
        self._board, self._redact = board, redact

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        try:
            text = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                text += f" ({type(record.exc_info[1]).__name__})"
            at = int(record.created * 1000.0)
            self._board.put("line", Line(at, record.levelname.lower(), record.name, self._redact(text)))
        except Exception:
            self.handleError(record)


@contextmanager
def log_on(board: Board, redact: Callable[[str], str]) -> Iterator[None]:
    """Put this project's log on a board, for a while."""
    handler = LogLines(board, redact)
    loggers = [logging.getLogger(name) for name in PACKAGES]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


