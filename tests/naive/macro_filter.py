"""The Bayes filter of a two-level regime market in plain Python, from its definition, one joint state at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from synthetic.regimes.macro_task import MacroTask
from tests.naive.regime_filter import normal_density, student_density


@dataclass
class Known:
    """What a trader carries from bar to bar."""

    averages: list[float]
    h: float
    volumes: list[float]
    log_price: float
    anchor: float
    last_shock: float


def exponential_density(x: float, mean: float) -> float:
    return math.exp(-x / mean) / mean


def season(task: MacroTask, hour: int) -> float:
    angle = 2 * math.pi * hour / 96
    return math.exp(task.season * math.cos(angle) + 0.4 * task.season * math.cos(2 * angle + 1))


def joint_transitions(task: MacroTask) -> list[list[float]]:
    """Macro moves first, then the event by the matrix of the new macro state."""

    def step(durations: Sequence[float], exits: Sequence[Sequence[float]], i: int, j: int) -> float:
        return (1 - 1 / durations[i] if i == j else 0.0) + exits[i][j] / durations[i]

    states = [(m, f) for m in range(len(task.macros)) for f in range(len(task.events))]
    return [
        [
            step(task.macro_durations, task.macro_exits, m, n) * step(task.durations[n], task.exits[n], f, g)
            for n, g in states
        ]
        for m, f in states
    ]


def filter_beliefs(
    bars: Sequence[tuple[float, float, float, float, float]],
    levels: Sequence[float],
    start: Sequence[float],
    task: MacroTask,
    notional: float,
) -> list[list[float]]:
    """Belief over the joint states after each bar (open, high, low, close, volume); the first bar is at midnight."""
    states = [(m, f) for m in range(len(task.macros)) for f in range(len(task.events))]
    transitions = joint_transitions(task)
    known = Known([1.0, 1.0, 1.0], 1.0, [0.0, 0.0], 0.0, 0.0, 0.0)
    law, volume_law = task.variance, task.volume
    beliefs, belief = [], list(start)
    for t, (opened, high, low, close, volume) in enumerate(bars):
        se = season(task, t % 96)
        unit = task.sigma * math.exp(levels[t]) * se
        scale = unit * math.sqrt(known.h)
        span = 7 * task.sigma * math.exp(levels[t]) * math.sqrt(known.averages[1])
        distance = min(max((known.log_price - known.anchor) / span, -2.5), 2.5)
        log_return = math.log(close / opened)
        shock = log_return + task.bounce * known.last_shock
        x = shock / scale
        expected = volume_law.on_variance * (math.log(known.h) + 2 * levels[t]) + volume_law.on_season * math.log(se)
        expected += volume_law.on_move * (min(abs(x), 4) - 0.75)
        carried = sum(w * y for w, y in zip(volume_law.weights, known.volumes, strict=True))
        activity = math.log(volume * opened / notional)
        upper, lower = math.log(high / max(opened, close)), math.log(min(opened, close) / low)

        joint = []
        for j, (m, f) in enumerate(states):
            prior = sum(belief[i] * transitions[i][j] for i in range(len(states)))
            spread = task.volatility[m][f]
            mean = task.signal_to_noise * task.drift[m][f] - task.anchor_pull[m][f] * distance
            likelihood = student_density(x, mean, spread, task.degrees_of_freedom)
            excess = task.log_volume[m][f] + task.signed_volume[m][f] * min(max(x, -2), 2)
            likelihood *= normal_density(activity, expected + carried + excess, volume_law.noise)
            wick = task.wick * scale * spread
            likelihood *= exponential_density(upper, wick * (1 - task.wick_tilt[m][f]))
            likelihood *= exponential_density(lower, wick * (1 + task.wick_tilt[m][f]))
            joint.append(prior * likelihood)
        belief = [p / sum(joint) for p in joint]
        beliefs.append(belief)

        squared = min((shock / unit) ** 2, law.shock_bound)
        known.averages = [a + rate * (squared - a) for a, rate in zip(known.averages, law.rates, strict=True)]
        h = law.constant + sum(w * a for w, a in zip(law.weights, known.averages, strict=True))
        known.h = min(max(h, law.floor), law.ceiling)
        known.volumes = [
            y + rate * (activity - expected - y) for y, rate in zip(known.volumes, volume_law.rates, strict=True)
        ]
        known.log_price += log_return
        known.anchor += task.anchor_rate * (known.log_price - known.anchor)
        known.last_shock = shock
    return beliefs
