"""The artifact comes back equal, or is refused by name."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from cryptoenv.market.market import Market
from pretrain import ArtifactError, Extractor, FitOptions, fit_extractor
from pretrain.extractor.artifact import CONFIG, CONTENT, SCALER, WEIGHTS
from pretrain.fitting import kept_predictor
from pretrain.fitting.artifact_folder import CHECKSUMS
from tests.killed import killed_at
from tests.pretrain.conftest import planted, random_bars, small_config, small_training

QUIET = FitOptions(progress=False)


@pytest.fixture(scope="module")
def extractor(markets: tuple[Market, ...]) -> Extractor:
    training = small_training(steps=3)
    return fit_extractor([planted(markets[0])], [planted(markets[1])], small_config(), training, options=QUIET)


@pytest.fixture
def folder(extractor: Extractor, tmp_path: Path) -> Path:
    return extractor.save(tmp_path / "artifact")


def test_round_trip(extractor: Extractor, folder: Path, markets: tuple[Market, ...]) -> None:
    loaded = Extractor.load(folder)
    assert loaded.hash == extractor.hash
    assert loaded.config == extractor.config
    assert loaded.provenance == extractor.provenance
    np.testing.assert_array_equal(loaded.embed(markets[2]), extractor.embed(markets[2]))
    np.testing.assert_array_equal(loaded.action_logits(markets[2]), extractor.action_logits(markets[2]))
    assert sorted(path.name for path in folder.iterdir()) == sorted((*CONTENT, CHECKSUMS))
    assert [path.name for path in folder.parent.iterdir()] == ["artifact"]


def test_the_folder_of_a_run_is_as_good_as_that_of_its_artifact(extractor: Extractor, tmp_path: Path) -> None:
    extractor.save(tmp_path / "run" / "artifact")
    assert Extractor.load(tmp_path / "run").hash == extractor.hash


def test_saving_again_replaces(extractor: Extractor, folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"damaged")
    extractor.save(folder)
    assert Extractor.load(folder).hash == extractor.hash


def test_what_is_no_artifact_is_not_overwritten(extractor: Extractor, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", "utf-8")
    with pytest.raises(ArtifactError, match="is no artifact"):
        extractor.save(tmp_path)
    assert (tmp_path / "notes.txt").read_text("utf-8") == "mine"


@pytest.mark.parametrize("point", range(0, 60, 4))
def test_a_kill_never_leaves_no_artifact(extractor: Extractor, folder: Path, point: int) -> None:
    """Killed before its calls to the file system, one after the other: the artifact is there, and is whole."""
    other = Extractor(extractor.model, extractor.scaler, replace(extractor.provenance, recipe="other"))
    killed = killed_at(point, lambda: other.save(folder))
    found = Extractor.load(folder)
    assert found.hash == extractor.hash and found.provenance.recipe in ("", "other")
    assert killed or found.provenance.recipe == "other"
    extractor.save(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["artifact"]


def test_weights_are_hashed_once(extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    """And again where they were changed, in whatever way."""
    count, real = [0], kept_predictor.weights_bytes

    def counted(module: torch.nn.Module) -> bytes:
        count[0] += 1
        return real(module)

    monkeypatch.setattr(kept_predictor, "weights_bytes", counted)
    mine = Extractor(copy.deepcopy(extractor.model), extractor.scaler, extractor.provenance)
    assert mine.hash == mine.hash == extractor.hash and count[0] <= 2
    weight = mine.model.action_head.weight
    hashes = {mine.hash}
    with torch.no_grad():
        weight[0, 0] += 1.0
    hashes.add(mine.hash)
    weight.data = weight.data * 2.0
    hashes.add(mine.hash)
    mine.model.action_head.weight = torch.nn.Parameter(torch.zeros_like(weight))
    hashes.add(mine.hash)
    mine.model.load_state_dict(extractor.model.state_dict())
    assert len(hashes) == 4 and mine.hash == extractor.hash


JSON_BOMBS = {
    "nested": b"[" * 50_000,
    "doubled": b'{"a": 1, "a": 2}',
    "digits": b"9" * 10_000,
    "long": b" " * 5_000_000,
}


@pytest.mark.parametrize("name", [CONFIG, SCALER, CHECKSUMS])
@pytest.mark.parametrize("bomb", JSON_BOMBS)
def test_json_that_is_more_than_it_seems_is_refused(folder: Path, name: str, bomb: str) -> None:
    (folder / name).write_bytes(JSON_BOMBS[bomb])
    if name != CHECKSUMS:
        resum(folder)
    with pytest.raises(ArtifactError, match=name):
        Extractor.load(folder)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ((2**40).to_bytes(8, "little") + b"{}", "its header has"),
        ((3_000_000).to_bytes(8, "little") + b"{" + b" " * 3_000_000, "its header has"),
        ((50_000).to_bytes(8, "little") + b"[" * 50_000, "header"),
        (b"", "no JSON"),
        ((2).to_bytes(8, "little") + b"{}", "is missing"),
    ],
)
def test_weights_with_a_header_that_lies_are_refused(folder: Path, data: bytes, named: str) -> None:
    (folder / WEIGHTS).write_bytes(data)
    resum(folder)
    with pytest.raises(ArtifactError, match=f"{WEIGHTS}.*{named}"):
        Extractor.load(folder)


def test_pipes_and_huge_files_are_refused(folder: Path) -> None:
    (folder / SCALER).rename(folder.parent / "scaler")
    os.mkfifo(folder / SCALER)
    with pytest.raises(ArtifactError, match=f"{SCALER} is no regular file"):
        Extractor.load(folder)
    (folder / SCALER).unlink()
    (folder.parent / "scaler").rename(folder / SCALER)
    os.truncate(folder / WEIGHTS, 10**13)
    with pytest.raises(ArtifactError, match=f"{WEIGHTS} has 10000000000000 bytes"):
        Extractor.load(folder)


def resum(folder: Path) -> None:
    """Checksums that agree with tampered files, so that later checks are reached."""
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in CONTENT}
    (folder / CHECKSUMS).write_text(json.dumps(sums), "utf-8")


def edit(folder: Path, name: str, change: Callable[[dict], object]) -> None:
    values = json.loads((folder / name).read_text("utf-8"))
    change(values)
    (folder / name).write_text(json.dumps(values), "utf-8")
    resum(folder)


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = safetensors.torch.load((folder / WEIGHTS).read_bytes())
    change(weights)
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(weights))
    resum(folder)


@pytest.mark.parametrize("name", [*CONTENT, CHECKSUMS])
def test_a_missing_or_truncated_file_is_named(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(ArtifactError, match=name):
        Extractor.load(folder)
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        Extractor.load(folder)


@pytest.mark.parametrize("name", CONTENT)
def test_one_changed_byte_is_named(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ArtifactError, match=f"{name} does not have the sha256"):
        Extractor.load(folder)


def test_foreign_files_and_links_are_refused(folder: Path) -> None:
    (folder / "model.pt").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"unexpected file model\.pt"):
        Extractor.load(folder)
    (folder / "model.pt").unlink()
    (folder / WEIGHTS).rename(folder.parent / "elsewhere")
    (folder / WEIGHTS).symlink_to(folder.parent / "elsewhere")
    with pytest.raises(ArtifactError, match=f"{WEIGHTS} is no regular file"):
        Extractor.load(folder)
    with pytest.raises(ArtifactError, match="no such folder"):
        Extractor.load(folder.parent / "nowhere")


class Bomb:
    """Unpickling this would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.path,))


def test_a_pickle_is_refused_and_not_run(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(pickle.dumps(Bomb(folder.parent / "executed")))
    resum(folder)
    with pytest.raises(ArtifactError, match="no safetensors"):
        Extractor.load(folder)
    assert not (folder.parent / "executed").exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c.update(format="other"), "format"),
        (lambda c: c.update(format_version=1), "version"),
        (lambda c: c.update(extra=1), "extra"),
        (lambda c: c.pop("training_data"), "training_data"),
        (lambda c: c.update(metrics=[1]), "metrics"),
        (lambda c: c["architecture"].update(depth=3), "depth"),
        (lambda c: c["architecture"].pop("width"), "width"),
        (lambda c: c["architecture"].update(width="16"), "width"),
        (lambda c: c["architecture"].update(width=32), WEIGHTS),
        (lambda c: c["architecture"].update(layers=3), WEIGHTS),
        (lambda c: c["architecture"].update(width=16_384, feedforward=65_536), WEIGHTS),  # no memory is taken for it
        (lambda c: c["architecture"].update(width=200_000_000), "width"),
        (lambda c: c["architecture"].update(layers=10**9), "layers"),
        (lambda c: c["architecture"].update(memory=10**9), "memory"),
        (lambda c: c["architecture"].update(regimes=10**9), "regimes"),
        (lambda c: c["architecture"].update(feedforward=10**12), "feedforward"),
        (lambda c: c["architecture"].update(window=[10**15, 8, 4]), "window"),
        (lambda c: c["architecture"].update(window=[10**6, 8, 4], patches=[1, 4, 4]), "window"),
        (lambda c: c["architecture"].update(heads=True), "heads"),
        (lambda c: c["architecture"].update(dropout="0.1"), "dropout"),
        (lambda c: c["architecture"].update(dropout=10**400), CONFIG),
        (lambda c: c["architecture"].update(quantiles=[n / 5_000 for n in range(1, 5_000)]), "quantiles"),
        (lambda c: c["architecture"].update(positions=list(range(1_000))), "positions"),
        (lambda c: c["architecture"].update(timeframes="1h4"), "timeframes"),
        (lambda c: c["architecture"].update(feature_names=["abc", "abc", "abc"]), "feature_names"),
        (lambda c: c.update(metrics={"validation/loss": "low"}), "metrics"),
        (lambda c: c.update(versions={"torch": [2]}), "versions"),
        (lambda c: c.update(label_kind=3), "label_kind"),
        (lambda c: c["architecture"].update(timeframes=["1h", "4h", 5]), "timeframes"),
        (lambda c: c["architecture"].update(positions=[-math.inf, 0.0, math.inf]), "not a finite number"),
        (lambda c: c["architecture"].update(window=[16, 8, 8]), "window of market and of architecture differ"),
        (lambda c: c["architecture"].update(timeframes=["1h", "2h", "1d"]), "timeframes of market and of architecture"),
        (lambda c: c["architecture"]["feature_names"][0].reverse(), None),
        (lambda c: c["architecture"]["feature_names"][0].append("new"), None),
        (lambda c: c["market"]["features"]["base"].update(volatility_bars=48), "features_hash"),
        (lambda c: c["market"].update(features_hash="0" * 64), "features_hash"),
        (lambda c: c["market"].update(reference=True), "feature_names of '1h'"),
        (lambda c: c["market"].update(reference=1), "reference"),
        (lambda c: c["market"].update(window=[16, 8, "4"]), "window"),
        (lambda c: c["market"].update(timeframes="1h4"), "timeframes"),
        (lambda c: c.update(market=[]), "market"),
        (lambda c: c["target"]["classes"].reverse(), "target"),
        (lambda c: c["target"]["columns"].reverse(), "target"),
        (lambda c: c.update(data={}), "data"),
        (lambda c: c["data"][0].update(markets="all"), "data"),
        (lambda c: c["data"][0].pop("last"), "last"),
    ],
)
def test_a_configuration_that_does_not_fit_is_named(
    folder: Path, change: Callable[[dict], object], named: str | None, markets: tuple[Market, ...]
) -> None:
    edit(folder, CONFIG, change)
    with pytest.raises(ArtifactError, match=named or "feature_names of '1h'"):
        Extractor.load(folder).embed(markets[0])


@pytest.mark.parametrize("value", [None, "1.0", True, 1e39, float("nan"), float("inf"), -1.0])
def test_a_scaler_that_does_not_fit_is_named(folder: Path, value: object, markets: tuple[Market, ...]) -> None:
    name = markets[0].feature_names[1][0]
    edit(folder, SCALER, lambda scaler: scaler["4h"][name].update(iqr=value))
    finite = not isinstance(value, float) or math.isfinite(value)
    with pytest.raises(
        ArtifactError, match=f"{SCALER}.*4h.*{name}.*iqr" if finite else f"{SCALER}.*not a finite number"
    ):
        Extractor.load(folder)
    edit(folder, SCALER, lambda scaler: scaler["4h"].pop(name))
    with pytest.raises(ArtifactError, match=f"{SCALER}.*{name}.*missing"):
        Extractor.load(folder)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda w: w.pop("encoder.summary"), "encoder.summary"),
        (lambda w: w.update(other=torch.zeros(1)), "other"),
        (lambda w: w.update({"encoder.summary": torch.zeros(3)}), "encoder.summary"),
        (lambda w: w.update({"encoder.summary": w["encoder.summary"].double()}), "encoder.summary"),
        (lambda w: w["encoder.summary"].fill_(torch.nan), "encoder.summary"),
    ],
)
def test_weights_that_do_not_fit_are_named(folder: Path, change: Callable[[dict], object], named: str) -> None:
    edit_weights(folder, change)
    with pytest.raises(ArtifactError, match=f"{WEIGHTS}: tensor '{named}'"):
        Extractor.load(folder)


def test_another_market_layout_is_refused(extractor: Extractor, markets: tuple[Market, ...]) -> None:
    extractor.require(markets[0], window=(16, 8, 4))
    with pytest.raises(ArtifactError, match="window"):
        extractor.require(markets[0], window=(16, 8, 8))
    other = Market.from_bars(random_bars(0), timeframes=("1h", "2h", "1d"))
    with pytest.raises(ArtifactError, match="timeframes"):
        extractor.embed(other)
