"""Training learns what is planted, nothing from shuffled labels, and repeats itself bit for bit."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cryptoenv.market.market import Market
from pretrain import ConfigError, Extractor, FitOptions, LabelledMarket, fit_extractor
from pretrain.data.windows import WindowDataset
from tests.pretrain.conftest import WINDOW, planted, small_config, small_training

QUIET = FitOptions(progress=False)


def fit(items: list[LabelledMarket], **changes: object) -> Extractor:
    return fit_extractor(items[:2], items[2:], small_config(), small_training(**changes), seed=3, options=QUIET)


@pytest.fixture(scope="module")
def trained(markets: tuple[Market, ...]) -> Extractor:
    return fit([planted(m) for m in markets])


def test_a_planted_rule_is_learnt(trained: Extractor, markets: tuple[Market, ...]) -> None:
    assert trained.provenance.metrics["validation/accuracy"] > 0.9
    rows = np.arange(markets[2].first_decision(WINDOW), len(markets[2]) - 1)
    logits = trained.action_logits(markets[2])[rows]
    assert (logits.argmax(axis=-1) == planted(markets[2]).labels[rows]).mean() > 0.9


def test_shuffled_labels_are_not_learnt(markets: tuple[Market, ...]) -> None:
    rng = np.random.default_rng(0)
    shuffled = [replace(planted(m), labels=rng.permutation(planted(m).labels)) for m in markets]
    held_out = shuffled[2].labels[markets[2].first_decision(WINDOW) : -1]
    majority = max((held_out == label).mean() for label in (0, 2))
    assert fit(shuffled).provenance.metrics["validation/accuracy"] < majority + 0.03


def test_the_same_seed_gives_the_same_weights(trained: Extractor, markets: tuple[Market, ...]) -> None:
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002 - global state must not matter
    random.seed(99)
    state = torch.get_rng_state()
    again = fit([planted(m) for m in markets])
    assert again.hash == trained.hash
    assert torch.equal(state, torch.get_rng_state())
    other = fit_extractor(
        [planted(m) for m in markets[:2]],
        [planted(markets[2])],
        small_config(),
        small_training(steps=2),
        options=QUIET,
    )
    assert other.hash != trained.hash


def test_validation_rows_do_not_move_the_scaler(markets: tuple[Market, ...]) -> None:
    border = markets[0].first_decision(WINDOW) + 300
    labels = planted(markets[0]).labels
    train = LabelledMarket(markets[0], labels, stop=border)
    rows = WindowDataset([train], WINDOW, (4,)).feature_rows()
    ends = markets[0].align[[border - 300, border - 1]]
    for k, values in enumerate(rows):
        np.testing.assert_array_equal(values, markets[0].features[k][ends[0, k] - WINDOW[k] + 1 : ends[1, k] + 1])
    fitted = [
        fit_extractor([train], [validation], small_config(), small_training(steps=2), options=QUIET).scaler
        for validation in (LabelledMarket(markets[0], labels, start=border + 50), planted(markets[1]))
    ]
    assert fitted[0].to_json() == fitted[1].to_json()
    moved = fit_extractor([planted(markets[1])], [train], small_config(), small_training(steps=2), options=QUIET)
    assert moved.scaler.to_json() != fitted[0].to_json()
    for k, values in enumerate(rows):
        np.testing.assert_allclose(fitted[0].median[k], np.median(values, axis=0), rtol=1e-6)


def test_only_the_log_is_written(
    markets: tuple[Market, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.chdir(tmp_path)
    items, training = [planted(m) for m in markets], small_training(steps=20)
    fit_extractor(items[:2], items[2:], small_config(), training, options=FitOptions(tmp_path / "run", progress=False))
    fit_extractor(items[:2], items[2:], small_config(), training, options=QUIET)
    written = {path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {("run", "tensorboard"), ("run", "checkpoints")}
    assert not [str(w.message) for w in recwarn if "lightning" in w.filename]


def test_a_budget_of_seconds_ends_training(markets: tuple[Market, ...]) -> None:
    metrics = fit([planted(m) for m in markets], steps=10**6, max_seconds=0.5).provenance.metrics
    assert 0 < metrics["steps"] < 10**4
    assert metrics["cpu_seconds"] < 5.0


def test_training_stops_when_validation_no_longer_gains(markets: tuple[Market, ...]) -> None:
    rng = np.random.default_rng(0)
    shuffled = [replace(planted(m), labels=rng.permutation(planted(m).labels)) for m in markets]
    metrics = fit(shuffled, steps=2000, validate_every=10, patience=2).provenance.metrics
    assert metrics["steps"] < 2000


def test_a_diverged_training_is_an_error(markets: tuple[Market, ...]) -> None:
    with pytest.raises(RuntimeError, match=r"diverged.*rate=1e\+30"):
        fit([planted(m) for m in markets], steps=10, learning_rate=1e30, gradient_clip=1e30)


def test_data_that_does_not_fit_is_refused(markets: tuple[Market, ...]) -> None:
    item, other, training = planted(markets[0]), planted(markets[1]), small_training(steps=2)
    with pytest.raises(ValueError, match="validation: at least one"):
        fit_extractor([item], [], small_config(), training)
    with pytest.raises(ConfigError, match="timeframes"):
        fit_extractor([item], [item], small_config(timeframes=("15m", "4h", "1d")), training)
    with pytest.raises(ValueError, match="labels for 3 positions"):
        fit_extractor([item], [other], small_config(positions=(0.0, 1.0)), training)
    beliefs = np.full((len(markets[0]), 5), 0.2, np.float16)
    with pytest.raises(ValueError, match="beliefs of 5 regimes"):
        fit_extractor([replace(item, beliefs=beliefs)], [other], small_config(regimes=4), training)
    with pytest.raises(ValueError, match="market 1 has beliefs of 0 regimes, market 0 of 5"):
        fit_extractor([replace(item, beliefs=beliefs), other], [other], small_config(regimes=5), training)
    with pytest.raises(ValueError, match="kind"):
        fit_extractor([item, replace(item, label_kind="other")], [other], small_config(), training)
    with pytest.raises(ValueError, match=r"validation\[0\] and train\[1\] .* rows \[1200, 1300\) in common"):
        fit_extractor([other, replace(item, stop=1300)], [replace(item, start=1200)], small_config(), training)
