"""Progress: a bar on a terminal, whole lines elsewhere."""

from __future__ import annotations

import io

import pytest

from cryptoenv import progress
from cryptoenv.progress import tqdm


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("seconds", [10.0, 0.0])
def test_a_log_gets_whole_lines(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS", seconds)
    log = io.StringIO()
    assert list(tqdm(range(1_500), desc="markets", unit="market", file=log, mininterval=0.0, miniters=1)) == list(
        range(1_500)
    )
    with tqdm(total=3, desc="learning", file=log) as bar:
        bar.set_postfix(best="+0.1")
        bar.update(2)
    lines = log.getvalue().splitlines()
    assert "\r" not in log.getvalue()
    assert "markets: 1,500 of 1,500, 0 s" in lines
    assert lines[-1] == "learning: 2 of 3, 0 s, best=+0.1"
    assert (len(lines) == 2) is (seconds == 10.0)


def test_a_terminal_gets_a_bar_and_nobody_nothing() -> None:
    screen = Terminal()
    list(tqdm(range(3), desc="markets", file=screen))
    assert "\r" in screen.getvalue() and "100%" in screen.getvalue()
    log = io.StringIO()
    list(tqdm(range(3), desc="markets", file=log, disable=True))
    assert log.getvalue() == ""
