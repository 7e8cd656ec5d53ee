"""The page in a headless Chromium, on a trading session over a replay: live, halted, resumed, cut off, attacked."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agents.live.dashboard.board import LINES, Line
from agents.live.dashboard.controls import Controls
from agents.live.dashboard.serving import PageWish, served
from agents.live.dashboard.watcher import log_on
from agents.web.access import Keys
from tests.agents.live.replayed_session import Session, seen_event

KEY = "a-key-of-this-test-0123456789"
WIDER = "() => document.documentElement.scrollWidth - window.innerWidth"
REFUSED = "net::ERR_"  #: what Chromium itself says while a server is away
HOSTILE = """<img src=x onerror="window.planted=1"><script>window.planted=2</script>"""


class Served:
    """A session, its server and a page that shows it.

    Args:
        browser: of Playwright.
        folder: of the session.
        bars: of the session.
    """

    def __init__(self, browser: Any, folder: Path, **bars: Any) -> None:
        self.session = Session(folder, **bars)
        self._server = ExitStack()
        self.port = self.bars = 0
        self.begin()
        self.session.start()
        self.said: list[str] = []
        self.page = self.opened(browser)

    def begin(self, controls: Controls | None = None) -> None:
        """Begin to serve, on the port of before."""
        controls = controls or self.session.controls
        self.port = self._server.enter_context(served(controls, PageWish(self.port), Keys((KEY,)))).port

    def end(self) -> None:
        """End the server."""
        self._server.close()

    def opened(self, browser: Any, key: str = KEY, **context: Any) -> Any:
        """A page of its own context."""
        page = browser.new_context(**({"viewport": {"width": 1440, "height": 900}} | context)).new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.goto(f"http://127.0.0.1:{self.port}/#key={key}")
        return page

    def trade(self, bars: int) -> None:
        """Let bars through and wait until the page shows the last."""
        self.let(bars)
        told = f"window.live.known.beat && window.live.known.beat.figures.bars === {self.bars}"
        self.page.wait_for_function(f"() => {told}")

    def let(self, bars: int) -> None:
        """Let bars through."""
        self.bars += bars
        self.session.let(bars)

    def close(self) -> None:
        """End everything."""
        self.page.context.close()
        self.end()
        self.session.close()


@pytest.fixture(scope="module")
def shown(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A session and its page."""
    made = Served(browser, tmp_path_factory.mktemp("session"))
    yield made
    made.close()


def test_it_shows_what_the_loop_did_without_a_reload(shown: Served) -> None:
    page, session = shown.page, shown.session
    shown.trade(40)
    page.wait_for_selector("html[data-drawn]", state="attached")
    book = session.seen[-1].book
    assert f"{book.equity:,.2f}" in page.inner_text("#figures") and page.inner_text("#state") == "trading"
    fills = [fill for event in session.seen for fill in event.fills]
    assert page.evaluate("() => window.live.known.fills.map(fill => fill[1])") == [fill.price for fill in fills]
    assert page.locator("#orders tr").count() == session.loop.traded.orders >= len(fills) > 3
    assert page.evaluate("() => location.hash") == "" and KEY not in page.content()
    page.wait_for_function("() => document.querySelector('#price').data[2].x.length > 0")
    assert page.evaluate("() => document.querySelector('#price').data[0].x.length") == 160 + 40
    assert shown.said == []


def test_halt_and_resume_are_confirmed_and_hold(shown: Served) -> None:
    page, session = shown.page, shown.session
    page.click("#halt")
    page.click("#ask-no")
    assert session.env.executor.switch.reason is None  # asked, and not meant
    page.click("#halt")
    page.fill("#ask-reason", HOSTILE)
    page.click("#ask-yes")
    page.wait_for_function("() => document.querySelector('#state').textContent === 'halted'")
    assert (session.folder / "HALT").read_text("utf-8").startswith("from the page: <img")
    page.wait_for_selector("#ask", state="hidden")
    assert HOSTILE in page.inner_text("#notice")
    orders = session.loop.traded.orders
    shown.trade(30)
    assert session.loop.traded.orders == orders and "no order: halted by" in page.inner_text("#health")
    assert page.is_disabled("#halt") and page.is_enabled("#resume")
    page.click("#resume")
    page.click("#ask-yes")
    page.wait_for_selector("#ask", state="hidden")
    page.wait_for_function("() => document.querySelector('#state').textContent === 'trading'")
    assert not (session.folder / "HALT").exists()
    shown.trade(30)
    assert session.loop.traded.orders > orders
    assert page.evaluate("() => window.planted") is None and shown.said == []


def test_ten_thousand_lines_of_html_stay_text_and_few(shown: Served) -> None:
    page = shown.page
    with log_on(shown.session.board, lambda text: text):
        for number in range(10_000):
            logging.getLogger("agents.live").error("%d %s", number, HOSTILE)
    page.wait_for_function("() => document.querySelector('#log').textContent.includes('9999 <img')")
    assert page.locator("#log li").count() == LINES and page.locator("#log img").count() == 0
    page.select_option("#filter select", "error")
    page.fill("#filter input", "9998 ")
    assert page.locator("#log li:visible").count() == 1
    page.fill("#filter input", "")
    assert page.evaluate("() => window.planted") is None and shown.said == []


def test_a_server_that_comes_back_is_found_again(shown: Served, tmp_path: Path) -> None:
    page = shown.page
    counted = "const whole = takeWhole; takeWhole = (told) => { window.wholes += 1; whole(told); };"
    page.evaluate(f"() => {{ window.wholes = 0; {counted} }}")
    shown.end()
    page.wait_for_function("() => document.querySelector('#link').textContent.startsWith('no connection')")
    assert page.is_disabled("#halt")
    shown.let(10)
    shown.begin()
    page.wait_for_function("() => document.querySelector('#link').textContent === 'connected'")
    shown.trade(5)
    assert page.evaluate("() => window.live.known.bars.length") == 160 + shown.bars
    assert page.evaluate("() => window.wholes") == 0  # what was missed came by Last-Event-ID
    shown.end()
    again = Session(tmp_path)  # another process: what the page knows is of no use
    again.board.put("event", seen_event(int(again.bars.index[200].timestamp() * 1000), 42.0))
    shown.begin(again.controls)
    page.wait_for_function("() => window.wholes === 1 && window.live.known.bars.length < 200")
    assert "42" in page.inner_text("#figures")
    shown.end()
    again.close()
    shown.begin()
    page.wait_for_function("() => window.wholes === 2")
    assert [words for words in shown.said if REFUSED not in words] == []
    shown.said.clear()


def test_a_wrong_key_opens_nothing_and_the_right_one_does(shown: Served, browser: Any) -> None:
    page = shown.opened(browser, key="wrong-key-0123456789")
    page.wait_for_selector("#enter[open]")
    assert page.inner_text("#link") == "locked" and page.inner_text("#figures") == "" and page.is_disabled("#halt")
    assert page.evaluate("async () => (await fetch('halt', {method: 'POST', body: '{}'})).status") == 401
    assert shown.session.env.executor.switch.reason is None
    page.fill("#enter-key", KEY)
    page.click("#enter-yes")
    page.wait_for_function("() => document.querySelector('#link').textContent === 'connected'")
    page.wait_for_function("() => document.querySelector('#figures').textContent.includes('Equity')")
    page.reload()  # the key stays with the tab
    page.wait_for_function("() => document.querySelector('#link').textContent === 'connected'")
    page.context.close()
    assert all("401" in words for words in shown.said)
    shown.said.clear()


def test_a_phone_in_the_dark_and_a_second_tab(shown: Served, browser: Any) -> None:
    session = shown.session
    quiet = {f"15m feature {number}": {"state": "ok", "words": "PSI"} for number in range(30)}
    wrong = {"state": "alarm", "words": HOSTILE, "statistic": 0.41, "threshold": 0.2}
    session.controls.account = session.with_drift(quiet | {"close returns": wrong})
    phone = shown.opened(browser, viewport={"width": 390, "height": 844}, color_scheme="dark")
    phone.wait_for_function("() => document.querySelector('#drift').textContent.includes('0.41, alarm beyond 0.2')")
    assert phone.inner_text("#drift-rest") == "30 in order" and phone.locator("#drift li").count() == 1
    phone.wait_for_selector("html[data-drawn]", state="attached")
    assert phone.evaluate(WIDER) <= 0
    assert phone.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(17, 21, 28)"
    session.board.put("line", Line(0, "warning", "x", "both hear it"))
    for page in (phone, shown.page):
        page.wait_for_function("() => document.querySelector('#log').textContent.includes('both hear it')")
    phone.context.close()
    assert shown.said == []


@pytest.mark.slow
def test_a_day_of_minutes_leaves_the_memory_flat(browser: Any, tmp_path: Path) -> None:
    """Every bar is drawn, as on a day that somebody looks at; sizes are taken after a collection of garbage."""
    shown = Served(browser, tmp_path, days=3, timeframe="1m", first=400)
    page = shown.page
    page.set_default_timeout(300_000)
    tools = page.context.new_cdp_session(page)
    tools.send("Performance.enable")

    def sizes() -> tuple[float, int, int]:
        """MB of JavaScript's heap, nodes, listeners."""
        tools.send("HeapProfiler.collectGarbage")
        found = {one["name"]: one["value"] for one in tools.send("Performance.getMetrics")["metrics"]}
        return found["JSHeapUsedSize"] / 1e6, int(found["Nodes"]), int(found["JSEventListeners"])

    said = []
    for bar in range(1, 1_441):
        shown.let(1)
        at = shown.session.bars.index[400 + bar - 1].value // 1_000_000
        page.wait_for_function(f"() => window.live.known.bars.length && window.live.known.bars.at(-1)[0] >= {at}")
        page.evaluate("() => window.live.draw()")
        if bar % 240 == 0:
            said.append(sizes())
            print(bar, said[-1], flush=True)
    drawn = page.evaluate("() => +document.documentElement.dataset.drawn")
    shown.close()
    assert drawn >= 1_440 and shown.said == []
    heaps, nodes, listeners = zip(*said, strict=True)
    assert max(heaps) - heaps[0] < 5.0 and max(nodes) - nodes[0] < 20_000
    assert min(listeners[-2:]) - listeners[0] < 100  # a collection of garbage may leave some for the next
