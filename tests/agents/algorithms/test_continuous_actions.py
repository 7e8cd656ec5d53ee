"""Agents whose actions are exposures: what is traded, kept, judged and shown; who cannot says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import agents
from agents.algorithms.exposures import ExposureActions, exposure_env
from agents.algorithms.registry import ALGORITHMS, NAMES
from agents.algorithms.sac import SACConfig
from agents.command_line import main
from agents.evaluation.rollout import roll, whole_markets
from agents.markets.embedded import EmbeddedMarkets
from agents.markets.expert_market import ExpertMarket
from agents.policies.agent import Agent
from agents.policies.heads import HEADS, new_policy
from agents.policies.policy_shape import PolicyShape
from agents.run_folders.run_folder import Run
from agents.settings import TradingSettings
from cryptoenv import RiskLimits
from pretrain import Extractor
from synthetic import regime_market

SMALL = {
    "ppo": "{steps: 1024, num_envs: 8, rollout_steps: 32, batch_size: 64, warm_up: 1, episode_bars: 96, "
    "cloning_steps: 20, labelled: 2048}",
    "sac": "{steps: 512, num_envs: 8, batch_size: 64, prefill: 256, buffer_size: 2048, warm_up: 5, episode_bars: 96, "
    "evaluate_every: 256, cloning_steps: 20, labelled: 2048}",
    "tqc": "{steps: 512, num_envs: 8, batch_size: 64, prefill: 256, buffer_size: 2048, warm_up: 5, episode_bars: 96, "
    "evaluate_every: 256, cloning_steps: 20, labelled: 2048}",
}
HEAD = {"ppo": "gaussian", "sac": "sac_exposure", "tqc": "exposure"}


def recipe(folder: Path, extractor: Extractor, algorithm: str, further: str = "") -> str:
    extractor.save(folder / "extractor")
    learning = f"learning: {SMALL[algorithm]}\n" if algorithm in SMALL else ""
    path = folder / f"{algorithm}.yaml"
    path.write_text(
        f"algorithm: {algorithm}\nmarket: easy\nextractor: {folder / 'extractor'}\nactions: continuous\n{further}"
        "training: {train_markets: 2, validation_markets: 1, days: 3}\n"
        f"cloning: {{samples: 2048, epochs: 1, batch_size: 256}}\n{learning}",
        "utf-8",
    )
    return str(path)


@pytest.mark.parametrize("algorithm", ["ppo", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sac", "tqc"))])
def test_trained_kept_judged_and_shown(
    algorithm: str, extractor: Extractor, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    further = "instrument: spot\n" if algorithm == "sac" else ""
    run = tmp_path / "run"
    assert main(["train", "--recipe", recipe(tmp_path, extractor, algorithm, further), "--out", str(run)]) == 0
    loaded = Run.load(run)
    assert loaded.agent.settings.continuous and not loaded.clone.continuous
    if loaded.agent.head == HEAD[algorithm]:
        assert loaded.agent.continuous
    table = agents.evaluate(loaded, markets=2, days=3)
    assert np.isfinite(table["score"]).all()
    if algorithm != "ppo":
        return
    bars = regime_market("easy", days=40, seed=3).bars
    decision = loaded.agent.decide(bars)
    assert decision.probabilities == {} and -1.0 <= decision.target <= 1.0
    assert main(["play", str(run), "--task", "easy", "--steps", "2"]) == 0


@pytest.mark.parametrize("algorithm", [name for name in NAMES if name not in SMALL])
def test_who_chooses_among_positions_says_so(
    algorithm: str, extractor: Extractor, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--recipe", recipe(tmp_path, extractor, algorithm), "--out", str(tmp_path / "run")]) == 2
    said = capfd.readouterr().err
    assert f"{algorithm} chooses among positions" in said and "ppo, sac, tqc" in said
    assert not (tmp_path / "run").exists()


def constant_agent(extractor: Extractor, head: str, exposure: float, settings: TradingSettings) -> Agent:
    """Always wants `exposure`."""
    shape = PolicyShape(extractor.width, len(settings.positions))
    policy = new_policy(shape, 0, head, settings)
    low, high = settings.exposure_bounds
    own = exposure if head == "gaussian" else float(np.arctanh(2.0 * (exposure - low) / (high - low) - 1.0))
    layer = policy.action_net if head == "gaussian" else policy.actor.mu
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.fill_(own)
    return Agent(extractor, policy, shape, settings, algorithm="tqc", head=head)


@pytest.mark.parametrize("head", list(HEAD.values()))
@pytest.mark.parametrize(
    ("instrument", "limit", "wanted"), [("perpetual", 1.0, -0.37), ("perpetual", 2.0, 1.3), ("spot", 1.0, 0.25)]
)
def test_the_exposure_asked_for_is_traded(
    head: str,
    instrument: Any,
    limit: float,
    wanted: float,
    extractor: Extractor,
    labelled: tuple[ExpertMarket, ...],
    tmp_path: Path,
) -> None:
    positions = (0.0, 1.0) if instrument == "spot" else (-1.0, 0.0, 1.0)
    limits = RiskLimits(exposure=limit)
    settings = TradingSettings(instrument=instrument, limits=limits, positions=positions, continuous=True)
    agent = constant_agent(extractor, head, wanted, settings)
    agent.save(tmp_path / "agent")
    agent = Agent.load(tmp_path / "agent", extractor)
    found = roll(agent.on(labelled[:1]), labelled[:1], whole_markets(labelled[:1]), settings)
    assert found.exposure[5:] == pytest.approx(wanted, abs=0.1)
    assert agent.decide(labelled[0].market).target == pytest.approx(wanted, abs=1e-5)
    # a band of hysteresis: what is held stays, unless the exposure lies further away
    near = agent.with_margin(4.0 * 0.2)
    assert near.decide(labelled[0].market, held=wanted - 0.1).target == pytest.approx(wanted - 0.1, abs=1e-5)
    assert near.decide(labelled[0].market, held=wanted - 0.24).target == pytest.approx(wanted, abs=1e-5)
    # snapped to positions where the agent chooses among them
    snapped = agent.settings.__class__(instrument=instrument, limits=limits, positions=positions)
    chosen = HEADS[head].preferences(agent.policy, _observation(), positions).argmax(dim=1)
    assert not Agent(extractor, agent.policy, agent.shape, snapped, head=head).continuous
    assert positions[int(chosen)] == min(positions, key=lambda position: abs(position - wanted))


def _observation() -> dict[str, torch.Tensor]:
    return {"index": torch.zeros((1, 2), dtype=torch.int64), "account": torch.zeros((1, 5))}


def test_learners_see_and_store_what_is_traded(extractor: Extractor, labelled: tuple[ExpertMarket, ...]) -> None:
    """Spot: an exposure of 0.25 is the actor's -0.5; flat is its -1, and full 1."""
    from agents.algorithms.exposures import _within
    from agents.algorithms.sac import new_exposure_sac

    settings = TradingSettings(instrument="spot", positions=(0.0, 0.25, 1.0), continuous=True)
    train = EmbeddedMarkets.of(extractor, labelled[:2], progress=False)
    shape = PolicyShape(extractor.width, 3)
    clone = Agent(extractor, new_policy(shape, 0), shape, settings)
    config = SACConfig(num_envs=4, prefill=64, buffer_size=256, episode_bars=50, from_clone=False)
    algorithm = new_exposure_sac(clone, train, config, seed=0)
    assert _within(algorithm, settings.positions) == pytest.approx((-1.0, -0.5, 1.0))
    stored = algorithm.replay_buffer.arrays["actions"][: algorithm.replay_buffer.pos]  # type: ignore[union-attr]
    assert {round(float(value), 6) for value in stored.ravel()} == {-1.0, -0.5, 1.0}
    env = exposure_env(train, settings, config)
    assert isinstance(env, ExposureActions)
    env.reset()
    env.step(np.full((4, 1), 0.25, np.float32))
    seen, *_ = env.step(np.full((4, 1), 0.25, np.float32))
    assert seen["account"][:, 1] == pytest.approx(0.25)  # type: ignore[call-overload, index]
    assert ALGORITHMS["sac"].for_actions(True) == ("new_exposure_sac", "sac_exposure")
