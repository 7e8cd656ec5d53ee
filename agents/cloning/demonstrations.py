"""Demonstrations: what the teacher would do, from whatever position is held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from agents.markets.expert_market import ExpertMarket, markets_of
from agents.policies.trading_policy import TablePolicy, TradingPolicy, held_position
from agents.seeds import spread_seed
from agents.settings import TradingSettings, vector_env
from cryptoenv.progress import tqdm
from synthetic import NO_LABEL


@dataclass(frozen=True)
class Demonstrations:
    """N labelled states.

    Attributes:
        index: (N, 2) int64, market and bar.
        account: (N, 5) float32, account observations.
        actions: (N,) int64, the teacher's action.
    """

    index: NDArray[np.int64]
    account: NDArray[np.float32]
    actions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.actions)


def collect(
    labelled: Sequence[ExpertMarket],
    settings: TradingSettings,
    *,
    samples: int,
    seed: int,
    num_envs: int = 256,
    dwell: int = 16,
    visitor: TradingPolicy | None = None,
    teacher_share: float = 0.0,
    progress: bool = True,
) -> Demonstrations:
    """Hold random positions, and write down what the teacher would do from each.

    A teacher is almost always in the position it wants, so a clone of its own trajectories learns "hold what you
    hold": the held position tells it the answer, and it never leaves a wrong one (causal confusion, de Haan et al.
    2019). Here every row holds positions drawn at random, each for `dwell` bars on average, which say nothing about
    the market; the teacher answers for any position.

    Args:
        labelled: markets with labels.
        settings: positions and costs.
        samples: labelled states to collect.
        seed: of starts and deviations.
        num_envs: rows rolled at once.
        dwell: mean bars for which a random position is held.
        visitor: decides instead of chance, with the markets' embeddings bound: the states are those it comes to.
        teacher_share: probability that the teacher decides a step in the visitor's place.
        progress: show a progress bar.

    Raises:
        ValueError: no state had a label.
    """
    rng = np.random.default_rng(spread_seed(seed, "deviations"))
    steps = max(samples // num_envs, 1)
    episode_bars = min(480, *(t.steps for t in labelled))
    envs = vector_env(
        markets_of(labelled), settings, num_envs=num_envs, episode_bars=episode_bars,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )  # fmt: skip
    teacher = TablePolicy([t.labels for t in labelled], settings.positions)
    observation, _ = envs.reset(seed=spread_seed(seed, "starts"))
    held = rng.integers(len(settings.positions), size=num_envs)
    index, account, actions = [], [], []
    for _ in tqdm(range(steps), desc="demonstrations", unit="step", disable=not progress):
        seen = observation["index"], observation["account"]
        index.append(seen[0])
        account.append(seen[1])
        actions.append(teacher.act(*seen))
        if visitor is None:
            redraw = rng.random(num_envs) < 1.0 / dwell
            held = np.where(redraw, rng.integers(len(settings.positions), size=num_envs), held)
        else:
            held = np.where(rng.random(num_envs) < teacher_share, actions[-1], visitor.act(*seen))
        observation, *_ = envs.step(held)
    envs.close()
    found = Demonstrations(np.concatenate(index), np.concatenate(account), np.concatenate(actions))
    return _labelled(found, labelled, settings)


def _labelled(
    demonstrations: Demonstrations, labelled: Sequence[ExpertMarket], settings: TradingSettings
) -> Demonstrations:
    """Leave out the states for which the teacher has no label."""
    held = held_position(demonstrations.account, settings.positions)
    has = np.empty(len(demonstrations), dtype=bool)
    for m, t in enumerate(labelled):
        of_market = demonstrations.index[:, 0] == m
        has[of_market] = t.labels[demonstrations.index[of_market, 1], held[of_market]] != NO_LABEL
    if not has.any():
        raise ValueError("none of the visited states has a label")
    return Demonstrations(demonstrations.index[has], demonstrations.account[has], demonstrations.actions[has])


class Batches:
    """An endless supply of epochs of ready batches: a fresh permutation each time it is iterated over."""

    def __init__(self, demonstrations: Demonstrations, batch_size: int, rng: np.random.Generator) -> None:
        if len(demonstrations) < batch_size:
            raise ValueError(f"{len(demonstrations)} demonstrations do not fill one batch of {batch_size}")
        self._demonstrations = demonstrations
        self._batch_size = batch_size
        self._rng = rng

    def __len__(self) -> int:
        return len(self._demonstrations) // self._batch_size

    def __iter__(self) -> Iterator[Demonstrations]:
        order = self._rng.permutation(len(self._demonstrations))
        d = self._demonstrations
        for b in range(len(self)):
            rows = order[b * self._batch_size : (b + 1) * self._batch_size]
            yield Demonstrations(d.index[rows], d.account[rows], d.actions[rows])
