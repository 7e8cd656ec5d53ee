"""Agents as Stable-Baselines3's zip files, and back.

A zip of Stable-Baselines3 holds pickles, which can run any code when they are read: our own artifact is the safe way to
keep an agent. Reading one therefore needs `trust=True`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.save_util import load_from_zip_file

from agents.policies.agent import Agent
from agents.policies.heads import new_policy
from agents.policies.policy_shape import PolicyShape
from agents.policies.pretrained_extractor import PretrainedExtractor
from agents.run_folders.new_outputs import require_new_file, write_new_file
from agents.settings import TradingSettings
from cryptoenv.features.spec import FeatureSpec
from pretrain import Extractor, MarketLayout
from synthetic import regime_market

ALGORITHM_OF_HEAD: dict[str, Any] = {"actor": PPO, "value": DQN}
FEATURES = "features_extractor"  #: what names of weights of a features extractor contain


def export_zip(agent: Agent, path: str | Path) -> Path:
    """Write the agent as a model that `PPO.load` (heads of kind "actor") or `DQN.load` ("value") reads.

    It observes windows, `gym.make("CryptoTrade-v0", timeframes=..., window=..., actions=positions)` with those of the
    agent's settings, and carries the extractor along. Its `predict` has no hysteresis: where `agent.margin` is not 0 it
    switches more often than the agent. An extractor with a recurrent memory sees one window at a time there.

    Args:
        agent: to export.
        path: of the file, `.zip` (which is added to a name without ending); its folders are made.

    Returns:
        The file.

    Raises:
        ValueError: a head that Stable-Baselines3 has no policy for. FileExistsError: something stands at `path`.
        OSError: the file cannot be written; none of it is there.
    """
    file = Path(path) if Path(path).suffix else Path(path).with_name(f"{Path(path).name}.zip")
    require_new_file(file)
    if agent.head not in ALGORITHM_OF_HEAD:
        raise ValueError(
            f"an agent with head {agent.head!r} has no counterpart in Stable-Baselines3; "
            f"{sorted(ALGORITHM_OF_HEAD)} have one"
        )
    hidden = list(agent.shape.hidden)
    market = _market_of_its_shape(agent.extractor.layout)
    env = gym.make("CryptoTrade-v0", market=market, actions=agent.settings.positions, **agent.settings.env_arguments)
    arguments = {
        "net_arch": {"pi": hidden, "vf": hidden} if agent.head == "actor" else hidden,
        "activation_fn": torch.nn.Tanh,
        "features_extractor_class": PretrainedExtractor,
        "features_extractor_kwargs": {"extractor": agent.extractor, "mode": "frozen"},
    }
    with torch.random.fork_rng(devices=[]):
        model = ALGORITHM_OF_HEAD[agent.head]("MultiInputPolicy", env, policy_kwargs=arguments, device="cpu")
    weights = dict(agent.policy.state_dict())
    if agent.head == "value":  # what decides is the average; predict reads the other one
        weights |= {name.replace("q_net_target.", "q_net."): w for name, w in weights.items() if "q_net_target" in name}
    missing, unexpected = model.policy.load_state_dict(weights, strict=False)
    assert not unexpected and all(FEATURES in name for name in missing), (missing, unexpected)
    model.set_env(model.env, force_reset=False)
    write_new_file(file, model.save)
    env.close()
    return file


def _market_of_its_shape(layout: MarketLayout) -> Any:
    """What an environment of the agent's spaces is made of: a task, or a small market where features are one's own."""
    if layout.features == FeatureSpec() and not layout.columns:
        return None
    bars = regime_market("easy", days=2, seed=0).bars
    further = bars.assign(**dict.fromkeys(layout.features.columns, bars["close"]))
    return layout.market(further, reference=bars if layout.reference else None)


def import_zip(
    path: str | Path, extractor: Extractor, settings: TradingSettings | None = None, *, trust: bool = False
) -> Agent:
    """An agent from a PPO or DQN model that was saved on the same extractor.

    Args:
        path: of the zip file.
        extractor: that the model's features came from, frozen (`PretrainedExtractor`, or cached embeddings).
        settings: what it trades; the extractor's own timeframes, windows and positions where None.
        trust: the file's maker is trusted; without it nothing is read.

    Raises:
        ValueError: no trust, no such model, another network than an agent's, or another extractor.
    """
    if not trust:
        raise ValueError(
            f"{path} holds pickles, which can run any code when they are read: pass trust=True (--trust) if you made "
            "it, or know and trust who did"
        )
    told, weights = _read(path)
    head, prefix = ("value", "q_net.q_net.") if "q_net.q_net.0.weight" in weights else ("actor", "")
    hidden = _hidden(weights, prefix or "mlp_extractor.policy_net.")
    if not hidden:
        raise ValueError(f"{path} holds neither a PPO nor a DQN with hidden layers")
    if odd := [name for name, weight in weights.items() if not bool(torch.isfinite(weight).all())]:
        raise ValueError(f"{path}: weight {odd[0]!r} holds a number that is not finite")
    if told.get("activation_fn", torch.nn.Tanh if head == "actor" else torch.nn.ReLU) is not torch.nn.Tanh:
        raise ValueError(f"{path}: activation_fn={told.get('activation_fn')} is not an agent's, which is Tanh")
    _require_same_extractor(weights, extractor, path)
    if settings is None:
        layout = extractor.config
        settings = TradingSettings(layout.timeframes, layout.window, positions=layout.positions)
    shape = PolicyShape(extractor.width, len(settings.positions), hidden)
    policy = new_policy(shape, 0, head, settings)
    own = {name: weight for name, weight in weights.items() if FEATURES not in name}
    try:
        policy.load_state_dict(own)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: the network does not fit {shape}: {error}") from error
    return Agent(extractor, policy, shape, settings, algorithm="dqn" if head == "value" else "ppo", head=head)


def _read(path: str | Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The policy's keyword arguments and its weights, none where the file has no policy.

    Raises:
        ValueError: the file cannot be read as a model. FileNotFoundError: there is none.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        data, parameters, _ = load_from_zip_file(Path(path), device="cpu")
    except Exception as error:  # zip, JSON, base64, pickle, torch: a damaged file can end in any error of theirs
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} cannot be read as a model of Stable-Baselines3: {said}") from error
    told = (data or {}).get("policy_kwargs", {})
    weights: Any = (parameters or {}).get("policy", {})
    tensors = isinstance(weights, dict) and all(isinstance(weight, torch.Tensor) for weight in weights.values())
    if not isinstance(told, dict) or not tensors:
        raise ValueError(f"{path} cannot be read as a model of Stable-Baselines3: its policy is not one")
    return told, weights


def _hidden(weights: dict[str, torch.Tensor], prefix: str) -> tuple[int, ...]:
    """Widths of the hidden layers under `prefix`; the last layer of a Q-network is its output."""
    named = {name: w for name, w in weights.items() if name.startswith(prefix) and name.endswith(".weight")}
    layers = [len(w) for w in named.values() if w.dim() == 2]
    return tuple(layers[:-1] if prefix.startswith("q_net") else layers)


def _require_same_extractor(weights: dict[str, torch.Tensor], extractor: Extractor, path: str | Path) -> None:
    own = extractor.model.state_dict()
    for name, weight in weights.items():
        _, found, rest = name.partition(f"{FEATURES}.model.")
        if found and (rest not in own or not torch.equal(weight, own[rest])):
            raise ValueError(f"{path}: its extractor's weight {rest!r} is not that of the extractor given")
