"""The hybrid: convolution, LSTM and attention over bars, and indicators weighed by a gate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.networks.encoder_config import HYBRID_PARTS, EncoderConfig

KERNEL = 3
#: What bars themselves say; all other features are indicators.
OF_BARS = ("return_", "range", "wick", "volume_")
PARTS = HYBRID_PARTS


class HybridEncoder(nn.Module):
    """Bars through a causal convolution, an LSTM and causal attention; indicators through a gate; both joined.

    Convolution (kernel 3, `feedforward` channels, padded on the left), batch norm, ReLU and dropout; an LSTM of
    2 x `feedforward` units and `layers` layers; attention of `heads` heads over its states, residual and normed, read
    at the last bar. The indicators of the last bars of all timeframes are weighed by a sigmoid gate that sees them and
    what was read of the bars, and go through a layer of `feedforward` units. Both go through a layer of `feedforward`
    units to `width`. With `feedforward` 64, `layers` 2 and `heads` 4 these are the numbers of the founding design.
    Statistics of the batch norm are those of training wherever the network predicts: a window's embedding does not
    depend on what else is in its batch.

    Args:
        config: with feature names. Parts that `config.ablate` names are left out; without "convolution" a layer per
            bar is in its place.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        ablate, names, units = config.ablate, config.feature_names[0], config.feedforward
        bars = [i for i, name in enumerate(names) if name.startswith(OF_BARS)] or list(range(len(names)))
        own = [i for i in range(len(names)) if i not in bars]
        self.indicator_names = tuple(
            [f"{config.timeframes[0]} {names[i]}" for i in own]
            + [f"{t} {n}" for t, all_names in zip(config.timeframes[1:], config.feature_names[1:], strict=True)
               for n in all_names]
        )  # fmt: skip
        self.register_buffer("bar_columns", torch.tensor(bars), persistent=False)
        self.register_buffer("own_columns", torch.tensor(own, dtype=torch.int64), persistent=False)
        count, states = len(self.indicator_names), 2 * units
        self.kernel = 1 if "convolution" in ablate else KERNEL
        self.convolution = nn.Conv1d(len(bars), units, self.kernel)
        self.norm = nn.BatchNorm1d(units)
        self.dropout = nn.Dropout(config.dropout)
        between = config.dropout if config.layers > 1 else 0.0
        self.lstm = nn.LSTM(units, states, config.layers, dropout=between, batch_first=True)
        attends, weighs = "attention" not in ablate, "indicators" not in ablate and count > 0
        attention = nn.MultiheadAttention(states, config.heads, config.dropout, batch_first=True)
        self.attention = attention if attends else None
        self.attention_norm = nn.LayerNorm(states) if attends else None
        self.gate = nn.Linear(states + count, count) if weighs and "gate" not in ablate else None
        self.indicators = nn.Linear(count, units) if weighs else None
        joined = states + (units if weighs else 0)
        self.head = nn.Sequential(nn.Linear(joined, units), nn.ReLU(), self.dropout, nn.Linear(units, config.width))

    def forward(self, windows: Sequence[Tensor]) -> Tensor:
        """(B, D) float32 embeddings of scaled windows, one (B, W_k, F_k) per timeframe."""
        context = self.context(windows[0])
        if self.indicators is None:
            joined: Tensor = self.head(context)
            return joined
        values = self.indicator_values(windows)
        weighed = values if self.gate is None else values * self._gates(context, values)
        both: Tensor = self.head(torch.cat((context, F.relu(self.indicators(weighed))), dim=1))
        return both

    def context(self, window: Tensor) -> Tensor:
        """(B, 2 x feedforward): what is read of the base bars (B, W, F_0), at the last one."""
        return self.states(window)[:, -1]

    def states(self, window: Tensor) -> Tensor:
        """(B, W, 2 x feedforward): what is read of the bars until each; no later bar is in it."""
        bars = window[..., self.get_buffer("bar_columns")].transpose(1, 2)
        mixed = self.dropout(F.relu(self.norm(self.convolution(F.pad(bars, (self.kernel - 1, 0))))))
        states: Tensor = self.lstm(mixed.transpose(1, 2))[0]
        if self.attention is None or self.attention_norm is None:
            return states
        later = torch.ones(states.shape[1], states.shape[1], dtype=torch.bool, device=states.device).triu(1)
        attended, _ = self.attention(states, states, states, attn_mask=later, need_weights=False)
        normed: Tensor = self.attention_norm(states + attended)
        return normed

    def indicator_values(self, windows: Sequence[Tensor]) -> Tensor:
        """(B, I): the indicators of the last bar of every timeframe, as `indicator_names` says."""
        own = windows[0][:, -1, self.get_buffer("own_columns")]
        return torch.cat((own, *(window[:, -1] for window in windows[1:])), dim=1)

    def gates(self, windows: Sequence[Tensor]) -> Tensor:
        """(B, I) weights in (0, 1) of the indicators, 1 where there is no gate."""
        values = self.indicator_values(windows)
        return torch.ones_like(values) if self.gate is None else self._gates(self.context(windows[0]), values)

    def _gates(self, context: Tensor, values: Tensor) -> Tensor:
        assert self.gate is not None
        return torch.sigmoid(self.gate(torch.cat((context, values), dim=1)))
