"""What a forecaster learns: the mean by squared error, quantiles by pinball loss, directions by cross-entropy."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.data.forecast_windows import ForecastBatch
from pretrain.fitting.config import PretrainingConfig
from pretrain.fitting.fitting import Measured
from pretrain.forecaster.config import ForecasterConfig
from pretrain.forecaster.model import ForecasterModel, Said

FLAT = 1  #: number of the class between down and up


def directions(returns: Tensor, sigma: Tensor, config: ForecasterConfig) -> Tensor:
    """int64 classes (..., H) of returns (..., H) in units of sigma * sqrt(horizon): down, flat within the deadband, up.

    `sigma` (...), in log-returns.
    """
    roots = torch.tensor(config.horizons, dtype=torch.float32, device=returns.device).sqrt()
    moves = returns * sigma[..., None] * roots
    return FLAT + (moves > config.deadband).long() - (moves < -config.deadband).long()


def forecast_losses(said: Said, returns: Tensor, sigma: Tensor, model: ForecasterModel) -> dict[str, Tensor]:
    """Mean loss of every head over its known targets (zero-dimensional tensors): returns (..., H), sigma (...).

    `mean`: squared error; `quantile`: pinball loss (Koenker and Bassett 1978) averaged over levels; `direction`:
    cross-entropy; `bin`: cross-entropy of the next bar's return token, where returns are tokens.
    """
    config, known = model.config, torch.isfinite(returns)
    count = known.sum().clamp(min=1)
    targets = returns.nan_to_num(0.0)
    levels = torch.tensor(config.quantiles, device=returns.device)
    gap = targets[..., None] - said.quantiles
    pinball = torch.maximum(levels * gap, (levels - 1.0) * gap).mean(dim=-1)
    wanted = directions(targets, sigma, config)
    crossed = F.cross_entropy(said.direction.flatten(0, -2), wanted.flatten(), reduction="none").view(wanted.shape)
    losses = {
        "mean": ((said.mean - targets).square() * known).sum() / count,
        "quantile": (pinball * known).sum() / count,
        "direction": (crossed * known).sum() / count,
    }
    if said.next_bin is not None:
        first = known[..., 0]
        told = F.cross_entropy(
            said.next_bin.flatten(0, -2), model.bins(targets[..., 0]).flatten(), reduction="none"
        ).view(first.shape)
        losses["bin"] = (told * first).sum() / first.sum().clamp(min=1)
    return losses


class ForecastTask:
    """The heads' losses, weighed as `training` says.

    In training a sequential network answers at every bar of a window, with the end of half of the windows hidden but
    for returns and hours, and with its places moved at random; otherwise at the last bar alone, seeing everything.
    """

    def __init__(self, training: PretrainingConfig) -> None:
        self._weights = {
            "mean": training.mean_weight,
            "quantile": training.quantile_weight,
            "direction": training.direction_weight,
            "bin": 1.0,
        }

    def measure(self, model: ForecasterModel, batch: ForecastBatch) -> Measured:
        """Losses of all heads, and how often the larger of "down" and "up" was right among moves that were either."""
        if model.training and model.config.sequential:
            unseen, start = hidden_ends(len(batch.closes_ms), model.config)
            hidden = model(batch.windows, batch.closes_ms, unseen.to(batch.closes_ms.device), start)
            said, returns, sigma = model.say(hidden), batch.returns, batch.sigma
        else:
            said = model.last(batch.windows, batch.closes_ms)
            returns, sigma = batch.returns[:, -1], batch.sigma[:, -1]
        losses = forecast_losses(said, returns, sigma, model)
        total = torch.stack([self._weights[name] * loss for name, loss in losses.items()]).sum()
        return Measured(total, losses | {"accuracy": _accuracy(said, returns, sigma, model.config)}, len(returns))


def hidden_ends(count: int, config: ForecasterConfig) -> tuple[Tensor, int]:
    """(B, W) bool, the last bars of a random half of windows; and a random start of places. Drawn from torch's state.

    Nothing is hidden or moved in a model that samples no paths.
    """
    bars = config.window[0]
    if not config.steps:
        return torch.zeros(count, bars, dtype=torch.bool), 0
    hidden = torch.randint(1, bars + 1, (count, 1)) * (torch.rand(count, 1) < 0.5)
    return torch.arange(bars)[None] >= bars - hidden, int(torch.randint(config.steps + 1, ()))


def _accuracy(said: Said, returns: Tensor, sigma: Tensor, config: ForecasterConfig) -> Tensor:
    wanted = directions(returns.nan_to_num(0.0), sigma, config)
    moved = wanted != FLAT
    up = said.direction[..., 2] > said.direction[..., 0]
    return ((up == (wanted > FLAT)) & moved).sum() / moved.sum().clamp(min=1)
