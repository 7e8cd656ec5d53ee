"""Updates of networks that value actions, with passes written by hand: DQN's, discrete SAC's and fitted Q's.

As `written_ppo`: on a processor what is not a product of matrices is compiled; the same in torch, by autograd where
there are gradients to find, is what the compiled functions are tested against, and what other devices use.
Shape legend: `B` transitions, `M` labelled states, `A` actions. Values and rewards are in percent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch.nn import functional

from agents.algorithms.written_ppo import _log_softmax as log_softmax_of_row

Arrays = tuple[NDArray[Any], ...]


class Guides(NamedTuple):
    """What is lost beside the temporal difference.

    Attributes:
        pull: weight of KL(clone || softmax(values / temperature)).
        temperature: of the values.
        lead_weight: weight of the margin loss.
        lead: by which the teacher's action should lead.
    """

    pull: float
    temperature: float
    lead_weight: float
    lead: float


@njit(cache=True, error_model="numpy", nogil=True)
def _bounded(error: float) -> tuple[float, float]:
    """Huber's loss at 1 and its derivative."""
    if abs(error) < 1.0:
        return 0.5 * error * error, error
    return abs(error) - 0.5, 1.0 if error > 0.0 else -1.0


@njit(cache=True, error_model="numpy", nogil=True)
def _following(own: NDArray[Any], averaged: NDArray[Any], rewards: Arrays, gamma: float, target: NDArray[Any]) -> None:
    """Targets (B,) of double Q-learning: what the averaged values (B, A) say of the best action by one's own."""
    reward, ended = rewards
    for i in range(len(own)):
        best = 0
        for a in range(1, own.shape[1]):
            best = a if own[i, a] > own[i, best] else best
        target[i] = reward[i] + (1.0 - ended[i]) * gamma * averaged[i, best]


@njit(cache=True, error_model="numpy", nogil=True)
def _q_gradient(
    values: NDArray[Any], told: Arrays, clone: NDArray[Any], guides: NDArray[np.float64], gradient: NDArray[Any]
) -> tuple[float, float]:
    actions, target, expert = told
    size, count, states = len(actions), values.shape[1], len(expert)
    pull, temperature, lead_weight, lead = guides
    error, guide = 0.0, 0.0
    own, reference = np.empty(count, np.float32), np.empty(count, np.float32)
    scaled = np.empty(count, np.float32)
    for i in range(size):
        gradient[i] = 0.0
        if pull != 0.0:
            for a in range(count):
                scaled[a] = values[i, a] / temperature
            log_softmax_of_row(scaled, own)
            log_softmax_of_row(clone[i], reference)
            for a in range(count):
                chance = math.exp(reference[a])
                guide += pull * chance * (reference[a] - own[a]) / size
                gradient[i, a] = pull * (math.exp(own[a]) - chance) / (temperature * size)
        loss, slope = _bounded(values[i, actions[i, 0]] - target[i])
        error += loss / size
        gradient[i, actions[i, 0]] += slope / size
    for i in range(states):
        row, best = values[size + i], 0
        top = -math.inf
        for a in range(count):
            led = row[a] if a == expert[i] else row[a] + lead
            if led > top:
                best, top = a, led
        gradient[size + i] = 0.0
        gradient[size + i, best] += lead_weight / states
        gradient[size + i, expert[i]] -= lead_weight / states
        guide += lead_weight * (top - row[expert[i]]) / states
    return error, guide


def q_losses(
    values: torch.Tensor, told: tuple[torch.Tensor, ...], clone: torch.Tensor, guides: Guides
) -> tuple[torch.Tensor, torch.Tensor]:
    """DQN's loss and what guides it, scalars, of values (B + M, A): B of transitions, then M of labelled states.

    `told`: actions (B, 1), targets (B,), the teacher's actions (M,). `clone`: its log-odds (B, A).
    """
    actions, target, expert = told
    size, seen = len(actions), values[: len(actions)]
    error = functional.smooth_l1_loss(seen.gather(1, actions).flatten(), target)
    guide = torch.zeros((), device=values.device)
    if guides.pull:
        guide = guide + guides.pull * pull_loss(seen, clone, guides.temperature)
    if len(expert):
        guide = guide + guides.lead_weight * margin_loss(values[size:], expert, guides.lead)
    return error, guide


@torch.no_grad()
def q_targets(
    own: torch.Tensor, averaged: torch.Tensor, rewards: torch.Tensor, ended: torch.Tensor, gamma: float
) -> torch.Tensor:
    """(B,) `r + gamma Q'(s', argmax_a Q(s', a))` (van Hasselt et al. 2016) of values (B, A) by Q and by Q'."""
    if own.device.type == "cpu":
        target = torch.empty(len(own))
        told = (rewards.numpy().reshape(-1), ended.numpy().reshape(-1))
        _following(own.numpy(), averaged.numpy(), told, gamma, target.numpy())
        return target
    following = averaged.gather(1, own.argmax(dim=1, keepdim=True)).flatten()
    return rewards.flatten() + (1.0 - ended.flatten()) * gamma * following


@torch.no_grad()
def q_gradient(
    values: torch.Tensor, told: tuple[torch.Tensor, ...], clone: torch.Tensor, guides: Guides
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient (B + M, A) of `q_losses`' sum, and both losses, (2,); arguments as there."""
    if values.device.type != "cpu":
        return by_autograd(lambda own: q_losses(own, told, clone, guides), values)
    gradient = torch.empty_like(values)
    arrays = tuple(part.numpy() for part in told)
    losses = _q_gradient(values.numpy(), arrays, clone.numpy(), np.array(guides), gradient.numpy())
    return gradient, torch.tensor(losses)


def by_autograd(
    losses: Callable[[torch.Tensor], tuple[torch.Tensor, ...]], outputs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient of the sum of scalar losses by a network's outputs (B, A), of the same shape; and the losses."""
    with torch.enable_grad():
        own = outputs.detach().requires_grad_()
        found = losses(own)
        (gradient,) = torch.autograd.grad(torch.stack(found).sum(), own)
    return gradient, torch.stack(found).detach()


def margin_loss(values: torch.Tensor, expert: torch.Tensor, margin: float) -> torch.Tensor:
    """`max_a [Q(s, a) + margin 1(a != a_E)] - Q(s, a_E)`, mean (Hester et al. 2018, DQfD).

    Args:
        values: (B, A) Q-values.
        expert: (B,) int64, the teacher's actions.
        margin: by which the teacher's action should lead, in units of the values.
    """
    lead = torch.full_like(values, margin).scatter(1, expert[:, None], 0.0)
    return ((values + lead).max(dim=1).values - values.gather(1, expert[:, None])[:, 0]).mean()


def pull_loss(values: torch.Tensor, clone: torch.Tensor, temperature: float) -> torch.Tensor:
    """KL(clone || softmax(values / temperature)), mean: kickstarting (Schmitt et al. 2018) for a value network.

    `values`: (B, A) Q-values. `clone`: (B, A) its log-odds.
    """
    target = clone.log_softmax(dim=1)
    return functional.kl_div((values / temperature).log_softmax(dim=1), target, reduction="batchmean", log_target=True)


@njit(cache=True, error_model="numpy", nogil=True)
def _soft_target(logits: NDArray[Any], values: Arrays, rewards: Arrays, told: Arrays, target: NDArray[Any]) -> None:
    first, second = values
    reward, ended = rewards
    temperature, gamma = told[0][0], told[0][1]
    own = np.empty(logits.shape[1], np.float32)
    for i in range(len(logits)):
        log_softmax_of_row(logits[i], own)
        soft = 0.0
        for a in range(len(own)):
            soft += math.exp(own[a]) * (min(first[i, a], second[i, a]) - temperature * own[a])
        target[i] = reward[i] + (1.0 - ended[i]) * gamma * soft


@torch.no_grad()
def soft_targets(
    logits: torch.Tensor, values: tuple[torch.Tensor, torch.Tensor], rewards: torch.Tensor, ended: torch.Tensor,
    temperature: float, gamma: float,
) -> torch.Tensor:  # fmt: skip
    """(B,) `r + gamma sum_a pi(a|s') [min Q(s', a) - alpha log pi(a|s')]` (Christodoulou 2019, eqs. 3 and 10).

    `logits`, `values`: (B, A) at the next states. `temperature`: alpha.
    """
    if logits.device.type == "cpu":
        target = torch.empty(len(logits))
        _soft_target(
            logits.numpy(), tuple(each.numpy() for each in values),
            (rewards.numpy().reshape(-1), ended.numpy().reshape(-1)), (np.array((temperature, gamma)),), target.numpy(),
        )  # fmt: skip
        return target
    log_prob = logits.log_softmax(dim=1)
    soft = (log_prob.exp() * (torch.minimum(*values) - temperature * log_prob)).sum(dim=1)
    return rewards.flatten() + (1.0 - ended.flatten()) * gamma * soft


@njit(cache=True, error_model="numpy", nogil=True)
def _actor_gradient(
    logits: NDArray[Any], values: Arrays, clone: NDArray[Any], told: NDArray[np.float64], gradient: NDArray[Any]
) -> tuple[float, float, float]:
    first, second = values
    temperature, pull = told
    size, count = logits.shape
    own, reference = np.empty(count, np.float32), np.empty(count, np.float32)
    loss, entropy, divergence = 0.0, 0.0, 0.0
    for i in range(size):
        log_softmax_of_row(logits[i], own)
        mean = 0.0
        for a in range(count):
            worth = temperature * own[a] - min(first[i, a], second[i, a])
            mean += math.exp(own[a]) * worth
            entropy -= math.exp(own[a]) * own[a] / size
        for a in range(count):
            worth = temperature * own[a] - min(first[i, a], second[i, a])
            gradient[i, a] = math.exp(own[a]) * (worth - mean) / size
        loss += mean / size
        if pull != 0.0:
            log_softmax_of_row(clone[i], reference)
            for a in range(count):
                chance = math.exp(reference[a])
                divergence += chance * (reference[a] - own[a]) / size
                gradient[i, a] += pull * (math.exp(own[a]) - chance) / size
    return loss, entropy, divergence


def actor_losses(
    logits: torch.Tensor, values: tuple[torch.Tensor, torch.Tensor], clone: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Means of `sum_a pi(a|s) [alpha log pi(a|s) - min Q(s, a)]` (Christodoulou 2019, eq. 12), entropy, pull.

    `logits`, `values` of both critics and the clone's log-odds: (B, A). `temperature`: alpha.
    """
    log_prob = logits.log_softmax(dim=1)
    chances = log_prob.exp()
    loss = (chances * (temperature * log_prob - torch.minimum(*values))).sum(dim=1).mean()
    divergence = functional.kl_div(log_prob, clone.log_softmax(dim=1), reduction="batchmean", log_target=True)
    return loss, -(chances * log_prob).sum(dim=1).mean(), divergence


@torch.no_grad()
def actor_gradient(
    logits: torch.Tensor, values: tuple[torch.Tensor, torch.Tensor], clone: torch.Tensor, temperature: float,
    pull: float,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Gradient (B, A) of `actor_losses`' first, and of `pull` times its last; and its three losses, (3,)."""
    if logits.device.type != "cpu":
        with torch.enable_grad():
            own = logits.detach().requires_grad_()
            loss, entropy, divergence = actor_losses(own, values, clone, temperature)
            (gradient,) = torch.autograd.grad(loss + pull * divergence, own)
        return gradient, torch.stack((loss, entropy, divergence)).detach()
    gradient = torch.empty_like(logits)
    losses = _actor_gradient(
        logits.numpy(), tuple(each.numpy() for each in values), clone.numpy(), np.array((temperature, pull)),
        gradient.numpy(),
    )  # fmt: skip
    return gradient, torch.tensor(losses)


@njit(cache=True, error_model="numpy", nogil=True)
def _huber_gradient(values: NDArray[Any], target: NDArray[Any], gradient: NDArray[Any]) -> float:
    """Of the mean over all (B, A)."""
    size, loss = values.size, 0.0
    for i in range(values.shape[0]):
        for a in range(values.shape[1]):
            part, slope = _bounded(values[i, a] - target[i, a])
            loss += part / size
            gradient[i, a] = slope / size
    return loss


@torch.no_grad()
def huber_gradient(values: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient (B, A) of the mean Huber loss at 1 between values and targets (B, A); and the loss, a scalar."""
    if values.device.type != "cpu":
        gradient, losses = by_autograd(lambda own: (functional.smooth_l1_loss(own, target),), values)
        return gradient, losses[0]
    gradient = torch.empty_like(values)
    loss = _huber_gradient(values.numpy(), target.numpy(), gradient.numpy())
    return gradient, torch.tensor(loss)


@njit(cache=True, error_model="numpy", nogil=True)
def _pull_gradient(
    preferred: NDArray[Any], clone: NDArray[Any], scale: float, weight: float, gradient: NDArray[Any]
) -> float:
    size, count = preferred.shape
    own, reference, scaled = np.empty(count, np.float32), np.empty(count, np.float32), np.empty(count, np.float32)
    loss = 0.0
    for i in range(size):
        for a in range(count):
            scaled[a] = scale * preferred[i, a]
        log_softmax_of_row(scaled, own)
        log_softmax_of_row(clone[i], reference)
        for a in range(count):
            chance = math.exp(reference[a])
            loss += weight * chance * (reference[a] - own[a]) / size
            gradient[i, a] += weight * scale * (math.exp(own[a]) - chance) / size
    return loss


@torch.no_grad()
def pull_gradient(
    preferred: torch.Tensor, clone: torch.Tensor, scale: float, weight: float, gradient: torch.Tensor
) -> torch.Tensor:
    """`weight` times `pull_loss` of values `preferred` (B, A) at a temperature of 1 / `scale`; adds to its gradient."""
    if preferred.device.type == "cpu":
        return torch.tensor(_pull_gradient(preferred.numpy(), clone.numpy(), scale, weight, gradient.numpy()))
    found, losses = by_autograd(lambda own: (weight * pull_loss(own, clone, 1.0 / scale),), preferred)
    gradient += found
    return losses[0]


@njit(cache=True, error_model="numpy", nogil=True)
def _best_after(values: NDArray[Any], switching: NDArray[Any], best: NDArray[Any]) -> None:
    for i in range(len(values)):
        for a in range(values.shape[1]):
            top = values[i, 0] - switching[a, 0]
            for b in range(1, values.shape[1]):
                top = max(top, values[i, b] - switching[a, b])
            best[i, a] = top


@torch.no_grad()
def best_after(values: torch.Tensor, switching: torch.Tensor) -> torch.Tensor:
    """(B, A) `max_b [values(b) - switching(a, b)]` of values (B, A) and costs of going from one to another, (A, A)."""
    if values.device.type != "cpu":
        return (values[:, None, :] - switching).amax(dim=2)
    best = torch.empty_like(values)
    _best_after(values.numpy(), switching.numpy(), best.numpy())
    return best
