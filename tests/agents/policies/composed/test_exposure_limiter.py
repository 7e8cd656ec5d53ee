from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import agents
from agents.evaluation import baselines
from agents.evaluation.rollout import RolloutRows, blocks, roll
from agents.markets.embedded import EmbeddedMarkets, EmbeddingTable, TrainingMarkets
from agents.markets.expert_market import ExpertMarket
from agents.policies.agent import Agent
from agents.policies.composed.exposure_limiter import ExposureLimiter, LimitNetwork, slow_bars
from agents.policies.heads import new_policy
from agents.policies.policy_shape import PolicyShape
from agents.settings import TradingSettings
from agents.training.limits_training import LimitsConfig, fit_limits, lessons
from cryptoenv.bars.price_columns import CLOSE
from pretrain import Extractor
from pretrain.fitting.artifact_folder import ArtifactError

Labelled = tuple[ExpertMarket, ...]
LIMITS = ((-1.0, 1.0), (0.0, 1.0), (-1.0, 0.0), (0.0, 0.0))


@pytest.fixture(scope="module")
def embedded(extractor: Extractor, labelled: Labelled) -> EmbeddedMarkets:
    return EmbeddedMarkets.of(extractor, labelled, progress=False)


@pytest.fixture(scope="module")
def fast(extractor: Extractor, settings: TradingSettings) -> Agent:
    """With random weights, large enough to change its mind."""
    shape = PolicyShape(extractor.width, len(settings.positions), hidden=(8,))
    policy = new_policy(shape, 0, "actor", settings)
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            weight.mul_(0.0 if name.endswith("bias") else 30.0)
    return Agent(extractor, policy, shape, settings, margin=0.1)


def slow(width: int, values: list[float]) -> LimitNetwork:
    """One that finds limits worth these, whatever it sees."""
    network = LimitNetwork(width, len(values), 4)
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
        network.values[-1].bias.copy_(torch.tensor(values))
    return network


def test_wide_limits_change_nothing_and_closed_ones_hold_nothing(
    fast: Agent, embedded: EmbeddedMarkets, settings: TradingSettings
) -> None:
    markets, rows = embedded.labelled, blocks(embedded.labelled, 96)
    free = roll(fast.on(markets, embedded.table), markets, rows, settings)
    assert free.turnover.sum() > 1.0
    for best, low, high in ((0, -1.0, 1.0), (1, 0.0, 1.0), (2, -1.0, 0.0), (3, 0.0, 0.0)):
        worth = [1.0 if number == best else 0.0 for number in range(4)]
        limiter = ExposureLimiter(fast, slow(16, worth), LIMITS)
        held = roll(limiter.on(markets, embedded.table), markets, rows, settings)
        if best == 0:
            np.testing.assert_array_equal(held.equity, free.equity)
        later = held.exposure[17:]  # a slow bar has closed by then
        assert later.min() >= low - 0.06 and later.max() <= high + 0.06  # until it is rebalanced
    never = limiter.with_margin(math.inf)
    np.testing.assert_array_equal(roll(never.on(markets, embedded.table), markets, rows, settings).equity, free.equity)


def test_limits_change_when_a_longer_bar_has_closed_and_only_by_more_than_the_margin(
    fast: Agent, embedded: EmbeddedMarkets
) -> None:
    market, table, rng = embedded.labelled[0].market, embedded.table, np.random.default_rng(0)
    bars = slow_bars(market, "4h")
    assert (np.diff(bars) == 16).all() and all(market.bars.index[bar].strftime("%H:%M") in
        {"03:45", "07:45", "11:45", "15:45", "19:45", "23:45"} for bar in bars[:8])  # fmt: skip
    random = EmbeddingTable([rng.standard_normal(e.shape).astype(np.float32) for e in np.split(table.rows, 4)])
    limiter = ExposureLimiter(fast, LimitNetwork(16, 4, 8), LIMITS, margin=0.1)
    first = embedded.labelled[0].first
    number = limiter.chosen(embedded.labelled, random, (0.1,)).number[0, : len(market)]
    with torch.no_grad():
        worth = limiter.slow(torch.from_numpy(random.rows[: len(market)])).numpy()
    now, changes = 0, 0
    for bar in range(len(market)):
        if bar in set(bars.tolist()) and bar >= first:
            best = int(worth[bar].argmax())
            if worth[bar, best] - worth[bar, now] > 0.1:
                now, changes = best, changes + 1
        assert number[bar] == now, bar
    assert changes > 5


def test_nothing_of_later_bars_is_read(fast: Agent, embedded: EmbeddedMarkets) -> None:
    limiter, rng = ExposureLimiter(fast, LimitNetwork(16, 4, 8), LIMITS), np.random.default_rng(1)
    changed = EmbeddingTable([embedded.table.rows.copy()])
    changed.offsets = embedded.table.offsets
    cut = embedded.labelled[0].first + 100
    changed.rows[cut:] = rng.standard_normal(changed.rows[cut:].shape).astype(np.float32)
    one, other = (limiter.chosen(embedded.labelled[:1], t, (0.0,)).number for t in (embedded.table, changed))
    np.testing.assert_array_equal(one[:, :cut], other[:, :cut])


def test_it_learns_when_the_fast_agent_is_wrong(
    extractor: Extractor, fast: Agent, labelled: Labelled, settings: TradingSettings
) -> None:
    """Planted: the first number of the embedding says whether the bars ahead rise; the fast agent is always long."""
    long = replace(fast, policy=new_policy(fast.shape, 0), margin=0.0)
    with torch.no_grad():
        for weight in long.policy.parameters():
            weight.zero_()
        long.policy.action_net.bias.copy_(torch.tensor([0.0, 0.0, 9.0]))
    tables = []
    for one in labelled:
        close = np.log(one.market.prices[:, CLOSE])
        ahead = np.append(close[16:], np.full(16, close[-1])) - close
        rows = np.zeros((len(close), 16), np.float32)
        rows[:, 0] = np.sign(ahead)
        tables.append(rows)
    bars = tuple(replace(one, truth=None) for one in labelled)  # by what was realised: the plant is in the noise
    planted = EmbeddedMarkets(bars, EmbeddingTable(tables))
    config = LimitsConfig(epochs=200, batch_size=64)
    seen, gained = lessons(ExposureLimiter(long, LimitNetwork(16, 4, 4), config.limits), planted)
    assert (gained[:, 0] == 0.0).all() and gained[seen[:, 0] < 0.0, 3].mean() > 0.0 > gained[seen[:, 0] > 0.0, 3].mean()
    limiter = fit_limits(long, TrainingMarkets(planted, planted), config, seed=0)
    rows = RolloutRows(np.arange(4), np.array([t.first for t in labelled]), min(t.steps for t in labelled))
    plain = roll(baselines.constant(labelled, settings, 1.0), labelled, rows, settings).realised
    limited = roll(limiter.on(labelled, planted.table), labelled, rows, settings).realised
    assert (limited > plain).all()


def test_it_is_saved_with_its_fast_agent_named_and_judged_as_an_agent(fast: Agent, tmp_path: Path) -> None:
    limiter = ExposureLimiter(fast, LimitNetwork(16, 4, 8), LIMITS, "1d", margin=math.inf)
    limiter.save(tmp_path / "limits")
    again = ExposureLimiter.load(tmp_path / "limits", fast)
    assert (again.limits, again.timeframe, again.margin) == (limiter.limits, "1d", math.inf)
    for mine, theirs in zip(again.slow.parameters(), limiter.slow.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    with pytest.raises(ArtifactError, match="another fast agent"):
        ExposureLimiter.load(tmp_path / "limits", fast.with_margin(0.2))
    table = agents.score(again, "easy", split="validation", markets=2, days=2)
    assert np.isfinite(table.loc["policy", "score"])


def test_mistakes_are_named(fast: Agent) -> None:
    for arguments, told in (
        ({"limits": ((0.5, 1.0),)}, "limits="),
        ({"limits": ((-2.0, 1.0),)}, "limits="),
        ({"timeframe": "15m"}, "timeframe="),
        ({"margin": -1.0}, "margin"),
    ):
        with pytest.raises(ValueError, match=told):
            ExposureLimiter(**{"fast": fast, "slow": LimitNetwork(16, 4, 4), "limits": LIMITS, **arguments})  # type: ignore[arg-type]
