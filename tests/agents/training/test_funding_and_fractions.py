"""Funding rates and split fractions of a recipe, through every command that trades or splits, on own bars."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import agents
from agents.command_line import main
from agents.commands.demo import real_demo_markets
from agents.markets.own_markets import maker_for
from agents.run_folders.run_folder import Run
from agents.run_folders.run_origin import own_inputs
from agents.settings import TradingSettings
from agents.training.pipeline import expert_markets_for
from agents.training.recipe import AgentRecipe
from cryptoenv import Market, read_funding
from cryptoenv.bars.price_columns import FUNDING
from pretrain import ConfigError, Extractor, Recipe
from pretrain.fitting.market_inputs import MarketInputs
from synthetic import regime_market

BARS = regime_market("easy", days=40, seed=3).bars
FRACTIONS = (0.5, 0.3, 0.2)
SMALL = """
cloning: {samples: 2048, epochs: 1, batch_size: 256}
learning: {steps: 1024, num_envs: 8, rollout_steps: 32, batch_size: 64, warm_up: 1, episode_bars: 96}
"""


class World:
    """A file of bars, one of funding rates, and a run that was trained on both."""

    def __init__(self, folder: Path, extractor: Extractor) -> None:
        self.folder, self.bars, self.rates = folder, folder / "bars.parquet", folder / "rates.csv"
        BARS.to_parquet(self.bars)
        due = pd.date_range(BARS.index[0].floor("8h"), BARS.index[-1], freq="8h")
        rates = pd.Series(np.random.default_rng(0).normal(2e-4, 2e-4, len(due)), due.rename("timestamp"), name="rate")
        rates.to_csv(self.rates)
        (rates * 100).to_csv(folder / "percent.csv")
        extractor.save(folder / "extractor")
        self.recipe, self.run = folder / "recipe.yaml", folder / "run"
        self.recipe.write_text(
            f"algorithm: ppo\nmarket: {self.bars}\nextractor: {folder / 'extractor'}\nfunding: {self.rates}\n"
            f"split_fractions: {list(FRACTIONS)}\n{SMALL}",
            "utf-8",
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, extractor: Extractor) -> World:
    made = World(tmp_path_factory.mktemp("funding"), extractor)
    assert main(["train", "--recipe", str(made.recipe), "--out", str(made.run)]) == 0
    return made


def border(share: float, first: int) -> pd.Timestamp:
    """The last bar before a share of the decidable bars has passed."""
    return BARS.index[first + int(share * (len(BARS) - first)) - 1]


def test_a_run_remembers_both(world: World) -> None:
    run = Run.load(world.run)
    told = json.loads((world.run / "config.json").read_text("utf-8"))
    assert told["inputs"] == {"funding": [str(world.rates)], "split_fractions": list(FRACTIONS)}
    assert AgentRecipe.read(world.run / "recipe.yaml").inputs == own_inputs(run, str(world.bars))
    assert own_inputs(run).funding == () and own_inputs(run).fractions == FRACTIONS
    first = Market.from_bars(BARS).first_decision(run.agent.settings.window)
    assert pd.Timestamp(told["trained_until"]) == border(0.5, first)
    assert pd.Timestamp(told["learned_until"]) == border(0.8, first)


def test_the_parts_are_as_said_and_charge_funding(world: World, extractor: Extractor) -> None:
    recipe = AgentRecipe.read(world.recipe)
    settings = recipe.training.settings_for(extractor)
    maker = maker_for(extractor, recipe.inputs)
    train, validation = expert_markets_for(recipe.market, settings, recipe.training, maker, progress=False)
    whole = Market.from_bars(BARS, funding=read_funding(world.rates))
    decidable = len(whole) - whole.first_decision(settings.window)
    assert train[0].steps + 1 == int(0.5 * decidable)
    for part in (train[0].market, validation[0].market):
        first = whole.bars.index.get_loc(part.bars.index[0])
        assert part.funding_series
        np.testing.assert_array_equal(part.prices[:, FUNDING], whole.prices[first : first + len(part), FUNDING])
    demo = real_demo_markets(world.bars, TradingSettings(), recipe.inputs)
    assert [part[0].steps for part in (demo.train, demo.validation)] == [train[0].steps, validation[0].steps]
    assert demo.unseen[0].market.funding_series


def test_evaluate_follows_the_run(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    run = Run.load(world.run)
    capfd.readouterr()
    assert main(["evaluate", str(world.run)]) == 0
    assert "funding by its rates" in capfd.readouterr().out
    own = agents.evaluate(run)
    whole = Market.from_bars(BARS, funding=read_funding(world.rates))
    pd.testing.assert_frame_equal(own, agents.evaluate(run, market=whole))  # fractions are the run's there, too
    free = agents.evaluate(run, market=BARS)
    assert free.loc["buy and hold", "log_return"] > own.loc["buy and hold", "log_return"]
    assert agents.score(run, world.bars)["log_return"]["policy"] == own["log_return"].iloc[0]
    later = agents.evaluate(run, market=world.bars, inputs=MarketInputs(split_fractions=(0.5, 0.4, 0.1)))
    assert later.loc["buy and hold", "log_return"] != own.loc["buy and hold", "log_return"]


def test_other_bars_are_not_charged_the_runs_rates(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    copied = world.folder / "other.parquet"
    BARS.to_parquet(copied)
    capfd.readouterr()
    assert main(["evaluate", str(world.run), "--bars", str(copied)]) == 0
    said = capfd.readouterr().out
    assert "Not charged" in said and "funding" in said.partition("Not charged")[2]
    given = ["--funding", str(world.rates), "--split-fractions", "0.4,0.4,0.2", "--split", "test"]
    assert main(["evaluate", str(world.run), "--bars", str(copied), *given]) == 0
    assert "funding by its rates" in capfd.readouterr().out
    assert main(["play", str(world.run), "--bars", str(copied), "--funding", str(world.rates), "--steps", "40"]) == 0
    assert main(["signal", str(world.run), "--bars", str(copied)]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "easy"], "funding is of bars of your own, and easy is a task"),
        (["--bars", "bars.parquet", "--bars", "bars.parquet"], r"funding is given 1 times for 2 market\(s\)"),
        (["--bars", "bars.parquet", "--instrument", "spot"], "funding is paid on 'perpetual' only"),
        (["--bars", "bars.parquet", "--funding", "percent.csv"], "look like percent"),
        (["--bars", "bars.parquet", "--split-fractions", "0.5,0.5"], "three shares above 0 that add up to 1"),
        (["--bars", "bars.parquet", "--split-fractions", "0.5,0.4,much"], "split_fractions='0.5,0.4,much'"),
        (["--bars", "bars.parquet", "--set", "costs.funding=0.0001"], "would charge twice"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    world: World, options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(world.folder)
    out = world.folder / "refused"
    assert main(["train", "--recipe", "recipe.yaml", *options, "--out", str(out)]) == 2
    said = capfd.readouterr().err.strip().splitlines()[-1]
    assert re.search(message, said), said
    assert not out.exists() or not list(out.iterdir())


def test_pretraining_splits_as_said_and_goes_on(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    out = world.folder / "splits"
    pretrain = ["pretrain", "--bars", str(world.bars), "--embargo", "0", "--show-data-splits", "--out", str(out)]
    counts = []
    for fractions in ("0.6,0.2,0.2", "0.3,0.2,0.5"):
        assert main([*pretrain, "--split-fractions", fractions]) == 0
        said = capfd.readouterr().out
        assert "a new extractor" not in said
        rows = [line.split("│") for line in said.splitlines() if line.count("│") > 4 and ":" in line]
        counts.append([int(row[-2].replace(",", "")) for row in rows])
    assert counts[0][0] > 1.8 * counts[1][0] and counts[1][2] > 2.2 * counts[0][2]
    with pytest.raises(ConfigError, match="belongs to an agent's recipe"):
        Recipe.read("bars").with_inputs(MarketInputs(funding=("rates.csv",)))
    assert main(["pretrain", "--split-fractions", "0.5,0.3,0.2", "--out", str(out)]) == 2
    assert "--split-fractions needs --bars" in capfd.readouterr().err
