"""The page's server beside trading: what it keeps is bounded, who may ask, what halts, what Prometheus reads."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agents.command_line import main
from agents.live.dashboard.app import Hub, dashboard_app, place_of, told
from agents.live.dashboard.board import BARS, INBOX, LINES, NEWS_BYTES, Board, Line
from agents.live.dashboard.controls import Controls
from agents.live.dashboard.controls import told as line_of
from agents.live.dashboard.present import health, present
from agents.live.dashboard.serving import KEY_FILE, LIMITS, OPEN_PATHS, PageWish, page_keys
from agents.web.access import AccessError, Keys, host_names
from agents.web.guard import Guard, Rules
from agents.web.server import Address, listening_socket
from cryptoenv.live.journal import Journal
from tests.agents.live.replayed_session import Session, seen_event
from tests.asgi import Reply, ask

KEY = "a-key-of-this-test-0123456789"


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    made = Session(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session for tests that must change nothing, behind `guard`."""
    made = Session(tmp_path_factory.mktemp("untouched"))
    made.guard = guarded(made.controls)
    yield made
    made.close()


def guarded(controls: Controls) -> Guard:
    app = dashboard_app(controls, lambda: False)
    rules = Rules(Keys((KEY,)), replace(LIMITS, rate=0.0), host_names("127.0.0.1"), OPEN_PATHS)
    return Guard(app, rules, app.state.metrics)


def asked(guard: Guard, method: str, path: str, body: Any = b"", **headers: str) -> Reply:
    given = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return ask(guard, method, path, body=body, headers={name: value for name, value in given.items() if value})


# --- the board


def test_the_board_is_bounded_whatever_is_put_on_it() -> None:
    board = Board(60_000)
    for number in range(2_000):
        board.put("event", seen_event(number * 60_000, 100.0 + number, equity=math.nan if number == 1_999 else 1e4))
    board.take()
    long = "<b>" + "y" * 5_000
    for number in range(INBOX + 1_000):
        board.put("line", Line(number, "error", "x", long))
    board.take()
    whole = json.loads(board.whole())
    assert len(whole["bars"]) == BARS and whole["bars"][-1][0] == 1_999 * 60_000 and whole["bars"][-1][6] is None
    assert len(whole["lines"]) == LINES and all(len(line[3]) < 2_100 for line in whole["lines"])
    assert board.lost == 1_000
    for number in range(4):
        for _ in range(LINES):
            board.put("line", Line(number, "error", "x", long))
        board.take()
    assert NEWS_BYTES / 2 < sum(len(data) for _, data in board._news) <= NEWS_BYTES and len(board._inbox) == 0


def test_news_go_on_where_a_page_left_off_or_begin_anew() -> None:
    board = Board(60_000)
    board.put("event", seen_event(0, 1.0))
    board.take()
    boot, number = board.place
    for at in (1, 2, 3):
        board.put("event", seen_event(at * 60_000, 1.0 + at))
        board.take()
    news = board.news_after(boot, number)
    assert news is not None and [json.loads(data)["bars"][0][0] for _, data in news] == [60_000, 120_000, 180_000]
    assert board.news_after(*board.place) == []
    assert board.news_after("other", number) is None and board.news_after(boot, 99) is None
    board.put("event", seen_event(60_000, 5.0))  # a replay that begins again
    board.take()
    assert board.news_after(boot, number) is None
    assert [bar[0] for bar in json.loads(board.whole())["bars"]] == [0, 60_000]
    assert place_of("ab:12") == ("ab", 12)
    for wrong in ("", "ab", "ab:", "ab:-1", "ab:" + "9" * 50, "ab:x", "ab:٣"):
        assert place_of(wrong) == ("", 0)


def test_a_stream_tells_everything_then_what_is_new_and_ends_when_told(session: Session) -> None:
    async def listened() -> list[bytes]:
        hub, closing, heard = Hub(session.controls), [False], []
        hub.look()
        async for part in told(hub, "", 0, lambda: closing[0]):
            heard.append(part)
            if len(heard) == 3:
                session.board.put("line", Line(1, "info", "x", "new"))
                session.board.take()
                hub.wake()
            if len(heard) == 4:
                closing[0] = True
                hub.wake()
            asyncio.get_running_loop().call_later(0.001, hub.wake)
        assert hub.streams == 0
        return heard

    heard = asyncio.run(listened())
    kinds = [part.split(b"\n")[0] for part in heard]
    assert kinds == [b"retry: 1000", b"event: whole", b"event: beat", b"event: news"]
    assert b"\nid: " in heard[1] and b"\nid: " in heard[3] and b"\nid: " not in heard[2]


# --- who may ask


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/state", {}, 200),
        ("GET", "/state", {"Authorization": ""}, 401),
        ("GET", "/state", {"Authorization": "Bearer wrong"}, 401),
        ("GET", "/events", {"Authorization": ""}, 401),
        ("GET", "/metrics", {"Authorization": ""}, 401),
        ("GET", f"/state?key={KEY}", {"Authorization": ""}, 401),
        ("GET", "/state", {"Authorization": "", "Cookie": f"key={KEY}"}, 401),
        ("POST", "/halt", {"Authorization": ""}, 401),
        ("POST", "/halt", {"Authorization": f"Bearer {KEY}x"}, 401),
        ("POST", "/resume", {"Authorization": "Bearer wrong"}, 401),
        ("POST", "/halt", {"Origin": "http://evil.example"}, 403),
        ("POST", "/halt", {"Origin": "null"}, 403),
        ("POST", "/halt", {"Origin": "http://127.0.0.1:9999"}, 403),
        ("POST", "/halt", {"Host": "evil.example:8000", "Origin": "http://evil.example:8000"}, 421),
        ("GET", "/", {"Host": "evil.example"}, 421),
        ("POST", "/halt", {"Content-Type": "text/plain"}, 422),
        ("GET", "/halt", {}, 405),
        ("GET", "/", {"Authorization": ""}, 200),
        ("GET", "/page.js", {"Authorization": ""}, 200),
        ("GET", "/docs", {}, 404),
        ("GET", "/openapi.json", {}, 404),
    ],
)  # fmt: skip
def test_who_may_ask(untouched: Session, method: str, path: str, headers: dict[str, str], status: int) -> None:
    body = b'{"reason": "x"}' if method == "POST" else b""
    reply = asked(untouched.guard, method, path, body, **headers)
    assert reply.status == status, reply.body
    assert reply.headers["x-frame-options"] == "DENY" and "set-cookie" not in reply.headers
    assert not untouched.controls.account.switch.path.exists()


def test_the_journals_events_are_lines_for_people() -> None:
    detail = {"bar_ms": 1_610_910_000_000, "price": 104.71466128438769, "quantity": -2, "took_ms": 31, "why": "x"}
    assert line_of("fill", detail) == "fill bar=2021-01-17T19:00:00Z price=104.71466 quantity=-2 took_ms=31 why=x"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"reason": 3}', b'{"reason": "' + b"x" * 201 + b'"}', b"null"])
def test_a_wrong_body_halts_nothing(untouched: Session, body: bytes) -> None:
    assert asked(untouched.guard, "POST", "/halt", body).status == 422
    assert asked(untouched.guard, "POST", "/halt", b"x" * 20_000).status == 413
    assert untouched.controls.account.switch.reason is None


def test_the_page_holds_nothing_of_the_account_and_may_run_only_its_own(untouched: Session) -> None:
    reply = asked(untouched.guard, "GET", "/", Authorization="")
    policy = reply.headers["content-security-policy"]
    assert "script-src 'self';" in policy and "frame-ancestors 'none'" in policy
    page = reply.body.decode()
    assert KEY not in page and "<script>" not in page and " on" + "click=" not in page


# --- halt and resume


def test_a_halt_latches_and_a_resume_releases(session: Session, tmp_path: Path) -> None:
    guard, folder = guarded(session.controls), session.folder
    reply = asked(guard, "POST", "/halt", {"reason": "looks\nodd"})
    assert reply.status == 200 and reply.json()["failed"] == []
    assert (folder / "HALT").read_text("utf-8") == "from the page: looks odd\n"
    assert present(session.controls)["state"] == "halted"
    session.env.executor.journal.latch("drawdown", "equity fell")
    session.board.put("event", seen_event(0, 100.0))
    state = json.loads(asked(guard, "GET", "/state").body)["now"]
    assert state["state"] == "halted" and any(row[0] == "Breakers" and row[1] == "bad" for row in state["health"])
    reply = asked(guard, "POST", "/resume", {})
    assert reply.json() == {"released": {"drawdown": "equity fell"}}
    assert not (folder / "HALT").exists() and session.env.executor.journal.latched() == {}
    assert [event for _, event, _ in session.env.executor.journal.events()] == ["halt", "latch", "resume", "release"]
    assert session.controls.account.switch.reason is None


def test_a_halt_that_cannot_be_written_down_says_so_and_halts(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cryptoenv.live.kill_switch.write_file", full)
    reply = asked(guarded(session.controls), "POST", "/halt", {})
    assert reply.status == 500 and "not beyond: No space left" in reply.json()["detail"]
    assert session.controls.account.switch.reason == "from the page"


# --- metrics, drift, health


def test_what_prometheus_reads_is_what_the_loop_has(session: Session) -> None:
    drift = {
        "15m rsi": {"state": "unknown", "words": "too few rows"},
        "calibration": {"state": "ok", "words": "error", "statistic": 0.031},
        "close returns": {"state": "alarm", "words": "PSI", "statistic": 0.412, "threshold": 0.2},
    }
    session.controls.account = session.with_drift(drift)
    traded, guard = session.run(40), guarded(session.controls)
    assert asked(guard, "GET", "/state").status == 200
    text = asked(guard, "GET", "/metrics").body
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }
    name = "cryptoenv_trade"
    assert found[f"{name}_equity",] == traded.last_equity and found[f"{name}_bars_total",] == 40.0
    assert found[f"{name}_orders_total",] == traded.orders > 2
    assert found[f"{name}_drift", "close returns"] == 2.0 and found[f"{name}_drift", "calibration"] == 0.0
    assert math.isnan(found[f"{name}_drift", "15m rsi"])
    assert present(session.controls)["drift"] == [
        ["close returns", "bad", "PSI: 0.412, alarm beyond 0.2"], ["calibration", "ok", "error: 0.031"],
        ["15m rsi", "off", "too few rows"],
    ]  # fmt: skip
    live, modelled = (found[f"{name}_slippage_basis_points", kind] for kind in ("live", "modelled"))
    assert live == modelled > 0.0
    assert found[f"{name}_journal_orders", "filled"] == traded.orders
    assert found["cryptoenv_dashboard_requests_total", "/state", "200"] >= 0.0


def test_a_dead_feed_and_a_wrong_clock_are_said(session: Session) -> None:
    board, controls = session.board, session.live_controls()
    now = 1_800_000_000_000
    seen = seen_event(now - 120_000, 100.0, at_ms=now - 60_000)._replace(skew_ms=7_000)
    board.put("event", seen)
    board.take()
    assert health(controls, now - 50_000)["Feed"].state == "ok"
    assert health(controls, now + 20_000)["Feed"].state == "watch"
    late = health(controls, now + 3_600_000)
    assert late["Feed"].state == "bad" and "60 min late" in late["Feed"].words
    assert late["Clock"].state == "bad" and "+7.00 s" in late["Clock"].words
    board.put("event", seen._replace(event=seen_event(0, 1.0, what="outage", words="the exchange is down").event))
    board.take()
    assert health(controls, now)["Feed"].words.startswith("the exchange is down")


def test_a_drift_monitor_that_fails_does_not_stop_the_page(session: Session) -> None:
    def fails() -> dict[str, dict[str, Any]]:
        raise RuntimeError("no reference")

    session.controls.account = session.with_drift(fails)
    session.controls.read()
    assert present(session.controls)["drift"] == [["monitor", "bad", "it failed: RuntimeError: no reference"]]


# --- the key, the command


def test_the_key_is_made_once_and_nobody_else_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRYPTOENV_DASHBOARD_KEY", raising=False)
    keys = page_keys(PageWish(), tmp_path)
    assert page_keys(PageWish(), tmp_path) == keys and len(keys.texts[0]) >= 32
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    (tmp_path / KEY_FILE).chmod(0o644)
    with pytest.raises(PermissionError, match="chmod 600"):
        page_keys(PageWish(), tmp_path)
    with pytest.raises(AccessError, match="CRYPTOENV_DASHBOARD_KEY"):
        page_keys(PageWish(host="0.0.0.0"), tmp_path)
    monkeypatch.setenv("CRYPTOENV_DASHBOARD_KEY", "short")
    with pytest.raises(AccessError, match="at least 16"):
        page_keys(PageWish(host="0.0.0.0"), tmp_path)
    monkeypatch.setenv("CRYPTOENV_DASHBOARD_KEY", KEY)
    assert page_keys(PageWish(host="0.0.0.0"), tmp_path).texts == (KEY,)


def test_the_command_serves_the_page_and_ends_with_trading(
    session: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(session.folder.parent)
    monkeypatch.delenv("CRYPTOENV_DASHBOARD_KEY", raising=False)
    session.write_files()
    trade = ["trade", "--signals", "signals.csv", "--paper", "--replay", "bars.csv", "--timeframe", "1h"]
    assert main([*trade, "--state", "a", "--dashboard-host", "0.0.0.0", "--dashboard", "0"]) == 2
    said = capsys.readouterr().err
    assert "CRYPTOENV_DASHBOARD_KEY" in said and len(said.strip().splitlines()) == 1 and not Path("a").exists()
    with listening_socket(Address(port=0)) as taken:
        port = str(taken.getsockname()[1])
        taken.listen()
        assert main([*trade, "--state", "a", "--dashboard", port]) == 2
    assert f"{port} cannot be listened on" in capsys.readouterr().err and not Path("a").exists()
    assert main([*trade, "--state", "a", "--times", "20", "--dashboard", "0"]) == 0
    out = capsys.readouterr().out
    key = Path("a", KEY_FILE).read_text("ascii").strip()
    assert f"/#key={key}" in out and "dashboard: http://127.0.0.1:" in out and "20 bars" in out
    journal = Journal(Path("a"))
    assert len(journal.equities()) == 21
    journal.close()
