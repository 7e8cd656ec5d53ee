"""A pretrained extractor inside Stable-Baselines3: frozen, finetuned, or the same network from scratch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from agents.markets.embedded import EmbeddingTable
from cryptoenv.market.market import Market
from pretrain import Extractor
from pretrain.data.windows import WindowSource
from pretrain.extractor.embedding_cache import cached_embeddings
from pretrain.extractor.model import ExtractorModel

Mode = Literal["frozen", "finetune", "scratch"]
MODES: tuple[Mode, ...] = ("frozen", "finetune", "scratch")


class PretrainedExtractor(BaseFeaturesExtractor):
    """The extractor's embedding beside the account: (B, D + 5) float32.

    >>> import gymnasium as gym
    >>> import cryptoenv
    >>> from agents import PretrainedExtractor
    >>> from stable_baselines3 import PPO
    >>> policy_kwargs = dict(
    ...     features_extractor_class=PretrainedExtractor,
    ...     features_extractor_kwargs=dict(extractor="default", mode="finetune"),
    ... )
    >>> env = gym.make("CryptoTrade-v0", market="easy", window=(256, 16, 8))
    >>> model = PPO("MultiInputPolicy", env, n_steps=64, device="cpu", policy_kwargs=policy_kwargs)
    >>> model.policy.features_extractor.features_dim > 5
    True

    With observation "window" the network reads the windows of each observation. With observation "index" it needs the
    env's `markets`: "frozen" then reads embeddings that were computed once per market
    (`pretrain.extractor.embedding_cache`), the other modes gather the windows themselves. An extractor with a recurrent
    memory embeds a market in stretches, so that its memory has seen up to 512 bars more than the window that an
    observation shows: the same decision has a slightly different embedding either way, and an agent belongs to the one
    it was trained with.

    Args:
        observation_space: of `CryptoTrade-v0`, "window" or "index".
        extractor: a pretrained extractor, the folder of one, or "default".
        mode: "frozen" (its weights never change), "finetune" (they start there), "scratch" (fresh weights, same
            architecture and scaler).
        markets: the env's markets in its order, for observation "index".
        seed: of the fresh weights.

    Raises:
        ValueError: an unknown mode, or "index" without markets. ArtifactError: windows or markets that the extractor
            was not trained for.
    """

    def __init__(
        self,
        observation_space: gym.spaces.Dict,
        extractor: Extractor | str | Path = "default",
        mode: Mode = "frozen",
        markets: Sequence[Market] = (),
        seed: int = 0,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"mode={mode!r} is unknown; choose one of {MODES}")
        loaded = extractor if isinstance(extractor, Extractor) else Extractor.load(extractor)
        account = int(np.prod(observation_space["account"].shape or ()))
        super().__init__(observation_space, features_dim=loaded.width + account)
        self._frozen, self._table, self._source = mode == "frozen", None, None
        for market in markets:
            loaded.require(market)
        if "index" in observation_space.spaces:
            self._read_markets(loaded, markets)
        else:
            _require_windows(loaded, observation_space)
        if self._table is None:
            self.model = _model(loaded, mode, seed)

    _table: EmbeddingTable | None
    _source: WindowSource | None

    def _read_markets(self, loaded: Extractor, markets: Sequence[Market]) -> None:
        if not markets:
            raise ValueError("observation='index' needs markets=env.unwrapped.pool.markets, to read their windows from")
        if self._frozen:
            self._table = EmbeddingTable([cached_embeddings(loaded, market) for market in markets])
            self.register_buffer("rows", torch.from_numpy(self._table.rows), persistent=False)
            self.register_buffer("offsets", torch.from_numpy(self._table.offsets), persistent=False)
        else:
            self._source = WindowSource(markets, loaded.config.window)

    def apply(self, fn: Callable[[torch.nn.Module], Any]) -> PretrainedExtractor:
        """As for any module, but Stable-Baselines3's orthogonal initialisation leaves the pretrained weights alone."""
        if getattr(getattr(fn, "func", fn), "__name__", "") == "init_weights":
            return self
        return super().apply(fn)

    def train(self, mode: bool = True) -> PretrainedExtractor:
        """As for any module; a frozen network stays in evaluation mode."""
        return super().train(mode and not self._frozen)

    def forward(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        """(B, D + 5) float32."""
        account = observations["account"].float()
        return torch.cat([self._embedding(observations), account], dim=1)

    def _embedding(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        if "index" not in observations:
            return self.model({name: window.float() for name, window in observations.items() if name != "account"})
        index = observations["index"].long()
        if self._table is not None:
            return self.get_buffer("rows")[self.get_buffer("offsets")[index[:, 0]] + index[:, 1]]
        assert self._source is not None
        where = index.cpu().numpy()
        return self.model([window.to(index.device) for window in self._source.gather(where[:, 0], where[:, 1])])


def _require_windows(extractor: Extractor, space: gym.spaces.Dict) -> None:
    """Refuse an observation space whose windows are not those of the extractor."""
    config = extractor.config
    for timeframe, bars, names in zip(config.timeframes, config.window, config.feature_names, strict=True):
        found = space[timeframe].shape if timeframe in space.spaces else None
        if found != (bars, len(names)):
            raise ValueError(
                f"observation {timeframe!r} has shape {found}, the extractor needs {(bars, len(names))}: make the env "
                f"with timeframes={config.timeframes}, window={config.window}"
            )


def _model(extractor: Extractor, mode: Mode, seed: int) -> ExtractorModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ExtractorModel(extractor.config, extractor.scaler)
    if mode != "scratch":
        model.load_state_dict(extractor.model.state_dict())
    for weight in model.parameters():
        weight.requires_grad_(mode != "frozen")
    for name, head in model.named_children():
        if name.endswith("_head"):
            head.requires_grad_(False)  # what only pretraining reads
    return model
