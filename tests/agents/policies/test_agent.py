from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from agents.evaluation.rollout import RolloutRows, roll
from agents.markets.embedded import LARGEST_EXACT_INDEX, EmbeddingTable, embed
from agents.markets.expert_market import ExpertMarket
from agents.policies.agent import DESCRIPTION, WEIGHTS, Agent
from agents.policies.cached_embeddings import CachedEmbeddings
from agents.policies.heads import bind, new_policy
from agents.policies.policy_shape import PolicyShape, observation_space
from agents.run_folders.run_folder import Run, load_runs
from agents.settings import TradingSettings
from cryptoenv.trading.config import Costs
from pretrain import ArtifactError, Extractor
from pretrain.fitting.artifact_folder import CHECKSUMS
from synthetic import regime_market


def table(seed: int = 0, width: int = 4) -> EmbeddingTable:
    rng = np.random.default_rng(seed)
    return EmbeddingTable([rng.normal(size=(n, width)).astype(np.float32) for n in (7, 11)])


def test_embeddings_are_gathered_by_market_and_bar() -> None:
    found = table()
    extractor = CachedEmbeddings(observation_space(), 4)
    extractor.bind(found)
    account = torch.arange(15, dtype=torch.float32).reshape(3, 5)
    # Stable-Baselines3 hands the index over as float32.
    index = torch.tensor([[0, 6], [1, 0], [1, 10]], dtype=torch.float32)
    out = extractor({"index": index, "account": account}).numpy()
    assert (out[:, :4] == found.rows[[6, 7, 17]]).all()
    assert (out[:, 4:] == account.numpy()).all()
    assert extractor.features_dim == 9


def test_a_table_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="6 wide, not 4"):
        CachedEmbeddings(observation_space(), 4).bind(table(width=6))


def test_indices_stay_exact() -> None:
    class Long:
        def __len__(self) -> int:
            return LARGEST_EXACT_INDEX + 1

    with pytest.raises(ValueError, match="exactly"):
        EmbeddingTable([Long()])  # type: ignore[list-item]


def test_weights_do_not_hold_the_table() -> None:
    policy = new_policy(PolicyShape(4, 3), seed=0)
    bind(policy, table())
    assert all("rows" not in name and "offsets" not in name for name in policy.state_dict())


def test_policies_are_seeded() -> None:
    def weights(seed: int) -> torch.Tensor:
        return torch.cat([p.flatten() for p in new_policy(PolicyShape(4, 3), seed).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_margin_holds_unless_the_odds_are_clear(extractor: Extractor, settings: TradingSettings) -> None:
    agent = make_agent(extractor, settings)
    found = EmbeddingTable([np.random.default_rng(0).normal(size=(400, extractor.width)).astype(np.float32)])
    index = np.column_stack([np.zeros(400, np.int64), np.arange(400)])
    account = np.zeros((400, 5), dtype=np.float32)
    switches = [
        int((agent.with_margin(margin).on((), found).act(index, account) != 1).sum()) for margin in (0.0, 0.3, 100.0)
    ]
    assert switches[0] > switches[1] > switches[2] == 0


def test_an_agent_survives_its_folder(
    extractor: Extractor, settings: TradingSettings, labelled: tuple[ExpertMarket, ...], tmp_path: Path
) -> None:
    agent = replace(make_agent(extractor, settings), margin=0.2, algorithm="ppo")
    Run(tmp_path, agent, agent).save({"seed": 0}, {"x": 1.0})
    loaded = Run.load(tmp_path).agent
    assert (loaded.margin, loaded.algorithm, loaded.settings) == (0.2, "ppo", settings)
    embedded = embed(extractor, labelled, progress=False)
    rng = np.random.default_rng(1)
    index = np.column_stack([rng.integers(len(labelled), size=200), rng.integers(5376, 5800, size=200)])
    account = rng.normal(size=(200, 5)).astype(np.float32)
    assert (agent.on(labelled, embedded).act(index, account) == loaded.on(labelled).act(index, account)).all()
    assert not [p for p in tmp_path.rglob("*") if p.suffix in {".pkl", ".pt", ".pth", ".zip"}]


def rewrite(folder: Path, name: str, data: bytes) -> None:
    """Change a file and mend its checksum, as someone would who wants to be believed."""
    (folder / name).write_bytes(data)
    sums = json.loads((folder / CHECKSUMS).read_text("utf-8"))
    sums[name] = hashlib.sha256(data).hexdigest()
    (folder / CHECKSUMS).write_text(json.dumps(sums), encoding="utf-8")


def described(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """A corruption of the description."""

    def corrupt(folder: Path) -> None:
        told = json.loads((folder / DESCRIPTION).read_text("utf-8"))
        change(told)
        rewrite(folder, DESCRIPTION, json.dumps(told).encode())

    return corrupt


def weighed(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    """A corruption of the weights."""

    def corrupt(folder: Path) -> None:
        weights = safetensors.torch.load_file(folder / WEIGHTS)
        change(weights)
        rewrite(folder, WEIGHTS, safetensors.torch.save(weights))

    return corrupt


CANARY: list[str] = []


class Pickled:
    """Executed when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return CANARY.append, ("executed",)


CORRUPTIONS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "weights missing": (lambda f: (f / WEIGHTS).unlink(), "policy.safetensors is missing"),
    "checksums missing": (lambda f: (f / CHECKSUMS).unlink(), r"checksums.json is missing"),
    "weights cut": (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-9]), "does not have the sha256"),
    "one bit": (lambda f: (f / DESCRIPTION).write_bytes((f / DESCRIPTION).read_bytes() + b" "), "truncated or changed"),
    "a foreign file": (lambda f: (f / "run.py").write_text("1"), "unexpected file run.py"),
    "a link": (lambda f: (f / WEIGHTS).symlink_to((f / WEIGHTS).rename(f.parent / "elsewhere")), "no regular file"),
    "pickle as weights": (lambda f: rewrite(f, WEIGHTS, pickle.dumps(Pickled())), "no safetensors"),
    "pickle as description": (lambda f: rewrite(f, DESCRIPTION, pickle.dumps(Pickled())), "no JSON"),
    "another format": (described(lambda t: t.update(format="x")), "format is 'x'"),
    "a later version": (described(lambda t: t.update(format_version=9)), "version 9"),
    "another extractor": (described(lambda t: t.update(extractor="0" * 64)), "trained on extractor 000000000000"),
    "an unknown head": (described(lambda t: t.update(head="os.system")), "head of kind 'os.system'"),
    "an unknown key": (described(lambda t: t.update(more=1)), "key 'more' is unknown"),
    "no margin": (described(lambda t: t.pop("margin")), "key 'margin' is missing"),
    "a negative margin": (described(lambda t: t.update(margin=-1)), "margin=-1"),
    "a margin that is no number": (described(lambda t: t.update(margin=float("nan"))), "not a finite number"),
    "an infinite margin": (described(lambda t: t.update(margin=float("inf"))), "not a finite number"),
    "a margin out of reach": (described(lambda t: t.update(margin=1e300)), r"margin=1e\+300"),
    "a margin in words": (described(lambda t: t.update(margin="1")), "margin='1'"),
    "a margin that is true": (described(lambda t: t.update(margin=True)), "margin=True"),
    "a head in a list": (described(lambda t: t.update(head=["actor"])), "head of kind"),
    "an algorithm in a list": (described(lambda t: t.update(algorithm=["ppo"])), "algorithm="),
    "wide layers": (described(lambda t: t["shape"].update(hidden=[60_000, 60_000])), "fewer weights"),
    "wider layers": (described(lambda t: t["shape"].update(hidden=[10**12])), "hidden="),
    "layers of no width": (described(lambda t: t["shape"].update(hidden=[0])), "hidden="),
    "layers below none": (described(lambda t: t["shape"].update(hidden=[-64, 64])), "hidden="),
    "layers in words": (described(lambda t: t["shape"].update(hidden="64")), "hidden="),
    "half a layer": (described(lambda t: t["shape"].update(hidden=[64.5])), "hidden="),
    "many layers": (described(lambda t: t["shape"].update(hidden=[1] * 100_000)), "hidden="),
    "many actions": (described(lambda t: t["shape"].update(actions=10**9)), "shape"),
    "a shape with more": (described(lambda t: t["shape"].update(depth=3)), "key 'depth' is unknown"),
    "windows without end": (described(lambda t: t["settings"].update(window=[10**15, 1, 1])), "window="),
    "windows in words": (described(lambda t: t["settings"].update(window="321")), "window="),
    "timeframes in one word": (described(lambda t: t["settings"].update(timeframes=5)), "settings or shape"),
    "positions that are true": (described(lambda t: t["settings"].update(positions=[False, True, 2.0])), "positions="),
    "nested description": (lambda f: rewrite(f, DESCRIPTION, b"[" * 50_000), "no JSON"),
    "nested metrics": (described(lambda t: t.update(metrics=json.loads("[" * 50 + "]" * 50))), "more than 32 levels"),
    "a description of two minds": (lambda f: rewrite(f, DESCRIPTION, b'{"head": 1, "head": 2}'), "given twice"),
    "a header that lies": (lambda f: rewrite(f, WEIGHTS, (2**40).to_bytes(8, "little") + b"{}"), "its header has"),
    "a pipe": (lambda f: ((f / WEIGHTS).unlink(), os.mkfifo(f / WEIGHTS)), "no regular file"),
    "a huge network": (described(lambda t: t["shape"].update(embedding_width=17)), "shape"),
    "other positions": (described(lambda t: t["settings"].update(positions=[0.0, 1.0])), "width and positions"),
    "settings of a wrong type": (described(lambda t: t.update(settings=[])), "settings or shape"),
    "other windows": (described(lambda t: t["inputs"]["timeframes"]["15m"].update(window=3)), "inputs differ"),
    "another scaler": (described(lambda t: t["inputs"].update(scaler={})), "inputs differ"),
    "a tensor missing": (weighed(lambda w: w.pop("action_net.bias")), "'action_net.bias' is missing"),
    "a tensor too many": (weighed(lambda w: w.update(more=torch.zeros(1))), "'more' is unknown"),
    "another shape": (weighed(lambda w: w.update({"action_net.bias": torch.zeros(4)})), "the architecture needs"),
    "not finite": (weighed(lambda w: w["action_net.bias"].fill_(float("nan"))), "not finite"),
}


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_what_is_not_as_it_was_saved_is_refused(
    kind: str, extractor: Extractor, settings: TradingSettings, tmp_path: Path
) -> None:
    folder = tmp_path / "agent"
    make_agent(extractor, settings).save(folder)
    corrupt, message = CORRUPTIONS[kind]
    corrupt(folder)
    with pytest.raises(ArtifactError, match=message):
        Agent.load(folder, extractor)
    assert not CANARY


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        Run.load(tmp_path)


def test_settings_survive_json() -> None:
    settings = TradingSettings(positions=(0.0, 0.5, 1.0), instrument="spot", costs=Costs(fee=0.002))
    assert TradingSettings.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings
    with pytest.raises(ValueError, match="must contain 0"):
        TradingSettings(positions=(-1.0, 1.0))


def make_agent(extractor: Extractor, settings: TradingSettings) -> Agent:
    shape = PolicyShape(extractor.width, 3)
    policy = new_policy(shape, seed=0)
    with torch.no_grad():
        policy.action_net.weight.mul_(100.0)  # a fresh policy is nearly uniform
    return Agent(extractor, policy, shape, settings)


def saved(extractor: Extractor, settings: TradingSettings, folder: Path) -> Path:
    make_agent(extractor, settings).save(folder)
    return folder


def test_an_agent_keeps_its_order_of_actions(extractor: Extractor, settings: TradingSettings, tmp_path: Path) -> None:
    folder = saved(extractor, settings, tmp_path / "agent")
    assert Agent.load(folder, extractor, actions=settings.positions).actions == settings.positions
    for other in ((1.0, 0.0, -1.0), (-1.0, 0.0), (-0.5, 0.0, 1.0)):
        with pytest.raises(ArtifactError, match="actions differ"):
            Agent.load(folder, extractor, actions=other)
        with pytest.raises(ValueError, match="actions differ"):
            agent = Agent.load(folder, extractor)
            roll(agent.decide_on(table(width=extractor.width)), (), RolloutRows(np.zeros(0), np.zeros(0), 1),
                 replace(settings, positions=other))  # fmt: skip


def test_another_order_in_the_description_is_refused(
    extractor: Extractor, settings: TradingSettings, tmp_path: Path
) -> None:
    """However many of the places that name it are changed: the weights are tied to it."""

    def turn(told: dict[str, Any]) -> None:
        for owner, key in ((told["settings"], "positions"), (told["spaces"]["action"], "positions"), (told, "actions")):
            owner[key] = owner[key][::-1]

    folder = saved(extractor, settings, tmp_path / "agent")
    described(turn)(folder)
    with pytest.raises(ArtifactError, match="identity differ"):
        Agent.load(folder, extractor)


def test_clone_and_seeds_of_another_order_are_refused(
    extractor: Extractor, settings: TradingSettings, tmp_path: Path
) -> None:
    agent = make_agent(extractor, settings)
    turned = make_agent(extractor, replace(settings, positions=settings.positions[::-1]))
    Run(tmp_path / "mixed", agent, turned).save({}, {})
    with pytest.raises(ArtifactError, match="actions differ"):
        Run.load(tmp_path / "mixed")
    Run(tmp_path / "seeds" / "seed-0", agent, agent).save({}, {})
    Run(tmp_path / "seeds" / "seed-1", turned, turned).save({}, {})
    with pytest.raises(ArtifactError, match="actions differ"):
        load_runs(tmp_path / "seeds")


def test_a_run_of_the_version_before_loads(extractor: Extractor, settings: TradingSettings, tmp_path: Path) -> None:
    """Its extractor kept names of features only, its agent no order of its own and the extractor's hash of then."""
    agent = make_agent(extractor, settings)
    Run(tmp_path, agent, agent).save({}, {})

    def before(told: dict[str, Any]) -> None:
        del told["actions"], told["identity"], told["inputs"]["market"]
        told |= {"format_version": 1, "extractor": extractor.earlier_hash}

    for name in ("agent", "clone"):
        described(before)(tmp_path / name)
    config = json.loads((tmp_path / "extractor" / "config.json").read_text("utf-8"))
    for key in ("market", "target", "data"):
        del config[key]
    rewrite(tmp_path / "extractor", "config.json", json.dumps(config | {"format_version": 5}).encode())
    with pytest.warns(UserWarning, match="before artifacts kept their features"):
        run = Run.load(tmp_path)
    assert run.agent.extractor.hash == extractor.hash and run.agent.actions == settings.positions


def test_an_agent_builds_the_market_it_reads(extractor: Extractor, settings: TradingSettings) -> None:
    bars = regime_market("easy", days=3, seed=5).bars
    assert make_agent(extractor, settings).market(bars).hash == extractor.market(bars).hash
