"""Series in a page: what comes out is what went in."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from agents.reports.document.charts import Candles, Line, extremes
from agents.reports.formats.chart_specs import exact_spans, significant
from agents.reports.formats.packing import Packer, decimals, packed


def unpacked(text: str) -> tuple[dict[str, Any], list[NDArray[np.float64]]]:
    """Content and arrays, byte by byte."""
    data = gzip.decompress(base64.b64decode(text))
    length = int.from_bytes(data[:4], "little")
    content, body = json.loads(data[4 : 4 + length]), data[4 + length :]
    arrays = []
    for said in content["arrays"]:
        n, at = said["n"], said["at"]
        width = 8 if said.get("raw") else 4
        cells = [bytes(body[at + plane * n + i] for plane in range(width)) for i in range(n)]
        if said.get("raw"):
            arrays.append(np.array([np.frombuffer(cell, "<f8")[0] for cell in cells]))
            continue
        total, values = 0, []
        for cell in cells:
            total += int.from_bytes(cell, "little", signed=True)
            values.append((said["base"] + said["unit"] * total) / said["divisor"])
        arrays.append(np.array(values))
    return content, arrays


@given(st.lists(st.integers(-(10**9), 10**9), max_size=40), st.integers(0, 6))
def test_decimal_numbers_come_out_as_they_went_in(whole: list[int], digits: int) -> None:
    values = np.array([number / 10**digits for number in whole], dtype=np.float64)
    packer = Packer()
    packer.add(values)
    _, (found,) = unpacked(packer.text())
    assert found.tolist() == values.tolist()


@given(st.lists(st.floats(allow_infinity=False, width=64), max_size=20))
def test_other_numbers_keep_eight_digits(given_values: list[float]) -> None:
    values = np.array(given_values, dtype=np.float64)
    packer = Packer()
    packer.add(values)
    _, (found,) = unpacked(packer.text())
    largest = np.nanmax(np.abs(values)) if np.isfinite(values).any() else 0.0
    np.testing.assert_allclose(found, values, rtol=0.0, atol=max(1e-7 * largest, 1e-15))


def test_candles_and_words() -> None:
    rng = np.random.default_rng(0)
    close = np.round(100.0 * np.exp(np.cumsum(0.01 * rng.standard_normal(500))), 2)
    opened = np.round(np.concatenate(([100.0], close[:-1])) + 0.03 * rng.standard_normal(500), 2)
    high, low = np.maximum(opened, close) + 0.5, np.minimum(opened, close) - 0.25
    packer = Packer()
    places = packer.candles((opened, high, low, close))
    words = packer.words(np.array(["b", "</script>", "b"]))
    _, arrays = unpacked(packer.text())
    scale = places["divisor"]
    c = np.rint(arrays[places["close"]] * scale)
    o = np.rint(arrays[places["open"]] * scale) + np.concatenate(([places["first"]], c[:-1]))
    h = np.rint(arrays[places["high"]] * scale) + np.maximum(o, c)
    low_found = np.minimum(o, c) - np.rint(arrays[places["low"]] * scale)
    for found, values in ((o, opened), (h, high), (low_found, low), (c, close)):
        np.testing.assert_allclose(found / scale, values, rtol=1e-12)
    assert [words["words"][int(i)] for i in arrays[words["codes"]]] == ["b", "</script>", "b"]
    assert "<" not in packer.text() and packer.text() == packer.text()


def test_scalars_of_numpy_are_taken_and_nothing_else() -> None:
    packer = Packer()
    packer.content = {"hidden": np.bool_(True), "bars": np.int64(3), "price": np.float64(1.5)}
    assert unpacked(packer.text())[0] == {"arrays": [], "hidden": True, "bars": 3, "price": 1.5}
    packer.content = {"odd": {1, 2}}
    with pytest.raises(TypeError, match="set"):
        packer.text()


def test_bytes_are_the_same_for_the_same_bytes() -> None:
    assert packed(b"bars") == packed(b"bars") != packed(b"barz")


@pytest.mark.parametrize(
    ("values", "digits"), [([1.25, 3.0], 2), ([0.00001234], 8), ([5.0], 0), ([], 0), ([1 / 3], 8)]
)
def test_digits_of_prices(values: list[float], digits: int) -> None:
    assert decimals(np.array(values)) == digits


def test_a_thinned_line_keeps_what_is_seen() -> None:
    rng = np.random.default_rng(1)
    values = np.cumsum(rng.standard_normal(100_003))
    values[777], values[50_000] = 1e6, -1e6
    rows = extremes(values, 1000)
    assert len(rows) <= 1004 and rows[0] == 0 and rows[-1] == len(values) - 1
    assert {777, 50_000} <= set(rows.tolist()) and (np.diff(rows) > 0).all()
    width = -(-len(values) // 250)
    for start in range(0, len(values), width):
        inside = values[rows[(rows >= start) & (rows < start + width)]]
        assert (
            inside.min() == values[start : start + width].min() and inside.max() == values[start : start + width].max()
        )
    line = Line("equity", values, np.arange(len(values)) * 60_000).thinned(1000)
    assert line.x is not None and (values[line.x // 60_000] == line.y).all()
    assert extremes(np.array([np.nan, 2.0]), 10).tolist() == [0, 1]


def test_bars_around_the_largest_trades_are_kept_one_by_one() -> None:
    import pandas as pd

    n = 10_000
    flat = np.ones(n)
    trades = pd.DataFrame(
        {"entry_ms": [1_000, 5_000, 9_000], "exit_ms": [1_010, 5_010, 9_010], "gain": [1.0, -9.0, 5.0]}
    )
    chart = Candles("k", "t", "m", np.arange(n), 1, flat, flat, flat, flat, trades)
    assert exact_spans(chart, 200) == [(4_960, 5_051), (8_960, 9_051)]
    assert exact_spans(chart, 50) == []
    high, low = np.array([1.0, 9.0, 3.0, 4.0, 5.0]), np.array([0.0, 1.0, 2.0, -3.0, 4.0])
    grouped = Candles("k", "t", "m", np.arange(5), 1, np.arange(5.0), high, low, np.arange(5.0) + 0.5).grouped(2)
    assert grouped.open.tolist() == [0, 2, 4] and grouped.close.tolist() == [1.5, 3.5, 4.5]
    assert grouped.high.tolist() == [9, 4, 5] and grouped.low.tolist() == [0, -3, 4] and grouped.step_ms == 2


def test_significant_digits() -> None:
    assert significant(np.array([123456.789, 0.000123456]), 7).tolist() == [123456.8, 0.0]
    assert significant(np.array([3, 4])).dtype.kind == "i"
