"""The forecaster's network: scaled windows, a network, and heads for mean, quantiles and direction."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.data.scaler import SCALED_BOUND, RobustScaler
from pretrain.forecaster.config import CLASSES, PUBLISHED, RETURN, ForecasterConfig


class Said(NamedTuple):
    """What the heads say about windows, or about every bar of them: leading dimensions (...) = (B,) or (B, W).

    `mean` (..., H) and `quantiles` (..., H, Q), increasing in Q: log-returns in units of sigma * sqrt(horizon);
    `direction` (..., H, 3): logits of down, flat and up; `next_bin` (..., bins): logits of the next bar's return token,
    or None.
    """

    mean: Tensor
    quantiles: Tensor
    direction: Tensor
    next_bin: Tensor | None


class ForecasterModel(nn.Module):
    """Windows of every timeframe to a forecast.

    Args:
        config: the architecture, with feature names.
        scaler: fitted on training rows, of the same timeframes and features.

    Raises:
        ValueError: the config names no features, the scaler has others, or paths are sampled and the features hold no
            return of one bar.
    """

    def __init__(self, config: ForecasterConfig, scaler: RobustScaler) -> None:
        super().__init__()
        if not config.feature_names:
            raise ValueError("config.feature_names is empty: take it from a market with config.for_market(market)")
        if (scaler.timeframes, scaler.names) != (config.timeframes, config.feature_names):
            raise ValueError("the scaler was fitted on other timeframes or features than the config names")
        if config.steps and RETURN not in config.feature_names[0]:
            raise ValueError(f"paths need the feature {RETURN!r} of the base; set steps to 0, or add it")
        self.config = config
        self.network = new_network(config)
        horizons, levels = len(config.horizons), len(config.quantiles)
        self.mean_head = nn.Linear(config.width, horizons)
        self.quantile_head = nn.Linear(config.width, horizons * levels)
        self.direction_head = nn.Linear(config.width, horizons * len(CLASSES))
        bins = config.tokens == "bins"
        self.bin_head = nn.Linear(config.width, config.bins) if bins else None
        self._begin_normal()
        # What the user's weights file keeps beside weights: borders of return tokens, and what calibration found.
        edges = torch.tensor([4.0 * NormalDist().inv_cdf(i / config.bins) for i in range(1, config.bins)])
        self.register_buffer("bin_edges", edges if bins else torch.zeros(0))
        self.register_buffer("stretch", torch.ones(horizons, levels))
        self.register_buffer("trust", torch.ones(2, horizons))
        self.register_buffer("spread", torch.ones(horizons))
        for k in range(len(config.timeframes)):
            # Not saved with the weights: scaler.json is the one place where the scaler is kept.
            self.register_buffer(f"median_{k}", torch.from_numpy(scaler.median[k].copy()), persistent=False)
            self.register_buffer(f"scale_{k}", torch.from_numpy(scaler.scale(k)), persistent=False)

    def _begin_normal(self) -> None:
        """The quantile head begins with the quantiles of a normal variable of the known sigma."""
        normal = torch.tensor([NormalDist().inv_cdf(q) for q in self.config.quantiles])
        bias = torch.cat((normal[:1], torch.log(torch.expm1(normal.diff()))))
        with torch.no_grad():
            for head in (self.mean_head, self.quantile_head, self.direction_head):
                head.weight.mul_(0.1)
            self.mean_head.bias.zero_()
            self.quantile_head.bias.copy_(bias.repeat(len(self.config.horizons)))

    def scaled(self, windows: Sequence[Tensor]) -> list[Tensor]:
        """Windows (B, W_k, F_k) in robust standard deviations, clipped."""
        return [self.scaled_one(k, window) for k, window in enumerate(windows)]

    def scaled_one(self, k: int, window: Tensor) -> Tensor:
        """As `scaled`, of one window (B, W_k, F_k) of timeframe number `k`."""
        scaled = (window - self.get_buffer(f"median_{k}")) / self.get_buffer(f"scale_{k}")
        return scaled.clamp(-SCALED_BOUND, SCALED_BOUND)

    def bins(self, returns: Tensor) -> Tensor:
        """int64 tokens of returns in units of sigma, of any shape."""
        return torch.bucketize(returns.contiguous(), self.get_buffer("bin_edges"))

    def forward(
        self, windows: Sequence[Tensor], closes_ms: Tensor, unseen: Tensor | None = None, start: int = 0
    ) -> Tensor:
        """What heads read: (B, W, D) at every base bar where the network is sequential, else (B, D).

        Args:
            windows: one (B, W_k, F_k) float32 tensor of unscaled features per timeframe, oldest bar first.
            closes_ms: (B,) int64: when the last base bar closed.
            unseen: (B, W) bool, bars of which only the return and the hour are shown; none where None.
            start: moves the places of base bars, as on a path.
        """
        scaled = self.scaled(windows)
        if not self.config.sequential:
            hidden: Tensor = self.network(scaled)
            return hidden
        if unseen is None:
            unseen = torch.zeros(scaled[0].shape[:2], dtype=torch.bool, device=closes_ms.device)
        every: Tensor = self.network(scaled, closes_ms, unseen, self.window_bins(windows[0]), start)
        return every

    def last_of_scaled(self, windows: Sequence[Tensor], closes_ms: Tensor) -> Said:
        """As `last`, of windows (B, W_k, F_k) that are scaled already; clipped as `scaled` clips them."""
        scaled = [window.clamp(-SCALED_BOUND, SCALED_BOUND) for window in windows]
        if not self.config.sequential:
            return self.say(self.network(scaled))
        unseen = torch.zeros(scaled[0].shape[:2], dtype=torch.bool, device=closes_ms.device)
        raw = scaled[0] * self.get_buffer("scale_0") + self.get_buffer("median_0")
        return self.say(self.network(scaled, closes_ms, unseen, self.window_bins(raw), 0)[:, -1])

    def window_bins(self, bars: Tensor) -> Tensor | None:
        """(B, W) int64 tokens of the bars' own returns, where they are read as bins."""
        if self.config.tokens != "bins":
            return None
        return self.bins(bars[..., self.config.feature_names[0].index(RETURN)])

    def last(self, windows: Sequence[Tensor], closes_ms: Tensor) -> Said:
        """What is said at the last bar of each window (B, W_k, F_k), closed at `closes_ms` (B,), uncalibrated."""
        hidden = self(windows, closes_ms)
        return self.say(hidden[:, -1] if self.config.sequential else hidden)

    def say(self, hidden: Tensor) -> Said:
        """What all heads say of `hidden` (..., D), uncalibrated."""
        lead, config = hidden.shape[:-1], self.config
        raw = self.quantile_head(hidden).view(*lead, len(config.horizons), -1)
        # Steps between quantiles are positive, so that quantiles never cross.
        steps = torch.cat((raw[..., :1], F.softplus(raw[..., 1:])), dim=-1)
        return Said(
            self.mean_head(hidden),
            steps.cumsum(dim=-1),
            self.direction_head(hidden).view(*lead, len(config.horizons), len(CLASSES)),
            None if self.bin_head is None else self.bin_head(hidden),
        )

    def calibrated(self, said: Said) -> tuple[Tensor, Tensor]:
        """Means (..., H) and quantiles (..., H, Q), in order, as calibration puts them right.

        The mean, and the median that quantiles lie around, are believed as far as held-out rows showed them to be worth
        (`trust`, 0 to 1); the distance of each quantile from the median is multiplied by `stretch`.
        """
        median = middle(said.quantiles, self.config.quantiles)[..., None]
        trust = self.get_buffer("trust")
        moved = trust[1][:, None] * median + (said.quantiles - median) * self.get_buffer("stretch")
        return trust[0] * said.mean, torch.sort(moved, dim=-1).values


def middle(quantiles: Tensor, levels: Sequence[float]) -> Tensor:
    """(...) medians of quantiles (..., Q) at increasing levels (Q,): between two levels, on the line between them."""
    above = next((k for k, level in enumerate(levels) if level >= 0.5), len(levels) - 1)
    below = above if levels[above] <= 0.5 else max(above - 1, 0)
    if above == below:
        return quantiles[..., above]
    share = (0.5 - levels[below]) / (levels[above] - levels[below])
    return quantiles[..., below] + share * (quantiles[..., above] - quantiles[..., below])


def new_network(config: ForecasterConfig) -> nn.Module:
    """The network that `config.network` names, with fresh weights.

    Raises:
        ImportError: it is one of Hugging Face's, and transformers is not installed.
    """
    if not config.sequential and config.network not in PUBLISHED:
        from pretrain.forecaster.window_networks import window_network

        return window_network(config)
    try:
        if config.sequential:
            from pretrain.forecaster.sequence_networks import SequenceNetwork

            return SequenceNetwork(config)
        from pretrain.forecaster.published_networks import PublishedNetwork

        return PublishedNetwork(config)
    except ModuleNotFoundError as error:
        from synthetic.installation import install_hint

        raise ImportError(f"the network {config.network!r} needs {error.name}: {install_hint('gpt')}") from error


def normal_quantiles(levels: Sequence[float]) -> np.ndarray:
    """(Q,) float64 quantiles of a standard normal variable."""
    return np.array([NormalDist().inv_cdf(level) for level in levels])
