"""`stream`: predictions for bars that come from an asynchronous source."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import Any

import pandas as pd

from pretrain.fitting.predicting import Predictor

Bar = pd.DataFrame | pd.Series | Mapping[str, Any]


async def stream(
    model: Predictor,
    source: AsyncIterable[Bar] | Iterable[Bar],
    history: pd.DataFrame | None = None,
    **options: Any,
) -> AsyncIterator[pd.Series]:
    """What a model says as bars close, for `async for`; each with the bits that `model.predict` gives.

    The network runs in a thread of its own, so that other tasks go on meanwhile.

    Args:
        model: any of this package's.
        source: of closed bars, as `Predictor.predict_stream` takes them: an asynchronous iterator (a websocket's), or
            anything that can be iterated over.
        history: closed bars until now, from which nothing is predicted.
        **options: as for `Predictor.stream`.

    Yields:
        A row of `model.predict`, named by the open of its bar (UTC), as soon as that bar has closed; none while bars
        are too few for a decision.

    Raises:
        BarsError: a bar that cannot be used.

    Example:
        >>> import asyncio, pretrain, synthetic
        >>> bars = synthetic.regime_market("easy", days=2, seed=7).bars
        >>> async def last_of(model):
        ...     async for signal in pretrain.stream(model, [bars.iloc[[-1]]], history=bars.iloc[:-1]):
        ...         return signal.name
        >>> asyncio.run(last_of(pretrain.load("default"))) == bars.index[-1]
        True
    """
    predictions = model.stream(history, **options)
    async for bar in _as_they_come(source):
        rows = await asyncio.to_thread(predictions.append, bar)
        for _, row in rows.iterrows():
            yield row


async def _as_they_come(source: AsyncIterable[Bar] | Iterable[Bar]) -> AsyncIterator[Bar]:
    if isinstance(source, AsyncIterable):
        async for bar in source:
            yield bar
    else:
        for bar in source:
            yield bar
            await asyncio.sleep(0.0)
