"""A client of `cryptoenv serve`, with nothing but the standard library beside numpy and pandas."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

BAR = ("open", "high", "low", "close", "volume")


class ServiceError(RuntimeError):
    """The service refused a request, or cannot be reached.

    Attributes:
        status: of HTTP; 0 where there was no answer.
        needs: what the model needs, where the service says so.
    """

    def __init__(self, said: str, status: int = 0, needs: Mapping[str, Any] | None = None) -> None:
        super().__init__(said)
        self.status, self.needs = status, dict(needs or {})


class Client:
    """Asks a prediction service; one connection, kept open. Not for several threads at once.

    Args:
        url: of the service: `http://127.0.0.1:8000`, or https of a proxy in front of it.
        key: that opens it.
        timeout: seconds that an answer may take.

    Raises:
        ValueError: no address of http or https.
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", key: str | None = None, timeout: float = 30.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url={url!r} is not allowed: http://HOST:PORT or https://HOST:PORT")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=timeout)
        self._path = parts.path.rstrip("/")
        self._headers = {"Content-Type": "application/json"} | ({} if key is None else {"X-API-Key": key})

    def models(self) -> list[dict[str, Any]]:
        """What is served: `name`, `kind`, `version`, `columns`, and what each `needs`."""
        found: list[dict[str, Any]] = self._ask("GET", "/models")["models"]
        return found

    def ready(self) -> bool:
        """Whether the service takes requests."""
        try:
            return bool(self._ask("GET", "/ready")["ready"])
        except ServiceError:
            return False

    def predict(
        self,
        bars: pd.DataFrame,
        *,
        model: str | None = None,
        last: int = 1,
        reference: pd.DataFrame | None = None,
        gaps: bool = False,
    ) -> pd.DataFrame:
        """As `predict` of the model itself: what it says at the close of the last bars.

        Args:
            bars: closed bars on a UTC index, with the further columns that the model reads.
            model: its name; the service's first where None.
            last: how many of the last bars.
            reference: bars of the reference market, where the model reads one.
            gaps: bars may be missing.

        Returns:
            float32, one row per bar, by its open.

        Raises:
            ServiceError: refused; the message says why.
        """
        body = bars_body(bars, reference, gaps) | {"last": last} | _named(model)
        rows = self._ask("POST", "/predict", body)["rows"]
        index = pd.DatetimeIndex([row["time"] for row in rows], name="timestamp").as_unit("ms")
        columns = list(rows[0]["values"])
        values = np.array([[row["values"][name] for name in columns] for row in rows], np.float32)
        return pd.DataFrame(values, index=index, columns=columns)

    def predict_sequence(
        self, sequence: Any, *, model: str | None = None, **further: float
    ) -> dict[str, Any]:
        """The answer to one window of scaled features: (W, F), or a mapping of such by timeframe.

        Raises:
            ServiceError: refused; the message names the expected shape.
        """
        given = (
            {name: np.asarray(table, np.float64).tolist() for name, table in sequence.items()}
            if isinstance(sequence, Mapping)
            else np.asarray(sequence, np.float64).tolist()
        )
        found: dict[str, Any] = self._ask("POST", "/predict", {"sequence": given, **further, **_named(model)})
        return found

    def act(
        self, bars: pd.DataFrame, account: Mapping[str, float] | None = None, *, model: str | None = None
    ) -> dict[str, Any]:
        """What an agent asks for at the close of the last bar: `target`, `confidence`, `probabilities`.

        Args:
            bars: closed bars.
            account: exposure, target, unrealised_return, drawdown, bars_held; what is left out is 0.
            model: the agent's name; the service's first where None.

        Raises:
            ServiceError: refused; the message says why.
        """
        found: dict[str, Any] = self._ask(
            "POST", "/act", bars_body(bars) | {"account": dict(account or {})} | _named(model)
        )
        return found

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        for again in (True, False):
            try:
                self._connection.request(method, self._path + path, data, self._headers)
                reply = self._connection.getresponse()
                content = reply.read()
                break
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()  # it may have been idle for too long: a new one, once
                if not again:
                    raise ServiceError(f"the service cannot be reached: {error}") from error
        try:
            told = json.loads(content)
        except ValueError as error:
            raise ServiceError(f"the service answered {reply.status} and no JSON", reply.status) from error
        if reply.status != 200:
            said = told.get("detail", "") if isinstance(told, dict) else ""
            raise ServiceError(f"{reply.status}: {said}", reply.status, told.get("needs"))
        found: dict[str, Any] = told
        return found


def _named(model: str | None) -> dict[str, str]:
    return {} if model is None else {"model": model}


def bars_body(bars: pd.DataFrame, reference: pd.DataFrame | None = None, gaps: bool = False) -> dict[str, Any]:
    """Bars as the service takes them."""
    further = [str(name) for name in bars.columns if name not in BAR]
    body: dict[str, Any] = {"bars": _rows(bars, [*BAR, *further])}
    if further:
        body["columns"] = further
    if reference is not None:
        body["reference"] = _rows(reference, BAR)
    if gaps:
        body["gaps"] = True
    return body


def _rows(bars: pd.DataFrame, names: Sequence[str]) -> list[list[float]]:
    times = pd.DatetimeIndex(bars.index).as_unit("ms").asi8.tolist()
    values = bars[list(names)].to_numpy(np.float64).tolist()
    return [[at, *row] for at, row in zip(times, values, strict=True)]
