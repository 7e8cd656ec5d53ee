"""The causal optimum of a regime market: the best policy under costs for one who sees only the past.

The exact filter turns bars into a belief over regimes, and a trader who knows the belief faces a Markov decision
process. Its state is reduced to two discounted expected drifts, one near and one far, and in a two-level market the
scale of the bars, binned by quantile; the reward of the very next bar is kept exact. Transitions between bins are
counted on markets of the "oracle" seed family, which nothing is ever scored on. It is given the task's parameters, as
the filter is; it looks at no future bar.
Shape legend: `T` bars, `K` regimes, `P` positions, `S` binned states.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from synthetic.oracles.chain_filter import filter_beliefs, observed_variances
from synthetic.oracles.macro_filter import EVERYTHING, Information
from synthetic.oracles.macro_forecast import Forecast, macro_forecast
from synthetic.oracles.plan import Oracle, best_target, best_targets, check_positions, cost_matrix
from synthetic.regimes.chain_task import BARS_PER_DAY, WARMUP_DAYS, RegimeTask
from synthetic.regimes.macro_task import MacroTask
from synthetic.regimes.market import regime_market
from synthetic.regimes.sample import Floats, RegimeSample
from synthetic.regimes.tasks import task_seeds

# Coarser bins (28), half-lives of 6 and 48 bars or a discount of 0.9995 lose up to 0.6% on "easy"; 56 bins fitted on
# four times the markets gain 0.2% and take four times as long.
_NEAR_HALF_LIFE: Final = 4.0
_FAR_HALF_LIFE: Final = 60.0
_CHAIN_BINS: Final = (40, 40)
# In a two-level market the scale moves too much to be left out: it is worth 1.6% +- 0.6% on "standard". A third drift,
# finer bins or more markets change less than 0.6%. Fitted Q on the whole belief (tests/synthetic/test_fitted_q.py)
# finds 1.013 +- 0.009 of what this plan earns.
_MACRO_BINS: Final = (20, 20, 10)
_FIT_MARKETS: Final = 16
_FIT_DAYS: Final = 400
_DISCOUNT: Final = 0.9999
_SWEEPS: Final = 6000
_TOLERANCE: Final = 1e-8


@dataclass(frozen=True)
class Objective:
    """What the planner pays for besides turnover; with both zero it wants expected log growth and is hardly ever flat.

    Attributes:
        risk_aversion: of squared log-returns: `risk_aversion / 2 * a**2 * E[r**2]` a bar.
        holding: log-return a bar and unit of exposure, long or short: funding or borrowing that both sides pay.

    Raises:
        ValueError: one of them is negative or not finite.
    """

    risk_aversion: float = 0.0
    holding: float = 0.0

    def __post_init__(self) -> None:
        for name in ("risk_aversion", "holding"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} is {getattr(self, name)!r}: it must be a finite number >= 0")


GROWTH: Final = Objective()


@dataclass(frozen=True)
class _View:
    """What the planner sees of one market: the coordinates of its state, (T,) each: near drift, far drift and, where it
    moves much, scale; and the next bar's expected reward (T, P)."""

    coordinates: tuple[Floats, ...]
    reward: Floats


@dataclass(frozen=True)
class _Problem:
    """What a plan is for; hashable, so that it is fitted once."""

    task: RegimeTask | MacroTask
    cost: float
    positions: tuple[float, ...]
    information: Information
    objective: Objective


@dataclass(frozen=True)
class _Plan:
    """A solved belief process: inner bin edges of each coordinate, continuation values (S, P) after the next bar."""

    edges: tuple[Floats, ...]
    continuation: Floats


def _discounted_drift(task: RegimeTask, half_life: float) -> Floats:
    """(K,) expected sum of all returns to come given the regime now, the weights halving every `half_life` bars.

    `sum over j >= 1 of g^(j-1) P^j m = (I - g P)^-1 P m`, with `m` the mean log-returns.
    """
    decay = 0.5 ** (1.0 / half_life)
    transitions = task.transition_matrix
    return np.linalg.solve(np.eye(len(task.regimes)) - decay * transitions, transitions @ task.mean_log_return)


def _chain_forecast(sample: RegimeSample, task: RegimeTask) -> Forecast:
    """What the filter of a one-level market expects."""
    transitions = task.transition_matrix
    known = np.column_stack(
        [
            _discounted_drift(task, _NEAR_HALF_LIFE),
            _discounted_drift(task, _FAR_HALF_LIFE),
            transitions @ task.mean_log_return,
            transitions @ task.mean_log_return**2,
            transitions @ (task.sigma * np.array(task.volatility)) ** 2,
        ]
    )
    near, far, drift, squared_drift, noise = (filter_beliefs(sample) @ known).T
    second_moment = squared_drift + observed_variances(sample.bars, task)[1:] * noise
    return Forecast(coordinates=(near, far), drift=drift, second_moment=second_moment)


def _view(sample: RegimeSample, problem: _Problem) -> _View:
    """Log growth `log(1 + a (e^r - 1))` is taken to second order: `a r + (a - a^2) r^2 / 2`."""
    task, objective = sample.task, problem.objective
    if isinstance(task, MacroTask):
        forecast = macro_forecast(sample, problem.information)
    elif problem.information == EVERYTHING:
        forecast = _chain_forecast(sample, task)
    else:
        raise ValueError(f"task {task.name!r} has no macro state: information can only be left out of one that has")
    positions = np.array(problem.positions)
    curvature = 0.5 * (positions - positions**2)
    reward = np.outer(forecast.drift, positions) + np.outer(forecast.second_moment, curvature)
    if objective != GROWTH:
        reward -= np.outer(forecast.second_moment, 0.5 * objective.risk_aversion * positions**2)
        reward -= objective.holding * np.abs(positions)
    return _View(coordinates=forecast.coordinates, reward=reward)


def _states(edges: tuple[Floats, ...], view: _View) -> NDArray[np.int64]:
    """(T,) binned state of every bar."""
    states = np.zeros(len(view.reward), np.int64)
    for inner, coordinate in zip(edges, view.coordinates, strict=True):
        states = states * (len(inner) + 1) + np.searchsorted(inner, coordinate)
    return states


@njit(cache=True)
def _iterate(
    origin: NDArray[np.int64],
    target: NDArray[np.int64],
    probability: Floats,
    reward: Floats,
    costs: Floats,
    limits: tuple[float, int, float],
) -> Floats:
    """Value iteration (Puterman 1994, 6.6) until the span of the change is below tolerance; continuation (S, P).

    The chain is sparse: `probability[i]` leads from `origin[i]` to `target[i]`. `limits`: discount, sweeps, tolerance.
    """
    discount, sweeps, tolerance = limits
    states, count = reward.shape
    value = np.zeros((states, count))
    continuation = np.zeros((states, count))
    worth = np.empty(count)
    for _ in range(sweeps):
        continuation[:] = 0.0
        for i in range(origin.shape[0]):
            for a in range(count):
                continuation[origin[i], a] += discount * probability[i] * value[target[i], a]
        smallest, largest = np.inf, -np.inf
        for s in range(states):
            for a in range(count):
                worth[a] = reward[s, a] + continuation[s, a]
            for held in range(count):
                best = best_target(worth, held, costs)
                change = worth[best] - costs[held, best] - value[s, held]
                value[s, held] += change
                smallest, largest = min(smallest, change), max(largest, change)
        if largest - smallest < tolerance:
            break
    return continuation


def _fill_unvisited(continuation: Floats, visited: NDArray[np.bool_], bins: tuple[int, ...]) -> Floats:
    """Give states that were never seen the continuation of the nearest one that was, in steps between bins."""
    places = np.column_stack(np.unravel_index(np.arange(len(visited)), bins))
    seen = np.flatnonzero(visited)
    filled = continuation.copy()
    for state in np.flatnonzero(~visited):
        filled[state] = continuation[seen[np.abs(places[seen] - places[state]).sum(axis=1).argmin()]]
    return filled


@lru_cache(maxsize=32)
def _fit(problem: _Problem) -> _Plan:
    grid = np.array(problem.positions)
    start = WARMUP_DAYS * BARS_PER_DAY
    seeds = task_seeds(problem.task, "oracle", _FIT_MARKETS)
    views = [_view(regime_market(problem.task, _FIT_DAYS, seed), problem) for seed in seeds]
    bins = _MACRO_BINS if isinstance(problem.task, MacroTask) else _CHAIN_BINS
    edges = tuple(
        np.quantile(np.concatenate([view.coordinates[i][start:] for view in views]), np.linspace(0.0, 1.0, n + 1)[1:-1])
        for i, n in enumerate(bins)
    )
    states = [_states(edges, view)[start:] for view in views]

    size = math.prod(bins)
    moves = np.concatenate([run[:-1] * size + run[1:] for run in states])
    pairs, counts = np.unique(moves, return_counts=True)
    origin, target = np.divmod(pairs, size)
    probability = counts / np.bincount(origin, counts, size)[origin]

    every = np.concatenate(states)
    visits = np.bincount(every, minlength=size)
    rewards = np.concatenate([view.reward[start:] for view in views])
    total_reward = np.column_stack([np.bincount(every, column, size) for column in rewards.T]).astype(np.float64)
    mean_reward = total_reward / np.maximum(visits, 1)[:, None]
    limits = (_DISCOUNT, _SWEEPS, _TOLERANCE)
    continuation = _iterate(origin, target, probability, mean_reward, cost_matrix(grid, problem.cost), limits)
    left = np.bincount(origin, minlength=size) > 0
    return _Plan(edges, _fill_unvisited(continuation, left, bins))


def filter_oracle(
    sample: RegimeSample,
    cost: float = 0.0011,
    positions: tuple[float, ...] = (-1.0, 0.0, 1.0),
    *,
    information: Information = EVERYTHING,
    objective: Objective = GROWTH,
) -> Oracle:
    """The best causal policy on a market, under linear costs: needs the task's parameters, looks at no future bar.

    Of a one-level market ("easy") it reads the bars alone. Of a two-level market ("standard", "hard") it is also given
    the latent volatility level up to the bar, unless `information` says otherwise: `OBSERVABLE` is the ceiling of what
    bars alone allow. The plan is fitted once per set of arguments and process, on the "oracle" seed family.

    Args:
        sample: the market; of its truth at most `level` is read.
        cost: log-return lost per unit of turnover.
        positions: exposures to choose from, strictly increasing.
        information: what the filter of a two-level market is told.
        objective: what is paid for besides turnover.

    Returns:
        Oracle whose values (T, P) are expected log-returns less what the objective charges, discounted at 0.9999 a bar.

    Raises:
        TypeError: bars instead of a sample. ValueError: the cost is negative or not finite, the positions are not
            strictly increasing, or information is left out of a one-level market.

    Example:
        >>> from synthetic import filter_oracle, regime_market
        >>> oracle = filter_oracle(regime_market("easy", days=2, seed=1), cost=0.0011)
        >>> oracle.positions.tolist(), oracle.actions.shape
        ([-1.0, 0.0, 1.0], (5568, 3))
        >>> int(oracle.actions[-1, 1]) in (0, 1, 2)  # where to go from flat, decided at the last close
        True
    """
    if not isinstance(sample, RegimeSample):
        raise TypeError(
            f"filter_oracle needs the RegimeSample of regime_market, with its latent model, got {type(sample).__name__}"
            "; path_labels and horizon_labels need bars alone"
        )
    grid = check_positions(positions)
    costs = cost_matrix(grid, float(cost))
    problem = _Problem(sample.task, float(cost), tuple(grid.tolist()), information, objective)
    view = _view(sample, problem)
    plan = _fit(problem)
    values = view.reward + plan.continuation[_states(plan.edges, view)]
    return Oracle(positions=grid, values=values, actions=best_targets(values, costs))
