from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

import agents
from agents.algorithms.ppo import PPOConfig
from agents.cloning.behaviour_cloning import CloningConfig
from agents.commands.demo import DemoConfig, run_demo
from agents.reports.records.judged_agent import JudgeOn
from agents.reports.report_files import ENDINGS, Format, make_report, write_report
from agents.run_folders.run_folder import Run
from agents.run_folders.run_origin import kept_clone, own_inputs
from agents.settings import TradingSettings
from agents.training.config import AgentTrainingConfig
from pretrain import ExtractorConfig, MarketInputs, PretrainingConfig
from synthetic import regime_market

TINY = DemoConfig(
    extractor_markets=2,
    unseen_markets=3,
    days=4,
    training=AgentTrainingConfig(
        cloning=CloningConfig(samples=4_096, epochs=1, batch_size=256),
        settings=TradingSettings(),
        learning=PPOConfig(steps=4_096, num_envs=32, rollout_steps=32, batch_size=512, warm_up=1, episode_bars=96),
        train_markets=2,
        validation_markets=2,
        days=4,
    ),
    pretraining=PretrainingConfig(steps=20, batch=128, validate_every=10, validation_windows=256),
    architecture=ExtractorConfig(width=16, layers=1, heads=2, feedforward=16),
)


def check_run_folder(folder: Path) -> dict[str, dict[str, float]]:
    for name in ("config.json", "metrics.json", "picture.png", "extractor/checksums.json", "agent/policy.safetensors"):
        assert (folder / name).is_file(), name
    assert list((folder / "tensorboard").rglob("events*"))
    assert (folder / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert Run.load(folder).agent.algorithm == "ppo"
    return json.loads((folder / "metrics.json").read_text("utf-8"))["table"]


def test_demo_on_synthetic_markets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, table = run_demo(out=tmp_path / "run", config=TINY)
    agent = "BC -> PPO (= clone)" if kept_clone(run) else "BC -> PPO"
    methods = [agent, "BC clone", "flat", "buy and hold", "random", "EMA cross (tuned)", "filter oracle"]
    assert list(table.index) == methods
    assert set(check_run_folder(tmp_path / "run")) == set(methods)
    assert list(agents.evaluate(run, markets=2, days=4).index) == methods
    assert table.loc["filter oracle", "score"] == 1.0
    assert table.loc["flat", "score"] == 0.0
    assert (table["score_low"] <= table["score"]).all()
    assert (table["score"] <= table["score_high"]).all()
    printed = capsys.readouterr()
    assert "filter oracle" in printed.out
    assert "5/5" in printed.err
    check_report(run.folder, methods)


def check_report(folder: Path, methods: list[str]) -> None:
    """The report of the demo's run in every format of text: judged on 30 days, in which random positions lose all."""
    report = make_report([folder], JudgeOn(markets=1, days=30), progress=False)
    forms: tuple[Format, ...] = ("html", "markdown", "json")
    for form in forms:
        write_report(report, folder.parent / f"report{ENDINGS[form]}", form, progress=False)
    told = json.loads((folder.parent / "report.json").read_text("utf-8"))
    sections = {one["key"]: one for one in told["chapters"][0]["sections"]}
    kept = ("headline", "equity", "drawdown", "candles", "regimes", "stress", "curves", "looked", "figures")
    assert not any(sections[key]["empty"] for key in kept), {key: sections[key]["empty"] for key in kept}
    (chart,) = sections["equity"]["blocks"]
    assert {line["name"] for line in chart["lines"]} == set(methods)
    hidden = "In the legend alone: random."
    assert hidden in chart["message"]
    for ending in (".html", ".md"):
        assert hidden in (folder.parent / f"report{ending}").read_text("utf-8"), ending


def test_demo_on_bars_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bars = regime_market("easy", days=40, seed=5).bars
    path = tmp_path / "bars.csv.gz"
    bars.reset_index().to_csv(path, index=False)
    inputs = MarketInputs(timeframes=("1h", "4h"), reference=str(path))
    run, table = run_demo(out=tmp_path / "run", bars_file=path, inputs=inputs, config=TINY)
    assert run.agent.settings.timeframes == ("1h", "4h") and run.agent.extractor.layout.reference
    assert own_inputs(Run.load(tmp_path / "run")) == MarketInputs(reference=str(path))
    assert "filter oracle" not in table.index
    assert "score" not in table
    assert set(check_run_folder(tmp_path / "run")) == set(table.index)
    assert (table["daily_log_return_low"] <= table["daily_log_return_high"]).all()
    assert "out of sample" in capsys.readouterr().out


def test_parts_of_a_split_do_not_overlap() -> None:
    from agents.markets.expert_market import split_bars
    from agents.settings import TradingSettings

    bars = regime_market("easy", days=40, seed=5).bars
    split = split_bars(bars, TradingSettings())
    spans = []
    for part in (split.train, split.validation, split.test):
        times = part.market.bars.index
        spans.append((times[part.first], times[-1]))
        assert (part.labels[-1] == -1).all()
    for (_, end), (start, _) in pairwise(spans):
        assert start - end == pd.Timedelta("15min")
    assert spans[-1][1] == bars.index[-1]
