"""Logs as JSON lines with run id and level, in which no secret stands, whatever a library writes."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path

LEVELS = ("debug", "info", "warning", "error")
PACKAGES = ("synthetic", "cryptoenv", "pretrain", "agents", "benchmarks")
QUIET = ("ccxt", "urllib3", "aiohttp", "asyncio")  #: at DEBUG they write keys and signed addresses
LARGEST, KEPT = 10_000_000, 5  #: bytes of a log file, and how many of them
HIDDEN = "***"
#: What looks like a secret in an address, a header or a JSON text, though nobody named it.
_SIGNED = re.compile(
    r"(?i)([\"']?\b(?:signature|api[_-]?key|secret|password|passphrase|x-mbx-apikey|access[_-]?sign|authorization)\b"
    r"[\"']?\s*[=:]\s*[\"']?)([^\s\"'&,;}]+)"
)
_SHORTEST = 4  #: characters of a text that is taken for a secret


class Redactor:
    """Takes secrets out of texts.

    Args:
        secrets: texts that must stand nowhere.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({secret for secret in secrets if len(secret) >= _SHORTEST}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        """`text` without secrets: those that were named, and what stands after `signature=` and the like."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        return _SIGNED.sub(lambda found: found[1] + HIDDEN, text)


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, logger, run, message, and the exception where there is one.

    Args:
        run: id of the run.
        redactor: of secrets.
    """

    def __init__(self, run: str, redactor: Redactor) -> None:
        super().__init__()
        self._run, self._redactor = run, redactor

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        moment = time.gmtime(record.created)
        told = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(), "logger": record.name, "run": self._run,
            "message": self._redactor(record.getMessage()),
        }  # fmt: skip
        if record.exc_info:
            told["exception"] = self._redactor(self.formatException(record.exc_info))
        return json.dumps(told, ensure_ascii=False)


@contextmanager
def json_log(
    level: str, run: str = "", *, secrets: Iterable[str] = (), file: Path | None = None
) -> Iterator[Redactor]:
    """Log this project's packages as JSON lines for a while.

    Args:
        level: one of `LEVELS`.
        run: id that each line names.
        secrets: texts that must stand in no line.
        file: written to, in turns of at most 10 MB; stderr where None.

    Raises:
        ValueError: no such level.
    """
    if level not in LEVELS:
        raise ValueError(f"log level {level!r} is not known: choose one of {', '.join(LEVELS)}")
    redactor = Redactor(secrets)
    handler: logging.Handler = logging.StreamHandler()
    if file is not None:
        handler = RotatingFileHandler(file, maxBytes=LARGEST, backupCount=KEPT, encoding="utf-8", delay=True)
    handler.setFormatter(JsonLines(run, redactor))
    number = getattr(logging, level.upper())
    handler.setLevel(number)
    before = {}
    for name in (*PACKAGES, *QUIET):
        logger = logging.getLogger(name)
        before[name] = logger.level, logger.propagate
        logger.addHandler(handler)
        wanted = max(number, logging.INFO) if name in QUIET else number
        logger.setLevel(min(wanted, logger.level) if logger.level and name in PACKAGES else wanted)
    try:
        yield redactor
    finally:
        for name, (was, spread) in before.items():
            logger = logging.getLogger(name)
            logger.removeHandler(handler)
            logger.setLevel(was)
            logger.propagate = spread
        handler.close()
