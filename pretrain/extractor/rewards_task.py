"""Values of positions, learned end to end from what every position would have earned (counterfactual Q-learning).

A price-taker's orders do not move the market, so every bar tells what each position would have earned, whatever was
held. With linear costs c the value of a position `a` more than none is

    D(t, a) = r(t, a) - r(t, 0) + gamma [M(t+1, a) - M(t+1, 0)],     M(t, a) = max_b [D'(t, b) - c |b - a|]

where D' comes from averaged weights. What follows an order is worth at most the cost of undoing it, |M(a) - M(0)| <=
c |a|, so the target is short-sighted and stays bounded whatever the network says. The error is divided by the bar's
volatility and by |a|, and large ones count linearly (Huber 1964). Fitted Q iteration: Ernst, Geurts and Wehenkel 2005.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryptoenv.trading.replay import replay
from pretrain.data.rewards import PERCENT, Lanes, RewardBatch, RewardsConfig
from pretrain.extractor.model import ExtractorModel
from pretrain.extractor.task import belief_losses, direction_losses, pinball_losses
from pretrain.extractor.value_decisions import followed, value_decisions
from pretrain.fitting.fitting import Measured

JUDGED_IN = 512  #: bars of all lanes that are read at once where nothing is learned


class RewardLearner(nn.Module):
    """The network that learns, the average of its weights that it learns from, and what both remember of every lane.

    All of it is in its state, so that a training goes on where it stood in the middle of a market.

    Args:
        network: with a memory and a head of values.
        lanes: that are read side by side.
    """

    carried: Tensor
    """(N, M) float32: what the network remembers of each lane."""
    carried_average: Tensor
    """(N, M) float32: what the averaged network does."""

    def __init__(self, network: ExtractorModel, lanes: int) -> None:
        super().__init__()
        self.network = network
        self.averaged = copy.deepcopy(network).requires_grad_(False)
        for name in ("carried", "carried_average"):
            self.register_buffer(name, torch.zeros(lanes, network.config.remembered))

    def follow(self, share: float) -> None:
        """Move the averaged weights by a share of the way."""
        self.averaged.eval()
        with torch.no_grad():
            for slow, new in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
                slow.lerp_(new, share)


def read_stretch(network: ExtractorModel, batch: RewardBatch, before: Tensor | None) -> tuple[Tensor, Tensor]:
    """Embeddings (N, L, D) of a stretch, and what is remembered after it (N, M), `before` being what was before it."""
    states = network.remember(batch.bars, before)
    embeddings = network.read_states(states.flatten(0, 1)[:, None], ())
    return embeddings.unflatten(0, states.shape[:2]), states[:, -1]


class RewardsTask:
    """The error of values where something is learned, and what they earn where nothing is.

    Args:
        config: discount, averaging, costs.
        horizons_weight: of the heads that tell returns; they read the embedding and do not steer it.
    """

    def __init__(self, config: RewardsConfig, horizons_weight: float = 1.0) -> None:
        self._config, self._horizons_weight = config, horizons_weight

    def measure(self, model: RewardLearner, batch: RewardBatch | Lanes) -> Measured:
        """Of a stretch the weighted error of its values. Of whole lanes the loss is minus what the greedy decisions of
        the averaged network earn, net, in percent a day, with turnover and exposure beside it."""
        if isinstance(batch, Lanes):
            return self._judged(model, batch)
        return self._learned(model, batch)

    def _learned(self, model: RewardLearner, batch: RewardBatch) -> Measured:
        """The error of a stretch, the averaged network and what is remembered moved on."""
        model.follow(self._config.averaging)
        before, before_average = (None, None) if batch.begins else (model.carried, model.carried_average)
        embeddings, after = read_stretch(model.network, batch, before)
        with torch.no_grad():
            followed_by, after_average = read_stretch(model.averaged, batch, before_average)
            target = self.targets(model.averaged, model.averaged.values(followed_by), batch.rewards)
        model.carried, model.carried_average = after.detach(), after_average
        values = model.network.values(embeddings)[:, :-1]
        loss = self.error(model.network, values, target, batch.volatility[:, :-1])
        total = loss + self._horizons_weight * self._returns_told(model.network, embeddings, batch.returns)
        return Measured(total, {"error": loss}, values.shape[0] * values.shape[1])

    def targets(self, network: ExtractorModel, values: Tensor, rewards: Tensor) -> Tensor:
        """(N, L - 1, P) percent: what each position's value should be at all bars but the last.

        Args:
            network: knows positions and costs.
            values: (N, L, P) of the averaged network.
            rewards: (N, L, P) percent.
        """
        flat = network.config.positions.index(0.0)
        best = (values[:, 1:, None, :] - network.switching).amax(dim=-1)
        gained = rewards[:, :-1] - rewards[:, :-1, flat, None]
        return gained + self._config.gamma * (best - best[..., flat, None])

    def error(self, network: ExtractorModel, values: Tensor, target: Tensor, volatility: Tensor) -> Tensor:
        """The mean Huber loss of values (N, L, P) against targets, in volatilities (N, L) of the bar; flat left out."""
        exposures = torch.tensor(network.config.positions, device=values.device)
        taken = exposures != 0.0
        off = (values - target)[..., taken] / (volatility[..., None] * exposures[taken].abs())
        return F.smooth_l1_loss(off, torch.zeros_like(off), beta=self._config.huber)

    @staticmethod
    def _returns_told(network: ExtractorModel, embeddings: Tensor, returns: Tensor) -> Tensor:
        """The losses of the heads of direction and quantiles, at those bars of a stretch whose returns (N, R, H) are
        told; `embeddings` (N, L, D) take no gradient from them."""
        every = -(-embeddings.shape[1] // returns.shape[1])
        said = network.returns_said(embeddings.detach()[:, ::every].flatten(0, 1))
        known = returns.flatten(0, 1)
        return pinball_losses(said.return_quantiles, known, network.config.quantiles) + direction_losses(
            said.direction_logits, known
        )

    def _judged(self, model: RewardLearner, lanes: Lanes) -> Measured:
        found = np.concatenate([values.numpy() for values in self._values(model.averaged, lanes)], axis=1)
        config = model.network.config
        flat = config.positions.index(0.0)
        earned = turnover = exposure = 0.0
        for piece, values in zip(lanes.pieces, found, strict=True):
            table = value_decisions(values, config.positions, config.value_cost)
            held = np.array(config.positions)[followed(table, flat)]
            prices = piece.market.prices[piece.start : piece.stop]
            trace = replay(prices, held[:-1], lanes.parameters)
            earned += float(np.log(trace.equity[-1] / trace.start))
            turnover += float(trace.column("turnover").sum())
            exposure += float(np.abs(held[:-1]).mean())
        days = lanes.length / lanes.per_day * len(lanes.pieces)
        figures = {
            "earned": torch.tensor(PERCENT * earned / days), "turnover": torch.tensor(turnover / days),
            "exposure": torch.tensor(exposure / len(lanes.pieces)),
        }  # fmt: skip
        return Measured(-figures["earned"], figures, len(lanes.pieces) * lanes.length)

    @staticmethod
    def _values(network: ExtractorModel, lanes: Lanes) -> Iterator[Tensor]:
        """(N, L, P) values of the lanes' stretches, one after the other."""
        carried: Tensor | None = None
        device = next(network.parameters()).device
        for begin in range(0, lanes.length, JUDGED_IN):
            batch = lanes.stretch(begin, JUDGED_IN)
            batch = batch._replace(bars=batch.bars.to(device))
            embeddings, carried = read_stretch(network, batch, carried)
            yield network.values(embeddings).cpu()


class OracleTask(RewardsTask):
    """The error of values, actions and beliefs against the causal optimum's at every bar of a stretch; where nothing is
    learned, what the values earn, as `RewardsTask` says.

    An error of values is in units of the cost per unit of turnover and counts linearly beyond one. The log-odds of
    actions are those that values decide, so that both teach one head.

    Args:
        config: weights of values and actions, averaging, costs.
        horizons_weight: as of `RewardsTask`.
        regime_weight: of the beliefs.
    """

    def __init__(self, config: RewardsConfig, horizons_weight: float, regime_weight: float) -> None:
        super().__init__(config, horizons_weight)
        self._regime_weight = regime_weight

    def _learned(self, model: RewardLearner, batch: RewardBatch) -> Measured:
        assert batch.oracle is not None
        model.follow(self._config.averaging)
        network, told = model.network, batch.oracle
        embeddings, after = read_stretch(network, batch, None if batch.begins else model.carried)
        model.carried = after.detach()
        values = network.values(embeddings)
        off = (values - told.values) / (PERCENT * self._config.turnover_cost)
        logits = network.action_logits(embeddings.flatten(0, 1))
        losses = {
            "value": F.smooth_l1_loss(off, torch.zeros_like(off)),
            "action": F.cross_entropy(logits.flatten(0, 1), told.actions.flatten()),
        }
        total = self._config.value_weight * losses["value"] + self._config.action_weight * losses["action"]
        if network.regime_head is not None:
            losses["regime"] = belief_losses(told.beliefs, network.regime_head(embeddings))
            total = total + self._regime_weight * losses["regime"]
        total = total + self._horizons_weight * self._returns_told(network, embeddings, batch.returns)
        return Measured(total, losses, values.shape[0] * values.shape[1])
