"""A head that knows what each position is worth, whatever is held: values of positions less the cost of going there."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import create_mlp
from stable_baselines3.common.type_aliases import Schedule

from agents.policies.cached_embeddings import CachedEmbeddings
from agents.policies.policy_shape import Observation, PolicyShape, observation_space
from agents.policies.trading_policy import TARGET_COLUMN
from agents.settings import TradingSettings

PREFERENCE = 20.0  #: preferences per percent of value: five basis points are like one unit of log-odds
PERCENT = 100.0


class UtilityPolicy(BasePolicy):
    """`U(t, .)` by a perceptron on the embedding of bar `t`, and an average of its weights, which is what decides.

    Args:
        observation_space, action_space: "index" observations and discrete positions.
        lr_schedule: not used; Stable-Baselines3 passes it to every policy.
        hidden: widths of the hidden layers.
        positions: target exposures (A,).
        cost: log-return lost per unit of turnover, a fraction.
        features_extractor_class, features_extractor_kwargs: `CachedEmbeddings` and its width.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        hidden: tuple[int, ...],
        positions: tuple[float, ...],
        cost: float,
        features_extractor_class: type[CachedEmbeddings] = CachedEmbeddings,
        features_extractor_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            observation_space, action_space, features_extractor_class=features_extractor_class,  # type: ignore[arg-type]
            features_extractor_kwargs=features_extractor_kwargs,
        )  # fmt: skip
        self._arguments = {"hidden": hidden, "positions": positions, "cost": cost}
        self.features_extractor: CachedEmbeddings = self.make_features_extractor()  # type: ignore[assignment]
        width = int((features_extractor_kwargs or {})["embedding_width"])
        self.utility = torch.nn.Sequential(*create_mlp(width, len(positions), list(hidden), torch.nn.Tanh))
        self.averaged = torch.nn.Sequential(*create_mlp(width, len(positions), list(hidden), torch.nn.Tanh))
        self.averaged.load_state_dict(self.utility.state_dict())
        self.averaged.requires_grad_(False)
        exposures = torch.tensor(positions, dtype=torch.float32)
        self.register_buffer("exposures", exposures, persistent=False)
        switching = PERCENT * cost * (exposures[:, None] - exposures[None, :]).abs()
        self.register_buffer("switching", switching, persistent=False)

    exposures: torch.Tensor
    """(A,) float32 positions."""
    switching: torch.Tensor
    """(A, A) float32 cost of going from one position (row) to another (column), in percent."""

    def embedding(self, rows: torch.Tensor) -> torch.Tensor:
        """(B, D) of rows (B,) of the bound table."""
        return self.features_extractor.rows[rows]

    def values(self, observation: Observation) -> torch.Tensor:
        """(B, A) value of taking each position from the one held, in percent."""
        index = observation["index"].long()
        rows = self.features_extractor.offsets[index[:, 0]] + index[:, 1]
        target = observation["account"][:, TARGET_COLUMN]
        held = (target[:, None] - self.exposures[None, :]).abs().argmin(dim=1)
        return self.averaged(self.embedding(rows)) - self.switching[held]

    def _predict(self, observation: Any, deterministic: bool = False) -> torch.Tensor:
        return self.values(observation).argmax(dim=1)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        extractor = {
            "features_extractor_class": self.features_extractor_class,
            "features_extractor_kwargs": self.features_extractor_kwargs,
        }
        spaces_given = {"observation_space": self.observation_space, "action_space": self.action_space}
        return {**spaces_given, "lr_schedule": lambda _: 0.0, **self._arguments, **extractor}


def utility_arguments(shape: PolicyShape, positions: tuple[float, ...], cost: float) -> dict[str, Any]:
    """Keyword arguments of the policy class."""
    embeddings = {
        "features_extractor_class": CachedEmbeddings,
        "features_extractor_kwargs": {"embedding_width": shape.embedding_width},
    }
    return {"hidden": shape.hidden, "positions": positions, "cost": cost, **embeddings}


def new_utility_policy(shape: PolicyShape, settings: TradingSettings) -> UtilityPolicy:
    """Fresh weights for the positions and costs of `settings`."""
    arguments = utility_arguments(shape, settings.positions, settings.turnover_cost)
    return UtilityPolicy(observation_space(), spaces.Discrete(shape.actions), lambda _: 0.0, **arguments)


def utility_preferences(policy: UtilityPolicy, observation: Observation, _: tuple[float, ...]) -> torch.Tensor:
    """(B, A): values of positions, less the cost of going there."""
    return PREFERENCE * policy.values(observation)
