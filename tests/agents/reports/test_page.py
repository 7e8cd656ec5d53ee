"""The page as text: its figures are those of metrics.json, and nothing in it is markup of the user's."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.reports.document.chart_tables import chart_table
from agents.reports.document.charts import Bars, Candles, Heat, Intervals, Line, Lines
from agents.reports.document.colours import BACKGROUNDS, COLOURS, LINES, TEXTS, contrast
from tests.agents.reports.conftest import MARKET, STRATEGY


class Read(HTMLParser):
    """Elements with their attributes, figures by name, and all text outside of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.figures: list[tuple[str, str]] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        self._inside = tag
        if tag == "data" and attributes.get("data-metric"):
            self.figures.append((str(attributes["data-metric"]), str(attributes["value"])))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.words.append(data)


@pytest.fixture(scope="module")
def read(page: Path) -> Read:
    return Read(page.read_text("utf-8"))


def value_at(metrics: Any, path: str) -> Any:
    """What stands at a dotted path; names may hold dots themselves."""
    if not path:
        return metrics
    for cut in [i for i, sign in enumerate(path) if sign == "."] + [len(path)]:
        head, rest = path[:cut], path[cut + 1 :]
        if isinstance(metrics, dict) and head in metrics:
            return value_at(metrics[head], rest)
        if isinstance(metrics, list) and head.isdigit():
            return value_at(metrics[int(head)], rest)
    raise KeyError(path)


def test_figures_are_those_of_the_run_digit_by_digit(read: Read, hostile: Path) -> None:
    text = (hostile / "metrics.json").read_text("utf-8")
    metrics = json.loads(text)
    told = dict(read.figures)
    assert {"figures.sharpe", "buy_and_hold.max_drawdown", "chance.p_value", "verdict.mean_low"} <= set(told)
    for path, value in read.figures:
        found = value_at(metrics, path)
        assert value == (found if isinstance(found, str) else json.dumps(found)), path
        assert isinstance(found, str | list) or value in text  # as the file spells it
    numbers = [path for path in told if path.startswith("figures.")]
    assert len(numbers) == len(metrics["figures"])


def test_a_changed_digit_is_found(read: Read, hostile: Path) -> None:
    metrics = json.loads((hostile / "metrics.json").read_text("utf-8"))
    metrics["figures"]["sharpe"] += 1e-12
    numbers = [(path, value) for path, value in read.figures if path.startswith("figures.")]
    different = [path for path, value in numbers if value != json.dumps(value_at(metrics, path))]
    assert "figures.sharpe" in different


def test_what_is_shown_is_the_figure_rounded(page: Path) -> None:
    text = page.read_text("utf-8")
    found = re.findall(r'data-metric="figures\.max_drawdown"[^>]*>([^<]+)</data>', text)
    value = float(re.findall(r'<data value="([^"]+)" data-metric="figures\.max_drawdown"', text)[0])
    assert f"{100.0 * value:,.1f}%" in found


def test_names_of_the_user_are_text(read: Read) -> None:
    scripts = [attributes for tag, attributes in read.elements if tag == "script"]
    assert len(scripts) == 3  # data, library, and the page's own
    assert not any(tag in ("img", "b", "i") for tag, _ in read.elements)
    assert not any(name.startswith("on") for _, attributes in read.elements for name in attributes)
    words = "".join(read.words)
    assert STRATEGY in words and MARKET in words and "{{ 7 * 7 }}" in words and "<i>key</i>" in words


def test_nothing_is_loaded(read: Read, page: Path) -> None:
    named = [value for tag, attributes in read.elements for name, value in attributes.items()
             if name in ("src", "href", "action", "srcset") and tag != "html"]  # fmt: skip
    assert all(value and value.startswith(("#", "data:")) for value in named)
    (policy,) = [a["content"] for tag, a in read.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy and policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe-eval" not in policy
    assert not re.search(r"url\(|@import", page.read_text("utf-8").partition("</style>")[0])


def test_it_can_be_read_without_eyes(read: Read) -> None:
    levels = [int(tag[1]) for tag, _ in read.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    plots = [a for tag, a in read.elements if "data-chart" in a]
    assert len(plots) >= 9 and all(a["role"] == "img" and len(str(a["aria-label"])) > 40 for a in plots)
    identities = [a["id"] for _, a in read.elements if "id" in a]
    assert len(identities) == len(set(identities))
    targets = {str(a["href"])[1:] for tag, a in read.elements if tag == "a"}
    assert targets <= set(identities)
    assert next(a for tag, a in read.elements if tag == "a")["class"] == "skip"
    regions = [a for _, a in read.elements if a.get("class") == "scroll"]
    assert regions and all(a["tabindex"] == "0" and a["aria-label"] for a in regions)
    assert next(a for tag, a in read.elements if tag == "html")["lang"] == "en"


def test_colours_can_be_told_apart_in_both_themes() -> None:
    for theme in (0, 1):
        for ground in BACKGROUNDS:
            for part in TEXTS:
                assert contrast(COLOURS[part][theme], COLOURS[ground][theme]) >= 4.5, (part, ground, theme)
            for part in LINES:
                assert contrast(COLOURS[part][theme], COLOURS[ground][theme]) >= 3.0, (part, ground, theme)
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0) and contrast("#777777", "#777777") == 1.0


def test_charts_as_tables() -> None:
    one, two = np.array([0.5, np.nan, -0.25]), np.array([1.0, 2.0, 3.0])
    line = Line("own", np.array([2.0, 1.0, 4.0, 3.0]), np.arange(4))
    heat = Heat("k", "t", "m", ("2024",), ("Jan", "Feb", "Mar"), one[None], row_title="year")
    charts = [
        Lines("k", "t", "m", (line,)),
        Bars("k", "t", "m", ("a", "b", "c"), {"x": one, "y": two}, x_title="kind", percent=True),
        heat,
        Intervals("k", "t", "m", ("a", "b", "c"), two, one, two + 1.0),
    ]
    found = [(chart_table(one).columns[0].label, chart_table(one).rows) for one in charts]
    assert found == [
        ("Line", (("own", 2.0, 1.0, 4.0, 3.0),)),
        ("kind", (("a", 0.5, 1.0), ("b", None, 2.0), ("c", -0.25, 3.0))),
        ("year", (("2024", 0.5, None, -0.25),)),
        ("Name", (("a", 1.0, 0.5, 2.0), ("b", 2.0, None, 3.0), ("c", 3.0, -0.25, 4.0))),
    ]
    assert [chart_table(one).cell(0, 1) for one in charts] == ["2", "+50.00%", "+50.00%", "1"]
    with pytest.raises(TypeError, match="Candles"):
        chart_table(Candles("k", "t", "m"))


def test_empty_sections_say_why(read: Read) -> None:
    words = " ".join(" ".join(read.words).split())
    assert "Nothing to show: this is no walk-forward" in words
    assert "Nothing to show: nothing was trained: a rule, signals or a finished model decided." in words
