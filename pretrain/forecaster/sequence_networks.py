"""Networks that read a window bar by bar and say something at every bar: GPT-2, and one layer of attention.

Each base bar is a token. What a sampled bar of a path cannot know (all features but its return and the hour) is
replaced by a mark "unseen"; training hides the ends of windows the same way. Places are counted from a random start in
training, so that a path that grows beyond the window finds places it knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, GPT2Config, GPT2Model

from cryptoenv.bars.timeframe import grid_offset_ms, timeframe_ms
from pretrain.forecaster.config import CALENDAR, RETURN, ForecasterConfig

ENDS_MOST = 64  #: bars of a higher timeframe that can end within a window


def ended_since(closes_ms: Tensor, back: Tensor, base: str, timeframe: str) -> Tensor:
    """(B, W) int64: bars of a timeframe that ended after the base bar `back` (W,) bars ago closed, until `closes_ms`.

    Args:
        closes_ms: (B,) int64, when the last base bar of each window closed.
        back: (W,) int64, counted in base bars.
        base, timeframe: names.
    """
    duration, step = timeframe_ms(timeframe), timeframe_ms(base)
    since = (closes_ms - grid_offset_ms(duration)) % duration  # the newest end, and those before it, by comparison:
    ends = since[:, None] + duration * torch.arange(ENDS_MOST, device=closes_ms.device)  # exact wherever it is run
    return (ends[:, None, :] < (back * step)[None, :, None]).sum(dim=-1)


class SequenceNetwork(nn.Module):
    """Tokens of every timeframe through causal attention: (B, W, D) of the base bars.

    Args:
        config: of a network in SEQUENTIAL, with feature names.
    """

    def __init__(self, config: ForecasterConfig) -> None:
        super().__init__()
        self.config = config
        width, counts = config.width, [len(names) for names in config.feature_names]
        known = (RETURN, *CALENDAR)
        seen = torch.tensor([name in known for name in config.feature_names[0]])
        self.register_buffer("always_seen", seen, persistent=False)
        self.embed_bar = nn.Linear(counts[0] + 1, width)
        self.embed_higher = nn.ModuleList(nn.Linear(count, width) for count in counts[1:])
        self.timescale = nn.Parameter(0.02 * torch.randn(len(counts), width))
        self.embed_bin = nn.Embedding(config.bins, width) if config.tokens == "bins" else None
        self.blocks: nn.Module = _gpt2(config) if config.network == "gpt" else OneAttention(config)

    def tokens(self, windows: Sequence[Tensor], closes_ms: Tensor, unseen: Tensor, bins: Tensor | None) -> Tensor:
        """(B, N, D) embeddings: those of higher timeframes, where they are tokens, and of the base bars.

        Args:
            windows: scaled, one (B, W_k, F_k) per timeframe of the layout's window.
            closes_ms: (B,) int64.
            unseen: (B, W) bool, base bars of which only the return and the hour are known.
            bins: (B, W) int64 tokens of the bars' own returns, where they are read as bins.
        """
        config, base = self.config, self.config.timeframes[0]
        tokens = self.embed_bars(windows[0], unseen, bins)
        if len(config.timeframes) == 1:
            return tokens
        back = torch.arange(config.window[0] - 1, -1, -1, device=closes_ms.device)
        prefix = []
        for k in range(len(config.timeframes) - 1, 0, -1):
            window, name = windows[k], config.timeframes[k]
            if config.timescales == "channels":
                rows = window.shape[1] - 1 - ended_since(closes_ms, back, base, name)
                tokens = tokens + self.higher(k, _at(window, rows))
            else:
                gone = ended_since(closes_ms, back[:1], base, name)
                rows = window.shape[1] - 1 - gone - torch.arange(config.window[k] - 1, -1, -1, device=gone.device)
                prefix.append(self.higher(k, _at(window, rows)))
        return torch.cat((*prefix, tokens), dim=1)

    def embed_bars(self, bars: Tensor, unseen: Tensor, bins: Tensor | None) -> Tensor:
        """(B, W, D) of scaled base bars (B, W, F_0); arguments as for `tokens`."""
        hidden = unseen[..., None] & ~self.get_buffer("always_seen")
        shown = bars.masked_fill(hidden, 0.0)
        if bins is not None:
            shown = shown.clone()
            shown[..., self.config.feature_names[0].index(RETURN)] = 0.0
        embedded = self.embed_bar(torch.cat((shown, unseen[..., None].to(bars.dtype)), dim=-1)) + self.timescale[0]
        return embedded if bins is None or self.embed_bin is None else embedded + self.embed_bin(bins)

    def forward(
        self, windows: Sequence[Tensor], closes_ms: Tensor, unseen: Tensor, bins: Tensor | None, start: int = 0
    ) -> Tensor:
        """(B, W, D) at the base bars; `start` moves the places of their tokens."""
        hidden: Tensor = self.blocks(
            inputs_embeds=self.tokens(windows, closes_ms, unseen, bins), position_ids=self._places(start, closes_ms),
            use_cache=False, **self._all(windows[0]),
        )[0]  # fmt: skip
        return hidden[:, self.config.prefix :]

    def begin(
        self, windows: Sequence[Tensor], closes_ms: Tensor, bins: Tensor | None
    ) -> tuple[Tensor, DynamicCache]:
        """The last bar's (B, D) and the cache from which a path goes on."""
        cache = DynamicCache()
        unseen = torch.zeros(windows[0].shape[:2], dtype=torch.bool, device=closes_ms.device)
        out = self.blocks(
            inputs_embeds=self.tokens(windows, closes_ms, unseen, bins), position_ids=self._places(0, closes_ms),
            cache=cache, use_cache=True,
        )  # fmt: skip
        return out[0][:, -1], cache

    def go_on(self, token: Tensor, cache: DynamicCache, step: int) -> Tensor:
        """(P, D) after one more token (P, D), the `step`-th (from 0) after the window.

        The oldest bar is forgotten, so that as many bars are looked at as in a window.
        """
        config = self.config
        for layer in cache.layers:
            kept: Any = layer
            for name in ("keys", "values"):
                held = getattr(kept, name)
                parts = (held[:, :, : config.prefix], held[:, :, config.prefix + 1 :])
                setattr(kept, name, torch.cat(parts, dim=2))
        place = torch.full((1, 1), config.prefix + config.window[0] + step, device=token.device)
        out = self.blocks(inputs_embeds=token[:, None], position_ids=place, cache=cache, use_cache=True)
        last: Tensor = out[0][:, -1]
        return last

    def _all(self, bars: Tensor) -> dict[str, Tensor]:
        """The mask that shows every token: without it, a jump in the places reads as the border of two texts."""
        if self.config.network != "gpt":
            return {}
        tokens = self.config.prefix + self.config.window[0]
        return {"attention_mask": torch.ones(bars.shape[0], tokens, dtype=torch.bool, device=bars.device)}

    def higher(self, k: int, rows: Tensor) -> Tensor:
        """(B, n, D) of scaled bars (B, n, F_k) of timeframe number `k`."""
        embedded: Tensor = self.embed_higher[k - 1](rows)
        return embedded + self.timescale[k]

    def _places(self, start: int, like: Tensor) -> Tensor:
        """(1, N) int64: the higher timeframes' tokens first, the base bars' from `start` after them."""
        places = torch.arange(self.config.prefix + self.config.window[0], device=like.device)
        places[self.config.prefix :] += start
        return places[None]


def _at(window: Tensor, rows: Tensor) -> Tensor:
    """(B, n, F): rows (B, n) of each window (B, W, F)."""
    return window.gather(1, rows[..., None].expand(-1, -1, window.shape[2]))


def _gpt2(config: ForecasterConfig) -> GPT2Model:
    """A GPT-2 with fresh weights, that reads embeddings: its own table of words is empty."""
    return GPT2Model(gpt2_config(config))


def gpt2_config(config: ForecasterConfig, positions: int | None = None) -> GPT2Config:
    """The configuration of the GPT-2 of an architecture.

    Args:
        config: the architecture.
        positions: rows of the table of places; as many as there are tokens where None.
    """
    return GPT2Config(
        vocab_size=1, n_positions=config.tokens_in_all if positions is None else positions, n_embd=config.width,
        n_layer=config.layers, n_head=config.heads, n_inner=config.feedforward, resid_pdrop=config.dropout,
        embd_pdrop=config.dropout, attn_pdrop=config.dropout, use_cache=False, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip


class OneAttention(nn.Module):
    """One layer of causal attention between norms, with places: what is left of a GPT without its blocks."""

    def __init__(self, config: ForecasterConfig) -> None:
        super().__init__()
        self.place = nn.Embedding(config.tokens_in_all, config.width)
        self.norm = nn.LayerNorm(config.width)
        self.attend = nn.MultiheadAttention(config.width, config.heads, config.dropout, batch_first=True)
        self.last_norm = nn.LayerNorm(config.width)

    def forward(self, inputs_embeds: Tensor, position_ids: Tensor, use_cache: bool = False) -> tuple[Tensor]:
        """((B, N, D),) as Hugging Face's models answer."""
        x = inputs_embeds + self.place(position_ids)
        later = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device)
        normed = self.norm(x)
        mixed, _ = self.attend(normed, normed, normed, attn_mask=later, is_causal=True, need_weights=False)
        return (self.last_norm(x + mixed),)
