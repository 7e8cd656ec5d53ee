"""PPO's rollouts and updates with passes written by hand: the same losses, a fraction of the work.

What does not change in an update (features, what the clone would do) is computed once, and a minibatch's losses and
their gradients take one pass. Gradients are autograd's within 2e-6 of their largest. What is not made of linear layers
and tanh over frozen features is left to autograd. On a processor what is not a product of matrices is compiled; the
same in torch is for other devices, and the compiled functions are tested against it.
Shape legend: `S` steps of a rollout, `B` of a minibatch, `N` envs, `A` actions, `D` features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from stable_baselines3.common.distributions import CategoricalDistribution

from agents.algorithms.towers import Tower
from agents.policies.cached_embeddings import CachedEmbeddings

LOSSES = ("value_loss", "policy_gradient_loss", "entropy", "kl_to_clone", "clip_fraction")


@dataclass(frozen=True)
class Towers:
    """The actor and the critic of a policy, and what turns observations into their features."""

    actor: Tower
    critic: Tower
    features: CachedEmbeddings

    @staticmethod
    def of(policy: Any) -> Towers | None:
        """Those of a policy; None where it is of another kind."""
        extractor = getattr(policy, "features_extractor", None)
        if type(extractor) is not CachedEmbeddings or not isinstance(policy.action_dist, CategoricalDistribution):
            return None
        actor = Tower.of([*policy.mlp_extractor.policy_net, policy.action_net])
        critic = Tower.of([*policy.mlp_extractor.value_net, policy.value_net])
        if actor is None or critic is None or not (actor.learns and critic.learns):
            return None
        return Towers(actor, critic, extractor)


class Rollout(NamedTuple):
    """What an update reads of S steps: features (S, D), actions (S,) int64, the clone's (S, A), else (S,) float32."""

    features: torch.Tensor
    actions: torch.Tensor
    old_log_prob: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor
    clone_log_prob: torch.Tensor

    def some(self, chosen: torch.Tensor) -> Rollout:
        """B of the steps, by their numbers (B,)."""
        return Rollout(*(part.index_select(0, chosen) for part in self))


class Weights(NamedTuple):
    """What counts how much: the critic's loss, the entropy, the pull to the clone; and the clipping range."""

    value: float
    entropy: float
    pull: float
    clip: float


@torch.no_grad()
def rollout_of(buffer: Any, own: Towers, clone: Towers, device: torch.device) -> Rollout:
    """What an update reads of a full rollout buffer, in the order of `buffer.get`, that is row by row."""

    def flat(array: NDArray[Any], rest: int) -> torch.Tensor:
        rows = array if buffer.generator_ready else array.swapaxes(0, 1)
        return torch.as_tensor(rows.reshape(-1, *array.shape[array.ndim - rest :]), device=device)

    features = own.features({name: flat(each, 1) for name, each in buffer.observations.items()})
    old, advantages, returns = (flat(each, 0) for each in (buffer.log_probs, buffer.advantages, buffer.returns))
    reference = torch.log_softmax(clone.actor.forward(features), dim=1)
    return Rollout(features, flat(buffer.actions, 0).long(), old, advantages, returns, reference)


@njit(cache=True, error_model="numpy", nogil=True)
def _log_softmax(logits: NDArray[Any], into: NDArray[Any]) -> None:
    """Of one row (A,)."""
    top = logits[0]
    for a in range(1, len(logits)):
        top = max(top, logits[a])
    total = np.float32(0.0)
    for a in range(len(logits)):
        into[a] = logits[a] - top
        total += math.exp(into[a])
    total = math.log(total)  # type: ignore[assignment]
    for a in range(len(logits)):
        into[a] -= total


@njit(cache=True, error_model="numpy", nogil=True)
def _drawn(logits: NDArray[Any], uniform: NDArray[Any], actions: NDArray[Any], log_prob: NDArray[Any]) -> None:
    """Actions (N,) of the distributions `logits` (N, A) by numbers from [0, 1), (N,), and their log-probabilities."""
    own = np.empty(logits.shape[1], np.float32)
    for i in range(len(logits)):
        _log_softmax(logits[i], own)
        left, action = uniform[i], 0
        while action < len(own) - 1 and left >= math.exp(own[action]):
            left -= math.exp(own[action])
            action += 1
        actions[i], log_prob[i] = action, own[action]


@torch.no_grad()
def drawn(logits: torch.Tensor) -> tuple[NDArray[np.int64], torch.Tensor]:
    """Actions (N,), drawn with torch's random state from the distributions `logits` (N, A); log-probabilities (N,)."""
    uniform = torch.rand(len(logits))
    if logits.device.type == "cpu":
        actions, log_prob = np.empty(len(logits), np.int64), torch.empty(len(logits))
        _drawn(logits.numpy(), uniform.numpy(), actions, log_prob.numpy())
        return actions, log_prob
    chosen, log_prob = drawn_by_torch(logits, uniform.to(logits.device))
    return chosen.cpu().numpy(), log_prob


def drawn_by_torch(logits: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Actions (N,) int64 and their log-probabilities (N,), by numbers from [0, 1), (N,), on any device."""
    log_probs = torch.log_softmax(logits, dim=1)
    edges = log_probs.exp().cumsum(1)[:, :-1].contiguous()
    chosen = torch.searchsorted(edges, uniform[:, None], right=True)
    return chosen.flatten(), log_probs.gather(1, chosen).flatten()


@njit(cache=True, error_model="numpy", nogil=True)
def _gradients(
    outputs: tuple[NDArray[Any], NDArray[Any]], steps: tuple[NDArray[Any], ...], weights: NDArray[np.float32],
    gradients: tuple[NDArray[Any], NDArray[Any]], sums: NDArray[np.float64],
) -> None:  # fmt: skip
    """As `gradients_by_torch`, into `gradients`, and sums over the rows into `sums` (5,)."""
    logits, values = outputs
    actions, old_log_prob, advantages, returns, clone = steps
    of_logits, of_values = gradients
    size, count = len(actions), logits.shape[1]
    mean = 0.0
    for i in range(size):
        mean += advantages[i]
    mean /= size
    spread = 0.0
    for i in range(size):
        spread += (advantages[i] - mean) ** 2
    spread = math.sqrt(spread / (size - 1)) + 1e-8
    one, share = np.float32(1.0), np.float32(1.0) / np.float32(size)
    value, entropy_weight, pull, clip = weights
    own = np.empty(count, np.float32)
    for i in range(size):
        error = values[i, 0] - returns[i]
        of_values[i, 0] = np.float32(2.0) * value * share * error
        _log_softmax(logits[i], own)
        action, advantage = actions[i], np.float32((advantages[i] - mean) / spread)
        ratio = math.exp(own[action] - old_log_prob[i])
        free = advantage * ratio
        clipped = advantage * min(max(ratio, one - clip), one + clip)
        toward = free * share if free <= clipped else np.float32(0.0)
        entropy, divergence = np.float32(0.0), np.float32(0.0)
        for a in range(count):
            probability, reference = math.exp(own[a]), math.exp(clone[i, a])
            entropy -= probability * own[a]
            divergence += reference * (clone[i, a] - own[a])
            of_logits[i, a] = toward * probability + pull * share * (probability - reference)
        if entropy_weight != 0.0:
            for a in range(count):
                of_logits[i, a] += entropy_weight * share * math.exp(own[a]) * (own[a] + entropy)
        of_logits[i, action] -= toward
        sums[0] += error * error
        sums[1] -= min(free, clipped)
        sums[2] += entropy
        sums[3] += divergence
        sums[4] += 1.0 if abs(ratio - one) > clip else 0.0


@torch.no_grad()
def gradients_by_torch(
    logits: torch.Tensor, values: torch.Tensor, batch: Rollout, weights: Weights
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of PPO's loss by logits (B, A) and values (B, 1), and its parts' means (5,), on any device."""
    size = len(batch.actions)
    log_prob = torch.log_softmax(logits, dim=1)
    prob = log_prob.exp()
    error = values.flatten() - batch.returns
    advantages = (batch.advantages - batch.advantages.mean()) / (batch.advantages.std() + 1e-8)
    ratio = torch.exp(log_prob.gather(1, batch.actions[:, None]).flatten() - batch.old_log_prob)
    free = advantages * ratio
    clipped = advantages * torch.clamp(ratio, 1.0 - weights.clip, 1.0 + weights.clip)
    entropy = -(prob * log_prob).sum(1, keepdim=True)
    clone_prob = batch.clone_log_prob.exp()
    toward = torch.where(free <= clipped, free, 0.0) / -size
    gradient = -toward[:, None] * prob
    gradient.scatter_add_(1, batch.actions[:, None], toward[:, None])
    if weights.entropy:
        gradient += weights.entropy / size * prob * (log_prob + entropy)
    gradient += weights.pull / size * (prob - clone_prob)
    parts = (
        error * error, -torch.minimum(free, clipped), entropy.flatten(),
        (clone_prob * (batch.clone_log_prob - log_prob)).sum(1), (torch.abs(ratio - 1.0) > weights.clip).float(),
    )  # fmt: skip
    return gradient, (2.0 * weights.value / size * error)[:, None], torch.stack(parts).mean(1)


@torch.no_grad()
def losses_and_gradients(towers: Towers, batch: Rollout, weights: Weights, actor_learns: bool) -> torch.Tensor:
    """Give the weights the gradients of PPO's loss on a minibatch; returns its parts, `LOSSES`, (5,) float64.

    Args:
        towers: of the policy.
        batch: B steps.
        weights: of the parts of the loss.
        actor_learns: False leaves the actor's gradients as they are.
    """
    logits, values = towers.actor.forward(batch.features), towers.critic.forward(batch.features)
    if logits.device.type == "cpu":
        of_logits, of_values = torch.empty_like(logits), torch.empty_like(values)
        found = np.zeros(len(LOSSES))
        _gradients(
            (logits.numpy(), values.numpy()), tuple(part.numpy() for part in batch[1:]),
            np.array(weights, np.float32), (of_logits.numpy(), of_values.numpy()), found,
        )  # fmt: skip
        losses = torch.from_numpy(found / len(logits))
    else:
        of_logits, of_values, losses = gradients_by_torch(logits, values, batch, weights)
    towers.critic.backward(of_values)
    if actor_learns:
        towers.actor.backward(of_logits)
    return losses
