"""Passes of small heads written by hand, and PPO's whole update: the same losses, a fraction of the work.

Autograd spends most of a small network's update on everything but its products: tanh, distributions, tensors that are
kept and thrown away. `quicken` has the layers of a policy pass as one operation. In PPO's update moreover what does not
change (features, what the clone would do) is computed once, and losses have their gradients in few passes. Gradients
are autograd's within 2e-6 of their largest. All is torch and goes where the weights are; on a processor tanh is a
rational function, compiled, that is right within 3e-7.

What is not made of linear layers and tanh over frozen features is left to autograd.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from stable_baselines3.common.distributions import CategoricalDistribution
from torch import nn
from torch.autograd.function import once_differentiable

from agents.policies.cached_embeddings import CachedEmbeddings

_LIMIT = np.float32(7.90531110763549805)  #: from there on tanh is 1 in float32
# Coefficients of x, x^3, ... above and 1, x^2, ... below, from the highest on (Eigen's minimax fit).
_ABOVE = tuple(
    np.float32(x)
    for x in (
        -2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08, 1.48572235717979e-05,
        6.37261928875436e-04, 4.89352455891786e-03,
    )
)  # fmt: skip
_BELOW = tuple(
    np.float32(x) for x in (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
)


@njit(cache=True, error_model="numpy", nogil=True)
def _tanh(values: NDArray[np.float32]) -> None:
    a, b, c, d, e, f, g = _ABOVE
    p, q, r, s = _BELOW
    for i in range(values.shape[0]):
        x = min(max(values[i], -_LIMIT), _LIMIT)
        x2 = x * x
        above = x * ((((((a * x2 + b) * x2 + c) * x2 + d) * x2 + e) * x2 + f) * x2 + g)
        values[i] = above / (((p * x2 + q) * x2 + r) * x2 + s)


@njit(cache=True, error_model="numpy", nogil=True)
def _through_tanh(gradient: NDArray[np.float32], values: NDArray[np.float32]) -> None:
    one = np.float32(1.0)
    for i in range(values.shape[0]):
        gradient[i] *= one - values[i] * values[i]


def tanh_(values: torch.Tensor) -> torch.Tensor:
    """tanh of a contiguous float32 tensor of any shape, in its place."""
    if values.device.type != "cpu":
        return values.tanh_()
    _tanh(values.numpy().reshape(-1))
    return values


def _activations(
    features: torch.Tensor, weights: Sequence[torch.Tensor], biases: Sequence[torch.Tensor], bare: bool
) -> list[torch.Tensor]:
    """What goes into each layer, features (B, D) first, and what comes out; `bare`: without tanh after the last one."""
    found = [features]
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        output = torch.addmm(bias, found[-1], weight.t())
        found.append(output if bare and k == len(weights) - 1 else tanh_(output))
    return found


def _gradients(
    gradient: torch.Tensor, activations: Sequence[torch.Tensor], weights: Sequence[torch.Tensor], bare: bool
) -> list[torch.Tensor]:
    """Gradients of each weight and bias in turn, from that of the output (B, out), which is overwritten."""
    found: list[torch.Tensor] = []
    for k in range(len(weights) - 1, -1, -1):
        if not (bare and k == len(weights) - 1):
            after = activations[k + 1]
            if gradient.device.type == "cpu":
                _through_tanh(gradient.numpy().reshape(-1), after.numpy().reshape(-1))
            else:
                gradient *= 1.0 - after * after
        found = [gradient.t() @ activations[k], gradient.sum(0), *found]
        gradient = gradient @ weights[k] if k else gradient
    return found


class Tower(NamedTuple):
    """Linear layers with tanh between them, the last one bare: weights (out, in) and biases (out,)."""

    layers: tuple[nn.Linear, ...]

    def forward(self, features: torch.Tensor) -> list[torch.Tensor]:
        """What goes into each layer for features (B, D), and the output (B, out)."""
        return _activations(features, *self._parts(), bare=True)

    def backward(self, activations: list[torch.Tensor], gradient: torch.Tensor) -> None:
        """Give each weight its gradient, from that of the output (B, out), which is overwritten."""
        found = _gradients(gradient, activations, self._parts()[0], bare=True)
        for layer, weight, bias in zip(self.layers, found[::2], found[1::2], strict=True):
            layer.weight.grad, layer.bias.grad = weight, bias

    def _parts(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        return [layer.weight for layer in self.layers], [layer.bias for layer in self.layers]


class _Written(torch.autograd.Function):
    """Layers as one operation of autograd's, features without a gradient."""

    @staticmethod
    def forward(ctx: Any, features: torch.Tensor, bare: bool, *parts: torch.Tensor) -> torch.Tensor:
        found = _activations(features, parts[::2], parts[1::2], bare)
        ctx.bare = bare
        ctx.save_for_backward(*found, *parts[::2])
        return found[-1]

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        saved, layers = ctx.saved_tensors, len(ctx.saved_tensors) // 2
        own = gradient.clone(memory_format=torch.contiguous_format)
        return None, None, *_gradients(own, saved[: layers + 1], saved[layers + 1 :], ctx.bare)


class WrittenLayers(nn.Sequential):
    """Linear layers and tanh whose passes are written by hand, for features (B, D) that need no gradient themselves."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """(B, A) of features (B, D), as of `nn.Sequential`; tanh within 3e-7."""
        if features.requires_grad or features.dim() != 2 or features.dtype != torch.float32:
            return super().forward(features)
        linear = [layer for layer in self if isinstance(layer, nn.Linear)]
        parts = [part for layer in linear for part in (layer.weight, layer.bias)]
        bare = len(self) % 2 == 1
        if torch.is_grad_enabled():
            return _Written.apply(features, bare, *parts)  # type: ignore[no-any-return]
        return _activations(features, parts[::2], parts[1::2], bare)[-1]


def quicken(module: nn.Module) -> None:
    """Have all layers of a module that learns pass by hand where they can; weights and their names stay."""
    for part in module.modules():
        if type(part) is nn.Sequential and len(part) and _are_usual(list(part)):
            part.__class__ = WrittenLayers


def _are_usual(parts: list[nn.Module]) -> bool:
    """Whether these are linear layers of float32 with biases, a tanh after each, the last one perhaps without."""
    linear = all(
        type(part) is nn.Linear and part.bias is not None and part.weight.dtype == torch.float32 for part in parts[::2]
    )
    return linear and all(type(part) is nn.Tanh for part in parts[1::2])


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
        actor = _tower(policy.mlp_extractor.policy_net, policy.action_net)
        critic = _tower(policy.mlp_extractor.value_net, policy.value_net)
        return None if actor is None or critic is None else Towers(actor, critic, extractor)


def _tower(hidden: Any, last: Any) -> Tower | None:
    parts = [*hidden, last]
    learns = all(weight.requires_grad for part in parts for weight in part.parameters())
    return Tower(tuple(parts[::2])) if learns and len(parts) % 2 == 1 and _are_usual(parts) else None


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
    """What an update reads of a full rollout buffer, which is flattened as `buffer.get` does."""
    if not buffer.generator_ready:
        buffer.observations = {name: buffer.swap_and_flatten(each) for name, each in buffer.observations.items()}
        for name in ("actions", "values", "log_probs", "advantages", "returns"):
            setattr(buffer, name, buffer.swap_and_flatten(getattr(buffer, name)))
        buffer.generator_ready = True

    def on_device(array: NDArray[Any]) -> torch.Tensor:
        return torch.as_tensor(array, device=device)

    features = own.features({name: on_device(each) for name, each in buffer.observations.items()})
    log_probs, advantages, returns = (
        on_device(each).flatten() for each in (buffer.log_probs, buffer.advantages, buffer.returns)
    )
    reference = torch.log_softmax(clone.actor.forward(features)[-1], dim=1)
    return Rollout(features, on_device(buffer.actions).flatten().long(), log_probs, advantages, returns, reference)


@torch.no_grad()
def losses_and_gradients(
    towers: Towers, batch: Rollout, weights: Weights, actor_learns: bool
) -> dict[str, torch.Tensor]:
    """Give the weights the gradients of PPO's loss on a minibatch; returns the parts of the loss, scalars.

    Args:
        towers: of the policy.
        batch: B steps.
        weights: of the parts of the loss.
        actor_learns: False leaves the actor's gradients as they are.
    """
    size = len(batch.actions)
    actor, critic = towers.actor.forward(batch.features), towers.critic.forward(batch.features)
    log_prob = torch.log_softmax(actor[-1], dim=1)
    prob = log_prob.exp()
    error = critic[-1].flatten() - batch.returns
    advantages = (batch.advantages - batch.advantages.mean()) / (batch.advantages.std() + 1e-8)
    ratio = torch.exp(log_prob.gather(1, batch.actions[:, None]).flatten() - batch.old_log_prob)
    free = advantages * ratio
    clipped = advantages * torch.clamp(ratio, 1.0 - weights.clip, 1.0 + weights.clip)
    entropy = -(prob * log_prob).sum(1, keepdim=True)
    clone_prob = batch.clone_log_prob.exp()
    towers.critic.backward(critic, (2.0 * weights.value / size * error)[:, None])
    if actor_learns:
        toward = torch.where(free <= clipped, free, 0.0) / -size
        gradient = -toward[:, None] * prob
        gradient.scatter_add_(1, batch.actions[:, None], toward[:, None])
        if weights.entropy:
            gradient += weights.entropy / size * prob * (log_prob + entropy)
        gradient += weights.pull / size * (prob - clone_prob)
        towers.actor.backward(actor, gradient)
    return {
        "value_loss": (error * error).mean(),
        "policy_gradient_loss": -torch.minimum(free, clipped).mean(),
        "entropy": entropy.mean(),
        "kl_to_clone": (clone_prob * (batch.clone_log_prob - log_prob)).sum(1).mean(),
        "clip_fraction": (torch.abs(ratio - 1.0) > weights.clip).float().mean(),
    }
