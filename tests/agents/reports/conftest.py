"""A backtest's folder, and a page on it with what a user's files may hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from agents.command_line import main
from agents.reports.report_files import make_report, write_report
from tests.naive.random_bars import random_bars

#: Names that would run, were they not escaped.
STRATEGY = """rule "a" & 'b' </script><script>window.planted = 1</script><img src=x onerror="window.planted = 2">"""
MARKET = "<script>window.planted = 3</script>"


def backtest_folder(folder: Path, seed: int, rule: str = "cross fast=4 slow=32") -> Path:
    """What `cryptoenv backtest` leaves, on random bars of 80 days."""
    bars = folder / f"bars{seed}.csv"
    random_bars(80, seed, "1h").to_csv(bars)
    out = folder / f"run{seed}"
    arguments = ["--rule", rule, "--bars", str(bars), "--chances", "9", "--stop-loss", "0.02", "--take-profit", "0.05"]
    assert main(["backtest", *arguments, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="session")
def backtested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a backtest with stops."""
    return backtest_folder(tmp_path_factory.mktemp("backtested"), 3)


@pytest.fixture(scope="session")
def hostile(backtested: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with names that would run."""
    folder = tmp_path_factory.mktemp("hostile") / "'><b onclick='window.planted = 4'>run"
    shutil.copytree(backtested, folder)
    path = folder / "metrics.json"
    metrics = json.loads(path.read_text("utf-8"))
    metrics["strategy"], metrics["market"]["name"], metrics["<i>key</i>"] = STRATEGY, MARKET, "{{ 7 * 7 }}"
    path.write_text(json.dumps(metrics), "utf-8")
    return folder


@pytest.fixture(scope="session")
def page(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page on it."""
    out = tmp_path_factory.mktemp("page") / "report.html"
    write_report(make_report([hostile], progress=False), out, "html", progress=False)
    return out
