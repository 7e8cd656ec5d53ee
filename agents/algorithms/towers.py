"""Small networks with passes written by hand that leave nothing behind: linear layers, tanh between, the last one bare.

A tower keeps memory for what a pass makes, and gradients in one piece, so that an update asks for no memory at all. All
is torch and goes where the weights are; on a processor what is not a product of matrices is compiled.
Shape legend: `B` rows of a batch, `D` features, `A` outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numba import njit
from numpy.typing import NDArray
from torch import nn

from agents.algorithms.written_passes import are_usual, rational_tanh

ALIGNED = 16  #: a product's gradient is made the other way round where the features do not fill the processor's lanes
_ROWS = 64  #: rows of which biases' gradients are summed before they are added up, which keeps float32 exact enough


@njit(cache=True, error_model="numpy", nogil=True)
def _bias_and_tanh(values: NDArray[Any], bias: NDArray[Any]) -> None:
    """tanh(values (B, D) + bias (D,)) in place."""
    for i in range(values.shape[0]):
        row = values[i]
        for j in range(row.shape[0]):
            row[j] = rational_tanh(row[j] + bias[j])


@njit(cache=True, error_model="numpy", nogil=True)
def _through_tanh(gradient: NDArray[Any], values: NDArray[Any], sums: NDArray[Any], part: NDArray[Any]) -> None:
    """Gradient (B, D) of what tanh gave, `values`, to that of what went in, in place; its column sums (D,)."""
    sums[:] = 0.0
    for first in range(0, gradient.shape[0], _ROWS):
        part[:] = 0.0
        for i in range(first, min(first + _ROWS, gradient.shape[0])):
            row, after = gradient[i], values[i]
            for j in range(row.shape[0]):
                row[j] *= part.dtype.type(1.0) - after[j] * after[j]
                part[j] += row[j]
        for j in range(sums.shape[0]):
            sums[j] += part[j]


class Tower:
    """Linear layers with tanh between them, the last one bare: weights (out, in) and biases (out,), float32.

    Attributes:
        layers: of a network; what else changes their weights is seen, as nothing is copied.
        gradient: of all weights and biases, (number of them,), one layer after the other.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self.layers = tuple(layers)
        first = self.layers[0].weight
        self.device = first.device
        sizes = [part.numel() for layer in self.layers for part in (layer.weight, layer.bias)]
        self.gradient = first.new_zeros(sum(sizes), requires_grad=False)
        pieces = self.gradient.split(sizes)
        self._weights = [
            piece.view_as(layer.weight) for piece, layer in zip(pieces[::2], self.layers, strict=True)
        ]
        self._biases = list(pieces[1::2])
        self._parts = [torch.empty_like(bias) for bias in self._biases]
        self._turned = [
            torch.empty_like(w.t(), memory_format=torch.contiguous_format) if _is_turned(w) else None
            for w in self._weights
        ]
        self._memory: list[torch.Tensor] = []
        self._back: list[torch.Tensor] = []
        self._made: list[torch.Tensor] = []

    @staticmethod
    def of(parts: Sequence[nn.Module]) -> Tower | None:
        """Of linear layers and tanh in turn, a bare layer last; None of anything else."""
        listed = list(parts)
        usual = len(listed) % 2 == 1 and are_usual(listed)
        return Tower(listed[::2]) if usual else None  # type: ignore[arg-type]

    @property
    def learns(self) -> bool:
        """Whether every weight asks for gradients."""
        return all(part.requires_grad for layer in self.layers for part in (layer.weight, layer.bias))

    @torch.no_grad()
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, A) of features (B, D), in memory that the next pass overwrites."""
        if not self._memory or len(self._memory[0]) < len(features):
            self._memory = [features.new_empty((len(features), len(bias))) for bias in self._biases]
            self._back = [torch.empty_like(memory) for memory in self._memory[:-1]]
        made = [features]
        for memory, layer in zip(self._memory[:-1], self.layers[:-1], strict=True):
            output = torch.mm(made[-1], layer.weight.t(), out=memory[: len(features)])
            if self.device.type == "cpu":
                _bias_and_tanh(output.numpy(), layer.bias.numpy())
            else:
                output.add_(layer.bias).tanh_()
            made.append(output)
        last = self.layers[-1]
        self._made = made
        return torch.addmm(last.bias, made[-1], last.weight.t(), out=self._memory[-1][: len(features)])

    @torch.no_grad()
    def backward(self, gradient: torch.Tensor) -> None:
        """Fill `gradient` from that of the last `forward`'s output, (B, A), and have the weights show it as `grad`."""
        top = len(self.layers) - 1
        for k in range(top, -1, -1):
            inputs, weight, turned = self._made[k], self._weights[k], self._turned[k]
            if k == top:
                torch.sum(gradient, 0, out=self._biases[k])
            elif self.device.type == "cpu":
                after = self._made[k + 1].numpy()
                _through_tanh(gradient.numpy(), after, self._biases[k].numpy(), self._parts[k].numpy())
            else:
                gradient.mul_(1.0 - self._made[k + 1] * self._made[k + 1])
                torch.sum(gradient, 0, out=self._biases[k])
            if turned is None:
                torch.mm(gradient.t(), inputs, out=weight)
            else:
                weight.copy_(torch.mm(inputs.t(), gradient, out=turned).t())
            if k:
                gradient = torch.mm(gradient, self.layers[k].weight, out=self._back[k - 1][: len(gradient)])
        for layer, weight, bias in zip(self.layers, self._weights, self._biases, strict=True):
            layer.weight.grad, layer.bias.grad = weight, bias

    def forget(self) -> None:
        """Have the weights show no gradients."""
        for layer in self.layers:
            layer.weight.grad = layer.bias.grad = None


def _is_turned(weight: torch.Tensor) -> bool:
    return weight.shape[1] % ALIGNED > 0 and weight.shape[0] >= ALIGNED


@torch.no_grad()
def clip(towers: Sequence[Tower], longest: float) -> None:
    """Shorten the towers' gradients to a norm of `longest` together, as `torch.nn.utils.clip_grad_norm_` does."""
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(tower.gradient) for tower in towers]))
    factor = torch.clamp(longest / (norm + 1e-6), max=1.0)
    for tower in towers:
        tower.gradient.mul_(factor)


class Follower:
    """Weights that follow others slowly: `share` of the new ones at each `follow` (Polyak averaging)."""

    def __init__(self, leader: nn.Module, follower: nn.Module, share: float) -> None:
        self._from = [weight.detach() for weight in leader.parameters()]
        self._to = [weight.detach() for weight in follower.parameters()]
        self._share = share

    def follow(self) -> None:
        """One step, the bits of Stable-Baselines3's `polyak_update`."""
        torch._foreach_mul_(self._to, 1.0 - self._share)
        torch._foreach_add_(self._to, self._from, alpha=self._share)


def fuse(optimizer: torch.optim.Optimizer) -> None:
    """Have an Adam that has not begun update all weights in one call."""
    for group in optimizer.param_groups:
        group["fused"], group["foreach"] = True, None
