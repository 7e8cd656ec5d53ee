"""The Bayes filter of a regime chain in plain Python, from its definition: densities, prediction, Bayes' rule."""

from __future__ import annotations

import math
from collections.abc import Sequence

from synthetic.regimes.chain_task import RegimeTask


def student_density(x: float, mean: float, deviation: float, degrees: float) -> float:
    """Density of a Student-t scaled to a standard deviation (Johnson, Kotz and Balakrishnan 1995, chapter 28)."""
    scale = deviation * math.sqrt((degrees - 2) / degrees)
    z = (x - mean) / scale
    constant = math.gamma((degrees + 1) / 2) / (math.gamma(degrees / 2) * math.sqrt(degrees * math.pi) * scale)
    return constant * (1 + z**2 / degrees) ** (-(degrees + 1) / 2)


def normal_density(x: float, mean: float, deviation: float) -> float:
    return math.exp(-(((x - mean) / deviation) ** 2) / 2) / (deviation * math.sqrt(2 * math.pi))


def next_variance(task: RegimeTask, variance: float, log_return: float) -> float:
    v = task.variance
    shock = (log_return / task.sigma) ** 2
    following = v.constant + v.reaction * (v.shock_bound if shock > v.shock_bound else shock) + v.persistence * variance
    if following < v.floor:
        return v.floor
    return v.ceiling if following > v.ceiling else following


def filter_beliefs(
    log_returns: Sequence[float], log_activity: Sequence[float], start: Sequence[float], task: RegimeTask
) -> list[list[float]]:
    """Belief over the K regimes after each of T bars; `start` is the belief at the first bar before it is seen."""
    count = len(task.regimes)
    beliefs: list[list[float]] = []
    prior = list(start)
    variance = 1.0
    for log_return, activity in zip(log_returns, log_activity, strict=True):
        joint = []
        for k in range(count):
            mean = task.sigma * task.signal_to_noise * task.drift[k]
            deviation = task.sigma * task.volatility[k] * math.sqrt(variance)
            likelihood = student_density(log_return, mean, deviation, task.degrees_of_freedom)
            expected = task.log_volume[k] + math.log(math.sqrt(variance))
            likelihood *= normal_density(activity, expected, task.volume_noise)
            joint.append(prior[k] * likelihood)
        belief = [p / sum(joint) for p in joint]
        beliefs.append(belief)
        prior = [0.0] * count
        for i in range(count):
            stay = 1 - 1 / task.durations[i]
            for j in range(count):
                prior[j] += belief[i] * ((stay if i == j else 0.0) + task.exits[i][j] / task.durations[i])
        variance = next_variance(task, variance, log_return)
    return beliefs
