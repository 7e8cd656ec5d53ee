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
ON_VALUES = "utility_on_values"  #: the kind of head that adds to what its extractor says that positions are worth


class UtilityPolicy(BasePolicy):
    """`U(t, .)` by a perceptron on the embedding of bar `t`, and an average of its weights, which is what decides.

    With `on_values` the perceptron says what is to be added to values that are known (`known`, one linear layer that
    does not learn), and begins with nothing: at first the policy is exactly as good as they are.

    Args:
        observation_space, action_space: "index" observations and discrete positions.
        lr_schedule: not used; Stable-Baselines3 passes it to every policy.
        hidden: widths of the hidden layers.
        positions: target exposures (A,).
        cost: log-return lost per unit of turnover, a fraction.
        on_values: whether it adds to known values, relative to flat.
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
        on_values: bool = False,
        features_extractor_class: type[CachedEmbeddings] = CachedEmbeddings,
        features_extractor_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            observation_space, action_space, features_extractor_class=features_extractor_class,  # type: ignore[arg-type]
            features_extractor_kwargs=features_extractor_kwargs,
        )  # fmt: skip
        self._arguments = {"hidden": hidden, "positions": positions, "cost": cost, "on_values": on_values}
        self.features_extractor: CachedEmbeddings = self.make_features_extractor()  # type: ignore[assignment]
        width = int((features_extractor_kwargs or {})["embedding_width"])
        self.utility = torch.nn.Sequential(*create_mlp(width, len(positions), list(hidden), torch.nn.Tanh))
        self.averaged = torch.nn.Sequential(*create_mlp(width, len(positions), list(hidden), torch.nn.Tanh))
        self.known: torch.nn.Linear | None = None
        if on_values:
            self.known = torch.nn.Linear(width, len(positions)).requires_grad_(False)
            for weight in (*self.known.parameters(), *self.utility[-1].parameters()):
                torch.nn.init.zeros_(weight)
        self.averaged.load_state_dict(self.utility.state_dict())
        self.averaged.requires_grad_(False)
        exposures = torch.tensor(positions, dtype=torch.float32)
        self.register_buffer("exposures", exposures, persistent=False)
        self.register_buffer("taken", (exposures != 0.0).float(), persistent=False)
        switching = PERCENT * cost * (exposures[:, None] - exposures[None, :]).abs()
        self.register_buffer("switching", switching, persistent=False)

    exposures: torch.Tensor
    """(A,) float32 positions."""
    taken: torch.Tensor
    """(A,) float32: 1, and 0 of flat, which known values are relative to."""
    switching: torch.Tensor
    """(A, A) float32 cost of going from one position (row) to another (column), in percent."""

    def embedding(self, rows: torch.Tensor) -> torch.Tensor:
        """(B, D) of rows (B,) of the bound table."""
        return self.features_extractor.rows[rows]

    def with_known(self, said: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """(B, A): what a perceptron said of embeddings (B, D), with what is known beforehand, in percent."""
        return said if self.known is None else said * self.taken + self.known(embedding)

    def values(self, observation: Observation) -> torch.Tensor:
        """(B, A) value of taking each position from the one held, in percent."""
        index = observation["index"].long()
        rows = self.features_extractor.offsets[index[:, 0]] + index[:, 1]
        target = observation["account"][:, TARGET_COLUMN]
        held = (target[:, None] - self.exposures[None, :]).abs().argmin(dim=1)
        embedding = self.embedding(rows)
        return self.with_known(self.averaged(embedding), embedding) - self.switching[held]

    def _predict(self, observation: Any, deterministic: bool = False) -> torch.Tensor:
        return self.values(observation).argmax(dim=1)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        extractor = {
            "features_extractor_class": self.features_extractor_class,
            "features_extractor_kwargs": self.features_extractor_kwargs,
        }
        spaces_given = {"observation_space": self.observation_space, "action_space": self.action_space}
        return {**spaces_given, "lr_schedule": lambda _: 0.0, **self._arguments, **extractor}


def utility_arguments(
    shape: PolicyShape, positions: tuple[float, ...], cost: float, *, on_values: bool = False
) -> dict[str, Any]:
    """Keyword arguments of the policy class."""
    embeddings = {
        "features_extractor_class": CachedEmbeddings,
        "features_extractor_kwargs": {"embedding_width": shape.embedding_width},
    }
    return {"hidden": shape.hidden, "positions": positions, "cost": cost, "on_values": on_values, **embeddings}


def new_utility_policy(shape: PolicyShape, settings: TradingSettings, *, on_values: bool = False) -> UtilityPolicy:
    """Fresh weights for the positions and costs of `settings`; `on_values`: known ones are nothing yet."""
    arguments = utility_arguments(shape, settings.positions, settings.turnover_cost, on_values=on_values)
    return UtilityPolicy(observation_space(), spaces.Discrete(shape.actions), lambda _: 0.0, **arguments)


def utility_preferences(policy: UtilityPolicy, observation: Observation, _: tuple[float, ...]) -> torch.Tensor:
    """(B, A): values of positions, less the cost of going there."""
    return PREFERENCE * policy.values(observation)
