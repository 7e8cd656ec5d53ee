"""A service goes on: new versions, corrupt ones, streams, its client, one real process that drains."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import agents
import pretrain
from agents.command_line import main
from agents.live.serving.client import ServiceError, bars_body
from agents.live.serving.shelf import name_of
from agents.live.serving.sources import GrowingFeed, Stream, replay_feed
from agents.run_folders.versions.models_folder import ModelsFolder
from agents.web.access import AccessError
from agents.web.server import Address, running_server
from cryptoenv.live.feed import ReplayFeed
from tests.agents.live.serving.conftest import BARS, Made, segmenter
from tests.asgi import ask
from tests.pretrain.conftest import random_bars

ROOT = Path(__file__).resolve().parents[4]


def version(guard: Any) -> str:
    found: str = ask(guard, "POST", "/predict", body=bars_body(BARS)).json()["version"]
    return found


def test_a_new_version_answers_and_a_corrupt_one_changes_nothing(
    serve: Made, folders: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "mine"
    shutil.copytree(folders / "segments", place)
    guard, service = serve("mine", root=tmp_path)
    first = version(guard)
    assert service.shelf.look() == [] and version(guard) == first
    segmenter(seed=1).save(place)
    assert service.shelf.look() == ["mine"]
    second = version(guard)
    want = pretrain.load(place).predict(BARS).iloc[-1].to_numpy()  # type: ignore[arg-type]
    got = ask(guard, "POST", "/predict", body=bars_body(BARS)).json()["rows"][0]["values"]
    assert second != first and np.array_equal(np.float32(list(got.values())), want)
    weights = (place / "model.safetensors").read_bytes()
    (place / "checksums.json").write_text("{}", "utf-8")
    (place / "model.safetensors").write_bytes(weights[:-100])
    for _ in range(5):  # three tries, then it is left
        assert service.shelf.look() == []
    assert version(guard) == second and caplog.text.count("keeps its version") == 3
    shutil.rmtree(place)
    assert service.shelf.look() == [] and version(guard) == second
    figures = ask(guard, "GET", "/metrics").body.decode()
    assert 'cryptoenv_swaps_total{model="mine",result="done"} 1.0' in figures
    assert f'version="{second}"' in figures and f'version="{first}"' not in figures


def test_a_folder_of_versions_is_followed_by_its_pointer(serve: Made, folders: Path, tmp_path: Path) -> None:
    kept = ModelsFolder(tmp_path / "mine")
    segmenter(seed=1).save(tmp_path / "second")
    first, second = (kept.add(place, why="a test") for place in (folders / "segments", tmp_path / "second"))
    with pytest.raises(ValueError, match="no version"):
        serve("mine", root=tmp_path)
    kept.promote(first.name)
    guard, service = serve("mine", root=tmp_path)
    before = version(guard)
    assert service.shelf.look() == []
    kept.promote(second.name)
    assert service.shelf.look() == ["mine"] and version(guard) != before
    (tmp_path / "mine" / "current.json").write_text("{", "utf-8")  # a pointer that is no pointer
    assert service.shelf.look() == [] and version(guard) != before


def test_requests_during_exchanges_are_all_answered(serve: Made, folders: Path, tmp_path: Path) -> None:
    kept = [tmp_path / "a", tmp_path / "b"]
    for seed, folder in enumerate(kept):
        segmenter(seed).save(folder)
    shutil.copytree(kept[0], tmp_path / "mine")
    guard, service = serve("mine", root=tmp_path)
    seen: list[tuple[int, str]] = []
    ended = threading.Event()

    def asking() -> None:
        while not ended.is_set():
            reply = ask(guard, "POST", "/predict", body=bars_body(BARS.iloc[-400:]))
            seen.append((reply.status, reply.json().get("version", "")))

    threads = [threading.Thread(target=asking) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(1, 7):
        pretrain.load(kept[turn % 2]).save(tmp_path / "mine")  # type: ignore[union-attr]
        assert service.shelf.look() == ["mine"]
    ended.set()
    for thread in threads:
        thread.join()
    assert {status for status, _ in seen} == {200} and len(seen) > 3


def test_a_stream_says_what_predict_says_of_each_bar(serve: Made, folders: Path) -> None:
    _, service = serve("segments", feed=lambda _: ReplayFeed(BARS, "1h", len(BARS) - 12))
    stream = service.streams["segments"]
    found: list[dict[str, Any]] = []

    async def listened() -> None:
        queue = stream.listen()
        stream._thread.start()
        while (said := await queue.get()) is not None:
            found.append(json.loads(said))

    asyncio.run(asyncio.wait_for(listened(), 60.0))
    assert stream.state == "ended"
    want = pretrain.load(folders / "segments").predict(BARS)  # type: ignore[arg-type]
    last = found[-1]
    np.testing.assert_array_equal(np.float32(list(last["values"].values())), want.iloc[-1].to_numpy())
    assert last["time"] == want.index[-1].isoformat().replace("+00:00", "Z") and last["close"] == BARS["close"].iloc[-1]
    assert len(found) == 13 and "predicted_segment" in last


class Exchanging(ReplayFeed):
    """Gives three bars at once, and calls before the third."""

    def __init__(self, *args: Any, call: Callable[[], object]) -> None:
        super().__init__(*args)
        self._call, self._given = call, 0

    def next_bars(self, after_ms: int) -> Any:
        """One by one, as somebody asks for them."""
        for number in range(3):
            if number == 2 and not self._given:
                self._call()
            (bar,) = super().next_bars(after_ms)
            after_ms = bar.open_ms
            yield bar
        self._given += 3


def test_a_version_that_comes_between_bars_of_a_stream_reads_the_next(
    serve: Made, folders: Path, tmp_path: Path
) -> None:
    shutil.copytree(folders / "segments", tmp_path / "mine")

    def exchange() -> None:
        segmenter(seed=1).save(tmp_path / "mine")
        assert service.shelf.look() == ["mine"]

    _, service = serve(
        "mine", root=tmp_path, feed=lambda _: Exchanging(BARS, "1h", len(BARS) - 6, call=exchange)
    )  # fmt: skip
    stream, said = service.streams["mine"], list[str]()
    stream._tell = lambda text: said.append(text) if text else None  # type: ignore[method-assign,func-returns-value]
    stream._run()
    found = [json.loads(text) for text in said]
    versions = [one["version"] for one in found]
    assert stream.state == "ended" and len(found) == 7 and len(set(versions[:3])) == 1 == len(set(versions[3:]))
    for place, rows in ((folders / "segments", found[:3]), (tmp_path / "mine", found[3:])):
        want = pretrain.load(place).predict(BARS)  # type: ignore[arg-type]
        for one in rows:
            np.testing.assert_array_equal(np.float32(list(one["values"].values())), want.loc[one["time"]].to_numpy())


def test_bars_that_grow_are_streamed_once_closed(folders: Path, tmp_path: Path) -> None:
    layout = pretrain.load(folders / "segments").layout  # type: ignore[union-attr]
    file = tmp_path / "bars.parquet"
    BARS.iloc[:-3].to_parquet(file)
    now = int(BARS.index[-1].timestamp() * 1000) + 3_600_000 - 1  # the last bar has not ended

    def grow(_: float) -> None:
        BARS.to_parquet(file)

    feed = GrowingFeed(file, layout, now=lambda: now, sleep=grow)
    history = feed.history()
    assert history.index[-1] == BARS.index[-4]
    new = feed.next_bars(int(history.index[-1].timestamp() * 1000))
    assert [bar.open_ms for bar in new] == [int(at.timestamp() * 1000) for at in BARS.index[-3:-1]]
    feed.close()


def test_a_listener_that_reads_too_slowly_is_let_go(serve: Made) -> None:
    _, service = serve("segments")
    stream = Stream(service.shelf, "segments", lambda layout: None)  # type: ignore[arg-type,return-value]

    async def slow() -> list[str | None]:
        queue = stream.listen()
        for number in range(200):
            stream._tell(str(number))
        await asyncio.sleep(0.01)
        return [queue.get_nowait() for _ in range(queue.qsize())]

    said = asyncio.run(slow())
    assert len(said) <= 65 and None in said


def test_the_client_and_the_websocket(serve: Made, folders: Path, tmp_path: Path) -> None:
    from websockets.exceptions import ConnectionClosed, InvalidStatus
    from websockets.sync.client import connect

    file = tmp_path / "bars.parquet"
    BARS.iloc[:300].to_parquet(file)
    key = "k" * 20
    from agents.web.access import Keys

    guard, _ = serve("segments", "run", keys=Keys((key,)), feed=lambda layout: replay_feed(file, layout, None))
    with running_server(guard, Address(port=0)) as address:
        with agents.Client(address.url, key) as client:
            table = client.predict(BARS, last=3)
            want = pretrain.load(folders / "segments").predict(BARS).iloc[-3:]  # type: ignore[arg-type]
            pd.testing.assert_frame_equal(table, want, check_exact=True, check_freq=False)
            assert client.ready() and [one["name"] for one in client.models()] == ["segments", "run"]
            assert client.act(BARS, {"exposure": 1.0}, model="run")["target"] in (-1.0, 0.0, 1.0)
            with pytest.raises(ServiceError, match="expected the shape") as refused:
                client.predict_sequence([[1.0]])
            assert refused.value.status == 422 and refused.value.needs["sequence"]["1h"][0] == 8
        with pytest.raises(ServiceError, match="401"):
            agents.Client(address.url).models()
        place = address.url.replace("http", "ws") + "/stream"
        with pytest.raises(InvalidStatus, match="401"):
            connect(place)
        with connect(place, additional_headers={"X-API-Key": key}, compression=None) as socket:
            said = json.loads(socket.recv(timeout=20))
            assert said["model"] == "segments" and set(said["values"]) == set(want.columns)
            with pytest.raises(ConnectionClosed):
                while True:
                    socket.recv(timeout=20)
    with pytest.raises(ServiceError, match="cannot be reached"):
        agents.Client(address.url, key).models()


def test_names_and_what_cannot_be_served(
    serve: Made, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [name_of(one) for one in ("default", "runs/a b", "runs/x/artifact")] == ["default", "a-b", "x"]
    with pytest.raises(AccessError, match="no key"):
        serve("segments", address=Address("0.0.0.0"))
    with pytest.raises(ValueError, match="two artifacts"):
        serve("segments", "segments")
    monkeypatch.delenv("CRYPTOENV_SERVE_KEY", raising=False)
    served = str(folders / "segments")
    for arguments, said in (
        ([served, "--host", "0.0.0.0"], "there is no key"),
        ([str(tmp_path)], "no artifact"),
        ([served, "--exchange", "binance"], "go together"),
        ([served, "--replay", "no.csv"], "no such file"),
        ([served, "--batch", "5000"], "1 to 1024"),
    ):
        assert main(["serve", *arguments]) == 2
        told = capsys.readouterr().err
        assert said in told and told.count("\n") == 1


def test_a_process_drains_on_sigterm_and_drops_nothing(folders: Path, tmp_path: Path) -> None:
    """The one real process of this room: what was accepted under load is answered, then it ends with code 0, in the
    midst of a replay."""
    random_bars(5, 24 * 200).to_csv(tmp_path / "bars.csv")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from agents.command_line import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", str(folders / "segments"), "--port", "0", "--rate", "0",
         "--replay", str(tmp_path / "bars.csv")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    line = ""
    while "listening on" not in line:
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr else ""
    port = int(line.split("http://127.0.0.1:")[1].split()[0])
    body = json.dumps({"sequence": [[0.0]]}).encode()  # 422: answered all the same
    results: list[str] = []

    def asking() -> None:
        while True:
            connection, answered = http.client.HTTPConnection("127.0.0.1", port, timeout=20), 0
            try:
                connection.connect()
            except ConnectionRefusedError:
                return  # it no longer listens: nothing was sent
            try:
                while answered < 20:
                    connection.request("POST", "/predict", body)
                    reply = connection.getresponse()
                    reply.read()
                    results.append(str(reply.status))
                    answered += 1
                    if reply.headers.get("connection") == "close":
                        break
            except (OSError, http.client.HTTPException) as error:
                if answered == 0 and isinstance(error, ConnectionResetError):
                    return  # it was in the kernel's queue when listening ended, and never accepted
                results.append(f"dropped: {error!r}")
            finally:
                connection.close()

    threads = [threading.Thread(target=asking) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(results) < 30:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=60)
    for thread in threads:
        thread.join(timeout=20)
    assert process.returncode == 0, error
    assert set(results) == {"422"} and "all that was asked is answered" in out
