"""An agent: a frozen extractor and a policy head, saved as safetensors and JSON, never as pickle."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from agents.markets.embedded import EmbeddingTable, embed
from agents.markets.expert_market import ExpertMarket
from agents.markets.own_markets import OneMarket, maker_for, own_markets
from agents.policies.decision import Decision, closed_part, shares
from agents.policies.exposure_head import NEARNESS
from agents.policies.heads import HEADS, bind, copy_of, new_policy
from agents.policies.policy_shape import PolicyShape
from agents.policies.trading_policy import TARGET_COLUMN, held_position
from agents.settings import TradingSettings
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.files.typed_values import Range, require_ranges, require_types
from cryptoenv.market.market import Market
from pretrain import Extractor
from pretrain.fitting.artifact_folder import (
    ArtifactError,
    checked_weights,
    exact_keys,
    json_bytes,
    parsed,
    read_folder,
    require_format,
    require_header,
    weights_bytes,
    write_folder,
)
from pretrain.fitting.market_inputs import MarketInputs

WEIGHTS = "policy.safetensors"
DESCRIPTION = "agent.json"
FORMAT, FORMAT_VERSION = "cryptoenv-agent", 2
EARLIER = 1  #: the version that named its extractor by weights and names of features, without its own order of actions
LARGEST_MARGIN, LONGEST_NAME, LONGEST_WINDOW = 1e6, 100, 1_000_000
WIDEST_LAYER = 65_536
EARLIER_KEYS = (
    "format", "format_version", "algorithm", "extractor", "head", "inputs", "margin", "settings", "shape", "spaces",
    "config", "metrics",
)  # fmt: skip
KEYS = (*EARLIER_KEYS, "actions", "identity")


class AgentPolicy:
    """Greedy decisions of a policy head, with hysteresis: leave a position only for a clearly better one.

    Args:
        agent: whose settings, head and (unless given) margin count.
        policy: of the agent's kind, with the embeddings of the markets bound.
        margin: of the preferences; one number, or one per row (N,); the agent's where None.
    """

    def __init__(self, agent: Agent, policy: Any, margin: float | NDArray[np.float64] | None = None) -> None:
        self._policy = policy
        self._preferences, self._exposures = HEADS[agent.head].preferences, HEADS[agent.head].exposures
        self.continuous = agent.continuous
        self._settings = agent.settings
        self.positions = self._positions = agent.settings.positions
        self._margin = agent.margin if margin is None else margin

    def preferences(self, index: NDArray[np.int64], account: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, A) float32, larger is better, for rows (market, bar) (N, 2) with account observations (N, 5)."""
        observation = {"index": torch.from_numpy(index), "account": torch.from_numpy(account)}
        with torch.no_grad():
            found: NDArray[np.float32] = self._preferences(self._policy, observation, self._positions).numpy()
        return found

    def targets(self, index: NDArray[np.int64], account: NDArray[np.float32]) -> NDArray[np.float64]:
        """Target exposures (N,) of `act`."""
        actions = self.act(index, account)
        if self.continuous:
            return actions[:, 0].astype(np.float64) * self._settings.limits.exposure
        return np.asarray(self.positions, np.float64)[actions]

    def act(self, index: NDArray[np.int64], account: NDArray[np.float32]) -> NDArray[Any]:
        """Actions (N,): the preferred one, unless its lead over holding is at most the margin.

        Of continuous actions (N, 1) float32, shares of the exposure limit: the last target is held unless the
        exposure is so much away from it.
        """
        if self.continuous:
            return self._exposed(index, account)
        liking = self.preferences(index, account)
        best = liking.argmax(axis=1)
        held = held_position(account, self._positions)
        rows = np.arange(len(best))
        return np.where(liking[rows, best] - liking[rows, held] > self._margin, best, held)

    def _exposed(self, index: NDArray[np.int64], account: NDArray[np.float32]) -> NDArray[np.float32]:
        assert self._exposures is not None
        with torch.no_grad():
            seen = {"index": torch.from_numpy(index), "account": torch.from_numpy(account)}
            wanted = self._exposures(self._policy, seen).numpy()[:, 0].astype(np.float64)
        held = account[:, TARGET_COLUMN].astype(np.float64)
        low, high = self._settings.exposure_bounds
        chosen = np.where(NEARNESS * np.abs(wanted - held) > self._margin, wanted, held)
        return (np.clip(chosen, low, high) / high).astype(np.float32)[:, None]


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
        head: kind of the policy, a key of `agents.policies.heads.HEADS`.
    """

    extractor: Extractor
    policy: Any
    shape: PolicyShape
    settings: TradingSettings
    margin: float = 0.0
    algorithm: str = "bc"
    head: str = "actor"

    def __repr__(self) -> str:
        positions, hysteresis = self.settings.positions, self.margin
        return f"Agent({self.algorithm!r}, head={self.head!r}, {positions=}, {hysteresis=:g})"

    @property
    def continuous(self) -> bool:
        """Whether it answers with exposures instead of choosing one of `actions`."""
        return self.settings.continuous and self.answers_exposures

    @property
    def answers_exposures(self) -> bool:
        """Whether its head says an exposure; of such, one that has `actions` takes the nearest."""
        return HEADS[self.head].exposures is not None

    @property
    def actions(self) -> tuple[float, ...]:
        """Target exposures in the order of the head's outputs: action `i` asks for `actions[i]`."""
        return self.settings.positions

    def require_actions(self, positions: Sequence[float]) -> None:
        """Refuse target exposures, or an order of them, that the agent was not trained for.

        Raises:
            ArtifactError: names both.
        """
        if tuple(positions) != self.actions:
            raise ArtifactError(
                f"actions differ: the agent's are {self.actions}, in this order, got {tuple(positions)}; action "
                "numbers would mean other exposures"
            )

    def market(self, bars: pd.DataFrame, **options: Any) -> Market:
        """The market of raw bars with the features that the agent reads: `Extractor.market`, with its arguments."""
        return self.extractor.market(bars, **options)

    def decide_on(self, table: EmbeddingTable) -> AgentPolicy:
        """The agent's decisions on the markets whose embeddings `table` holds."""
        policy = copy_of(self.policy)
        bind(policy, table)
        return AgentPolicy(self, policy)

    def on(self, labelled: Sequence[ExpertMarket], table: EmbeddingTable | None = None) -> AgentPolicy:
        """The agent's decisions on these markets (`table`: their embeddings, where they are at hand)."""
        return self.decide_on(table or embed(self.extractor, labelled, progress=False))

    def decide(
        self,
        bars: OneMarket,
        *,
        held: float = 0.0,
        now: pd.Timestamp | None = None,
        inputs: MarketInputs | None = None,
    ) -> Decision:
        """The target after the last closed bar, with its probabilities.

        Args:
            bars: a frame of bars, a file of them, a `Market`, its folder or the folder of a store's series. Bars that
                have not closed yet are left aside.
            held: exposure held now, which hysteresis and cost are reckoned from; the nearest position counts.
            now: the time it is (UTC); the clock's where None.
            inputs: the reference market and exogenous columns that the extractor reads beside the bars.

        Raises:
            ValueError: bars that cannot be used, too few that have closed, or `held` that is no finite number.
        """
        if not math.isfinite(held):
            raise ValueError(f"held={held} is not allowed: a finite exposure, a fraction of equity")
        (whole,) = own_markets(bars, self.settings, maker_for(self.extractor, inputs))
        market = closed_part(whole, self.settings.window, now, whole=self.extractor.whole_history)
        last = len(market) - 1
        decider = self.decide_on(EmbeddingTable([self.extractor.embed(market)]))
        index = np.array([[0, last]], dtype=np.int64)
        account = np.array([[held, held, 0.0, 0.0, 0.0]], dtype=np.float32)  # as at an episode's beginning
        positions = self.settings.positions
        chances: dict[float, float] = {}
        if not self.continuous:
            liking = decider.preferences(index, account)
            chances = dict(zip(positions, map(float, shares(liking[0])), strict=True))
        opened = market.bars.index[last]
        return Decision(
            bar=opened,
            close=opened + pd.Timedelta(timeframe_ms(self.settings.timeframes[0]), "ms"),
            price=float(market.bars["close"].iloc[last]),
            held=held,
            target=float(decider.targets(index, account)[0]),
            probabilities=chances,
        )

    def with_margin(self, margin: float) -> Agent:
        """The same agent with another hysteresis."""
        return replace(self, margin=margin)

    def save(
        self, folder: Path, *, config: Mapping[str, Any] | None = None, metrics: Mapping[str, Any] | None = None
    ) -> None:
        """Write weights (safetensors), description (JSON) and checksums into `folder`, whole or not at all.

        The extractor is saved by its own; the description names it, and repeats what it reads: timeframes, windows,
        features and scaler.

        Args:
            folder: made, or replaced where it holds an agent.
            config, metrics: of the training, kept in the description for people to read.
        """
        description = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "algorithm": self.algorithm,
            "extractor": self.extractor.hash,
            "head": self.head,
            "inputs": _inputs(self.extractor),
            "margin": self.margin,
            "settings": self.settings.as_dict(),
            "shape": asdict(self.shape),
            "spaces": _spaces(self.settings, self.continuous),
            "actions": list(self.actions),
            "identity": _identity(self.actions, self.head, weights_bytes(self.policy)),
            "config": finite_or_none(dict(config or {})),
            "metrics": finite_or_none(dict(metrics or {})),
        }
        write_folder(folder, {WEIGHTS: weights_bytes(self.policy), DESCRIPTION: json_bytes(description)})

    @classmethod
    def load(cls, folder: Path, extractor: Extractor, *, actions: Sequence[float] | None = None) -> Agent:
        """Read an agent that `save` wrote, after every check.

        Args:
            folder: of the agent.
            extractor: that it was trained on.
            actions: target exposures, in order, that it must have been trained for; any where None.

        Raises:
            ArtifactError: a file is missing, unexpected, changed or unreadable; a value does not fit; or the agent was
                trained on another extractor, for other actions, or for another order of them.
        """
        content = read_folder(folder, (WEIGHTS, DESCRIPTION))
        told, earlier = _described(content[DESCRIPTION])
        expected_hash = extractor.earlier_hash if earlier else extractor.hash
        if told["extractor"] != expected_hash:
            given = str(told["extractor"])[:12]
            raise ArtifactError(f"the agent in {folder} was trained on extractor {given}, not on {expected_hash[:12]}")
        head, margin = _known_head(told["head"], folder), _margin(told["margin"])
        require_header(content[WEIGHTS], WEIGHTS)
        settings, shape = _sizes(told, extractor, len(content[WEIGHTS]))
        try:
            policy = new_policy(shape, 0, head, settings)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ArtifactError(f"{DESCRIPTION}: settings or shape do not fit: {error!r}") from error
        weights = checked_weights(content[WEIGHTS], policy.state_dict(), WEIGHTS)
        known: list[tuple[str, Any]] = [("inputs", _inputs(extractor, earlier=earlier))]
        known += [("spaces", _spaces(settings, settings.continuous and HEADS[head].exposures is not None))]
        if not earlier:
            known += [("actions", list(settings.positions))]
            known += [("identity", _identity(settings.positions, head, content[WEIGHTS]))]
        for name, expected in known:
            if told[name] != json.loads(json_bytes(expected)):
                raise ArtifactError(f"{DESCRIPTION}: {name} differ from those of the extractor and the settings")
        policy.load_state_dict(weights)
        algorithm = _algorithm(told["algorithm"])
        agent = cls(extractor, policy, shape, settings, margin=margin, algorithm=algorithm, head=head)
        if actions is not None:
            agent.require_actions(actions)
        return agent


def _described(data: bytes) -> tuple[dict[str, Any], bool]:
    """The description, and whether it is of the version before agents kept their order of actions."""
    told = parsed(data, DESCRIPTION)
    earlier = isinstance(told, dict) and (told.get("format"), told.get("format_version")) == (FORMAT, EARLIER)
    told = exact_keys(told, EARLIER_KEYS if earlier else KEYS, DESCRIPTION)
    if not earlier:
        require_format(told, DESCRIPTION, (FORMAT, FORMAT_VERSION))
    return told, earlier


def _identity(actions: Sequence[float], head: str, weights: bytes) -> str:
    """sha256 (hex) that ties weights to the order of actions that their outputs stand for."""
    return hashlib.sha256(json_bytes([list(actions), head]) + weights).hexdigest()


def _known_head(head: object, folder: Path) -> str:
    if not isinstance(head, str) or head not in HEADS:
        raise ArtifactError(f"the agent in {folder} has a head of kind {head!r}, known are {sorted(HEADS)}")
    return head


def _margin(margin: object) -> float:
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0.0 <= margin <= LARGEST_MARGIN:
        raise ArtifactError(f"{DESCRIPTION}: margin={margin!r} is not allowed: a number >= 0 and <= {LARGEST_MARGIN:g}")
    return float(margin)


def _algorithm(name: object) -> str:
    if not isinstance(name, str) or len(name) > LONGEST_NAME:
        raise ArtifactError(f"{DESCRIPTION}: algorithm={name!r:.200} is not allowed: a name")
    return name


def _sizes(told: Mapping[str, Any], extractor: Extractor, weights: int) -> tuple[TradingSettings, PolicyShape]:
    """Settings and shape, checked before anything is built of such sizes: not more than `weights` bytes can hold.

    Raises:
        ArtifactError: a value of another type, out of range, or other than the extractor's.
    """
    try:
        settings = TradingSettings.from_dict(told["settings"])
        require_types(TradingSettings, vars(settings), "settings")
        require_ranges(settings, {"window": Range(1, LONGEST_WINDOW), "positions": Range(-1_000, 1_000)}, "settings")
        sizes = exact_keys(told["shape"], ("embedding_width", "actions", "hidden"), "shape")
        shape = PolicyShape(sizes["embedding_width"], sizes["actions"], tuple(sizes["hidden"]))
        require_types(PolicyShape, vars(shape), "shape")
        require_ranges(shape, {"hidden": Range(1, WIDEST_LAYER)}, "shape")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ArtifactError(f"{DESCRIPTION}: settings or shape do not fit: {error}") from error
    if (shape.embedding_width, shape.actions) != (extractor.width, len(settings.positions)):
        width = (extractor.width, len(settings.positions))
        raise ArtifactError(f"{DESCRIPTION}: shape {shape} does not fit width and positions {width}")
    if 4 * sum(into * out for into, out in pairwise((shape.embedding_width, *shape.hidden))) > weights:
        raise ArtifactError(f"{DESCRIPTION}: shape {shape} does not fit: {WEIGHTS} holds fewer weights")
    return settings, shape


def _inputs(extractor: Extractor, *, earlier: bool = False) -> dict[str, Any]:
    """What the extractor reads: windows and features per timeframe, what these are made by, and how they are scaled."""
    layout = extractor.config
    by_timeframe = zip(layout.timeframes, layout.window, layout.feature_names, strict=True)
    features = {timeframe: {"window": bars, "features": names} for timeframe, bars, names in by_timeframe}
    told = {"timeframes": features, "scaler": extractor.scaler.to_json()}
    return told if earlier else told | {"market": extractor.layout.digest}


def _spaces(settings: TradingSettings, continuous: bool) -> dict[str, Any]:
    """The env's spaces in words that need no library."""
    action: dict[str, Any] = {"discrete": len(settings.positions), "positions": settings.positions}
    if continuous:
        action = {"continuous": settings.exposure_bounds}
    return {"observation": {"index": ["int64", [2]], "account": ["float32", [5]]}, "action": action}


def finite_or_none(value: Any) -> Any:
    """The same with None for numbers that JSON does not know."""
    if isinstance(value, Mapping):
        return {name: finite_or_none(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
