"""`fit`: interruptions change nothing, other devices and precisions train, other encoders learn."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cryptoenv.market.market import Market
from pretrain import ConfigError, Extractor, FitOptions, fit_extractor
from pretrain.networks.encoder_config import ENCODERS
from tests.pretrain.conftest import planted, small_config, small_training

QUIET = FitOptions(progress=False)
WORKER = """
import sys
from pathlib import Path
from tests.pretrain.extractor.interrupted import run
print(run(Path(sys.argv[1]), resume=True, memory=int(sys.argv[2])))
"""


@pytest.mark.parametrize("encoder", [name for name in ENCODERS if name != "recurrent"])  # that one needs rewards
def test_every_encoder_learns_a_planted_rule(markets: tuple[Market, ...], encoder: str, tmp_path: Path) -> None:
    items = [planted(market) for market in markets]
    config = small_config(encoder=encoder, bar_width=8 if encoder == "transformer" else 0)
    trained = fit_extractor(items[:2], items[2:], config, small_training(steps=160), seed=1, options=QUIET)
    assert trained.provenance.metrics["validation/accuracy"] > 0.85
    loaded = Extractor.load(trained.save(tmp_path / "artifact"))
    assert loaded.hash == trained.hash
    assert (loaded.embed(markets[2]) == trained.embed(markets[2])).all()


def killed_after(folder: Path, seconds: float, memory: int) -> bool:
    """Whether a training process was killed `seconds` after it had saved a checkpoint, before it had ended."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", WORKER, str(folder), str(memory)]
    before = set(folder.glob("checkpoints/step-*"))
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    while process.poll() is None and set(folder.glob("checkpoints/step-*")) <= before:
        time.sleep(0.002)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("memory", [pytest.param(0, marks=pytest.mark.slow), 8])
@pytest.mark.parametrize("kills", [1, pytest.param(16, marks=pytest.mark.slow)])
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path, kills: int, memory: int) -> None:
    """T1: each kill comes somewhere between two checkpoints, or in the middle of one."""
    from tests.pretrain.extractor.interrupted import run

    rng = np.random.default_rng(kills)
    expected = run(tmp_path / "whole", resume=False, memory=memory)
    seconds = [float(rng.uniform(0.0, 0.06)) for _ in range(kills)]
    killed = 0
    while killed < kills:
        if not killed_after(tmp_path / "killed", seconds[killed], memory):
            shutil.rmtree(tmp_path / "killed")  # it came to its end: begin anew
            continue
        killed += 1
    assert run(tmp_path / "killed", resume=True, memory=memory) == expected


def test_an_earlier_run_is_not_overwritten(markets: tuple[Market, ...], tmp_path: Path) -> None:
    items, options = [planted(market) for market in markets], FitOptions(tmp_path, progress=False)
    fit_extractor(items[:2], items[2:], small_config(), small_training(steps=4, validate_every=2), options=options)
    with pytest.raises(FileExistsError, match="resume it, or choose another folder"):
        fit_extractor(items[:2], items[2:], small_config(), small_training(steps=4), options=options)


def test_another_training_is_not_gone_on_with(markets: tuple[Market, ...], tmp_path: Path) -> None:
    items, options = [planted(market) for market in markets], FitOptions(tmp_path, progress=False)
    training = small_training(steps=4, validate_every=2)
    first = fit_extractor(items[:2], items[2:], small_config(), training, seed=1, options=options)
    again = replace(options, resume=True)
    assert fit_extractor(items[:2], items[2:], small_config(), training, seed=1, options=again).hash == first.hash
    with pytest.raises(ConfigError, match="seed was 1 and is 2"):
        fit_extractor(items[:2], items[2:], small_config(), training, seed=2, options=again)
    with pytest.raises(ConfigError, match="data was '"):
        fit_extractor(items[:1], items[2:], small_config(), training, seed=1, options=again)
    with pytest.raises(ConfigError, match="steps was 4 and is 6"):
        longer = replace(training, steps=6)
        fit_extractor(items[:2], items[2:], small_config(), longer, seed=1, options=again)


def test_a_training_that_stopped_early_is_done(markets: tuple[Market, ...], tmp_path: Path) -> None:
    items, options = [planted(market) for market in markets], FitOptions(tmp_path, progress=False)
    training = small_training(steps=400, validate_every=10, patience=1, learning_rate=0.03)
    first = fit_extractor(items[:2], items[2:], small_config(), training, seed=1, options=options)
    steps = first.provenance.metrics["steps"]
    assert steps < 400
    again = fit_extractor(items[:2], items[2:], small_config(), training, seed=1, options=replace(options, resume=True))
    assert again.hash == first.hash
    assert again.provenance.metrics["steps"] == steps


def test_what_several_processes_cannot_do_is_refused(markets: tuple[Market, ...]) -> None:
    items = [planted(market) for market in markets]
    with pytest.raises(ConfigError, match=r"max_seconds=3.0 is not allowed: None with several devices"):
        small_training(devices=2, max_seconds=3.0)
    with pytest.raises(ConfigError, match="batch=48 is not allowed with a memory: a multiple of 16 x devices=2"):
        fit_extractor(items[:2], items[2:], small_config(memory=8), small_training(batch=48, devices=2), options=QUIET)


@pytest.mark.parametrize("memory", [pytest.param(0, marks=pytest.mark.slow), 8])
def test_two_processes_share_the_batches(markets: tuple[Market, ...], memory: int) -> None:
    """Gradients are averaged over both: the weights are those of one process with whole batches, but for rounding."""
    items = [planted(market) for market in markets]
    training, config = small_training(steps=8, validate_every=8, devices=2), small_config(memory=memory)
    shared = fit_extractor(items[:2], items[2:], config, training, seed=3, options=QUIET)
    alone = fit_extractor(items[:2], items[2:], config, replace(training, devices=1), seed=3, options=QUIET)
    half = replace(training, devices=1, batch=training.batch // 2)  # what each would do without the other
    apart = fit_extractor(items[:2], items[2:], config, half, seed=3, options=QUIET)
    mine, theirs, other = (
        torch.cat([weight.flatten() for weight in extractor.model.parameters()]) for extractor in (shared, alone, apart)
    )
    assert (mine - theirs).abs().mean() < 0.02 * (mine - other).abs().mean()
    with pytest.raises(ConfigError, match="multiple of devices"):
        small_training(batch=127, devices=2)


def test_bfloat16_trains(markets: tuple[Market, ...]) -> None:
    items = [planted(market) for market in markets]
    trained = fit_extractor(items[:2], items[2:], small_config(), small_training(precision="bfloat16"), options=QUIET)
    assert trained.provenance.metrics["validation/accuracy"] > 0.85


def test_fine_tuning_goes_on_from_an_extractor(markets: tuple[Market, ...]) -> None:
    items = [planted(market) for market in markets]
    first = fit_extractor(items[:1], items[2:], small_config(), small_training(), seed=2, options=QUIET)
    tuned = fit_extractor(
        items[1:2], items[2:], training=small_training(steps=10, learning_rate=1e-4), start=first, options=QUIET
    )
    assert tuned.scaler.to_json() == first.scaler.to_json()
    assert tuned.hash != first.hash
    assert tuned.provenance.label_kind == "planted, then planted"
    before, after = (e.provenance.metrics["validation/loss"] for e in (first, tuned))
    assert abs(after - before) < 0.1
    with pytest.raises(ValueError, match="brings its own"):
        fit_extractor(items[1:2], items[2:], small_config(width=32), start=first, options=QUIET)
