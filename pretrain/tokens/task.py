"""What the forecaster learns: the next row, jointly, and whether a pump starts or the price rises soon."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.fitting.fitting import Measured
from pretrain.tokens.channels import PREDICTED
from pretrain.tokens.model import CHANCES, TokenModel


class TokenBatch(NamedTuple):
    """B windows and what comes after each of their rows.

    `rows` (B, L, 6) normalised channels; `targets` (B, L, 5) scaled, of the next row, NaN where the row is not learned
    from; `chances` (B, L, 2) 1 or 0, NaN where it is not known or not learned from. All float32.
    """

    rows: Tensor
    targets: Tensor
    chances: Tensor


class TokenTask:
    """Pinball losses (Koenker and Bassett 1978) of the next row's quantiles, cross-entropies of the chances beside.

    Args:
        chances_weight: of the cross-entropies against the pinball losses.
    """

    def __init__(self, chances_weight: float) -> None:
        self._weight = chances_weight

    def measure(self, model: TokenModel, batch: TokenBatch) -> Measured:
        """Their weighted sum; each of them is a figure."""
        hidden = model(batch.rows)
        known = torch.isfinite(batch.targets[..., 0])
        targets = batch.targets[known]
        said = model.all_quantiles(hidden[known], targets)
        levels = torch.tensor(model.config.quantiles, device=said.device)
        gap = targets[..., None] - said
        pinball = 2.0 * torch.maximum(levels * gap, (levels - 1.0) * gap).mean(dim=-1)
        figures = {name: pinball[:, column].mean() for column, name in enumerate(PREDICTED)}
        loss = pinball.mean()
        logits = model.chances(hidden)
        for place, name in enumerate(CHANCES):
            seen = batch.chances[..., place]
            there = torch.isfinite(seen)
            entropy = F.binary_cross_entropy_with_logits(logits[..., place], seen.nan_to_num(0.0), reduction="none")
            figures[name] = (entropy * there).sum() / there.sum().clamp(min=1)
            loss = loss + self._weight * figures[name]
        return Measured(loss, figures, len(batch.rows))
