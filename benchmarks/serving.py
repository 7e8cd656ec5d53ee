"""`python -m benchmarks.serving`: the service beside a plain FastAPI handler and LitServe; health, memory, draining.

Verified first: every server says the same of the same window, to 1e-6 (of values above 1: of the value). Then each is
asked over 1, 16 and 100 connections in one run. LitServe needs an environment of its own (`--litserve PYTHON`). In
parts that are kept (`--part`): rivals, health, body, drain, soak.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pretrain
from agents.live.serving.answers import MONDAY_MS
from agents.live.serving.bodies import PredictBars, read_predict
from agents.live.serving.loading import loaded
from benchmarks.support.http_load import load, once, request_bytes
from benchmarks.support.machine import ROOT, header
from benchmarks.support.results import write_result
from cryptoenv.bars.timeframe import timeframe_ms
from pretrain.extractor.artifact import SHIPPED
from pretrain.fitting.predicting import on_one_thread
from synthetic import regime_market

OUT = Path("runs/serving.json")
CONNECTIONS = (1, 16, 100)
KEY = "a-key-of-the-benchmark"
LITSERVE = {"litserve": ["0.02"], "litserve, no wait": ["0"]}  #: seconds that a request waits for others
LARGE = 100_000_000
SERVE = "import sys; from agents.command_line import main; sys.exit(main())"


def window_body(model: Any) -> bytes:
    """A window of scaled features by timeframe, four digits each."""
    rng = np.random.default_rng(0)
    shapes = zip(model.layout.timeframes, model.layout.window, model.layout.feature_names, strict=True)
    tables = {name: np.round(rng.normal(size=(bars, len(names))), 4).tolist() for name, bars, names in shapes}
    return json.dumps({"sequence": tables}).encode()


def bars_body(model: Any) -> bytes:
    """Bars of a random walk, as many as a decision needs and 60 more."""
    bars = int(model.layout.decidable_ms(0) // timeframe_ms(model.layout.timeframes[0])) + 60
    rng, step = np.random.default_rng(0), timeframe_ms(model.layout.timeframes[0])
    close = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.005, bars))), 4)
    opens = np.concatenate([[100.0], close[:-1]])
    high, low = np.round(np.maximum(opens, close) * 1.001, 4), np.round(np.minimum(opens, close) * 0.999, 4)
    columns = [MONDAY_MS + step * np.arange(bars), opens, high, low, close, np.full(bars, 10.0)]
    return json.dumps({"bars": np.column_stack(columns).tolist()}).encode()


def small_gpt(folder: Path) -> Path:
    """A GPT forecaster of hourly bars, 60 of them in its window; untrained, for weights cost no time."""
    from cryptoenv.market.market import Market
    from pretrain.data.scaler import RobustScaler
    from pretrain.fitting.provenance import Provenance
    from pretrain.forecaster.artifact import Forecaster
    from pretrain.forecaster.config import ForecasterConfig
    from pretrain.forecaster.model import ForecasterModel

    market = Market.from_bars(regime_market("standard", days=2, seed=0).bars, ("1h",))
    config = ForecasterConfig(
        timeframes=("1h",), window=(60,), width=32, layers=2, heads=2, feedforward=64, horizons=(1, 4, 8), steps=8
    ).for_market(market)
    torch.manual_seed(0)
    scaler = RobustScaler.fit(market.timeframes, market.feature_names, [market.features[0][300:]])
    model = ForecasterModel(config, scaler)
    return Forecaster(model, scaler, Provenance("none", ""), market.feature_spec).save(folder)


def values_of(content: bytes) -> dict[str, float]:
    """The values of an answer to a window, or of the last row of one to bars."""
    told = json.loads(content)
    found: dict[str, float] = told["values"] if "values" in told else told["rows"][-1]["values"]
    return found


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def server(words: list[str], port: int, python: str = sys.executable, **environment: str) -> Iterator[Any]:
    """A server's process, once it listens; ended with the block."""
    given = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path_of_libraries(python), **environment}
    process = subprocess.Popen([python, *words], cwd=ROOT, env=given, start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # fmt: skip
    try:
        wait_for(port, process)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        with suppress(ProcessLookupError):  # workers that outlive their server are of its session, too
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def path_of_libraries(python: str) -> str:
    """This checkout, and for another Python the libraries of this one behind its own."""
    places = [str(ROOT)] + ([] if python == sys.executable else [path for path in sys.path if "site-packages" in path])
    return os.pathsep.join(places)


def wait_for(port: int, process: Any, seconds: float = 90.0) -> None:
    """Wait until a server listens and answers.

    Raises:
        RuntimeError: it ended, or never answered.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            asyncio.run(once(port, request_bytes("GET", "/health")))
            return
        except (OSError, asyncio.IncompleteReadError):
            time.sleep(0.2)
    raise RuntimeError(f"a server does not answer: {process.stderr.read().decode()[-2000:]}")


def ours(place: Path, port: int, *options: str) -> list[str]:
    """Words that start the service."""
    return ["-c", SERVE, "serve", str(place), "--port", str(port), "--rate", "0", "--inside", "512", *options]


def model_time(model: Any, body: bytes) -> dict[str, float]:
    """Milliseconds of one reading, of 1 and of 32 windows: the least of several."""
    tables = json.loads(body)["sequence"]
    found = {}
    for count in (1, 32):
        parts = [torch.tensor([tables[name]] * count, dtype=torch.float32) for name in model.layout.timeframes]
        sigma, closes = np.ones(count), np.zeros(count, np.int64)
        with on_one_thread(), torch.inference_mode():
            found[f"{count}_ms"] = least_ms(lambda given=(parts, sigma, closes): model.read_scaled(*given))  # type: ignore[misc]
    return found


def bars_time(place: Path, body: bytes) -> dict[str, float]:
    """Milliseconds of features from bars, and of one reading of 1 and of 32 decisions: the least of several."""
    answering = loaded(place)
    asked = read_predict(body)
    assert isinstance(asked, PredictBars)
    item = answering.prepared(asked)
    found = {"features_ms": least_ms(lambda: answering.prepared(asked))}
    for count in (1, 32):
        found[f"{count}_ms"] = least_ms(lambda many=[item] * count: answering.read(many))  # type: ignore[misc]
    return found


def least_ms(work: Callable[[], Any], times: int = 10) -> float:
    """The least of several, milliseconds."""
    least = np.inf
    for _ in range(times):
        began = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - began)
    return round(float(least) * 1e3, 3)


def rivals(place: Path, kind: str, litserve: str | None, seconds: float) -> dict[str, Any]:
    """Throughput and latency of every server, over each number of connections, asked with windows or with bars."""
    model: Any = pretrain.load(place)
    body = window_body(model) if kind == "windows" else bars_body(model)
    request = request_bytes("POST", "/predict", body)
    alone = model_time(model, body) if kind == "windows" else bars_time(place, body)
    found: dict[str, Any] = {"model": type(model).__name__, "body_bytes": len(body), "model_alone": alone}
    rival = ["-m", "benchmarks.support.served_rivals"]
    kinds: dict[str, tuple[list[str], str]] = {
        "ours": (["", ""], sys.executable),
        "ours, each alone": (["--batch", "1"], sys.executable),
        "fastapi": (rival, sys.executable),
    }
    if litserve is not None:
        kinds |= {name: (["-m", "benchmarks.support.served_by_litserve"], litserve) for name in LITSERVE}
    said: dict[str, dict[str, float]] = {}
    for name, (words, python) in kinds.items():
        port = free_port()
        options = [word for word in words if word]
        start = [*options, str(place), str(port), *LITSERVE.get(name, [])]
        start = ours(place, port, *options) if name.startswith("ours") else start
        with server(start, port, python):
            status, content = asyncio.run(once(port, request))
            if status != 200:
                raise RuntimeError(f"{name} answers {status}: {content[:300]!r}")
            said[name] = values_of(content)
            asyncio.run(load(port, request, 16, 0.5))  # warm
            found[name] = {
                str(count): asyncio.run(load(port, request, count, seconds)).figures() for count in CONNECTIONS
            }
        print(name, json.dumps(found[name]), flush=True)
    for name, values in said.items():
        worst = max(abs(values[one] - known) / max(1.0, abs(known)) for one, known in said["ours"].items())
        if worst > 1e-6:
            raise RuntimeError(f"{name} says something else: {worst}")
    found["ratios"] = ratios(found)
    return found


def ratios(found: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Our throughput over that of each other server."""
    others = [name for name in ("ours, each alone", "fastapi", *LITSERVE) if name in found]
    return {
        name: {
            count: round(found["ours"][count]["per_second"] / found[name][count]["per_second"], 2)
            for count in map(str, CONNECTIONS)
        }
        for name in others
    }


def health(place: Path, seconds: float) -> dict[str, Any]:
    """Latency of /health while 100 connections ask for predictions."""
    request = request_bytes("POST", "/predict", window_body(pretrain.load(place)))
    port = free_port()

    async def both() -> tuple[Any, Any]:
        await load(port, request, 16, 0.5)  # warm
        alive = load(port, request_bytes("GET", "/health"), 1, seconds, pause=0.01)
        return await asyncio.gather(load(port, request, 100, seconds), alive)

    with server(ours(place, port), port):
        predictions, alive = asyncio.run(both())
    return {"predictions": predictions.figures(), "health": alive.figures()}


def memory_kb(pid: int, name: str = "VmHWM") -> int:
    """Memory of a process, kB: its peak, or what it has now ("VmRSS")."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


async def push(port: int, head: bytes, size: int) -> tuple[int, int]:
    """Bytes that a server took of a stranger's body, and the status that it answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    sent, part = 0, b"x" * 65_536
    try:
        while sent < size:
            writer.write(b"%x\r\n%s\r\n" % (len(part), part) if b"chunked" in head else part)
            await asyncio.wait_for(writer.drain(), 5.0)
            sent += len(part)
    except (OSError, TimeoutError):
        pass
    try:
        status = int((await asyncio.wait_for(reader.readuntil(b"\r\n"), 5.0)).split()[1])
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        status = 0  # the answer was lost with the connection
    writer.close()
    return sent, status


def stranger(place: Path) -> dict[str, Any]:
    """Growth of memory by bodies of 100 MB: without a key, and with one beyond the limit; said, and in pieces."""
    port, found = free_port(), {}
    with server(ours(place, port), port, CRYPTOENV_SERVE_KEY=KEY) as process:
        for name, key in (("without a key", ""), ("with a key", f"X-API-Key: {KEY}\r\n")):
            for kind, length in (("said", f"Content-Length: {LARGE}"), ("in pieces", "Transfer-Encoding: chunked")):
                head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n{key}{length}\r\n\r\n".encode()
                before = memory_kb(process.pid)
                sent, status = asyncio.run(push(port, head, LARGE))
                grown = (memory_kb(process.pid) - before) / 1024
                told = {"grown_mb": round(grown, 1), "taken_mb": round(sent / 1e6, 1), "status": status}
                found[f"{name}, {kind}"] = told
    return found


def drain(place: Path, connections: int) -> dict[str, Any]:
    """SIGTERM while so many connections ask: what was sent and had no answer, and the exit code."""
    request = request_bytes("POST", "/predict", window_body(pretrain.load(place)))
    port = free_port()
    with server(ours(place, port), port) as process:

        async def loaded() -> Any:
            running = asyncio.create_task(load(port, request, connections, 30.0))
            await asyncio.sleep(2.0)
            process.send_signal(signal.SIGTERM)
            return await running

        answers = asyncio.run(loaded())
        code = process.wait(timeout=60)
    return {**answers.figures(), "exit_code": code, "connections": connections}


def soak(place: Path, seconds: float, rate: float) -> dict[str, Any]:
    """Memory of the service while it is asked, four times a minute.

    Args:
        place: of the artifact.
        seconds: in all.
        rate: requests a second, half of them windows and half bars, over 8 connections.
    """
    model = pretrain.load(place)
    requests = [request_bytes("POST", "/predict", body) for body in (window_body(model), bars_body(model))]
    port, memory = free_port(), []
    watched = [request_bytes("GET", path) for path in ("/health", "/metrics", "/models")]

    with server(ours(place, port), port) as process:
        used = processor_seconds(process.pid)

        async def asked() -> Any:
            running = asyncio.gather(*(load(port, one, 4, seconds, pause=8.0 / rate) for one in requests))
            while not running.done():
                memory.append(round(memory_kb(process.pid, "VmRSS") / 1024, 1))
                for one in watched:  # over connections of their own
                    await once(port, one)
                await asyncio.sleep(15.0)
            return await running

        windows, bars = asyncio.run(asked())
        used = processor_seconds(process.pid) - used
    warm = memory[len(memory) // 4 :]
    grown = round(float(np.mean(warm[-len(warm) // 6 :]) - np.mean(warm[: len(warm) // 6 + 1])), 1)
    return {
        "seconds": seconds, "windows": windows.figures(), "bars": bars.figures(), "cores": round(used / seconds, 3),
        "grown_mb_after_a_quarter": grown, "memory_mb": memory,
    }  # fmt: skip


def processor_seconds(pid: int) -> float:
    """Processor time of a process."""
    told = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path, default=SHIPPED / "default")
    parser.add_argument("--part", choices=("rivals", "health", "body", "drain", "soak"), action="append")
    parser.add_argument("--gpt", action="store_true", help="instead of the artifact: a small GPT, made here")
    parser.add_argument("--ask", choices=("windows", "bars"), default="windows", help="what the rivals are asked with")
    parser.add_argument("--litserve", help="a Python that has LitServe; without it, it is left out")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--soak", type=float, default=300.0, help="seconds of the soak; an hour is 3600")
    parser.add_argument("--rate", type=float, default=30.0, help="requests a second of the soak")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    kept: dict[str, Any] = json.loads(given.out.read_text("utf-8")) if given.out.is_file() else {}
    results = kept.get("results", {})
    with tempfile.TemporaryDirectory() as folder:
        place = small_gpt(Path(folder) / "gpt") if given.gpt else given.artifact
        measure(given, place, results)


def measure(given: argparse.Namespace, place: Path, results: dict[str, Any]) -> None:
    """Measure the parts that were asked for, and keep each."""
    for part in given.part or ("rivals", "health", "body", "drain"):
        if part == "rivals":
            results[f"rivals, {place.name}, {given.ask}"] = rivals(place, given.ask, given.litserve, given.seconds)
        elif part == "health":
            results["health"] = health(place, given.seconds)
        elif part == "body":
            results["body"] = stranger(place)
        elif part == "drain":
            results["drain"] = [drain(place, count) for count in (16, 100)]
        else:
            results["soak"] = soak(place, given.soak, given.rate)
        write_result(given.out, {**header(), "results": results})
        print(part, json.dumps(results, indent=1)[-3000:], flush=True)


if __name__ == "__main__":
    main()
