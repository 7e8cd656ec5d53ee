"""What an interruption, a moved folder and damage to checkpoints leave of a training: the same weights, or a word."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from cryptoenv.files.folder_lock import FolderLockedError, folder_lock
from pretrain import ConfigError, Extractor, FitOptions, PretrainingConfig, Recipe, fit_extractor, pretrain_extractor
from pretrain.fitting.fitting import CHECKPOINTS, Measured, fit
from pretrain.fitting.generations import BEGUN, STATE, TRAINING, CheckpointError, Generations
from tests.killed import killed_at
from tests.pretrain.conftest import WINDOW, planted, random_market, small_config, small_training
from tests.pretrain.extractor.test_recipe import SMALL

TRAINING_CONFIG = small_training(steps=24, batch=32, validate_every=4, patience=50, learning_rate=0.02)


class _Interrupted(BaseException):
    """Ctrl-C, as far as a training can tell."""


def train(
    out: Path | None,
    *,
    resume: bool = False,
    stop_after: int | None = None,
    training: PretrainingConfig = TRAINING_CONFIG,
) -> Extractor:
    """A training of 24 steps, measured every 4; `stop_after` measurements it is interrupted."""
    measured = [0]

    def count(_: dict[str, float]) -> None:
        measured[0] += 1
        if measured[0] == stop_after:
            raise _Interrupted

    items = [planted(random_market(seed)) for seed in range(2)]
    options = FitOptions(out, resume=resume, progress=False, on_validation=count)
    config = small_config(width=8, feedforward=8, layers=1, heads=1, dropout=0.1)
    return fit_extractor(items[:1], items[1:], config, training, seed=5, options=options)


@pytest.fixture(scope="module")
def whole() -> Extractor:
    """What an uninterrupted training gives."""
    return train(None)


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """The run folder of a training that was interrupted after 4 of 6 measurements."""
    with pytest.raises(_Interrupted):
        train(tmp_path / "run", stop_after=4)
    return tmp_path / "run"


def same(found: Extractor, expected: Extractor) -> bool:
    ours, theirs = (dict(extractor.provenance.metrics) for extractor in (found, expected))
    for metrics in (ours, theirs):
        del metrics["cpu_seconds"]
    return found.hash == expected.hash and ours == theirs


def generations(run: Path) -> list[Path]:
    return sorted((run / CHECKPOINTS).glob("step-*"))


def test_a_run_that_ends_in_the_middle_of_its_schedule_can_go_on_to_its_end(tmp_path: Path, whole: Extractor) -> None:
    part = replace(TRAINING_CONFIG, stop_after=12)
    early = train(tmp_path / "run", training=part)
    assert early.provenance.metrics["steps"] == 12 and early.hash != whole.hash
    assert train(tmp_path / "run", training=part, resume=True).hash == early.hash
    assert same(train(tmp_path / "run", resume=True), whole)


def test_a_moved_run_goes_on_to_the_same_weights(interrupted: Path, whole: Extractor) -> None:
    """Its best weights and what was measured of them move with it."""
    moved = interrupted.parent / "elsewhere" / "run"
    moved.parent.mkdir()
    shutil.move(interrupted, moved)
    found = train(moved, resume=True)
    assert same(found, whole)
    assert same(train(moved, resume=True), whole)  # and once more, when it is done
    assert [path.name for path in generations(moved)] == ["step-000000000020", "step-000000000024"]


def test_what_was_best_before_the_interruption_is_kept(tmp_path: Path) -> None:
    """Noise is learnt by heart, so measurements get worse; the loss told is that of the weights kept."""
    items = [planted(random_market(seed)) for seed in range(2)]
    noise = np.random.default_rng(0).permutation(items[0].labels)
    items[0] = replace(items[0], labels=noise, stop=items[0].market.first_decision(WINDOW) + 60)
    training = small_training(steps=60, batch=32, validate_every=10, patience=50, learning_rate=0.02)
    told: list[float] = []

    def train_on(options: FitOptions, stop_after: int | None = None) -> Extractor:
        def tell(figures: dict[str, float]) -> None:
            told.append(figures["validation/loss"])
            if len(told) == stop_after:
                raise _Interrupted

        options = replace(options, progress=False, on_validation=tell)
        return fit_extractor(items[:1], items[1:], small_config(), training, seed=5, options=options)

    with pytest.raises(_Interrupted):
        train_on(FitOptions(tmp_path / "run"), stop_after=4)
    assert told.index(min(told)) < 3
    shutil.move(tmp_path / "run", tmp_path / "moved")
    kept = train_on(FitOptions(tmp_path / "moved", resume=True))
    assert len(told) == 6 and told.index(min(told)) < 3
    assert kept.provenance.metrics["validation/loss"] == min(told)
    assert train_on(FitOptions()).hash == kept.hash


def flip(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 4
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped bit in the middle": lambda folder: flip(folder / TRAINING, 0.5),
    "a flipped bit at the end": lambda folder: flip(folder / TRAINING, 0.999),
    "a flipped bit of the state": lambda folder: flip(folder / STATE, 0.3),
    "a flipped bit of the checksums": lambda folder: flip(folder / "checksums.json", 0.5),
    "cut short": lambda folder: (folder / TRAINING).write_bytes((folder / TRAINING).read_bytes()[:-100]),
    "empty": lambda folder: (folder / TRAINING).write_bytes(b""),
    "a file missing": lambda folder: (folder / TRAINING).unlink(),
    "checksums missing": lambda folder: (folder / "checksums.json").unlink(),
    "a link": lambda folder: ((folder / TRAINING).rename(folder.parent / "x"),
                              (folder / TRAINING).symlink_to(folder.parent / "x")),
    "a file instead": lambda folder: (shutil.rmtree(folder), folder.write_bytes(b"newest")),
    "an empty folder": lambda folder: (shutil.rmtree(folder), folder.mkdir()),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over(interrupted: Path, whole: Extractor, damage: str) -> None:
    """With a warning, for the one before it: the result is the same. Where that is damaged, too, it is refused."""
    kept = interrupted.parent / "both"
    shutil.copytree(interrupted, kept)
    DAMAGE[damage](generations(interrupted)[1])
    with pytest.warns(UserWarning, match=r"step-000000000016.*going on from the one before it, step-000000000012"):
        found = train(interrupted, resume=True)
    assert same(found, whole)
    for folder in generations(kept):
        DAMAGE[damage](folder)
    before = sorted(kept.rglob("*"))
    with pytest.raises(CheckpointError, match=r"step-.* no good checkpoint is left .*another folder"):
        train(kept, resume=True)
    assert sorted(kept.rglob("*")) == before


def test_missing_checkpoints_are_not_passed_over_in_silence(interrupted: Path) -> None:
    """All gone, or their whole folder: refused. Ended before the first one: a word, and the start."""
    for folder in generations(interrupted):
        shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match=r"had checkpoints, and they are gone: put them back, or begin anew"):
        train(interrupted, resume=True)
    (interrupted / CHECKPOINTS / BEGUN).write_text("{damaged", "utf-8")
    with pytest.raises(CheckpointError, match=r"had checkpoints"):
        train(interrupted, resume=True)
    with pytest.raises(FileExistsError, match="resume it, or choose another folder"):
        train(interrupted)
    shutil.rmtree(interrupted / CHECKPOINTS)
    with pytest.raises(CheckpointError, match=r"holds the log of a training, but .* none of its checkpoints"):
        train(interrupted, resume=True)


def test_a_training_that_ended_before_its_first_checkpoint_begins_anew(tmp_path: Path, whole: Extractor) -> None:
    folder = Generations(tmp_path / "run" / CHECKPOINTS, {})
    folder.begin()
    with pytest.warns(UserWarning, match="holds no checkpoint to resume from: training begins at its start"):
        assert same(train(tmp_path / "run", resume=True), whole)


class Growing:
    """Fine until `bad` measurements, then not a number."""

    def __init__(self, bad: int) -> None:
        self.left = bad

    def measure(self, model: torch.nn.Module, batch: list[torch.Tensor]) -> Measured:
        loss = (model(batch[0]) ** 2).mean()
        if not torch.is_grad_enabled():
            self.left -= 1
            loss = loss if self.left >= 0 else loss * math.nan
        return Measured(loss, {}, len(batch[0]))


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    """T4: training ends with a word, with the best weights before it; the checkpoints that are left are good."""
    batches = DataLoader(TensorDataset(torch.ones(80, 2)), batch_size=4)
    one = DataLoader(TensorDataset(torch.ones(4, 2)), batch_size=4)
    training = small_training(steps=20, batch=4, validate_every=2)
    model = torch.nn.Linear(2, 1)
    with pytest.warns(UserWarning, match="validation/loss is nan after 8 steps: training ends"):
        found = fit(model, Growing(3), (batches, one), training, FitOptions(tmp_path, progress=False), seed=1)
    assert math.isfinite(found["validation/loss"]) and found["steps"] == 8
    assert all(bool(torch.isfinite(weight).all()) for weight in model.parameters())
    assert [folder.name[-1] for folder in generations(tmp_path)] == ["4", "6"]


@pytest.mark.parametrize("again", [False, True])
def test_a_good_checkpoint_is_there_whenever_a_save_is_killed(tmp_path: Path, again: bool) -> None:
    """T3: before each call to the file system, in a save of a new step and of one that is there already."""
    identity, content = {"seed": 1}, b"state" * 1_000

    def save(step: int) -> None:
        Generations(tmp_path / "checkpoints", identity).save(step, lambda path: path.write_bytes(content * step))

    point, killed = 0, True
    while killed:
        shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)
        for step in (1, 2, 3) if again else (1, 2):
            save(step)
        killed = killed_at(point, lambda: save(3))
        found = Generations(tmp_path / "checkpoints", identity).newest()
        assert found is not None and found.read_bytes() in (content * 2, content * 3)
        assert not again or found.read_bytes() == content * 3
        save(3)
        point += 1
    assert point > 25
    save(4)
    assert len(generations(tmp_path)) == 2
    with pytest.raises(ConfigError, match="seed was 1 and is 2"):
        Generations(tmp_path / "checkpoints", {"seed": 2}).newest()


def test_two_pretrainings_do_not_share_a_folder(tmp_path: Path) -> None:
    """The second is refused before it has written anything, by the name of the first one's process."""
    out = tmp_path / "run"
    out.mkdir()
    code = f"""
import sys
from pathlib import Path
from cryptoenv.folder_lock import folder_lock
with folder_lock(Path({str(out)!r}), "the run"):
    print("held", flush=True)
    sys.stdin.read()
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "held\n"
    with pytest.raises(FolderLockedError, match=f"being written by process {other.pid} "):
        pretrain_extractor(SMALL, FitOptions(out, progress=False))
    assert [path.name for path in out.iterdir()] == [".lock"]
    other.communicate("")
    with folder_lock(out, "it"), pytest.raises(FolderLockedError):
        pretrain_extractor(SMALL, FitOptions(out, progress=False))
    first = pretrain_extractor(SMALL, FitOptions(out, progress=False))
    recipe = (out / "recipe.yaml").read_bytes()
    with pytest.raises(ConfigError, match=r"recipe\.yaml says 'seed: 0', not 'seed: 1'"):
        pretrain_extractor(replace(SMALL, seed=1), FitOptions(out, resume=True, progress=False))
    with pytest.raises(FileExistsError, match="earlier run"):
        pretrain_extractor(replace(SMALL, seed=1), FitOptions(out, progress=False))
    assert (out / "recipe.yaml").read_bytes() == recipe and Recipe.read(out / "recipe.yaml") == SMALL
    shutil.rmtree(out / CHECKPOINTS)
    shutil.rmtree(out / "tensorboard")
    with pytest.raises(FileExistsError, match="holds an artifact without its checkpoints"):
        pretrain_extractor(replace(SMALL, seed=1), FitOptions(out, progress=False))
    assert Extractor.load(out / "artifact").hash == first.hash
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Extractor.load(out / "artifact").provenance.recipe == SMALL.digest
