"""What a recipe says of trading is trained by, kept with the agent, and followed by whatever judges or shows it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import agents
from agents.command_line import main
from agents.markets.expert_market import synthetic_markets
from agents.policies.agent import Agent
from agents.run_folders.run_folder import Run
from agents.settings import SCORED_COSTS, TradingChoice, TradingSettings, vector_env
from agents.training.recipe import AgentRecipe, write_agent_recipe
from cryptoenv import Costs, RiskLimits, Sizing, VenueRules
from pretrain import ConfigError, Extractor
from synthetic import regime_market

TRADING = """
instrument: spot
actions: [0, 0.5, 1]
reward: {log_return: 1, drawdown: 0.2}
costs: {fee: 0.0005}
limits: {stop_loss: 0.03}
sizing: {volatility: 0.6}
rules: {min_notional: 5}
"""
SMALL = """
training: {train_markets: 2, validation_markets: 2, days: 3, checkpoint_every: 512}
cloning: {samples: 4096, epochs: 1, batch_size: 256}
learning: {steps: 2048, num_envs: 16, rollout_steps: 32, batch_size: 128, warm_up: 1, episode_bars: 96}
"""
CHOSEN = {
    "instrument": "spot", "positions": (0, 0.5, 1), "reward": {"log_return": 1, "drawdown": 0.2},
    "costs": Costs(fee=0.0005, impact=0.0), "limits": RiskLimits(stop_loss=0.03), "sizing": Sizing(volatility=0.6),
    "rules": VenueRules(min_notional=5),
}  # fmt: skip


def written(folder: Path, extractor: Extractor, text: str) -> Path:
    extractor.save(folder / "extractor")
    path = folder / "recipe.yaml"
    path.write_text(f"algorithm: ppo\nmarket: easy\nextractor: {folder / 'extractor'}\n{text}", encoding="utf-8")
    return path


def test_train_evaluate_play_and_signal_follow_the_recipe(
    extractor: Extractor, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe, run = written(tmp_path, extractor, TRADING + SMALL), tmp_path / "run"
    assert main(["train", "--recipe", str(recipe), "--out", str(run)]) == 0
    settings = Run.load(run).agent.settings
    for name, expected in CHOSEN.items():
        assert getattr(settings, name) == expected, name
    again = AgentRecipe.read(run / "recipe.yaml")
    assert again == AgentRecipe.read(recipe)
    bars = tmp_path / "bars.parquet"
    regime_market("easy", days=40, seed=3).bars.to_parquet(bars)
    capfd.readouterr()
    assert main(["evaluate", str(run), "--bars", str(bars)]) == 0
    said = capfd.readouterr().out
    assert "Charged: fee 0.05%" in said and "stop_loss 0.03" in said and "volatility 0.6" in said
    assert "min_notional 5" in said
    assert main(["play", str(run), "--bars", str(bars), "--steps", "2"]) == 0
    assert main(["signal", str(run), "--bars", str(bars), "--out", str(tmp_path / "signal.json")]) == 0
    assert json.loads((tmp_path / "signal.json").read_text("utf-8"))["target"] in (0, 0.5, 1)
    assert main(["export", str(run), str(tmp_path / "agent.zip")]) == 0
    table = agents.evaluate(Run.load(run), market="easy", markets=2, days=3)
    assert table.loc["buy and hold", "mean_exposure"] < 1.0  # sized by its volatility target
    with pytest.raises(ValueError, match="what it was trained on"):
        agents.score(Run.load(run), "easy", actions=(0.0, 1.0), markets=2, days=3)


def test_the_envs_get_every_part() -> None:
    settings = TradingSettings(**CHOSEN)  # type: ignore[arg-type]
    (market,) = (t.market for t in synthetic_markets("easy", "validation", 1, 3, settings, progress=False))
    envs = vector_env([market], settings, num_envs=2, episode_bars=10)
    trading = envs.setup.trading
    assert (trading.instrument, trading.costs, trading.limits) == ("spot", settings.costs, settings.limits)
    assert (trading.sizing, trading.rules) == (settings.sizing, settings.rules)
    assert np.count_nonzero(envs.setup.world.weights) == 2
    envs.close()


def test_a_recipe_without_trading_is_as_before(extractor: Extractor, tmp_path: Path) -> None:
    from agents.training.pipeline import identity

    recipe = AgentRecipe.read(written(tmp_path, extractor, SMALL))
    settings = recipe.training.settings_for(extractor)
    layout = extractor.config
    assert settings == TradingSettings(layout.timeframes, layout.window, positions=layout.positions)
    assert settings.costs == SCORED_COSTS == Costs(impact=0.0)
    write_agent_recipe(recipe, tmp_path / "again.yaml")
    assert "limits" not in (tmp_path / "again.yaml").read_text("utf-8")
    assert "trading" not in identity("ppo", extractor, ((), ()), recipe.training, 0)["config"]
    chosen = AgentRecipe.read(written(tmp_path, extractor, "instrument: spot\n" + SMALL))
    assert chosen.training.settings_for(extractor).positions == (0.0, 1.0)
    assert "trading" in identity("ppo", extractor, ((), ()), chosen.training, 0)["config"]


def test_an_agent_of_the_version_before_has_the_defaults(extractor: Extractor, tmp_path: Path) -> None:
    from agents.policies.heads import new_policy
    from agents.policies.policy_shape import PolicyShape
    from pretrain.fitting.artifact_folder import json_bytes, read_folder, write_folder

    settings = TradingSettings()
    shape = PolicyShape(extractor.width, 3)
    Agent(extractor, new_policy(shape, 0), shape, settings).save(tmp_path / "agent")
    content = read_folder(tmp_path / "agent", ("policy.safetensors", "agent.json"))
    told = json.loads(content["agent.json"])
    for name in ("reward", "limits", "rules", "sizing", "reward_adaptation"):
        del told["settings"][name]
    write_folder(
        tmp_path / "before",
        {"policy.safetensors": content["policy.safetensors"], "agent.json": json_bytes(told)},
    )
    assert Agent.load(tmp_path / "before", extractor).settings == settings
    assert TradingSettings.from_dict(json.loads(json.dumps(asdict(settings)))) == settings


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("instrument: futures", "instrument='futures' is not allowed"),
        ("actions: [1, 2]", "must contain 0.0"),
        ("actions: [-2, 0, 2]", "exposure limit of 1"),
        ("actions: [-1, 0, 1]\ninstrument: spot", "positions="),
        ("actions: continuously", "actions="),
        ("reward: sharp", "reward 'sharp' is unknown"),
        ("reward: {log_return: 0}", "is 0 at every step"),
        ("costs: {fees: 0.1}", "costs: unknown key 'fees'"),
        ("costs: {fee: 2}", "costs: Costs.fee=2"),
        ("costs: {borrow: 0.1}", "'margin' only"),
        ("limits: {stop_loss: a}", "limits: stop_loss='a'"),
        ("sizing: 3", "sizing: expected keys"),
        ("rules: {tick_size: -1}", "rules: VenueRules.tick_size=-1"),
        ("limits: {exposure: 3}\ninstrument: margin", "needs leverage"),
        ("training: {trading: {}}", "'trading' does not belong there"),
    ],
)
def test_a_choice_that_cannot_be_is_refused_by_name(text: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(f"algorithm: ppo\n{text}", encoding="utf-8")
    with pytest.raises(ConfigError, match=named):
        AgentRecipe.read(tmp_path / "bad.yaml")


def test_choices_are_none_by_default() -> None:
    assert TradingChoice().given == {}


def test_the_recipe_of_the_docs_is_read(tmp_path: Path) -> None:
    page = Path(__file__).parents[3] / "docs" / "agents.md"
    blocks = (block.partition("```")[0] for block in page.read_text("utf-8").split("```yaml\n")[1:])
    (text,) = (block for block in blocks if "rules:" in block)
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    assert set(AgentRecipe.read(tmp_path / "recipe.yaml").training.trading.given) == {
        "instrument", "actions", "reward", "costs", "limits", "sizing", "rules",
    }  # fmt: skip
