"""A headless Chromium that opens reports, for benchmarks and tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: Per chart the number of its paths that draw something.
PATHS = """() => Object.fromEntries([...document.querySelectorAll('[data-chart]')].map(one => [one.dataset.chart,
  [...one.querySelectorAll('path')].filter(path => (path.getAttribute('d') || '').length > 8).length]))"""


class NoBrowserError(RuntimeError):
    """Playwright or a Chromium is not installed; the message says which."""


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser of Playwright's sync API, on the Chromium of the system or else of Playwright.

    Raises:
        NoBrowserError: there is none.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise NoBrowserError("playwright is not installed, so no browser is driven") from error
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        found = next((path for name in BROWSERS if (path := shutil.which(name))), str(own) if own.exists() else None)
        if found is None:
            raise NoBrowserError(
                f"no Chromium is installed: none of {BROWSERS}, nor that of `playwright install chromium`"
            )
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


def opened(browser: Any, path: Path, **context: Any) -> tuple[Any, list[str]]:
    """A page that has been drawn, without a network, and what its console and its requests said until then.

    Args:
        browser: of `chromium`.
        path: of the page.
        context: of the browser: `viewport`, `color_scheme`.
    """
    shown = browser.new_context(offline=True, **context).new_page()
    said: list[str] = []
    shown.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    shown.on("pageerror", lambda error: said.append(str(error)))
    shown.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
    shown.goto(path.as_uri())
    shown.wait_for_selector("html[data-drawn]", state="attached", timeout=120_000)
    return shown, said
