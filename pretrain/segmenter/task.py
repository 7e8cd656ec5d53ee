"""What a segmenter learns: the classes of every timescale, by cross-entropy to labels or to a teacher's belief."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pretrain.data.stretches import StretchBatch
from pretrain.data.windows import Batch
from pretrain.fitting.config import PretrainingConfig
from pretrain.fitting.fitting import Measured
from pretrain.segmenter.model import SegmenterModel


class SegmenterTask:
    """Cross-entropy of every timescale, their mean; where there is a memory, also of its own classes, weighed.

    Args:
        training: `memory_weight` weighs the memory's cross-entropy.
        class_weights: (S, C) weights of the classes.
    """

    def __init__(self, training: PretrainingConfig, class_weights: Tensor) -> None:
        self._memory_weight = training.memory_weight
        self._class_weights = class_weights

    def measure(self, model: SegmenterModel, batch: Batch | StretchBatch) -> Measured:
        """The loss, and loss and accuracy per timescale."""
        if isinstance(batch, Batch):
            embeddings, decisions, memory = model(batch.windows), batch, None
        else:
            embeddings, states = model.over_stretches(batch.bars, batch.places, batch.decisions.windows)
            decisions = batch.decisions
            memory = self._losses(model.memory_logits(states), batch.beliefs).mean()
        logits = model.logits(embeddings)
        losses = self._losses(logits, decisions.beliefs)
        scales = model.config.timescales
        figures = {f"loss_{name}": losses[s] for s, name in enumerate(scales)}
        figures |= accuracies(logits, decisions.columns, scales)
        total = losses.mean()
        if memory is not None:
            total, figures = total + self._memory_weight * memory, figures | {"memory": memory}
        return Measured(total, figures, len(decisions.labels))

    def _losses(self, logits: Tensor, beliefs: Tensor) -> Tensor:
        """(S,) mean cross-entropy of logits (..., S, C) to beliefs (..., S * C), rows of zeros left out."""
        wanted = beliefs.unflatten(-1, logits.shape[-2:])
        weights = self._class_weights.to(logits.device)
        losses = -(wanted * weights * logits.log_softmax(dim=-1)).sum(dim=-1).flatten(0, -2)
        told = (wanted * weights).sum(dim=-1).flatten(0, -2)
        return losses.sum(dim=0) / told.sum(dim=0).clamp(min=1e-6)


def accuracies(logits: Tensor, columns: Tensor, timescales: Sequence[str]) -> dict[str, Tensor]:
    """Share of known labels (B, S), NaN unknown, that the arg max of `logits` (B, S, C) hits, per timescale."""
    found = {}
    for s, name in enumerate(timescales):
        known = ~torch.isnan(columns[:, s])
        hit = (logits[:, s].argmax(dim=-1) == columns[:, s].nan_to_num(-1.0).long()) & known
        found[f"accuracy_{name}"] = hit.sum() / known.sum().clamp(min=1)
    return found
