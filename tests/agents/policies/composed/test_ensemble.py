from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import agents
from agents.evaluation.composed_tuning import CAUTIONS, best_of, tune_ensemble
from agents.evaluation.rollout import blocks, roll
from agents.markets.embedded import EmbeddedMarkets
from agents.markets.expert_market import ExpertMarket
from agents.policies.agent import Agent
from agents.policies.composed.composed_agent import whole_positions
from agents.policies.composed.ensemble import EnsembleAgent, share_of_agreement, views_of
from agents.policies.heads import HEADS, new_policy
from agents.policies.policy_shape import PolicyShape
from agents.settings import TradingSettings
from cryptoenv.trading.config import RiskLimits
from pretrain import Extractor

Labelled = tuple[ExpertMarket, ...]


def agent(extractor: Extractor, settings: TradingSettings, seed: int, head: str = "actor") -> Agent:
    """With random weights, large enough for preferences that differ from bar to bar."""
    shape = PolicyShape(extractor.width, len(settings.positions), hidden=(8,))
    policy = new_policy(shape, seed, head, settings)
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            weight.mul_(0.0 if name.endswith("bias") else 30.0)
    return Agent(extractor, policy, shape, settings, margin=0.1, head=head)


@pytest.fixture(scope="module")
def embedded(extractor: Extractor, labelled: Labelled) -> EmbeddedMarkets:
    return EmbeddedMarkets.of(extractor, labelled, progress=False)


def test_one_member_without_caution_is_the_member(
    extractor: Extractor, settings: TradingSettings, embedded: EmbeddedMarkets
) -> None:
    one, markets = agent(extractor, settings, 0), embedded.labelled
    alone = roll(one.on(markets, embedded.table), markets, blocks(markets, 96), settings)
    ensemble = EnsembleAgent((one,), margin=one.margin, caution=0.0)
    together = roll(ensemble.on(markets, embedded.table), markets, blocks(markets, 96), settings)
    assert alone.turnover.sum() > 1.0
    np.testing.assert_array_equal(together.equity, alone.equity)


@pytest.mark.parametrize("heads", [("actor", "actor", "utility"), ("quantile",)])
def test_decisions_are_those_of_a_plain_loop(
    extractor: Extractor, settings: TradingSettings, embedded: EmbeddedMarkets, heads: tuple[str, ...]
) -> None:
    members = tuple(agent(extractor, settings, seed, head) for seed, head in enumerate(heads))
    ensemble = EnsembleAgent(members, margin=0.2, caution=0.5, step=0.25)
    policy, rng = ensemble.on(embedded.labelled, embedded.table), np.random.default_rng(0)
    rows = 400
    index = np.column_stack([rng.integers(4, size=rows), rng.integers(5500, 5800, size=rows)])
    account = np.zeros((rows, 5), np.float32)
    account[:, 1] = rng.choice([-1.0, -0.75, -0.25, 0.0, 0.5, 1.0], size=rows)
    account[:, 0] = account[:, 1]
    told, _ = whole_positions(account, settings.positions)
    every, asked, shares = policy.preferences(index, told), policy.act(index, account)[:, 0], set()
    assert every.shape == (16 if heads == ("quantile",) else 3, rows, 3)
    for n in range(rows):
        target = float(account[n, 1])
        held = 1 + int(np.sign(target))
        mean = every[:, n].mean(axis=0)
        best = int(mean.argmax())
        chosen = best if mean[best] - mean[held] > 0.2 else held
        leads = every[:, n, chosen] - every[:, n, 1]
        share = max(leads.mean(), 0.0) / (max(leads.mean(), 0.0) + 0.5 * leads.std()) if leads.std() > 0.0 else 0.0
        if chosen == held and abs(share - abs(target)) < 0.25 - 1e-6:
            expected = target
        else:
            expected = (chosen - 1) * round(share * 4.0) / 4.0
        assert asked[n] == pytest.approx(expected, abs=1e-6), n
        shares.add(float(asked[n]))
    assert len(shares) > 3


def test_views_of_quantiles_have_the_heads_preference_as_their_mean(
    extractor: Extractor, settings: TradingSettings, embedded: EmbeddedMarkets
) -> None:
    one = agent(extractor, settings, 3, "quantile")
    seen = {"index": torch.tensor([[0, 5600], [1, 5700]]), "account": torch.zeros((2, 5))}
    views = views_of(one, embedded.table)(seen)
    policy = one.on(embedded.labelled, embedded.table)
    np.testing.assert_allclose(
        views.mean(dim=0).detach().numpy(),
        policy.preferences(seen["index"].numpy(), seen["account"].numpy()), rtol=1e-4,
    )  # fmt: skip
    assert HEADS["quantile"].exposures is None


def test_agreement_holds_more_than_disagreement() -> None:
    leads = np.array([[2.0, 4.0, -1.0, 2.0], [2.0, 0.5, -1.0, 2.0]])
    agreed, split, unwilling, free = share_of_agreement(leads, np.array([1.0, 1.0, 1.0, 0.0]))
    assert (agreed, unwilling, free) == (1.0, 0.0, 1.0) and 0.0 < split < 1.0


def test_what_is_held_is_told_whole(settings: TradingSettings) -> None:
    account = np.zeros((3, 5), np.float32)
    account[:, :2] = [[0.5, 0.5], [-0.2, -0.25], [0.98, 1.0]]
    told, held = whole_positions(account, settings.positions)
    np.testing.assert_allclose(told[:, :2], [[1.0, 1.0], [-0.8, -1.0], [0.98, 1.0]], rtol=1e-6)
    assert held.tolist() == [2, 0, 2] and whole_positions(account[2:], settings.positions)[0] is not account
    assert account[0, 1] == 0.5


def test_tuning_takes_what_earns_most_on_validation_markets(
    extractor: Extractor, settings: TradingSettings, embedded: EmbeddedMarkets
) -> None:
    ensemble = EnsembleAgent(tuple(agent(extractor, settings, seed) for seed in range(2)))
    tuned = tune_ensemble(ensemble, embedded.labelled, embedded.table)
    policy = tuned.on(embedded.labelled, embedded.table)
    earned = best_of(lambda each: policy.varied(None, each), CAUTIONS, embedded.labelled, settings)
    assert tuned.caution == CAUTIONS[int(earned.argmax())] and len(set(earned.tolist())) > 1


def test_it_is_judged_as_an_agent_is(extractor: Extractor, settings: TradingSettings) -> None:
    ensemble = EnsembleAgent((agent(extractor, settings, 0), agent(extractor, settings, 1)))
    table = agents.score(ensemble, "easy", split="validation", markets=2, days=3)
    assert np.isfinite(table.loc["policy", "score"]) and table.loc["filter oracle", "score"] == 1.0


def test_members_that_do_not_go_together_are_refused(extractor: Extractor, settings: TradingSettings) -> None:
    one = agent(extractor, settings, 0)
    for members, told in (
        ((), "empty"),
        ((one, replace(one, settings=replace(settings, limits=RiskLimits(stop_loss=0.1)))), "differ"),
        ((replace(one, settings=replace(settings, positions=(-1.0, 0.0, 0.5, 1.0))),), "one on each side"),
        ((replace(one, settings=replace(settings, continuous=True)),), "continuous"),
    ):
        with pytest.raises(ValueError, match=told):
            EnsembleAgent(members)
    with pytest.raises(ValueError, match="caution"):
        EnsembleAgent((one,), caution=-1.0)
