"""What stands in front of a service: who may ask, how much, and what is answered to the rest."""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents.web.access import AccessError, Keys, host_names, is_loopback, require_safe_bind, service_keys
from agents.web.guard import Guard, Rules, without_port
from agents.web.limits import Limits, RateLimit
from agents.web.metrics import Metrics
from agents.web.server import HEADER_SECONDS, Address, ServerError, _server, listening_socket, running_server
from tests.asgi import ask, asked

KEY, OTHER_KEY = "k" * 16 + "1", "k" * 16 + "2"
BEARER = {"Authorization": f"Bearer {KEY}"}


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with the body's length; lifespan is taken part in."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    size = len((await receive())["body"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


def guarded(app: Any = echo, metrics: Metrics | None = None, **rules: Any) -> Guard:
    limits = Limits(**rules.pop("limits", {}))
    return Guard(app, Rules(limits=limits, **rules), metrics)


def test_a_key_in_either_header_opens_and_nothing_else_does() -> None:
    guard = guarded(keys=Keys((KEY, OTHER_KEY)))
    for headers in (BEARER, {"X-API-Key": OTHER_KEY}, {"Authorization": f"bearer {OTHER_KEY}"}):
        assert ask(guard, "POST", "/x", body=b"abc", headers=headers).body == b"3"
    for headers in ({}, {"X-API-Key": KEY[:-1]}, {"Authorization": KEY}, {"Authorization": "Bearer "},
                    {"X-API-Key": ""}, {"Cookie": f"key={KEY}"}, {"X-API-Key": "\xff" * 20}):  # fmt: skip
        refused = ask(guard, "POST", f"/x?key={KEY}", body=b"abc", headers=headers)
        assert (refused.status, refused.headers["connection"]) == (401, "close")
        assert refused.headers["www-authenticate"] == "Bearer" and KEY not in refused.body.decode()
    twice = ask(guard, "GET", "/x", headers=[("X-API-Key", "wrong"), ("X-API-Key", KEY)])
    assert twice.status == 400


def test_a_stranger_has_no_byte_read_of_what_is_sent() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 65_536

    refused = ask(guarded(keys=Keys((KEY,))), "POST", "/x", body=endless())
    assert (refused.status, refused.read) == (401, 0)


def test_a_body_is_counted_as_it_comes_whatever_its_header_says() -> None:
    guard = guarded(limits={"body": 100_000})
    assert ask(guard, "POST", "/x", body=iter([b"x" * 50_000] * 2)).body == b"100000"
    sent = ask(guard, "POST", "/x", body=(b"x" * 50_000 for _ in range(1_000)))
    assert (sent.status, sent.read) == (413, 150_000)
    said = ask(guard, "POST", "/x", body=b"x", headers={"Content-Length": "100001"})
    assert (said.status, said.read, said.headers["connection"]) == (413, 0, "close")
    assert ask(guard, "POST", "/x", body=b"x", headers={"Content-Length": "9" * 5_000}).status == 413
    both = ask(guard, "POST", "/x", body=b"x", headers={"Content-Length": "1", "Transfer-Encoding": "chunked"})
    assert (both.status, both.read) == (400, 0)


def test_what_is_open_to_strangers_takes_no_body() -> None:
    guard = guarded(keys=Keys((KEY,)))
    assert ask(guard, "GET", "/health").status == 200
    sent = ask(guard, "POST", "/health", body=(b"x" * 50_000 for _ in range(1_000)))
    assert (sent.status, sent.read) == (413, 50_000)


def test_pages_of_others_and_names_that_are_not_ours_are_refused() -> None:
    guard = guarded(hosts=host_names("127.0.0.1"))
    assert ask(guard, "GET", "/x", headers={"Host": "localhost:8000"}).status == 200
    assert ask(guard, "GET", "/x", headers={"Host": "[::1]:8000"}).status == 200
    for host in ("evil.example", "localhost.evil.example", "", "127.0.0.1@evil"):
        assert ask(guard, "GET", "/x", headers={"Host": host}).status == 421
    same = {"Host": "localhost:8000", "Origin": "http://localhost:8000"}
    assert ask(guard, "GET", "/x", headers=same).status == 200
    for origin in ("http://evil.example", "null", "http://localhost:9000", "http://localhost:8000.evil.example"):
        assert ask(guard, "POST", "/x", headers={**same, "Origin": origin}).status == 403
    assert host_names("0.0.0.0") is None and "app.example" in (host_names("0.0.0.0", ["app.example"]) or ())
    assert [without_port(name) for name in ("a:1", "a", "[::1]:1", "[::1]")] == ["a", "a", "[::1]", "[::1]"]


def test_each_key_has_a_rate_of_its_own() -> None:
    now = 0.0
    rate = RateLimit(Limits(rate=2.0, burst=3), lambda: now)
    assert [rate.wait(1) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert rate.wait(2) == 0.0
    now = 0.5
    assert [rate.wait(1) for _ in range(2)] == [0.0, 0.5]
    now = 1_000.0
    assert [rate.wait(1) > 0.0 for _ in range(4)] == [False, False, False, True]
    guard = guarded(keys=Keys((KEY, OTHER_KEY)), limits={"rate": 0.01, "burst": 1})
    assert ask(guard, "GET", "/x", headers=BEARER).status == 200
    limited = ask(guard, "GET", "/x", headers=BEARER)
    assert limited.status == 429 and 90 < int(limited.headers["retry-after"]) <= 100
    assert ask(guard, "GET", "/x", headers={"X-API-Key": OTHER_KEY}).status == 200
    assert ask(guard, "GET", "/health").status == 200


def test_more_at_work_than_allowed_are_sent_away_and_what_takes_too_long_is_ended() -> None:
    ended = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(0.0 if scope["path"] == "/health" else 60.0)
            await echo(scope, receive, send)
        finally:
            ended.append(scope["path"])

    guard = guarded(slow, limits={"inside": 2, "seconds": 0.05})

    async def at_once() -> list[int]:
        calls = [asked(guard, "GET", path) for path in ("/a", "/b", "/c", "/health")]
        return [reply.status for reply in await asyncio.gather(*calls)]

    assert asyncio.run(at_once()) == [504, 504, 503, 200]
    assert sorted(ended) == ["/a", "/b", "/health"]
    assert asyncio.run(at_once()) == [504, 504, 503, 200]  # those before are no longer counted


def test_an_answer_that_has_begun_may_last() -> None:
    async def streaming(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.05)
        await send({"type": "http.response.body", "body": b"late"})

    assert ask(guarded(streaming, limits={"seconds": 0.02}), "GET", "/x").body == b"late"


def test_what_goes_wrong_inside_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("/secret/path")

    with caplog.at_level(logging.ERROR):
        reply = ask(guarded(broken), "GET", "/x")
    assert reply.status == 500 and b"secret" not in reply.body and b"Trace" not in reply.body
    assert "/secret/path" in caplog.text


def test_every_answer_has_the_headers_and_is_counted() -> None:
    metrics = Metrics("planted")
    guard = guarded(metrics=metrics, keys=Keys((KEY,)))
    for headers in (BEARER, {}):
        got = ask(guard, "GET", "/x", headers=headers).headers
        assert (got["x-content-type-options"], got["x-frame-options"], got["cache-control"]) == (
            "nosniff", "DENY", "no-store",
        )  # fmt: skip
        assert "default-src 'none'" in got["content-security-policy"]
    text = metrics.text().decode()
    assert 'planted_requests_total{route="other",status="200"} 1.0' in text
    assert 'planted_requests_total{route="other",status="401"} 1.0' in text and KEY not in text
    guard.draining = True
    assert ask(guard, "GET", "/x", headers=BEARER).headers["connection"] == "close"


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.1.5", False), ("example.org", False), ("", False), ("127.0.0.1.evil.example", False)],
)  # fmt: skip
def test_beyond_this_machine_there_must_be_a_key(host: str, own: bool) -> None:
    assert is_loopback(host) is own
    require_safe_bind(host, Keys((KEY,)))
    if own:
        require_safe_bind(host, Keys())
    else:
        with pytest.raises(AccessError, match="CRYPTOENV_SERVE_KEY"):
            require_safe_bind(host, Keys())


def test_keys_come_from_the_environment_or_a_file_of_their_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CRYPTOENV_SERVE_KEY", raising=False)
    assert not service_keys(None)
    monkeypatch.setenv("CRYPTOENV_SERVE_KEY", KEY)
    assert service_keys(None).texts == (KEY,) and KEY not in repr(Rules(keys=service_keys(None)))
    file = tmp_path / "keys"
    file.write_text(f"# of the bot\n{KEY}\n\n{OTHER_KEY}\n", "utf-8")
    os.chmod(file, 0o640)
    with pytest.raises(PermissionError, match="chmod 600"):
        service_keys(file)
    os.chmod(file, 0o600)
    assert service_keys(file).texts == (KEY, OTHER_KEY)
    for text, said in (("# none\n", "holds no key"), ("short\n", "at least 16"), (f"{KEY}\n{KEY}\n", "twice")):
        file.write_text(text, "utf-8")
        with pytest.raises(AccessError, match=said):
            service_keys(file)


def test_a_server_runs_in_a_thread_and_ends() -> None:
    with running_server(guarded(), Address(port=0)) as address:
        connection = http.client.HTTPConnection(address.host, address.port, timeout=5)
        connection.request("POST", "/x", body=b"abc")
        reply = connection.getresponse()
        assert (reply.read(), reply.headers["server"]) == (b"3", None)
        with pytest.raises(ServerError, match="in use"):
            listening_socket(address)
    with pytest.raises(OSError):
        http.client.HTTPConnection(address.host, address.port, timeout=1).connect()


def test_only_connections_that_ask_nothing_are_idle() -> None:
    """One that asks a little between two looks is not, though it rests at every look."""
    closed: list[str] = []

    class Connection:
        def __init__(self, name: str, cycle: Any) -> None:
            self.cycle, self.transport = cycle, SimpleNamespace(close=lambda: closed.append(name))

    answered = SimpleNamespace(response_complete=True)
    asking, resting = Connection("asking", answered), Connection("resting", answered)
    silent = Connection("silent", None)
    working = Connection("working", SimpleNamespace(response_complete=False))
    server = _server(Guard(echo, Rules()), 0.0, 5.0)
    server.server_state.connections = {asking, resting, silent, working}  # type: ignore[arg-type]
    for second in range(int(HEADER_SECONDS) + 2):
        asking.cycle = SimpleNamespace(response_complete=True)
        assert closed == []
        server._close_idle(float(second))
    assert sorted(closed) == ["resting", "silent"]
