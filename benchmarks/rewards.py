"""What rewards do: one agent, trained under each, and the return, drawdown and turnover that come of it.

    python -m benchmarks.rewards --quick      1 seed, 200,000 env steps
    python -m benchmarks.rewards              3 seeds, 300,000 env steps; about eight CPU minutes

On "standard", with the extractor that ships. Each seed clones the teacher once; PPO goes on from that clone under each
reward in turn, without the pull toward the clone, so that the reward alone leads. The last weights are judged: choosing
the best on the way, as a training does, chooses by log-return and would hide the differences. For the same reason none
has hysteresis. All trade the same test markets from flat, at the scored costs.

Verified first: with the same actions every reward's env has the same equity, its log-returns add up to the rewards
under "log_return", and no two rewards pay the same.
"""

from __future__ import annotations

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.logger import configure

from agents.algorithms.ppo import PPOConfig, new_ppo
from agents.algorithms.threads import use_one_thread
from agents.evaluation import baselines
from agents.evaluation.rollout import Rollout, roll, whole_markets
from agents.evaluation.scoring import mean, score
from agents.evaluation.tables import net_figures
from agents.markets.embedded import EmbeddedMarkets, TrainingMarkets
from agents.markets.expert_market import ExpertMarket, synthetic_markets
from agents.policies.agent import Agent, AgentPolicy
from agents.policies.heads import bind, copy_of
from agents.settings import TradingSettings, vector_env
from agents.training.config import AgentTrainingConfig
from agents.training.pipeline import cloned
from benchmarks.support.kept import kept
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from cryptoenv.analysis.performance import performance
from pretrain import Extractor

TASK, DAYS = "standard", 60
REWARDS: dict[str, str | dict[str, float]] = {
    "log_return": "log_return",
    "differential_sharpe": "differential_sharpe",
    "downside": "downside",
    "consistency": "consistency",
    "log_return - drawdown": {"log_return": 1.0, "drawdown": 1.0},
    "log_return - turnover / 1000": {"log_return": 1.0, "turnover": 0.001},
}
CLONE, ORACLE = "the clone they start from", "filter oracle"
FIGURES = ("log_return", "return_per_day", "sharpe", "max_drawdown", "turnover_per_day", "mean_exposure")


@dataclass(frozen=True)
class Counts:
    """Seeds, env steps of each training, and markets to learn on, to choose the clone's hysteresis by, to judge on."""

    seeds: int
    steps: int
    train_markets: int
    validation_markets: int
    test_markets: int


QUICK, FULL = Counts(1, 200_000, 32, 4, 8), Counts(3, 300_000, 64, 8, 32)


def verify(settings: TradingSettings) -> None:
    """The same actions give the same equity under every reward, log-returns add up, and rewards differ.

    Raises:
        SystemExit: they do not.
    """
    markets = [t.market for t in synthetic_markets(TASK, "train", 1, 4, settings, progress=False)]
    actions = np.random.default_rng(0).integers(0, len(settings.positions), (200, 4))
    paid, equity = {}, {}
    for name, reward in REWARDS.items():
        envs = vector_env(markets, replace(settings, reward=reward), num_envs=4, episode_bars=300)
        _, info = envs.reset(seed=0)
        rows, capital = [], [info["equity"]]
        for action in actions:
            _, rewards, _, _, info = envs.step(action)
            rows.append(rewards)
            capital.append(info["equity"])
        paid[name], equity[name] = np.array(rows), np.array(capital)
    first = equity["log_return"]
    if any(not np.array_equal(first, other) for other in equity.values()):
        raise SystemExit("a reward changes what is earned")
    if not np.allclose(paid["log_return"].sum(axis=0), np.log(first[-1] / first[0]), atol=1e-4):
        raise SystemExit("log-returns do not add up")
    if any(np.allclose(paid[a], paid[b]) for a in paid for b in paid if a < b):
        raise SystemExit("two rewards pay the same")


def seed_runs(counts: Counts, seed: int) -> dict[str, dict[str, Any]]:
    """Figures of the clone and of an agent under each reward, each over the test markets, for one seed."""
    use_one_thread()
    extractor = Extractor.load("default")
    settings = AgentTrainingConfig().settings_for(extractor)
    train, validation, test = (
        synthetic_markets(TASK, family, count, DAYS, settings, progress=False)
        for family, count in (
            ("train", counts.train_markets), ("validation", counts.validation_markets), ("test", counts.test_markets)
        )
    )  # fmt: skip
    learned_on = TrainingMarkets(*(EmbeddedMarkets.of(extractor, t, progress=False) for t in (train, validation)))
    judged_on = EmbeddedMarkets.of(extractor, test, progress=False)
    clone = cloned(extractor, learned_on, settings, seed=seed, progress=False)
    found = {CLONE: figures(clone, clone.policy, judged_on)}
    for name, reward in REWARDS.items():
        began = perf_counter()
        learner = new_ppo(
            replace(clone, settings=replace(settings, reward=reward)), learned_on.train,
            PPOConfig(steps=counts.steps, pull=0.0), seed=seed,
        )  # fmt: skip
        learner.set_logger(configure(None, []))
        learner.learn(counts.steps)
        found[name] = figures(clone, learner.policy, judged_on)
        print(f"seed {seed} {name}: {perf_counter() - began:.0f} s, {np.mean(found[name]['expected']):.4f}", flush=True)
    return found


def figures(agent: Agent, policy: Any, judged_on: EmbeddedMarkets) -> dict[str, Any]:
    """What a policy comes to: expected net log-returns (M,), drawdowns (M,), and the averages of `net_figures`."""
    held = copy_of(policy)
    bind(held, judged_on.table)
    labelled = judged_on.labelled
    rollout = roll(AgentPolicy(agent, held, margin=0.0), labelled, whole_markets(labelled), agent.settings)
    return told_of(rollout, labelled, agent.settings)


def told_of(rollout: Rollout, labelled: tuple[ExpertMarket, ...], settings: TradingSettings) -> dict[str, Any]:
    """The figures of a rollout as plain values."""
    drawdowns = [performance(rollout.equity[:, n], 1.0)["max_drawdown"] for n in range(len(labelled))]
    return {
        "expected": rollout.expected(labelled).tolist(),
        "drawdowns": [float(one) for one in drawdowns],
        "turnover": rollout.turnover.sum(axis=0).tolist(),
        **net_figures(rollout, settings),
    }


def line(runs: list[dict[str, Any]], best: NDArray[np.float64]) -> dict[str, Any]:
    """A row of the table: means over seeds, with intervals over seeds and markets where markets are told apart."""
    drawdowns = np.array([run["drawdowns"] for run in runs]).mean(axis=0)
    return {
        "score": asdict(score(np.array([run["expected"] for run in runs]), best)),
        "drawdown": asdict(mean(drawdowns)),
        **{name: float(np.mean([run[name] for run in runs])) for name in FIGURES},
        "by_seed": {name: [run[name] for run in runs] for name in FIGURES},
    }


def table(seeds: list[dict[str, dict[str, Any]]], best: NDArray[np.float64]) -> dict[str, Any]:
    """The rows of the clone and of each reward, with what it gains on the clone, paired over seeds and markets.

    `best`: (M,) what the filter oracle is expected to earn.
    """
    rows = {name: line([found[name] for found in seeds], best) for name in (CLONE, *REWARDS)}
    clone = np.array([found[CLONE]["expected"] for found in seeds])
    for name in REWARDS:
        gained = np.array([found[name]["expected"] for found in seeds]) - clone
        rows[name]["score minus the clone's"] = asdict(score(gained, best))
    return rows


def main() -> None:
    """Verify, run, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, help="training seeds")
    parser.add_argument("--steps", type=int, help="env steps of each training")
    parser.add_argument("--workers", type=int, default=2, help="seeds side by side")
    parser.add_argument("--keep", type=Path, default=Path("runs/benchmarks/rewards"), help="results of single seeds")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/rewards.json"))
    arguments = parser.parse_args()
    counts = QUICK if arguments.quick else FULL
    counts = replace(counts, seeds=arguments.seeds or counts.seeds, steps=arguments.steps or counts.steps)
    settings = AgentTrainingConfig().settings_for(Extractor.load("default"))
    verify(settings)
    result: dict[str, Any] = {**header(), "task": TASK, "counts": asdict(counts), "rewards": REWARDS}
    with ProcessPoolExecutor(arguments.workers, multiprocessing.get_context("spawn")) as pool:
        waiting = [
            pool.submit(kept, arguments.keep, f"seed-{seed}", seed_runs, counts, seed) for seed in range(counts.seeds)
        ]
        test = synthetic_markets(TASK, "test", counts.test_markets, DAYS, settings, progress=False)
        optimum = roll(baselines.oracle(test, settings), test, whole_markets(test), settings)
        seeds = [job.result() for job in waiting]
    best = optimum.expected(test)
    rows = table([*seeds], best)
    rows[ORACLE] = line([told_of(optimum, test, settings)], best)
    for name, row in rows.items():
        told = "  ".join(f"{figure} {row[figure]:+.4f}" for figure in FIGURES)
        print(f"{name:30s} score {row['score']['value']:.3f}  {told}", flush=True)
    write_result(arguments.out, result | {"rows": rows})
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
