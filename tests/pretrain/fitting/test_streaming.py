"""An asynchronous source of bars gets the predictions that history gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pandas as pd
import pytest

import pretrain
from synthetic import regime_market


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_stream_says_what_history_says(asynchronous: bool) -> None:
    bars = regime_market("easy", days=2, seed=7).bars
    model, last = pretrain.load("default"), 4
    rows = [bars.iloc[[i]] for i in range(-last, 0)]
    others = 0

    async def source() -> AsyncIterator[pd.DataFrame]:
        for row in rows:
            await asyncio.sleep(0.001)
            yield row

    async def counting() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0.0005)

    async def run() -> list[pd.Series]:
        beside = asyncio.create_task(counting())
        given = source() if asynchronous else rows
        found = [signal async for signal in pretrain.stream(model, given, history=bars.iloc[:-last])]
        beside.cancel()
        return found

    found = asyncio.run(run())
    table = model.predict(bars).iloc[-last:]
    assert [signal.name for signal in found] == list(table.index)
    pd.testing.assert_frame_equal(pd.DataFrame(found), table, check_exact=True, check_freq=False, check_names=False)
    assert others > last  # the loop was free meanwhile
