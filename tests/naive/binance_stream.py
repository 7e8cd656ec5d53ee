"""Plain-Python reader of a raw Binance websocket recording: trades, and the order book after every depth update.

Lines are `<receive time, ns> <JSON>`: one REST snapshot (`lastUpdateId`) among stream messages of trades, 100 ms depth
differences and best quotes. Books follow Binance's rule: differences that end at or before the snapshot's update number
are dropped, the first one kept must span the next number, and after that each must begin where the last one ended.
Trades and differences carry the exchange's own clock, which is what both are stamped with here.
"""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Book = tuple[pd.Timestamp, NDArray[np.float64], NDArray[np.float64]]


class StreamError(ValueError):
    """The recording cannot give a book."""


def read_stream(path: Path, every: int = 1) -> tuple[pd.DataFrame, list[Book], NDArray[np.float64]]:
    """Trades (`price`, `quantity`, taker `side`), every `every`-th book, and all best quotes (n, 2): bid, ask."""
    trades: list[tuple[int, float, float, int]] = []
    quotes: list[tuple[float, float]] = []
    books: list[Book] = []
    early: list[dict[str, Any]] = []
    sides: tuple[dict[float, float], dict[float, float]] | None = None
    update = count = 0
    for message in _messages(path):
        if "lastUpdateId" in message:
            sides = (_levels(message["bids"]), _levels(message["asks"]))
            update = message["lastUpdateId"]
            for difference in early:
                update = _apply(sides, difference, update)
        elif message["stream"].endswith("@trade"):
            data = message["data"]
            trades.append((data["T"], float(data["p"]), float(data["q"]), -1 if data["m"] else 1))
        elif message["stream"].endswith("@bookTicker"):
            quotes.append((float(message["data"]["b"]), float(message["data"]["a"])))
        elif sides is None:
            early.append(message["data"])
        else:
            update = _apply(sides, message["data"], update)
            if count % every == 0:
                books.append((pd.Timestamp(message["data"]["E"], unit="ms", tz="UTC"), *_sorted_sides(sides)))
            count += 1
    if sides is None:
        raise StreamError(f"{path.name} holds no snapshot of the book")
    frame = pd.DataFrame(trades, columns=["timestamp", "price", "quantity", "side"])
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], unit="ms", utc=True)
    return frame.set_index("timestamp"), books, np.array(quotes)


def _messages(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line.partition(" ")[2])


def _levels(rows: list[list[str]]) -> dict[float, float]:
    return {float(price): float(quantity) for price, quantity in rows}


def _apply(sides: tuple[dict[float, float], dict[float, float]], difference: dict[str, Any], update: int) -> int:
    """Change the book in place; returns the number of its last update."""
    if difference["u"] <= update:
        return update
    if difference["U"] > update + 1:
        raise StreamError(f"updates {update + 1} to {difference['U'] - 1} are missing")
    for levels, changes in zip(sides, (difference["b"], difference["a"]), strict=True):
        for price, quantity in _levels(changes).items():
            if quantity == 0.0:
                levels.pop(price, None)
            else:
                levels[price] = quantity
    return int(difference["u"])


def _sorted_sides(
    sides: tuple[dict[float, float], dict[float, float]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    bids, asks = sides
    return np.array(sorted(bids.items(), reverse=True)), np.array(sorted(asks.items()))
