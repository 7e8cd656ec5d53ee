"""The page in a headless Chromium: drawn without an error, zoomed, sorted, filtered, in both themes, on a phone."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks.support.browser import PATHS
from benchmarks.support.browser import opened as open_page

WIDER = "() => document.documentElement.scrollWidth - window.innerWidth"


@pytest.fixture(scope="module")
def opened(browser: Any, page: Path) -> Iterator[tuple[Any, list[str]]]:
    """The page, drawn, and what its console said."""
    shown, said = open_page(browser, page, viewport={"width": 1440, "height": 900}, color_scheme="light")
    yield shown, said
    shown.context.close()


def test_everything_is_drawn_and_nothing_planted_runs(opened: tuple[Any, list[str]]) -> None:
    shown, said = opened
    assert shown.get_attribute("html", "data-drawn") == "true" and shown.text_content("#status") == ""
    drawn = shown.evaluate(PATHS)
    assert len(drawn) >= 9 and all(count > 0 for count in drawn.values()), drawn
    assert shown.evaluate("() => window.planted") is None
    barmode = "key => document.querySelector(`#run0-${key} .plot`).layout.barmode"
    assert shown.evaluate(barmode, "regimes-regimes-0") == "group"
    assert shown.evaluate(barmode, "costs-costs") == "relative"
    assert said == []
    assert "<script>window.planted = 1</script>" in shown.text_content("h1")


def test_a_planted_script_is_blocked_even_where_it_is_not_escaped(browser: Any, page: Path, tmp_path: Path) -> None:
    leak = tmp_path / "leak.html"
    text = page.read_text("utf-8")
    head = text[: text.index('<script type="application/octet-stream"')]
    leak.write_text(head + "<script>window.planted = 5</script></body></html>", "utf-8")
    shown = browser.new_page()
    shown.goto(leak.as_uri())
    assert shown.evaluate("() => window.planted") is None
    shown.close()


def test_ranges_and_single_trades(opened: tuple[Any, list[str]], backtested: Path) -> None:
    shown, said = opened
    place = "run0-candles-candles-0"
    tools = shown.locator(f'.tools[data-for="{place}"]')
    width = f"() => {{ const r = report.charts.get('{place}').range; return r ? r[1] - r[0] : 0; }}"
    assert shown.evaluate(width) == 0
    tools.get_by_role("button", name="The last week in view").click()
    assert shown.evaluate(width) == 7 * 86_400_000
    assert tools.get_by_role("button", name="The last week in view").get_attribute("aria-pressed") == "true"
    tools.get_by_role("button", name="Everything").click()
    assert shown.evaluate(width) == 0
    trades = pd.read_parquet(backtested / "trades.parquet")
    shown.evaluate(f"() => report.toTrade('{place}', 4)")
    hint = shown.text_content(f"#{place} .hint")
    assert hint.startswith(f"Trade 5 of {len(trades)}:") and f"{trades['entry_time'].iloc[4]:%Y-%m-%d %H:%M}" in hint
    tools.get_by_role("button", name="Next trade").click()
    assert shown.text_content(f"#{place} .hint").startswith(f"Trade 6 of {len(trades)}:")
    level = trades["entry_price"].iloc[5] * (1.0 - 0.02 * trades["side"].iloc[5])
    data = f"document.querySelector('#{place} .plot').data"
    stops = shown.evaluate(f"() => {data}.filter(t => t.name === 'stop level')[0].y")
    assert any(one == pytest.approx(level, rel=1e-6) for one in stops if one is not None)
    candles = shown.evaluate(f"() => ['x', 'open', 'high', 'low', 'close'].map(name => {data}[0][name])")
    bars = pd.read_parquet(backtested / "equity.parquet")
    opens = (bars.index - pd.Timedelta("1h")).tz_localize(None).astype("datetime64[ms]").astype("int64")
    bars.index = opens
    for at, *prices in zip(*candles, strict=True):
        assert prices == pytest.approx(bars.loc[at, ["open", "high", "low", "close"]].tolist(), rel=1e-7)
    assert said == []


def test_the_table_of_trades(opened: tuple[Any, list[str]], backtested: Path) -> None:
    shown, _ = opened
    trades = pd.read_parquet(backtested / "trades.parquet")
    table = shown.locator("#run0-trades-trades")
    rows_of = "[...document.querySelectorAll('#run0-trades-trades tbody tr')]"
    gains = f"() => {rows_of}.map(row => +row.children[9].dataset.value)"
    table.get_by_role("button", name="Net gain", exact=True).click()
    first = shown.evaluate(gains)
    assert first == pytest.approx(trades["gain"].sort_values(ascending=False).head(len(first)).tolist(), rel=1e-7)
    table.get_by_role("button", name="Net gain", exact=True).click()
    assert shown.evaluate(gains)[0] == pytest.approx(trades["gain"].min(), rel=1e-7)
    assert table.locator("th[aria-sort=ascending]").count() == 1
    table.get_by_label("Side").select_option("short")
    table.get_by_label("Closed by").select_option("stop loss")
    wanted = trades[(trades["side"] < 0) & (trades["exit_kind"] == "stop_loss")]
    assert len(wanted) > 0
    assert table.locator(".count").text_content().startswith(f"{len(wanted)} of {len(trades)} trades")
    saved = shown.evaluate("() => document.querySelector('#run0-trades-trades').csv()")
    rows = list(csv.DictReader(io.StringIO(saved)))
    assert len(rows) == len(wanted) and {row["side"] for row in rows} == {"short"}
    assert sorted(float(row["gain"]) for row in rows) == pytest.approx(sorted(wanted["gain"]), rel=1e-7)
    table.locator("tbody button").first.focus()
    shown.keyboard.press("Enter")
    assert shown.text_content("#run0-candles-candles-0 .hint").startswith("Trade ")


def test_the_theme_follows_the_system(opened: tuple[Any, list[str]]) -> None:
    shown, said = opened
    colour = "() => document.querySelector('#run0-equity-equity-0 .plot').data[0].line.color"
    light = shown.evaluate(colour)
    shown.emulate_media(color_scheme="dark")
    shown.wait_for_function(f"light => ({colour})() !== light", arg=light)
    assert shown.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(17, 21, 28)"
    shown.emulate_media(color_scheme="light")
    assert said == []


@pytest.mark.parametrize("width", [390, 768])
def test_no_page_is_wider_than_its_screen(opened: tuple[Any, list[str]], width: int) -> None:
    shown, said = opened
    shown.set_viewport_size({"width": width, "height": 844})
    shown.wait_for_function(f"({WIDER})() <= 0")
    assert said == []


def test_a_browser_that_cannot_unpack_says_so(browser: Any, page: Path) -> None:
    context = browser.new_context()
    context.add_init_script("delete window.DecompressionStream")
    shown = context.new_page()
    shown.goto(page.as_uri())
    shown.wait_for_selector("html[data-drawn=failed]", state="attached")
    assert "cannot unpack the charts" in shown.text_content("#status")
    assert shown.locator("#run0-figures table").count() == 1
    context.close()
