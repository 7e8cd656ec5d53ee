"""An agent: a frozen extractor and a policy head, saved as safetensors and JSON, never as pickle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from stable_baselines3.common.policies import ActorCriticPolicy, MultiInputActorCriticPolicy

from agents.features_extractor import CachedEmbeddings, EmbeddingTable, embed
from agents.policies import held_position
from agents.settings import TradingSettings
from agents.taught_market import TaughtMarket
from pretrain import Extractor

WEIGHTS = "policy.safetensors"
DESCRIPTION = "agent.json"


@dataclass(frozen=True)
class PolicyShape:
    """Sizes of the policy head.

    Attributes:
        embedding_width: D of the extractor.
        actions: number of target positions.
        hidden: widths of the hidden layers, the same for actor and critic, which share nothing.
    """

    embedding_width: int
    actions: int
    hidden: tuple[int, ...] = (64, 64)


def index_space(actions: int) -> tuple[gym.spaces.Dict, gym.spaces.Discrete]:
    """Observation and action space of a policy on any markets: index (2,) int64 and account (5,) float32."""
    index = gym.spaces.Box(0, 2**24, shape=(2,), dtype=np.int64)
    account = gym.spaces.Box(-np.inf, np.inf, shape=(5,), dtype=np.float32)
    return gym.spaces.Dict({"index": index, "account": account}), gym.spaces.Discrete(actions)


def policy_arguments(shape: PolicyShape) -> dict[str, Any]:
    """Keyword arguments of the policy class, the same for the clone and for PPO, so that weights carry over."""
    return {
        "net_arch": {"pi": list(shape.hidden), "vf": list(shape.hidden)},
        "activation_fn": torch.nn.Tanh,
        "features_extractor_class": CachedEmbeddings,
        "features_extractor_kwargs": {"embedding_width": shape.embedding_width},
    }


def new_policy(shape: PolicyShape, seed: int) -> ActorCriticPolicy:
    """A freshly drawn `MultiInputPolicy` on cached embeddings."""
    observation_space, action_space = index_space(shape.actions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MultiInputActorCriticPolicy(observation_space, action_space, lambda _: 3e-4, **policy_arguments(shape))


def copy_of(policy: ActorCriticPolicy) -> ActorCriticPolicy:
    """A policy with the same weights and no embeddings bound (`copy.deepcopy` fails on what a policy remembers)."""
    with torch.random.fork_rng(devices=[]):
        copied = type(policy)(**policy._get_constructor_parameters())
    copied.load_state_dict(policy.state_dict())
    copied.set_training_mode(False)
    return copied


def cached_embeddings(policy: ActorCriticPolicy) -> CachedEmbeddings:
    """The policy's features extractor, as what it is."""
    extractor = policy.features_extractor
    assert isinstance(extractor, CachedEmbeddings)
    return extractor


def action_distribution(policy: ActorCriticPolicy, observation: Any) -> torch.distributions.Categorical:
    """The distribution of B actions, given stacked observations as tensors."""
    distribution = policy.get_distribution(observation).distribution
    assert isinstance(distribution, torch.distributions.Categorical)
    return distribution


class AgentPolicy:
    """Greedy decisions of a policy head, with hysteresis: leave a position only for clearly better odds.

    Args:
        policy: with the embeddings of the markets bound.
        positions: target exposures.
        margin: of the log-odds; one number, or one per row (N,).
    """

    def __init__(
        self, policy: ActorCriticPolicy, positions: Sequence[float], margin: float | NDArray[np.float64]
    ) -> None:
        self._policy = policy
        self._positions = tuple(positions)
        self._margin = margin

    def act(self, index: NDArray[np.int64], account: NDArray[np.float32]) -> NDArray[np.int64]:
        """Actions (N,): the likeliest, unless its log-odds over holding are at most the margin."""
        observation = {"index": torch.from_numpy(index), "account": torch.from_numpy(account)}
        with torch.no_grad():
            logits = action_distribution(self._policy, observation).logits.numpy()
        best = logits.argmax(axis=1)
        held = held_position(account, self._positions)
        rows = np.arange(len(best))
        return np.where(logits[rows, best] - logits[rows, held] > self._margin, best, held)


@dataclass(frozen=True)
class Agent:
    """A trained agent.

    Attributes:
        extractor: the pretrained artifact whose embeddings the head reads.
        policy: the head, a Stable-Baselines3 actor-critic policy.
        shape: its sizes.
        settings: timeframes, windows, positions and costs it was trained with.
        margin: log-odds by which another position must beat the held one (hysteresis), chosen on validation markets.
        algorithm: "bc" or "ppo".
    """

    extractor: Extractor
    policy: ActorCriticPolicy
    shape: PolicyShape
    settings: TradingSettings
    margin: float = 0.0
    algorithm: str = "bc"

    def on(self, taught: Sequence[TaughtMarket], table: EmbeddingTable | None = None) -> AgentPolicy:
        """The agent's decisions on these markets (`table`: their embeddings, where they are at hand)."""
        policy = copy_of(self.policy)
        cached_embeddings(policy).bind(table or embed(self.extractor, taught, progress=False))
        return AgentPolicy(policy, self.settings.positions, self.margin)

    def with_margin(self, margin: float) -> Agent:
        """The same agent with another hysteresis."""
        return replace(self, margin=margin)

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and description (JSON) into `folder`; the extractor is saved by its own."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: tensor.contiguous() for name, tensor in self.policy.state_dict().items()}
        save_file(weights, folder / WEIGHTS)
        description = {
            "algorithm": self.algorithm,
            "extractor": self.extractor.hash,
            "margin": self.margin,
            "settings": self.settings.as_dict(),
            "shape": asdict(self.shape),
        }
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, extractor: Extractor) -> Agent:
        """Read an agent that `save` wrote.

        Raises:
            FileNotFoundError: no agent in `folder`.
            ValueError: it was trained on another extractor.
        """
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if description["extractor"] != extractor.hash:
            raise ValueError(
                f"the agent in {folder} was trained on extractor {description['extractor'][:12]}, "
                f"not on {extractor.hash[:12]}"
            )
        sizes = description["shape"]
        shape = PolicyShape(sizes["embedding_width"], sizes["actions"], tuple(sizes["hidden"]))
        policy = new_policy(shape, seed=0)
        policy.load_state_dict(load_file(folder / WEIGHTS))
        settings = TradingSettings.from_dict(description["settings"])
        return cls(extractor, policy, shape, settings, description["margin"], description["algorithm"])
