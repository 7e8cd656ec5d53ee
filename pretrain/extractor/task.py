"""What the extractor learns: action labels above all, with direction, return quantiles and regime beside them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.data.labelled_market import NO_LABEL
from pretrain.data.stretches import StretchBatch
from pretrain.data.windows import Batch
from pretrain.extractor.config import ExtractorConfig
from pretrain.extractor.model import ExtractorModel, Predictions
from pretrain.fitting.config import PretrainingConfig
from pretrain.fitting.fitting import Measured

OF_ACTIONS = ("action", "accuracy", "memory")  #: figures that say nothing without labels of actions


def head_losses(predictions: Predictions, batch: Batch, quantiles: tuple[float, ...]) -> dict[str, Tensor]:
    """Mean loss of every head over its known targets (zero-dimensional tensors).

    `action`: cross-entropy averaged over windows and held positions; `quantile`: pinball loss (Koenker and Bassett
    1978); `direction`: binary cross-entropy; `regime`: cross-entropy to the teacher's belief, which says more than the
    regime that happened to be (distillation, Hinton et al. 2015). A head without targets has loss 0.
    """
    losses = {
        "action": _cross_entropy(predictions.action_logits.flatten(0, 1), batch.labels.flatten()),
        "quantile": pinball_losses(predictions.return_quantiles, batch.returns, quantiles),
        "direction": direction_losses(predictions.direction_logits, batch.returns),
    }
    if predictions.regime_logits is not None:
        losses["regime"] = belief_losses(batch.beliefs, predictions.regime_logits)
    return losses


def pinball_losses(said: Tensor, returns: Tensor, quantiles: tuple[float, ...]) -> Tensor:
    """Mean pinball loss of quantiles (B, H, Q) of returns (B, H), NaN unknown."""
    known = torch.isfinite(returns)
    levels = torch.tensor(quantiles, device=returns.device)
    gap = returns.nan_to_num(0.0)[..., None] - said
    pinball = torch.maximum(levels * gap, (levels - 1.0) * gap).mean(dim=-1)
    return (pinball * known).sum() / known.sum().clamp(min=1)


def direction_losses(logits: Tensor, returns: Tensor) -> Tensor:
    """Mean binary cross-entropy of log-odds (B, H) that returns (B, H), NaN unknown, are positive."""
    known = torch.isfinite(returns)
    wanted = (returns.nan_to_num(0.0) > 0.0).float()
    losses = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    total = F.cross_entropy(logits, labels, ignore_index=NO_LABEL, reduction="sum")
    return total / (labels != NO_LABEL).sum().clamp(min=1)


def belief_losses(beliefs: Tensor, logits: Tensor) -> Tensor:
    """Mean over the rows (..., K) that hold a belief; `logits` (..., >= K)."""
    told = beliefs.sum(dim=-1) > 0.0
    losses = -(beliefs * logits.log_softmax(dim=-1)[..., : beliefs.shape[-1]]).sum(dim=-1)
    return (losses * told).sum() / told.sum().clamp(min=1)


def action_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of known labels (B, P) that the arg max of `logits` (B, P, A) hits."""
    known = labels != NO_LABEL
    return ((logits.argmax(dim=-1) == labels) & known).sum() / known.sum().clamp(min=1)


def label_losses(
    said: tuple[Tensor, ...], columns: Tensor, config: ExtractorConfig
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Losses "label_NAME" of the heads of the user's labels, and the accuracies "accuracy_NAME" of those with classes.

    Cross-entropy of classes, Huber's loss of numbers in units of their scale; both 0 without a known label.

    Args:
        said: per column (B, classes) logits, or (B, 1).
        columns: (B, C) numbers of classes or values, NaN where unknown.
        config: names, classes and scales of the columns.
    """
    losses, accuracies = {}, {}
    for c, (name, classes, (centre, spread)) in enumerate(
        zip(config.label_columns, config.label_classes, config.label_scales, strict=True)
    ):
        values = columns[:, c]
        known = ~values.isnan()
        count = known.sum().clamp(min=1)
        if classes:
            wanted = values.nan_to_num(NO_LABEL).long()
            losses[f"label_{name}"] = _cross_entropy(said[c], wanted)
            accuracies[f"accuracy_{name}"] = ((said[c].argmax(dim=-1) == wanted) & known).sum() / count
        else:
            scaled = (values.nan_to_num(centre) - centre) / spread
            losses[f"label_{name}"] = (F.huber_loss(said[c][:, 0], scaled, reduction="none") * known).sum() / count
    return losses, accuracies


class ExtractorTask:
    """The heads' losses, weighed as `training` says; those of actions only where `acts` says that there are labels."""

    def __init__(self, training: PretrainingConfig, *, acts: bool = True) -> None:
        self._acts = acts
        self._weights: Mapping[str, float] = {
            "action": 1.0,
            "quantile": training.quantile_weight,
            "direction": training.direction_weight,
            "regime": training.regime_weight,
            "memory": training.memory_weight,
            "memory_regime": training.regime_weight,
        }

    def measure(self, model: ExtractorModel, batch: Batch | StretchBatch) -> Measured:
        """Losses of all heads and the action accuracy."""
        if isinstance(batch, Batch):
            return self._measured(model, model(batch.windows), batch, {})
        embeddings, states = model.over_stretches(batch.bars, batch.places, batch.decisions.windows)
        assert model.memory_head is not None
        logits = model.memory_head(states).view(*batch.labels.shape, -1)
        memory = {"memory": _cross_entropy(logits.flatten(0, 2), batch.labels.flatten())}
        if model.memory_regime_head is not None:
            memory["memory_regime"] = belief_losses(batch.beliefs, model.memory_regime_head(states))
        return self._measured(model, embeddings, batch.decisions, memory)

    def _measured(
        self, model: ExtractorModel, embeddings: Tensor, batch: Batch, further: dict[str, Tensor]
    ) -> Measured:
        predictions, config = model.predict(embeddings), model.config
        losses = head_losses(predictions, batch, config.quantiles) | further
        total = torch.stack([self._weights[name] * loss for name, loss in losses.items()]).sum()
        figures = losses | {"accuracy": action_accuracy(predictions.action_logits, batch.labels)}
        if batch.columns.shape[1]:
            own, told = label_losses(predictions.labels, batch.columns, config)
            if not self._acts:
                figures = {name: value for name, value in figures.items() if name not in OF_ACTIONS}
            total, figures = total + torch.stack(list(own.values())).sum(), figures | own | told
        return Measured(total, figures, len(batch.labels))
