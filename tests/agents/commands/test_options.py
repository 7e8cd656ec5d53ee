"""One word for one thing on the command line; the words of the version before go on working, with a note."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer

import agents
from agents.command_line import app, main
from agents.policies.agent import Agent
from agents.policies.heads import new_policy
from agents.policies.policy_shape import PolicyShape
from agents.run_folders.run_folder import Run
from agents.settings import TradingSettings
from cryptoenv import Market
from pretrain import Extractor
from synthetic import regime_market

SETTINGS = TradingSettings()


def commands(command: Any, context: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "list_commands"):
        yield name, command
        return
    if command.invoke_without_command:
        yield name, command
    for part in command.list_commands(context):
        yield from commands(command.get_command(context, part), context, f"{name} {part}".strip())


def shown_options() -> dict[str, dict[str, Any]]:
    command = typer.main.get_command(app)
    return {
        name: {option.opts[0]: option for option in leaf.params if not getattr(option, "hidden", False)}
        for name, leaf in commands(command, typer.Context(command))
    }


def test_one_word_for_one_thing() -> None:
    found = shown_options()
    taken = {option: [name for name in found if option in found[name]] for names in found.values() for option in names}
    for gone in ("--market", "--count", "--start", "--spec"):
        assert gone not in taken
    for bars_taker in ("demo", "train", "evaluate", "play", "tune", "pretrain", "features inspect"):
        assert "BARS" in str(found[bars_taker]["--bars"].metavar) or "file" in found[bars_taker]["--bars"].help
    assert set(taken["--task"]) >= {"train", "evaluate", "play", "tune", "pretrain", "features inspect", "synth"}
    for name in taken["--markets"]:
        assert "how many" in found[name]["--markets"].help.lower() or "instead of the recipe" in (
            found[name]["--markets"].help
        )
    for name, options in found.items():
        for option in ("--seed", "--seeds"):
            if option in options:
                assert "market" not in options[option].help.lower(), name
    arguments = {option.name for options in found.values() for option in options.values()}
    assert "bars" in arguments
    assert [o for o in found["features inspect"].values() if o.param_type_name == "argument"] == []


@pytest.fixture
def run(extractor: Extractor, tmp_path: Path) -> Path:
    """A run whose agent knows nothing: weights as they are drawn."""
    shape = PolicyShape(extractor.width, len(SETTINGS.positions))
    agent = Agent(extractor, new_policy(shape, 0), shape, SETTINGS, algorithm="ppo")
    Run(tmp_path / "run", agent, agent).save({"market": "easy"}, {"kept_step": 64})
    return tmp_path / "run"


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    path = tmp_path / "bars.parquet"
    regime_market("easy", days=40, seed=3).bars.to_parquet(path)
    return path


def test_the_words_of_the_version_before(run: Path, bars: Path, capfd: pytest.CaptureFixture[str]) -> None:
    small = ["--split", "validation", "--days", "3"]
    now = ["evaluate", str(run), *small, "--task", "easy", "--markets", "2"]
    before = ["evaluate", str(run), *small, "--markets", "easy", "--count", "2"]
    assert main(now) == 0
    expected = capfd.readouterr()
    assert main(before) == 0
    said = capfd.readouterr()
    assert said.out == expected.out
    assert "note: --markets TASK is --task now" in said.err and "note: --count is --markets now" in said.err
    assert "note" not in expected.err
    assert main(["evaluate", str(run), "--seeds", "7", "--days", "1"]) == 0
    assert "note: --seeds is --market-seed now" in capfd.readouterr().err
    assert main(["play", str(run), "--market", str(bars), "--steps", "2"]) == 0
    assert "note: --market is --bars now" in capfd.readouterr().err
    for wrong in (["--markets", "0"], ["--markets", "-3"], ["--markets", "lots"]):
        assert main(["evaluate", str(run), *wrong]) == 2
    assert main(["play", str(run), "--market", "easy", "--bars", str(bars)]) == 2


def test_old_options_of_synth_features_and_pretrain(
    bars: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    synth = ["synth", "--kind", "pattern", "--pattern", "double_top", "--out"]
    assert main([*synth, str(tmp_path / "one"), "--length", "120"]) == 0
    assert "note" not in capfd.readouterr().err
    assert main([*synth, str(tmp_path / "two"), "--bars", "120"]) == 0
    assert "note: --bars is --length now" in capfd.readouterr().err
    assert len(pd.read_parquet(tmp_path / "two" / "double_top.parquet")) == 120
    assert main(["features", "inspect", str(bars), "--timeframes", "15m", "--out", str(tmp_path / "f")]) == 0
    assert "is --bars now" in capfd.readouterr().err
    assert main(["pretrain", "--start", "default", "--out", str(tmp_path / "p")]) == 2
    said = capfd.readouterr().err
    assert "note: --start is --from now" in said and "--from needs --bars" in said


def test_several_bars_of_any_form_and_length(run: Path, bars: Path, tmp_path: Path) -> None:
    from agents.evaluation.tables import evaluate_on_bars

    longer = regime_market("standard", days=45, seed=4).bars
    market = Market.from_bars(longer, SETTINGS.timeframes)
    market.save(tmp_path / "saved")
    loaded = Run.load(run)
    by_path = agents.evaluate(loaded, market=[bars, tmp_path / "saved"])
    by_value = agents.evaluate(loaded, market=(regime_market("easy", days=40, seed=3).bars, market))
    pd.testing.assert_frame_equal(by_path, by_value)
    alone = [agents.evaluate(loaded, market=one) for one in (str(bars), tmp_path / "saved")]
    figures = ["log_return", "sharpe", "turnover_per_day"]
    fixed = ["flat", "buy and hold"]  # nothing that is tuned or drawn
    mean = (alone[0].loc[fixed, figures] + alone[1].loc[fixed, figures]) / 2.0
    pd.testing.assert_frame_equal(by_path.loc[fixed, figures], mean)
    assert len(by_path) == 6 and list(by_path.index[:2]) == ["BC -> PPO", "BC clone"]
    test = evaluate_on_bars([loaded], bars, split="test")
    assert test.loc["buy and hold", "log_return"] != alone[0].loc["buy and hold", "log_return"]
    with pytest.raises(ValueError, match="judged on"):
        evaluate_on_bars([loaded], bars, split="train")
    with pytest.raises(ValueError, match="timeframes"):
        agents.evaluate(loaded, market=Market.from_bars(longer, ("15m",)))
    with pytest.raises(ValueError, match="is a task"):
        agents.evaluate(loaded, market=["easy", bars])


def test_a_store_s_series_is_a_market(run: Path, bars: Path, tmp_path: Path) -> None:
    stored = ["data", "import", str(bars), "--exchange", "binance", "--symbol", "BTC/USDT", "--accept-alarms"]
    assert main([*stored, "--store", str(tmp_path / "store")]) == 0
    series = tmp_path / "store" / "binance" / "BTC_USDT" / "15m"
    assert main(["evaluate", str(run), "--bars", str(series), "--out", str(tmp_path / "a.csv")]) == 0
    assert main(["evaluate", str(run), "--bars", str(bars), "--out", str(tmp_path / "b.csv")]) == 0
    assert (tmp_path / "a.csv").read_text("utf-8") == (tmp_path / "b.csv").read_text("utf-8")


def test_train_takes_markets_of_every_form(extractor: Extractor, bars: Path, tmp_path: Path) -> None:
    from agents.cloning.behaviour_cloning import CloningConfig
    from agents.training.config import AgentTrainingConfig

    config = AgentTrainingConfig(cloning=CloningConfig(samples=512, epochs=1, batch_size=128))
    other = regime_market("standard", days=45, seed=4).bars
    saved = Market.from_bars(other, SETTINGS.timeframes).save(tmp_path / "saved")
    extractor.save(tmp_path / "extractor")
    one = agents.train("bc", market=[bars, tmp_path / "saved"], extractor=tmp_path / "extractor",
                       out=tmp_path / "one", config=config, progress=False)  # fmt: skip
    two = agents.train("bc", market=[regime_market("easy", days=40, seed=3).bars, saved], extractor=extractor,
                       out=tmp_path / "two", config=config, progress=False)  # fmt: skip
    weights = [(folder / "agent" / "policy.safetensors").read_bytes() for folder in (one.folder, two.folder)]
    assert weights[0] == weights[1]
    told = json.loads((one.folder / "config.json").read_text("utf-8"))
    assert told["market"] == [str(bars), str(tmp_path / "saved")]
    assert told["trained_until"] < told["learned_until"]
    pd.testing.assert_frame_equal(agents.evaluate(one), agents.evaluate(one, market=[bars, tmp_path / "saved"]))
    recipe = (one.folder / "recipe.yaml").read_text("utf-8")
    assert str(bars) in recipe and "saved" in recipe
    assert main(["evaluate", str(one.folder)]) == 0
    with pytest.raises(ValueError, match="has learned from bars until"):
        earlier = regime_market("easy", days=40, seed=3).bars.iloc[:-1_000]
        agents.evaluate(one, market=earlier, split="test")


def test_parts_of_a_market_are_the_market_of_the_parts() -> None:
    import numpy as np

    bars = regime_market("standard", days=30, seed=5).bars
    whole = Market.from_bars(bars, SETTINGS.timeframes)
    for start, stop in ((0, len(whole)), (96 * 40, 96 * 80), (96 * 40 + 7, 96 * 80 + 5), (3, 20)):
        part = whole.part(start, stop)
        rebuilt = Market.from_bars(bars.iloc[start:stop], SETTINGS.timeframes)
        assert np.array_equal(part.align, rebuilt.align)
        assert part.bars.index.equals(rebuilt.bars.index)
        for k in range(len(SETTINGS.timeframes)):
            assert part.features[k].shape == rebuilt.features[k].shape
            assert part.valid_from[k] <= rebuilt.valid_from[k]
            valid = rebuilt.valid_from[k]
            assert np.array_equal(part.features[k][valid:], rebuilt.features[k][valid:])
    with pytest.raises(ValueError, match="outside the market"):
        whole.part(5, 5)
