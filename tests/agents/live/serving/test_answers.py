"""What a service answers: the bits of `predict`, alone and among others, and what it refuses."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pretrain
from agents.live.deciders import AgentDecider
from agents.live.serving.batching import Batching
from agents.live.serving.client import bars_body
from agents.run_folders.run_folder import Run
from cryptoenv.env.episode import BARS_HELD_SEEN
from pretrain.tokens.artifact import TokenForecaster
from pretrain.tokens.series import TokenSeries
from tests.agents.live.serving.conftest import BARS, Made
from tests.asgi import Reply, ask, asked
from tests.pretrain.conftest import random_bars


def values(reply: Reply) -> np.ndarray:
    assert reply.status == 200, reply.body
    return np.array([list(row["values"].values()) for row in reply.json()["rows"]], np.float32)


def expected(folder: Path, bars: pd.DataFrame, last: int = 1) -> np.ndarray:
    from agents.policies.segmented_predictor import predictor_of

    model: Any = predictor_of(Run.load(folder).agent) if folder.name == "run" else pretrain.load(folder)
    found: np.ndarray = model.predict(bars).iloc[-last:].to_numpy(np.float32)
    return found


MODELS = ("segments", "forecasts", "hybrid", "extract", "run")


@pytest.mark.parametrize("name", MODELS)
def test_the_service_gives_the_bits_of_predict_alone_and_among_others(serve: Made, folders: Path, name: str) -> None:
    guard, service = serve(name)
    histories = [random_bars(seed, 24 * 40 + 7 * seed) for seed in range(4)]
    wanted = [expected(folders / name, bars) for bars in histories]
    read: list[int] = []
    told = service.shelf.slot(None).batcher._told
    service.shelf.slot(None).batcher._told = lambda count, seconds: (read.append(count), told(count, seconds))[1]

    async def at_once() -> list[Reply]:
        bodies = [bars_body(bars) for bars in histories] + [bars_body(histories[0]) | {"last": 3}]
        return list(await asyncio.gather(*(asked(guard, "POST", "/predict", body=body) for body in bodies)))

    *replies, several = asyncio.run(at_once())
    assert max(read) > 1  # they were read together
    for reply, want in zip(replies, wanted, strict=True):
        np.testing.assert_array_equal(values(reply), want)
    np.testing.assert_array_equal(values(several), expected(folders / name, histories[0], 3))
    alone = ask(guard, "POST", "/predict", body=bars_body(histories[1]))
    np.testing.assert_array_equal(values(alone), wanted[1])
    assert alone.json()["rows"][0]["time"] == histories[1].index[-1].isoformat().replace("+00:00", "Z")


def test_a_planted_difference_in_the_bits_is_seen(serve: Made, folders: Path) -> None:
    guard, _ = serve("segments")
    other = BARS.copy()
    other.iloc[-1, other.columns.get_loc("close")] *= 1.0 + 1e-6
    got = values(ask(guard, "POST", "/predict", body=bars_body(other)))
    assert not np.array_equal(got, expected(folders / "segments", BARS))


@pytest.mark.parametrize("name", ["segments", "hybrid", "forecasts", "extract"])
def test_a_window_alone_is_the_same_among_32(serve: Made, name: str) -> None:
    guard, service = serve(name)
    shapes = service.shelf.slot(None).answering.needs["sequence"]
    rng = np.random.default_rng(0)
    windows = [{frame: rng.normal(size=shape).tolist() for frame, shape in shapes.items()} for _ in range(32)]
    bodies = [{"sequence": w if len(w) > 1 else next(iter(w.values()))} for w in windows]
    together = ask(guard, "POST", "/predict", body={"batch": bodies})
    assert together.status == 200
    for body, among in zip(bodies[::8], together.json()["predictions"][::8], strict=True):
        alone = ask(guard, "POST", "/predict", body=body).json()
        for column, value in alone["values"].items():
            assert value == pytest.approx(among["values"][column], abs=1e-6)
    assert len({str(one["values"]) for one in together.json()["predictions"]}) == 32


def test_the_bodies_of_the_designs(serve: Made, folders: Path) -> None:
    guard, service = serve("segments", "hybrid")
    bars, features = service.shelf.slot("segments").answering.needs["sequence"]["1h"]
    window = np.random.default_rng(1).normal(size=(bars, features)).tolist()
    told = ask(guard, "POST", "/predict", body={"sequence": window}).json()
    chances = [told["values"][f"{name}_1h"] for name in told["classes"]]
    assert told["predicted_segment"] == int(np.argmax(chances)) and sum(chances) == pytest.approx(1.0, abs=1e-6)
    shapes = service.shelf.slot("hybrid").answering.needs["sequence"]
    windows = {frame: np.zeros(shape).tolist() for frame, shape in shapes.items()}
    forecast = {"model": "hybrid", "sequence": windows}
    plain = ask(guard, "POST", "/predict", body=forecast).json()
    priced = ask(guard, "POST", "/predict", body=forecast | {"close": 200.0, "sigma": 0.01}).json()
    assert len(plain["predicted_close"]) == 2 and priced["unit"] == "price"
    moves = np.float32(plain["predicted_close"]) * 0.01
    np.testing.assert_allclose(priced["predicted_close"], 200.0 * np.exp(moves), rtol=1e-6)


def test_scaled_features_of_a_market_say_what_its_bars_say(serve: Made, folders: Path) -> None:
    guard, _ = serve("segments")
    model: Any = pretrain.load(folders / "segments")
    market = model.market(BARS)
    window = market.features[0][-model.layout.window[0] :]
    scaled = (window - model.scaler.median[0]) / model.scaler.scale(0)
    told = ask(guard, "POST", "/predict", body={"sequence": scaled.tolist()}).json()
    np.testing.assert_allclose(list(told["values"].values()), expected(folders / "segments", BARS)[0], atol=1e-4)


def test_steps_of_a_forecaster_are_those_of_the_model(serve: Made, folders: Path) -> None:
    guard, _ = serve("forecasts")
    reply = ask(guard, "POST", "/predict", body=bars_body(BARS) | {"steps": 3, "paths": 16, "seed": 4})
    model: Any = pretrain.load(folders / "forecasts")
    want = model.forecast(BARS, 3, paths=16, seed=4)
    assert [row["price_q50"] for row in reply.json()["forecast"]] == want["price_q50"].tolist()
    assert ask(guard, "POST", "/predict", body=bars_body(BARS) | {"steps": 99}).status == 422


def test_a_token(serve: Made, folders: Path, tokens: tuple[TokenSeries, ...]) -> None:
    guard, _ = serve("tokens")
    token = tokens[0]
    rows = [[int(at), *row[:5].tolist()] for at, row in zip(token.times, token.values, strict=True)]
    reply = ask(guard, "POST", "/predict", body={"token": rows, "supply": token.supply, "last": 2})
    want = TokenForecaster.load(folders / "tokens").predict(token).iloc[-2:]
    np.testing.assert_array_equal([list(row["values"].values()) for row in reply.json()["rows"]], want.to_numpy())
    assert "more rows" in ask(guard, "POST", "/predict", body={"token": rows[:5], "supply": 1.0}).json()["detail"]
    assert '"token"' in ask(guard, "POST", "/predict", body=bars_body(BARS)).json()["detail"]


def test_an_agent_acts_as_it_trades(serve: Made, folders: Path) -> None:
    guard, _ = serve("run", "segments")
    accounts: list[dict[str, Any]] = [
        {},
        {"exposure": 0.97, "target": 1.0, "unrealised_return": 0.03, "drawdown": 0.01, "bars_held": 12},
        {"exposure": -1.0, "bars_held": 5_000},
    ]
    bodies = [bars_body(BARS) | {"account": account} for account in accounts]
    replies = ask(guard, "POST", "/act", body={"batch": bodies}).json()["actions"]
    seen = np.zeros((3, 5), np.float32)
    seen[1] = [0.97, 1.0, 0.03, 0.01, BARS_HELD_SEEN[12]]
    seen[2] = [-1.0, -1.0, 0.0, 0.0, np.log2(5_001.0) / 16.0]
    decider = AgentDecider(Run.load(folders / "run").agent)
    decider.begin(BARS)
    for account, reply in zip(seen, replies, strict=True):
        want = decider.decide(account)
        assert (reply["target"], reply["confidence"]) == (want.target, want.confidence)
        assert list(reply["probabilities"].values()) == list(want.probabilities or ())
    wrong = ask(guard, "POST", "/act", body=bodies[0] | {"model": "segments"})
    assert wrong.status == 422 and "no agent" in wrong.json()["detail"]


ROWS = bars_body(BARS)["bars"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "Invalid JSON"),
        (b"[1]", "one of the keys"),
        (b'{"sequence": [[NaN]]}', "finite"),
        (b'{"sequence": [[1e999]]}', "finite"),
        (b'{"sequence": [["1"]]}', "valid number"),
        (b'{"sequence": [[true]]}', "valid number"),
        (b'{"sequence": ' + b"[" * 5_000, "recursion"),
        ({"sequence": [[1.0]]}, r"expected the shape [8, "),
        ({"sequence": {"1d": [[1.0]]}}, "expected the timeframes and shapes {'1h': [8, "),
        ({"bars": ROWS[:20]}, "bars of 1h"),
        ({"bars": ROWS[:100] + ROWS[101:]}, "a gap: the next bar opens at 2020-01-05T04:00:00"),
        ({"bars": ROWS[::-1]}, "oldest first"),
        ({"bars": [[row[0] / 1000, *row[1:]] for row in ROWS]}, "seconds have three digits less"),
        ({"bars": [row[:5] for row in ROWS]}, "expected 6"),
        ({"bars": [[row[0] + 60_000, *row[1:]] for row in ROWS]}, "bars: "),
        ({"bars": [*ROWS[:-1], [ROWS[-1][0], 100.0, 90.0, 95.0, 100.0, 1.0]]}, "bars: "),
        ({"bars": [*ROWS[:-1], [ROWS[-1][0], 100.0, 110.0, 95.0, 100.0, -1.0]]}, "bars: "),
        ({"bars": ROWS, "timeframe": "1d"}, "make no bars of 1h"),
        ({"bars": ROWS, "timeframe": "soon"}, "timeframe: "),
        ({"bars": ROWS, "columns": ["close"]}, "twice"),
        ({"bars": ROWS, "model": "../../etc/passwd"}, "no such model"),
        ({"bars": ROWS, "steps": 2}, "only a forecaster"),
        ({"bars": ROWS, "reference": ROWS}, "reference"),
        ({"bars": ROWS, "path": "/etc/passwd"}, "Extra inputs"),
        ({"token": [[1.0] * 6], "supply": 1.0}, "reads bars"),
        ({"batch": []}, "at least 1"),
        ({"batch": [{"bars": ROWS}, {"sequence": [[1.0]]}]}, "batch[1]: sequence: expected the shape"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_422_and_names_what_is_needed(serve: Made, body: Any, said: str) -> None:
    guard, _ = serve("segments")
    reply = ask(guard, "POST", "/predict", body=body)
    assert reply.status == 422 and said in reply.json()["detail"], reply.body[:500]
    assert reply.json()["needs"]["sequence"]["1h"][0] == 8 and "Trace" not in reply.body.decode()


def test_gaps_are_filled_where_they_are_allowed(serve: Made, folders: Path) -> None:
    guard, _ = serve("segments")
    holed = BARS.drop(BARS.index[[700, 701]])
    got = values(ask(guard, "POST", "/predict", body=bars_body(holed, gaps=True)))
    np.testing.assert_array_equal(got, expected(folders / "segments", holed))


def test_what_is_served_is_told_without_a_path(serve: Made, folders: Path) -> None:
    guard, _ = serve("segments", "run")
    told = ask(guard, "GET", "/models")
    assert str(folders) not in told.body.decode()
    segments, run = told.json()["models"]
    assert (segments["name"], segments["kind"], segments["acts"]) == ("segments", "Segmenter", False)
    assert (run["kind"], run["acts"], run["actions"]) == ("Agent", True, [-1.0, 0.0, 1.0])
    assert segments["needs"]["bars"] > 8 and len(segments["version"]) == 12
    document = ask(guard, "GET", "/openapi.json").json()
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert set(body["examples"]) == {"bars", "sequence", "batch"}
    assert all(path in document["paths"] for path in ("/act", "/models", "/health", "/ready", "/metrics"))
    assert ask(guard, "GET", "/docs").status == 404
    ask(guard, "POST", "/predict", body=bars_body(BARS))
    figures = ask(guard, "GET", "/metrics").body.decode()
    assert 'cryptoenv_requests_total{route="/predict",status="200"} 1.0' in figures
    assert 'cryptoenv_batch_size_count{model="segments"} 1.0' in figures


def test_requests_that_come_together_are_read_together(serve: Made) -> None:
    counts = {}
    for most in (1, 32):
        guard, service = serve("segments", batching=Batching(most, 0.2))
        window = np.zeros(service.shelf.slot(None).answering.needs["sequence"]["1h"]).tolist()
        read: list[int] = []
        service.shelf.slot(None).batcher._told = lambda count, _seconds, read=read: read.append(count)

        async def at_once(guard: Any = guard, window: Any = window) -> None:
            calls = [asked(guard, "POST", "/predict", body={"sequence": window}) for _ in range(16)]
            assert {reply.status for reply in await asyncio.gather(*calls)} == {200}

        asyncio.run(at_once())
        assert sum(read) == 16
        counts[most] = len(read)
    assert counts[1] == 16 and counts[32] <= 3
