"""Runs that are half finished or damaged, and several side by side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from agents.command_line import main
from agents.reports.document.blocks import PERCENT, Style, Table
from agents.reports.formats.plain_json import report_json
from agents.reports.records.reading import kind_of_record, read_record, run_folders
from agents.reports.report_files import make_report, report_path, write_report
from agents.reports.sections.contents import SECTIONS, distinct_names
from tests.agents.reports.conftest import backtest_folder


def sections_of(*paths: Path) -> dict[str, Any]:
    """The sections of the first chapter by key, through JSON."""
    found = json.loads(report_json(make_report(list(paths), progress=False)))
    return {one["key"]: one for one in found["chapters"][0]["sections"]}


def copied(folder: Path, into: Path) -> Path:
    shutil.copytree(folder, into / "copy")
    return into / "copy"


def test_a_report_has_all_sections_and_is_the_same_again(backtested: Path) -> None:
    sections = sections_of(backtested)
    assert list(sections) == list(SECTIONS)
    empty = {key for key, one in sections.items() if one["empty"]}
    assert empty == {"folds", "sweep", "curves", "looked"}
    assert sections_of(backtested) == sections


@pytest.mark.parametrize(
    ("lost", "empty"),
    [
        ("equity.parquet", {"equity", "drawdown", "months", "candles", "exposure", "costs"}),
        ("trades.parquet", {"candles", "trades"}),
        ("stress.parquet", {"stress"}),
        ("regimes.parquet", {"regimes"}),
        ("metrics.json", {"figures", "provenance"}),
    ],
)
def test_what_is_lost_or_damaged_leaves_the_rest(backtested: Path, tmp_path: Path, lost: str, empty: set[str]) -> None:
    run = copied(backtested, tmp_path)
    (run / lost).write_bytes(b"PAR1 nothing {")
    damaged = sections_of(run)
    assert all(damaged[key]["empty"] for key in empty), {key: damaged[key]["empty"] for key in empty}
    assert lost in " ".join(damaged["headline"]["blocks"][0]["lines"])
    (run / lost).unlink()
    gone = sections_of(run)
    assert all(gone[key]["empty"] for key in empty)
    others = {"headline", "equity", "trades", "stress", "regimes", "provenance"} - empty
    assert not any(gone[key]["empty"] for key in others)


def test_an_interrupted_training_shows_what_there_is(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints" / "step-000000000512").mkdir(parents=True)
    (run / "recipe.yaml").write_text("algorithm: ppo\nmarket: easy\n", "utf-8")
    assert kind_of_record(run) == "training"
    record = read_record(run)
    assert "512 env steps" in record.notes[0] and "cryptoenv train --resume" in record.notes[0]
    sections = sections_of(run)
    assert "has not ended" in sections["equity"]["empty"] and not sections["provenance"]["empty"]


def test_an_interrupted_walk_forward_shows_what_there_is(tmp_path: Path) -> None:
    run = tmp_path / "walk"
    trained = run / "fold-0" / "seed-1"
    trained.mkdir(parents=True)
    (run / "plan.json").write_text(
        json.dumps({"plan": {"folds": 3, "seeds": 2, "test": None}, "bars": ["a.csv"]}), "utf-8"
    )
    span = [["2021-01-01", "2021-02-01"]]
    told = {"fold": 0, "seed": 1, "weights": "ab" * 32, "trained": span, "chosen": span, "earned": [0.001]}
    (trained / "trained.json").write_text(json.dumps(told), "utf-8")
    record = read_record(run)
    assert record.kind == "walk-forward" and "1 of 6 trainings stand" in record.notes[-1]
    sections = sections_of(run)
    assert not sections["folds"]["empty"] and "give its command again" in sections["equity"]["empty"]


def test_folders_that_hold_no_run_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("a,b\n1,2\n", "utf-8")
    for name, message in (("empty", "holds no run"), ("table.csv", "is no table"), ("gone", "does not exist")):
        assert main(["report", str(tmp_path / name), "--out", str(tmp_path / "out.html")]) == 2
        said = capsys.readouterr().err
        assert message in said and len(said.strip().splitlines()) <= 2
    assert not (tmp_path / "out.html").exists()
    for seed in (0, 1):
        (tmp_path / "seeds" / f"seed-{seed}").mkdir(parents=True)
    assert [one.name for one in run_folders(tmp_path / "seeds")] == ["seed-0", "seed-1"]


def test_tables_of_commands(tmp_path: Path) -> None:
    stresses = pd.DataFrame({"stress": ["as it is", "1 bar late", "fees x2"], "total_return": [0.5, 0.1, -0.2],
                             "change": [0.0, -0.3, -0.6]})  # fmt: skip
    stresses.to_csv(tmp_path / "stress.csv", index=False)
    section = sections_of(tmp_path / "stress.csv")["stress"]
    late = next(one for one in section["blocks"] if one.get("key") == "delays")
    assert late["lines"][0] == {"name": "total return", "x": [0.0, 1.0], "y": [0.5, 0.1]}
    methods = pd.DataFrame(
        {"method": ["agent", "flat"], "score": [0.5, 0.0], "score_low": [0.4, 0.0], "score_high": [0.6, 0.0]}
    )
    methods.to_csv(tmp_path / "table.csv", index=False)
    numbers = sections_of(tmp_path / "table.csv")["headline"]["blocks"][0]["numbers"]
    assert (numbers[0]["value"], numbers[0]["low"], numbers[0]["high"]) == (0.5, 0.4, 0.6)


def planted(run: Path, into: Path, more_a_day: float) -> Path:
    """The same run with so much more return each day."""
    other = copied(run, into)
    table = pd.read_parquet(other / "equity.parquet")
    days = np.arange(len(table)) / 24.0
    table["equity"] *= (1.0 + more_a_day) ** days
    table.to_parquet(other / "equity.parquet")
    return other


def test_runs_side_by_side_are_paired_by_market_and_day(backtested: Path, tmp_path: Path) -> None:
    better = planted(backtested, tmp_path, 0.002)
    found = json.loads(report_json(make_report([backtested, better], progress=False)))
    assert [one["kind"] for one in found["chapters"]] == ["comparison", "backtest", "backtest"]
    differences = next(one for one in found["chapters"][0]["sections"] if one["key"] == "differences")
    (table,) = [one for one in differences["blocks"] if one["kind"] == "table"]
    row = dict(zip(table["columns"], table["rows"][0], strict=True))
    assert row["said"] == "better" and row["mean"] == pytest.approx(0.002, abs=1e-4) and row["days"] == 80
    same = copied(backtested, tmp_path / "again")
    found = json.loads(report_json(make_report([backtested, same], progress=False)))
    differences = next(one for one in found["chapters"][0]["sections"] if one["key"] == "differences")
    assert differences["blocks"][-1]["rows"][0][-1] == "no difference shown"


def test_runs_on_other_markets_are_not_paired(backtested: Path, tmp_path: Path) -> None:
    other = backtest_folder(tmp_path, 5)
    sections = sections_of(backtested, other)
    assert "0 days on the same markets in common" in sections["differences"]["empty"]
    assert len(sections["equities"]["blocks"][0]["lines"]) == 2


def test_every_format_and_where_it_goes(
    backtested: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", shown.append)
    run = copied(backtested, tmp_path)
    before = sorted(path.name for path in run.iterdir())
    assert main(["report", str(run), "--format", "markdown", "--open"]) == 0
    text = (tmp_path / "copy-report.md").read_text("utf-8")
    assert shown == [(tmp_path / "copy-report.md").as_uri()] and "verdict: " in capsys.readouterr().out
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    assert f"| figures.sharpe | {metrics['figures']['sharpe']!r} |".replace("_", "\\_") in text
    assert text.count("\n## ") == len(SECTIONS)
    assert main(["report", str(run), "--format", "markdown"]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert main(["report", str(run), "--format", "json"]) == 0
    found = json.loads((tmp_path / "copy-report.json").read_text("utf-8"))
    numbers = {
        n["key"]: n["value"] for n in found["chapters"][0]["sections"][0]["blocks"][0]["numbers"] if not n["own"]
    }
    assert numbers["figures.total_return"] == metrics["figures"]["total_return"]
    assert main(["report", str(run), "--out", str(tmp_path / "page.pdf")]) == 2
    assert ".html" in capsys.readouterr().err
    assert sorted(path.name for path in run.iterdir()) == before  # a run's folder is not touched
    assert report_path([run], "png") == tmp_path / "copy-report"


def test_pictures_of_all_charts(backtested: Path, tmp_path: Path) -> None:
    report = make_report([backtested], progress=False)
    some = report.chapters[0].sections[:8]
    from dataclasses import replace

    small = replace(report, chapters=(replace(report.chapters[0], sections=some),))
    write_report(small, tmp_path / "charts", "png", progress=False)
    names = {path.name for path in (tmp_path / "charts").iterdir()}
    assert {"run0-equity-equity-0.png", "run0-candles-candles-0.png", "run0-months-months-0.png"} <= names
    assert all(path.stat().st_size > 5_000 for path in (tmp_path / "charts").iterdir())


def test_a_missing_library_says_how_it_is_installed(
    backtested: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "plotly", None)
    assert main(["report", str(backtested), "--out", str(tmp_path / "page.html")]) == 2
    said = capsys.readouterr().err
    assert "needs the module 'plotly': pip install" in said and "[report]" in said


def test_words_of_figures() -> None:
    assert PERCENT.shown(-0.12345) == "\N{MINUS SIGN}12.35%" or PERCENT.shown(-0.12345) == "\N{MINUS SIGN}12.34%"
    assert PERCENT.shown(-1e-9) == "0.00%" and PERCENT.shown(float("nan")) == "none" and PERCENT.shown(None) == "none"
    assert (
        Style(1.0, "").shown(0.1) == "0.1"
        and Style().shown(True) == "yes"
        and Style().shown("too short") == "too short"
    )
    assert Table("k", "t", (), ()).rows == ()
    assert distinct_names([Path("a/x"), Path("b/x")]) == ["a/x", "b/x"] and distinct_names([Path("x")]) == ["x"]
