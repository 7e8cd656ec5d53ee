"""Synthetic markets with a teacher's labels: what an extractor is pretrained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cryptoenv.market import Market
from pretrain.windows import LabelledMarket
from synthetic import RegimeSample, horizon_labels, oracle_labels, path_labels, regime_market, task_seeds

Teacher = Literal["oracle", "path", "horizon"]

#: What a teacher is called in an artifact, and its labels of a sample at a cost, for positions.
_TEACHERS: dict[str, tuple[str, Callable[[RegimeSample, float, tuple[float, ...]], NDArray[np.int8]]]] = {
    "oracle": ("filter oracle", oracle_labels),
    "path": (
        "hindsight path at inflated cost",
        lambda sample, cost, positions: path_labels(sample.bars, cost=cost, positions=positions),
    ),
    "horizon": (
        "return over a long horizon",
        lambda sample, cost, positions: horizon_labels(sample.bars, deadband=2.0 * cost, positions=positions),
    ),
}
TEACHERS = tuple(_TEACHERS)


def lesson(
    sample: RegimeSample,
    timeframes: tuple[str, ...],
    window: tuple[int, ...],
    *,
    teacher: Teacher = "oracle",
    cost: float = 0.0011,
    positions: tuple[float, ...] = (-1.0, 0.0, 1.0),
) -> LabelledMarket:
    """The market of a synthetic sample, labelled from its first decidable bar on.

    Args:
        sample: `synthetic.regime_market`.
        timeframes: of the market, the base first.
        window: bars per timeframe that a decision needs.
        teacher: "oracle" needs the latent model, "path" and "horizon" do not (`synthetic.labels` says more).
        cost: log-return lost per unit of turnover.
        positions: exposures to choose from.

    Raises:
        ValueError: an unknown teacher, or too few bars for the windows.
    """
    if teacher not in _TEACHERS:
        raise ValueError(f"teacher={teacher!r} is unknown; choose one of {TEACHERS}")
    kind, label = _TEACHERS[teacher]
    market = Market.from_bars(sample.bars, timeframes=timeframes, name=f"{sample.task}-{sample.seed}")
    regimes = sample.truth["regime"].to_numpy(np.int8)
    labels = label(sample, cost, positions)
    return LabelledMarket(market, labels, regimes, start=market.first_decision(window), label_kind=kind)


def lessons(
    task: str,
    family: str,
    count: int,
    days: int,
    timeframes: tuple[str, ...],
    window: tuple[int, ...],
    *,
    teacher: Teacher = "oracle",
    progress: bool = True,
) -> tuple[LabelledMarket, ...]:
    """`count` lessons of `days` tradable days on a task's seeds of a family, in the family's order.

    Raises:
        ValueError: an unknown task, family or teacher.
    """
    seeds = task_seeds(task, family, count)
    bar = tqdm(seeds, desc=f"markets ({family})", unit="market", disable=not progress)
    return tuple(lesson(regime_market(task, days, seed), timeframes, window, teacher=teacher) for seed in bar)
