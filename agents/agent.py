"""An agent: a frozen extractor and a policy head, saved as safetensors and JSON, never as pickle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from agents.features_extractor import EmbeddingTable, embed
from agents.heads import HEADS, PolicyShape, bind, copy_of, new_policy
from agents.policies import held_position
from agents.settings import TradingSettings
from agents.taught_market import TaughtMarket
from pretrain import Extractor

WEIGHTS = "policy.safetensors"
DESCRIPTION = "agent.json"


class AgentPolicy:
    """Greedy decisions of a policy head, with hysteresis: leave a position only for a clearly better one.

    Args:
        agent: whose settings, head and (unless given) margin count.
        policy: of the agent's kind, with the embeddings of the markets bound.
        margin: of the preferences; one number, or one per row (N,); the agent's where None.
    """

    def __init__(self, agent: Agent, policy: Any, margin: float | NDArray[np.float64] | None = None) -> None:
        self._policy = policy
        self._preferences = HEADS[agent.head].preferences
        self._positions = agent.settings.positions
        self._margin = agent.margin if margin is None else margin

    def act(self, index: NDArray[np.int64], account: NDArray[np.float32]) -> NDArray[np.int64]:
        """Actions (N,): the preferred one, unless its lead over holding is at most the margin."""
        observation = {"index": torch.from_numpy(index), "account": torch.from_numpy(account)}
        with torch.no_grad():
            liking = self._preferences(self._policy, observation, self._positions).numpy()
        best = liking.argmax(axis=1)
        held = held_position(account, self._positions)
        rows = np.arange(len(best))
        return np.where(liking[rows, best] - liking[rows, held] > self._margin, best, held)


@dataclass(frozen=True)
class Agent:
    """A trained agent.

    Attributes:
        extractor: the pretrained artifact whose embeddings the head reads.
        policy: the head, a Stable-Baselines3 policy.
        shape: its sizes.
        settings: timeframes, windows, positions and costs it was trained with.
        margin: by which another position must beat the held one (hysteresis), chosen on validation markets.
        algorithm: what trained it: "bc", "ppo", ...
        head: kind of the policy, a key of `agents.heads.HEADS`.
    """

    extractor: Extractor
    policy: Any
    shape: PolicyShape
    settings: TradingSettings
    margin: float = 0.0
    algorithm: str = "bc"
    head: str = "actor"

    def decide_on(self, table: EmbeddingTable) -> AgentPolicy:
        """The agent's decisions on the markets whose embeddings `table` holds."""
        policy = copy_of(self.policy)
        bind(policy, table)
        return AgentPolicy(self, policy)

    def on(self, taught: Sequence[TaughtMarket], table: EmbeddingTable | None = None) -> AgentPolicy:
        """The agent's decisions on these markets (`table`: their embeddings, where they are at hand)."""
        return self.decide_on(table or embed(self.extractor, taught, progress=False))

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
            "head": self.head,
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
        head = description["head"]
        if head not in HEADS:
            raise ValueError(f"the agent in {folder} has a head of kind {head!r}, known are {sorted(HEADS)}")
        settings = TradingSettings.from_dict(description["settings"])
        policy = new_policy(shape, 0, head, settings)
        policy.load_state_dict(load_file(folder / WEIGHTS))
        return cls(extractor, policy, shape, settings, description["margin"], description["algorithm"], head)
