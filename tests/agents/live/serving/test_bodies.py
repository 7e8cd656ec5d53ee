"""Bodies that are read the short way say what pydantic says of them, to the bit; what it refuses is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from agents.live.serving import bodies
from agents.live.serving.bodies import BodyError, PredictBars, PredictSequence, read_act, read_predict

ROW = "[1600000000000, 1.0, 2.0, 0.5, 1.5, 10]"


def slowly(body: bytes, adapter: Any) -> Any:
    """As pydantic alone reads it."""
    return bodies._read(body, adapter)


def plain(asked: Any) -> Any:
    """A request as plain values."""

    def told(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: told(one) for name, one in value.items()}
        return np.array(value, np.float64).tolist() if isinstance(value, np.ndarray) else value

    return {name: told(getattr(asked, name)) for name in type(asked).model_fields}


def test_numbers_have_the_bits_that_pydantic_gives_them() -> None:
    rng = np.random.default_rng(0)
    odd = [0.1, 1e-300, 5e-324, 999999999999999, -0.0, 1e15, 123456789012345, 0.30000000000000004, 7]
    values = np.concatenate([rng.normal(size=1_000) * 10.0 ** rng.integers(-12, 12, 1_000), odd, [0.5] * 7])
    rows = [row.tolist() for row in values[: len(values) // 8 * 8].reshape(-1, 8)]
    texts = [json.dumps({"sequence": rows}), json.dumps({"sequence": {"1h": rows, "4h": rows[:3]}, "sigma": 0.01})]
    texts += [json.dumps({"model": "a", "bars": rows, "columns": ["x", "y"], "last": 3})]
    for text in texts:
        quick, slow = read_predict(text.encode()), slowly(text.encode(), bodies._PREDICT)
        tables = quick.bars if isinstance(quick, PredictBars) else quick.sequence  # type: ignore[union-attr]
        assert isinstance(tables if not isinstance(tables, dict) else tables["1h"], np.ndarray)
        assert type(quick) is type(slow) and plain(quick) == plain(slow)


@pytest.mark.parametrize(
    "text",
    [
        '{"sequence": [["1.5", 2.0]]}', '{"sequence": [[true, 2.0]]}', '{"sequence": [[null, 2.0]]}',
        '{"sequence": [[1e999]]}', '{"sequence": [[NaN]]}', '{"sequence": [[1e16]]}', '{"sequence": [[]]}',
        '{"sequence": []}', '{"sequence": {}}', '{"sequence": [1, 2]}', '{"sequence": [[[1.0]]]}', '{"sequence": 3}',
        '{"sequence": [[1.0], [1.0, 2.0]]}', '{"sequence": {"1h": [["1.5"]]}}', '{"sequence": {"1h": 2}}',
        '{"sequence": [[1.0]], "sequence": [["2"]]}', '{"sequence": [[1.0]], "bars": [[1.0]]}',
        '{"sequence": [[1.0]], "close": "3"}', '{"sequence": [[1.0]], "close": -1.0}', '{"sequence": [[1.0]]',
        '{"sequence": [[1.0]], "time": 1e3}', '{"sequence": [[1.0]], "time": 1.5}', '{"sequence": [[1.0]], "x": 1}',
        '{"sequence": [[1.0]], "model": "\\"a\\""}', '{"sequence": [["\\u0031"]]}', '{"sequence": [[1]], "model": 3}',
        '{"sequence": [[99999999999999999999999999]]}', '{"sequence": [[1.0]]} x', '{"sequence": {"1h": {"a": 1}}}',
        f'{{"bars": [{ROW}], "gaps": true}}', f'{{"bars": [{ROW}], "gaps": "yes"}}', f'{{"bars": {{"a": [{ROW}]}}}}',
        f'{{"bars": [{ROW}], "reference": [["1"]]}}', f'{{"bars": [{ROW}], "columns": [3]}}', '{"bars": [["a"]]}',
        f'{{"bars": [{ROW}], "columns": ["a"], "last": 0}}', f'{{"bars": [{ROW}], "account": {{"exposure": "1"}}}}',
        f'{{"bars": [{ROW}], "account": {{"exposure": 1, "drawdown": 0.5}}}}', f'{{"bars": [{ROW}], "last": 2.0}}',
        f'{{"model": "a", "bars": [{ROW}]}}', f'{{"batch": [{{"bars": [{ROW}]}}]}}', "{}", "[]", "", '{"bars"',
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["predict", "act"])
def test_the_short_way_and_pydantic_agree(text: str, path: str) -> None:
    read, adapter = (read_predict, bodies._PREDICT) if path == "predict" else (read_act, bodies._ACT)
    try:
        known = slowly(text.encode(), adapter)
    except BodyError as error:
        with pytest.raises(BodyError) as told:
            read(text.encode())
        assert str(told.value) == str(error)
        return
    found = read(text.encode())
    assert type(found) is type(known) and plain(found) == plain(known)


def test_both_ways_are_taken() -> None:
    """What the tests above compare are two ways, not one."""
    short, long = read_predict(b'{"sequence": [[1.0]]}'), read_predict(b'{"time": 5, "sequence": [[1.0]]}')
    assert isinstance(short, PredictSequence) and isinstance(short.sequence, np.ndarray)
    assert isinstance(long, PredictSequence) and isinstance(long.sequence, list)
