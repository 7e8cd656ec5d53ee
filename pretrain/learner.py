"""The losses of the extractor's heads, and the Lightning module that minimises them."""

from __future__ import annotations

import math
import time
from typing import Any

import lightning.pytorch as lightning
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.config import TrainingConfig
from pretrain.transformer import Predictions, TransformerExtractor
from pretrain.windows import IGNORED, Batch


def head_losses(predictions: Predictions, batch: Batch, quantiles: tuple[float, ...]) -> dict[str, Tensor]:
    """Mean loss of every head over its known targets (zero-dimensional tensors).

    `action`: cross-entropy averaged over windows and held positions; `quantile`: pinball loss (Koenker and Bassett
    1978); `direction`: binary cross-entropy; `regime`: cross-entropy. A head without targets has loss 0.
    """
    known = torch.isfinite(batch.returns)
    count = known.sum().clamp(min=1)
    returns = batch.returns.nan_to_num(0.0)
    levels = torch.tensor(quantiles, device=returns.device)
    gap = returns[..., None] - predictions.return_quantiles
    pinball = torch.maximum(levels * gap, (levels - 1.0) * gap).mean(dim=-1)
    direction = F.binary_cross_entropy_with_logits(
        predictions.direction_logits, (returns > 0.0).float(), reduction="none"
    )
    losses = {
        "action": _cross_entropy(predictions.action_logits.flatten(0, 1), batch.labels.flatten()),
        "quantile": (pinball * known).sum() / count,
        "direction": (direction * known).sum() / count,
    }
    if predictions.regime_logits is not None:
        losses["regime"] = _cross_entropy(predictions.regime_logits, batch.regimes)
    return losses


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    total = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return total / (labels != IGNORED).sum().clamp(min=1)


def action_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of known labels (B, P) that the arg max of `logits` (B, P, A) hits."""
    known = labels != IGNORED
    return ((logits.argmax(dim=-1) == labels) & known).sum() / known.sum().clamp(min=1)


class ExtractorLearner(lightning.LightningModule):
    """Trains a `TransformerExtractor` on `Batch`es; logs the loss, and its parts on validation rows."""

    def __init__(self, model: TransformerExtractor, training: TrainingConfig) -> None:
        super().__init__()
        self.model = model
        self.training_config = training
        self._started = time.process_time()

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of this process since the learner was made."""
        return time.process_time() - self._started

    @property
    def spent(self) -> float:
        """Share of the budget used, 0 to 1 (or a little more): steps or CPU seconds, whichever is further."""
        config = self.training_config
        by_steps = self.global_step / config.steps
        return by_steps if config.max_seconds is None else max(by_steps, self.cpu_seconds / config.max_seconds)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The loss of one batch."""
        loss = self._losses(batch)[0]
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.labels))
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        """Logs the losses and the action accuracy of one batch."""
        loss, parts, predictions = self._losses(batch)
        size = len(batch.labels)
        accuracy = action_accuracy(predictions.action_logits, batch.labels)
        self.log("validation/loss", loss, prog_bar=True, batch_size=size)
        self.log("validation/accuracy", accuracy, prog_bar=True, batch_size=size)
        self.log_dict({f"validation/{name}": part for name, part in parts.items()}, batch_size=size)

    def _losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Predictions]:
        config = self.training_config
        predictions = self.model.predict(self.model(batch.windows))
        parts = head_losses(predictions, batch, self.model.config.quantiles)
        total = (
            parts["action"]
            + config.quantile_weight * parts["quantile"]
            + config.direction_weight * parts["direction"]
            + config.regime_weight * parts.get("regime", torch.zeros(()))
        )
        return total, parts, predictions

    def on_train_batch_end(self, *_: Any) -> None:
        """Stops when the CPU seconds are used up."""
        if self.spent >= 1.0:
            self.trainer.should_stop = True

    def configure_optimizers(self) -> Any:
        """AdamW with a linear warm-up and a cosine to zero over the budget."""
        config = self.training_config
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: self._rate(self.spent))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate(self, spent: float) -> float:
        """Share of the learning rate after a share `spent` of the budget."""
        warm_up = self.training_config.warm_up
        if spent < warm_up:
            return (spent + 1.0 / self.training_config.steps) / (warm_up + 1.0 / self.training_config.steps)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (spent - warm_up) / (1.0 - warm_up))))
