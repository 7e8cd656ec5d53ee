"""A report as one page that holds everything it shows, Plotly's script included, and loads nothing.

Plotly's script is 4.8 MB as it comes; gzipped and in base64 it is 1.9 MB, which the browser inflates. What may run in
the page is named by its hash (Content-Security-Policy), so that nothing that came in with the user's files ever does,
escaped or not.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from agents.reports.document.blocks import Figures, Listing, Picture, Report, Table, Trades, Words, places
from agents.reports.document.chart_tables import chart_table
from agents.reports.document.charts import Bars, Candles, Chart, Heat, Intervals, Lines
from agents.reports.document.colours import COLOURS
from agents.reports.formats.chart_specs import chart_spec, trades_spec
from agents.reports.formats.packing import Packer, packed
from cryptoenv.files.durable_files import read_regular

TEMPLATES = "templates"
SCRIPTS = ("data.js", "charts.js", "trades.js", "page.js")  #: one script of the page, in this order
PICTURE_BUDGET = 1_500_000  #: bytes of all pictures in a page
#: Days, label and words of the buttons above a chart over time; 0 is everything.
RANGES = (
    (1, "1D", "The last day in view"), (7, "1W", "The last week in view"), (30, "1M", "The last 30 days in view"),
    (91, "3M", "The last 91 days in view"), (365, "1Y", "The last 365 days in view"), (0, "All", "Everything"),
)  # fmt: skip
KINDS: dict[type, str] = {
    Figures: "figures", Words: "words", Table: "table", Trades: "trades", Listing: "listing", Picture: "picture",
    Lines: "lines", Bars: "bars", Heat: "heat", Intervals: "intervals", Candles: "candles",
}  # fmt: skip


def html_page(report: Report, progress: Callable[[], object] = lambda: None) -> str:
    """The page.

    Args:
        report: what it says.
        progress: called once per section.
    """
    packer = Packer()
    charts: dict[str, Any] = {}
    trades: dict[str, Any] = {}
    pictures: dict[str, str] = {}
    left = PICTURE_BUDGET
    for chapter in report.chapters:
        for section in chapter.sections:
            for place, block in places(f"{chapter.key}-{section.key}", section):
                if isinstance(block, Chart):
                    charts[place] = chart_spec(block, packer)
                elif isinstance(block, Trades):
                    trades[place] = trades_spec(block, packer)
                elif isinstance(block, Picture):
                    pictures[place], left = _picture(block.path, left)
            progress()
    packer.content = {"charts": charts, "trades": trades}
    script, library = "\n".join(map(template_text, SCRIPTS)), plotly_script()
    allowed = " ".join(f"'sha256-{_hash(text)}'" for text in (script, library))
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
        "form-action 'none'"
    )
    template = _environment().get_template("page.html.j2")
    return template.render(
        report=report, ranges=RANGES, pictures=pictures, policy=policy, style=_safe(page_style()), script=_safe(script),
        data=_safe(packer.text()), library=_safe(_packed_library()),
    )  # fmt: skip


def plotly_script() -> str:
    """Plotly's script, as its package has it.

    Raises:
        ModuleNotFoundError: plotly is not installed.
    """
    return (resources.files("plotly") / "package_data" / "plotly.min.js").read_text("utf-8").replace("\r\n", "\n")


@lru_cache(maxsize=1)
def _packed_library() -> str:
    return packed(plotly_script().encode())


def exact(value: Any) -> str:
    """A value as JSON has it, all digits; a word as it is."""
    return value if isinstance(value, str) else json.dumps(value)


def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(loader=PackageLoader("agents.reports", TEMPLATES), autoescape=True, undefined=StrictUndefined)
    filters: dict[str, Callable[..., Any]] = {
        "ticked": _ticked,
        "kind": lambda block: KINDS[type(block)],
        "exact": exact,
        "as_table": chart_table,
    }
    found.filters |= filters
    found.globals["places"] = places
    found.tests["charttable"] = lambda block: isinstance(block, Lines | Bars | Heat | Intervals)
    found.tests["number"] = lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    return found


def _ticked(text: str) -> Any:
    """Text with what stands between backticks as code, everything escaped."""
    from markupsafe import Markup, escape

    parts = [escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:  # a backtick without its partner is one
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts))


def _safe(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)


def page_style() -> str:
    """The page's style sheet, with its colours in both themes."""
    text = template_text("page.css")
    for number, name in enumerate(("LIGHT", "DARK")):
        values = " ".join(f"--{part}: {pair[number]};" for part, pair in COLOURS.items())
        text = text.replace("{{" + name + "}}", values)
    return text


def template_text(name: str) -> str:
    """A file that pages are made of."""
    return (resources.files("agents.reports") / TEMPLATES / name).read_text("utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _picture(path: Path, left: int) -> tuple[str, int]:
    """A picture as a data URL, as long as the budget lasts; "" where it does not, or cannot be read."""
    try:
        data = read_regular(path)
    except (OSError, ValueError):
        return "", left
    if len(data) > left:
        return "", left
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii"), left - len(data)
