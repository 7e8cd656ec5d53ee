"""The causal optimum found a second time: fitted Q-iteration with a small network on the whole belief."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from benchmarks.support.market_scores import FIRST, earned, oracle_exposure
from synthetic import EVERYTHING, Oracle, RegimeSample, filter_beliefs, filter_oracle, regime_market, task_seeds
from synthetic.oracles.macro_filter import evidence
from synthetic.oracles.macro_forecast import macro_forecast
from synthetic.oracles.plan import best_targets, cost_matrix

torch = pytest.importorskip("torch", reason="the network needs torch")

COST = 0.0012
POSITIONS = np.array([-1.0, 0.0, 1.0])


@dataclass(frozen=True)
class Samples:
    """Decisions of one market: features (n, F), reward of each position over the next bar in units of cost (n, 3)."""

    features: np.ndarray
    reward: np.ndarray


def labelled_sample(sample: RegimeSample) -> Samples:
    """Nothing of the oracle's coordinates: belief, scale, distance, and the next bar's exact expectation."""
    seen, forecast = evidence(sample), macro_forecast(sample, EVERYTHING)
    reward = np.outer(forecast.drift, POSITIONS) + np.outer(forecast.second_moment, (POSITIONS - POSITIONS**2) / 2)
    columns = [
        np.sqrt(filter_beliefs(sample)),
        np.log(seen.next_scale / 0.003)[:, None],
        seen.next_distance[:, None],
        forecast.drift[:, None] / COST * 10.0,
    ]
    return Samples(np.hstack(columns).astype(np.float32)[FIRST:], (reward / COST).astype(np.float32)[FIRST:])


def fitted_network(labelled_samples: list[Samples], steps: int) -> torch.nn.Module:
    """A market that trades do not move: every bar teaches all positions (Riedmiller 2005; target averaged by 2%).

    The network gives the continuation of short and long relative to flat, whose size the cost bounds.
    """
    torch.manual_seed(0)
    features = torch.tensor(np.concatenate([one.features for one in labelled_samples]))
    reward = torch.tensor(np.concatenate([one.reward for one in labelled_samples]))
    ends = np.cumsum([len(one.features) for one in labelled_samples]) - 1
    inside = torch.tensor(np.setdiff1d(np.arange(len(features)), ends))
    positions = torch.tensor(POSITIONS, dtype=torch.float32)
    cost = (positions[:, None] - positions[None]).abs()

    def network() -> torch.nn.Module:
        width = features.shape[1]
        layers = [torch.nn.BatchNorm1d(width, affine=False, momentum=None), torch.nn.Linear(width, 64), torch.nn.ReLU()]
        return torch.nn.Sequential(*layers, torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))

    learner, target = network(), network()
    learner[0](features), target[0](features)
    learner.eval(), target.eval()
    target.load_state_dict(learner.state_dict())
    optimizer = torch.optim.Adam(learner.parameters(), 1e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        now = inside[torch.randint(len(inside), (2048,), generator=generator)]
        with torch.no_grad():
            short, long = target(features[now + 1]).T
            worth = reward[now + 1] + 0.9999 * torch.stack([short, torch.zeros_like(short), long], 1)
            best = (worth[:, None, :] - cost[None]).amax(2)
            aim = torch.stack([best[:, 0] - best[:, 1], best[:, 2] - best[:, 1]], 1)
        loss = ((learner(features[now]) - aim) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        with torch.no_grad():
            for old, new in zip(target.parameters(), learner.parameters(), strict=True):
                old.lerp_(new, 0.02)
    return learner


def network_plan(network: torch.nn.Module, sample: RegimeSample) -> Oracle:
    one = labelled_sample(sample)
    with torch.no_grad():
        short, long = network(torch.tensor(one.features)).numpy().T
    values = np.zeros((len(sample.bars), 3))
    values[FIRST:] = COST * (one.reward + 0.9999 * np.column_stack([short, np.zeros_like(short), long]))
    return Oracle(POSITIONS, values, best_targets(values, cost_matrix(POSITIONS, COST)))


@pytest.mark.slow
def test_a_network_on_the_belief_finds_no_more_than_the_oracle() -> None:
    """Within 1% and what 24 markets of 200 days leave uncertain; fitted on as many bars as the oracle's plan."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seeds = task_seeds("standard", "oracle", 16)
        network = fitted_network([labelled_sample(regime_market("standard", 400, seed)) for seed in seeds], 6000)
    finally:
        torch.set_num_threads(threads)
    pairs = []
    for seed in task_seeds("standard", "validation", 24):
        sample = regime_market("standard", 200, seed)
        plans = (network_plan(network, sample), filter_oracle(sample, COST))
        pairs.append([earned(sample, oracle_exposure(plan), COST).expected.mean() for plan in plans])
    found, claimed = np.array(pairs).T
    ratio = found.sum() / claimed.sum()
    error = (found - ratio * claimed).std(ddof=1) / np.sqrt(len(found)) / claimed.mean()
    print(f"fitted Q over filter oracle: {ratio:.4f} +- {error:.4f}")
    assert abs(ratio - 1.0) < 0.01 + 2.0 * error
    assert error < 0.01
