"""Features, a reference market, exogenous columns and timeframes of a recipe, through every command, on own bars."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import agents
import pretrain
from agents.command_line import main
from agents.markets.own_markets import maker_for, own_markets
from agents.policies.agent_predictor import AgentPredictor
from agents.run_folders.run_folder import Run
from agents.run_folders.run_origin import own_inputs
from agents.training.recipe import AgentRecipe
from cryptoenv.features import FeatureSpec
from cryptoenv.features.families.columns import Exogenous, Reference
from cryptoenv.features.pursuit.family import Pursuit
from cryptoenv.features.spec import TimeframeFeatures
from cryptoenv.store.key import SeriesKey
from cryptoenv.store.store import BarStore
from pretrain import ArtifactError, Extractor
from pretrain.fitting.market_inputs import ExogenousSource, MarketInputs
from synthetic import regime_market

SMALL = TimeframeFeatures(
    volatility_bars=24, returns=FeatureSpec().higher.returns, reference=Reference(bars=24, strength_bars=8)
)
BASE = replace(
    SMALL,
    exogenous=Exogenous(columns=("mood",), bars=24),
    pursuit=Pursuit(
        columns=("close", "mood"), window=16, sparsity=2, cycles=(0.5, 1.0, 2.0), scales=(4.0,), gabor_cycles=(0.0,)
    ),
)
PRETRAINED = """
teacher: horizon
architecture: {window: [16, 8], patches: [4, 4], width: 16, layers: 1, heads: 2, feedforward: 16}
training: {steps: 20, batch: 64, validate_every: 20, validation_windows: 128}
"""
TRADED = """
reward: {log_return: 1, drawdown: 0.2}
limits: {stop_loss: 0.03}
sizing: {volatility: 0.6}
cloning: {samples: 2048, epochs: 1, batch_size: 256}
learning: {steps: 1024, num_envs: 8, rollout_steps: 32, batch_size: 64, warm_up: 1, episode_bars: 96}
"""


class World:
    """Two markets, a reference, a daily column, a feature spec, and what is trained on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bars = [regime_market("easy", days=45, seed=seed).bars for seed in (3, 4)]
        self.files = [folder / "first.parquet", folder / "second.parquet"]
        for bars, file in zip(self.bars, self.files, strict=True):
            bars.to_parquet(file)
        self.reference = folder / "reference.parquet"
        self.reference_bars = regime_market("easy", days=45, seed=5).bars
        self.reference_bars.to_parquet(self.reference)
        days = pd.date_range(self.bars[0].index[0] - pd.Timedelta("4D"), self.bars[0].index[-1], freq="1D")
        self.mood = pd.Series(np.random.default_rng(0).normal(size=len(days)), days.rename("timestamp"), name="mood")
        self.mood.to_csv(folder / "mood.csv")
        spec = FeatureSpec(base=BASE, higher=SMALL, daily=TimeframeFeatures(), single=BASE)
        (folder / "features.yaml").write_text(spec.to_yaml(), "utf-8")
        self.spec = spec
        self.inputs = (
            f"timeframes: [1h, 4h]\nfeatures: {folder / 'features.yaml'}\nreference: {self.reference}\n"
            f"exogenous: {{path: {folder / 'mood.csv'}, known_after: 1d}}\n"
        )
        self.artifact, self.run = folder / "pre" / "artifact", folder / "run"

    def recipe(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text, "utf-8")
        return str(path)

    @property
    def agent_recipe(self) -> str:
        files = ", ".join(map(str, self.files))
        heads = f"algorithm: ppo\nmarket: [{files}]\nextractor: {self.artifact}\n"
        return self.recipe("agent.yaml", heads + self.inputs + TRADED)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("inputs"))
    recipe = made.recipe("pretraining.yaml", made.inputs + PRETRAINED)
    files = [word for file in made.files for word in ("--bars", str(file))]
    assert main(["pretrain", "--recipe", recipe, *files, "--out", str(made.folder / "pre")]) == 0
    assert main(["train", "--recipe", made.agent_recipe, "--out", str(made.run)]) == 0
    return made


def test_the_artifact_is_of_the_recipe(world: World) -> None:
    model = Extractor.load(world.artifact)
    assert model.layout.timeframes == ("1h", "4h") and model.layout.reference
    assert model.features == world.spec
    names = model.config.feature_names[0]
    assert "z_mood" in names and "reference_beta" in names and any("mood" in n and n != "z_mood" for n in names)
    kept = pretrain.Recipe.read(world.folder / "pre" / "recipe.yaml")
    assert kept.inputs.features == world.spec and kept.inputs.timeframes == ("1h", "4h")
    assert kept.digest == pretrain.Recipe.read(world.folder / "pretraining.yaml").digest


def test_the_run_is_judged_with_the_same_rules(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    run = Run.load(world.run)
    assert own_inputs(run).reference == str(world.reference)
    assert AgentRecipe.read(world.run / "recipe.yaml").inputs == own_inputs(run)
    capfd.readouterr()
    assert main(["evaluate", str(world.run)]) == 0
    said = capfd.readouterr().out
    assert "stop_loss 0.03" in said and "volatility 0.6" in said and "first.parquet, second.parquet" in said
    table = agents.evaluate(run)
    markets = [run.agent.market(_with_mood(world, bars), reference=world.reference_bars) for bars in world.bars]
    pd.testing.assert_frame_equal(table, agents.evaluate(run, market=markets))
    saved = [market.save(world.folder / f"saved-{place}").folder for place, market in enumerate(markets)]
    pd.testing.assert_frame_equal(table, agents.evaluate(run, market=saved))
    with_own = [_with_mood(world, bars) for bars in world.bars]  # columns that bars bring are read as they are
    pd.testing.assert_frame_equal(table, agents.evaluate(run, market=with_own))
    assert agents.score(run, world.files)["log_return"]["policy"] == table["log_return"].iloc[0]


def _with_mood(world: World, bars: pd.DataFrame) -> pd.DataFrame:
    from cryptoenv import join_exogenous

    return join_exogenous(bars, world.mood, known_after="1d")


def test_a_stores_series_is_a_market_and_a_reference(world: World, tmp_path: Path) -> None:
    places = []
    for symbol, bars in (("OWN/USDT", world.bars[0]), ("REF/USDT", world.reference_bars)):
        key = SeriesKey("venue", symbol, "15m")
        with BarStore(tmp_path / "store").writer(key) as writer:
            first, last = (int(bars.index[at].value // 1_000_000) for at in (0, -1))
            writer.append(bars, (first, last + 900_000))
        places.append(key.folder(tmp_path / "store"))
    run = Run.load(world.run)
    inputs = MarketInputs(reference=str(places[1]))
    by_store = agents.evaluate(run, market=places[0], inputs=inputs)
    pd.testing.assert_frame_equal(by_store, agents.evaluate(run, market=world.files[0]))


def test_predict_signal_and_play_follow_the_run(
    world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bars, out = ["--bars", str(world.files[0])], tmp_path / "signal.json"
    assert main(["predict", str(world.run), *bars, "--out", str(tmp_path / "run")]) == 0
    table = pd.read_parquet(tmp_path / "run" / "predictions.parquet")
    market = Run.load(world.run).agent.market(_with_mood(world, world.bars[0]), reference=world.reference_bars)
    model = pretrain.load(world.artifact).predict(market)
    pd.testing.assert_frame_equal(table[list(model.columns)], model, check_freq=False)
    other = ["--reference", str(world.reference), "--exogenous", f"{world.folder / 'mood.csv'}@1d"]
    assert main(["predict", str(world.artifact), *bars, *other, "--follow", "--times", "1"]) == 0
    assert main(["signal", str(world.run), *bars, "--out", str(out)]) == 0
    told = json.loads(out.read_text("utf-8"))
    last = table.iloc[-1]
    for name, share in told["probabilities"].items():
        assert last[f"agent_{float(name):+g}" if float(name) else "agent_0"] == pytest.approx(share, abs=1e-6)
    assert last["agent_target"] == told["target"]
    assert main(["play", str(world.run), *bars, "--steps", "2"]) == 0
    assert main(["export", str(world.run), str(tmp_path / "agent.zip")]) == 0
    assert main(["predict", str(world.artifact), *bars, "--out", str(tmp_path / "none")]) == 2
    assert "--exogenous" in capfd.readouterr().err or not (tmp_path / "none").exists()


def test_an_agents_predictions_are_the_same_bar_by_bar(world: World) -> None:
    run = Run.load(world.run)
    model = AgentPredictor(run.agent)
    bars = _with_mood(world, world.bars[0])
    whole = model.predict(bars, reference=world.reference_bars)
    stream = model.stream(bars.iloc[:-12], reference=world.reference_bars.iloc[:-12])
    later = bars.iloc[-12:].assign(reference=world.reference_bars["close"].iloc[-12:])
    rows = pd.concat([stream.append(later.iloc[[place]]) for place in range(12)])
    pd.testing.assert_frame_equal(rows, whole.iloc[-len(rows) :], check_exact=True, check_freq=False)
    assert len(rows) == 3


def test_what_the_artifact_says_wins(world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    base = ["--recipe", world.agent_recipe, "--out", str(tmp_path / "refused")]
    (tmp_path / "default.yaml").write_text(FeatureSpec().to_yaml(), "utf-8")
    for words, said in (
        (["--timeframes", "1h,1d"], "timeframes differ"),
        (["--features", str(tmp_path / "default.yaml")], "features differ"),
        (["--exogenous", f"{_other_column(world, tmp_path)}@1d"], "'greed'"),
        (["--timeframes", "1h,90m"], "timeframe"),
        (["--exogenous", "nowhere.csv@1d"], "no such file"),
        (["--set", "limits.stop=1"], "stop"),
    ):
        capfd.readouterr()
        assert main(["train", *base, *words]) == 2, words
        assert said in capfd.readouterr().err, words
        assert not (tmp_path / "refused").exists()
    assert main(["train", "--task", "easy", "--extractor", str(world.artifact), "--out", str(tmp_path / "task")]) == 2
    assert "synthetic markets do not have" in capfd.readouterr().err
    assert main(["evaluate", str(world.run), "--timeframes", "15m,4h"]) == 2
    assert "timeframes differ" in capfd.readouterr().err
    plain = Extractor.load("default")
    with pytest.raises(ArtifactError, match="takes no feature against one"):
        maker_for(plain, MarketInputs(reference=str(world.reference)))
    with pytest.raises(ArtifactError, match="features differ"):
        own_markets(world.bars[0], agents.TradingSettings(("1h", "4h"), (16, 8)), maker_for(
            Extractor.load(world.artifact), MarketInputs(
                features=FeatureSpec(), exogenous=(ExogenousSource(str(world.folder / "mood.csv"), "1d"),)
            )
        ))  # fmt: skip


def _other_column(world: World, folder: Path) -> Path:
    world.mood.rename("greed").to_csv(folder / "greed.csv")
    return folder / "greed.csv"


def test_synthetic_markets_get_the_extractors_features(world: World, tmp_path: Path) -> None:
    plain = replace(SMALL, reference=None)
    spec = FeatureSpec(plain, plain, plain, plain)
    (tmp_path / "plain.yaml").write_text(spec.to_yaml(), "utf-8")
    small = "timeframes: [15m, 1h]\ntask: easy\ndays: 5\nmarkets: 2\nvalidation_markets: 1\n"
    recipe = world.recipe("plain.yaml", PRETRAINED.replace("horizon", "oracle") + small)
    words = ["--features", str(tmp_path / "plain.yaml"), "--out", str(tmp_path / "pre")]
    assert main(["pretrain", "--recipe", recipe, *words]) == 0
    small = "training: {train_markets: 2, validation_markets: 1, days: 3}\ncloning: {samples: 2048, epochs: 1}\n"
    agent = world.recipe("task.yaml", f"algorithm: bc\nmarket: easy\nextractor: {tmp_path}/pre/artifact\n{small}")
    assert main(["train", "--recipe", agent, "--out", str(tmp_path / "run")]) == 0
    table = agents.evaluate(Run.load(tmp_path / "run"), markets=2, days=3)
    assert np.isfinite(table["score"]).all()
    assert main(["play", str(tmp_path / "run"), "--task", "easy", "--steps", "2"]) == 0


def test_tuning_on_own_bars_names_the_winner(world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    bars = [word for file in world.files for word in ("--bars", str(file))]
    recipe = world.recipe("tuned.yaml", world.inputs + PRETRAINED)
    once = ["--trials", "1", "--out", str(tmp_path / "extractor")]
    assert main(["tune", "--recipe", recipe, *bars, *once]) == 0
    said = capfd.readouterr().out
    assert (
        "winner: trial 0" in said and "width_by_16 " in said and "lower is better: it is the validation loss" in said
    )
    best = pretrain.Recipe.read(tmp_path / "extractor" / "best_recipe.yaml")
    assert best.inputs.features == world.spec and best.inputs.reference == str(world.reference)
    once = ["--trials", "1", "--out", str(tmp_path / "agent")]
    assert main(["tune", "--agent", "--recipe", world.agent_recipe, *once]) == 0
    said = capfd.readouterr().out
    assert "winner: trial 0" in said and "lower is better: it is minus the net log-return" in said
    assert main(["tune", "--recipe", "default", *bars[:2], "--task", "easy", "--out", str(tmp_path / "both")]) == 2
    assert "one of them" in capfd.readouterr().err
    assert main(["tune", "--recipe", "default", *bars[:2], "--set", "a=1", "--out", str(tmp_path / "both")]) == 2
    assert not (tmp_path / "both").exists()
