"""Passes of small heads written by hand, for autograd to call: the same gradients, a fraction of the work.

Autograd spends most of a small network's update on everything but its products: tanh, distributions, tensors that are
kept and thrown away. `quicken` has the layers of a policy pass as one operation. Updates that need no autograd at all
are in `written_ppo` and `written_values`. Gradients are autograd's within 2e-6 of their largest. All is torch and goes
where the weights are; on a processor tanh is a rational function, compiled, that is right within 3e-7.

What is not made of linear layers and tanh over frozen features is left to autograd.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import nn
from torch.autograd.function import once_differentiable

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


@njit(inline="always", error_model="numpy")
def rational_tanh(value: np.float32) -> np.float32:
    """tanh, right within 3e-7."""
    a, b, c, d, e, f, g = _ABOVE
    p, q, r, s = _BELOW
    x = min(max(value, -_LIMIT), _LIMIT)
    x2 = x * x
    above = x * ((((((a * x2 + b) * x2 + c) * x2 + d) * x2 + e) * x2 + f) * x2 + g)
    return above / (((p * x2 + q) * x2 + r) * x2 + s)  # type: ignore[no-any-return]


@njit(cache=True, error_model="numpy", nogil=True)
def _tanh(values: NDArray[np.float32]) -> None:
    for i in range(values.shape[0]):
        values[i] = rational_tanh(values[i])


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
        if type(part) is nn.Sequential and len(part) and are_usual(list(part)):
            part.__class__ = WrittenLayers


def slowly(module: nn.Module) -> None:
    """The inverse of `quicken`."""
    for part in module.modules():
        if type(part) is WrittenLayers:
            part.__class__ = nn.Sequential  # type: ignore[assignment]


def are_usual(parts: list[nn.Module]) -> bool:
    """Whether these are linear layers of float32 with biases, a tanh after each, the last one perhaps without."""
    linear = all(
        type(part) is nn.Linear and part.bias is not None and part.weight.dtype == torch.float32 for part in parts[::2]
    )
    return linear and all(type(part) is nn.Tanh for part in parts[1::2])
