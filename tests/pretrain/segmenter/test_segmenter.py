"""A segmenter learns planted classes however it joins timeframes, is kept, predicts and streams without the future."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import pretrain
from cryptoenv.features import LookAheadError
from pretrain import ArtifactError, ConfigError
from pretrain.data.labelled_market import LabelledMarket
from pretrain.fitting.artifact_folder import json_bytes, read_folder, write_folder
from pretrain.fitting.causality import check_predictions
from pretrain.segmenter.artifact import ANOMALY, CONTENT, SEGMENTS, STATES, Segmenter
from pretrain.segmenter.config import MachineChoice
from pretrain.segmenter.stream import SegmentStream
from pretrain.segmenter.training import fit_segmenter
from tests.pretrain.conftest import random_bars
from tests.pretrain.segmenter.conftest import (
    CLASSES,
    QUIET,
    planted_classes,
    pursued_market,
    quick_training,
    small_segmenter_config,
)


@pytest.mark.parametrize(
    "changes",
    [
        {"join": "separate"},
        {"join": "concatenation", "window": (8, 4, 4), "patches": (2, 1, 1)},
        {"encoder": "gpt", "layers": 2},
        {"memory": 12, "window": (8, 4, 4), "patches": (4, 1, 1)},
    ],
    ids=["separate", "concatenation", "gpt", "memory"],
)
def test_every_way_of_joining_timeframes_learns_planted_classes(
    pursued: tuple[LabelledMarket, ...], changes: dict[str, object], tmp_path: Path
) -> None:
    config = small_segmenter_config(**changes)
    training = quick_training(steps=40, validate_every=40, learning_rate=2e-2) if config.memory else quick_training()
    learned = fit_segmenter(pursued[:2], pursued[2:], config, training, seed=1, options=QUIET)
    for scale in ("1h", "4h"):
        assert learned.provenance.metrics[f"validation/accuracy_{scale}"] > 0.6, changes
    loaded = pretrain.load(learned.save(tmp_path / "artifact"))
    assert isinstance(loaded, Segmenter) and loaded.hash == learned.hash
    bars = random_bars(9, 24 * 60)
    table = learned.predict(bars)
    pd.testing.assert_frame_equal(loaded.predict(bars), table, check_exact=True)
    stream = loaded.stream(bars.iloc[:-20])  # across a border of chunks, and of pieces of the memory
    rows = pd.concat([stream.append(bars.iloc[t : t + 1]) for t in range(len(bars) - 20, len(bars))])
    pd.testing.assert_frame_equal(rows, table.iloc[-20:], check_exact=True, check_freq=False)
    with torch.inference_mode():
        _, whole = learned.over_blocks(
            learned.market(bars), lambda block: learned.model.logits(learned.model.over_block(block)).numpy()
        )
    said = torch.softmax(torch.from_numpy(whole), dim=-1).flatten(1).numpy()
    assert np.abs(said - table.iloc[:, :6].to_numpy()).max() < 1e-5, "chunks say what a whole block says"


def test_what_is_said_and_kept(segmenter: Segmenter, pursued: tuple[LabelledMarket, ...], tmp_path: Path) -> None:
    assert min(segmenter.provenance.metrics[f"validation/accuracy_{s}"] for s in ("1h", "4h")) > 0.7
    table = segmenter.predict(pursued[2].market)
    assert table.columns.tolist() == [f"{c}_{s}" for s in ("1h", "4h") for c in CLASSES] + [ANOMALY]
    chances = segmenter.machines.probabilities(table)
    assert chances.sum(axis=2) == pytest.approx(1.0, abs=1e-5)
    assert table[ANOMALY].between(0.0, 100.0).all() and 30.0 < table[ANOMALY].median() < 70.0
    told = segmenter.tables(pursued[2].market, table)
    assert set(told) == {STATES, SEGMENTS}
    states, segments = told[STATES], told[SEGMENTS]
    assert states.columns.tolist() == ["state_1h", "state_4h", "state"]
    for scale, column in (("1h", "state_1h"), ("4h", "state_4h"), ("all", "state")):
        own = segments[segments["timescale"] == scale]
        assert own["bars"].sum() == len(table)
        for begin, end, state in zip(own["start"], own["end"], own["state"], strict=True):
            assert (states.loc[begin:end, column] == state).all()
    again = Segmenter.load(segmenter.save(tmp_path / "artifact"))
    assert again.machines == segmenter.machines and again.anomaly == segmenter.anomaly
    assert again.provenance == segmenter.provenance


def test_tuned_machines_differ_from_the_recipes_and_untuned_do_not(
    segmenter: Segmenter, pursued: tuple[LabelledMarket, ...]
) -> None:
    choice = MachineChoice(tune=False, enter=0.55, leave=0.45, minimum_dwell=3)
    plain = fit_segmenter(
        pursued[:1], pursued[2:], small_segmenter_config(), quick_training(steps=4, validate_every=4), choice=choice,
        seed=1, options=QUIET,
    )  # fmt: skip
    assert all(m.enter == (0.55,) * 3 and m.minimum_dwell == (3,) * 3 for m in plain.machines.each)
    assert any(machine.enter != (0.5,) * 3 for machine in segmenter.machines.each)


def test_the_same_seed_gives_the_same_segmenter(segmenter: Segmenter, pursued: tuple[LabelledMarket, ...]) -> None:
    again = fit_segmenter(pursued[:2], pursued[2:], small_segmenter_config(), quick_training(), seed=1, options=QUIET)
    assert again.hash == segmenter.hash


def test_no_prediction_knows_the_future(segmenter: Segmenter) -> None:
    bars = random_bars(11, 24 * 60)
    assert check_predictions(segmenter, bars, decisions=12) == 12

    class Peeking(Segmenter):
        def predict(self, source, *, reference=None):  # type: ignore[no-untyped-def]
            table = super().predict(source, reference=reference)
            return table.assign(**{ANOMALY: table[ANOMALY].shift(-1).fillna(0.0).astype(np.float32)})

    peeking = Peeking(
        segmenter.model, segmenter.scaler, segmenter.provenance, segmenter.layout.features, segmenter.machines,
        segmenter.anomaly,
    )  # fmt: skip
    with pytest.raises(LookAheadError, match=ANOMALY):
        check_predictions(peeking, bars, decisions=4)


def test_states_of_a_stream_are_those_of_all_history_and_none_depends_on_later_bars(segmenter: Segmenter) -> None:
    bars = random_bars(12, 24 * 58)
    table = segmenter.predict(bars)
    states = segmenter.states(table)
    stream = SegmentStream(segmenter, bars.iloc[:-60])
    rows = pd.concat([stream.append(bars.iloc[t : t + 1]) for t in range(len(bars) - 60, len(bars))])
    pd.testing.assert_frame_equal(rows, table.join(states).iloc[-60:], check_exact=True, check_freq=False)
    for cut in range(100, len(bars) - 1200, 30):
        earlier = segmenter.states(segmenter.predict(bars.iloc[: 1200 + cut]))
        pd.testing.assert_frame_equal(earlier, states.loc[: earlier.index[-1]], check_exact=True)
    fresh = SegmentStream(segmenter)
    assert fresh.append(bars.iloc[:1]).empty


def test_a_changed_artifact_is_refused(segmenter: Segmenter, tmp_path: Path) -> None:
    folder = segmenter.save(tmp_path / "artifact")
    content = read_folder(folder, CONTENT)
    for place, value, words in (
        (("machines", "each", 0, "leave"), [0.9, 0.9, 0.9], "thresholds that cross"),
        (("machines", "each", 0, "states"), ["a", "b", "c"], "states of"),
        (("anomaly",), [3.0, 1.0], "do not fall"),
        (("target", "classes"), ["up", "down", "flat"], "target is not"),
        (("architecture", "join"), "glue", "join"),
        (("format_version",), 9, "version 9"),
    ):
        values = json.loads(content["config.json"])
        inner = values
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        write_folder(tmp_path / "other", content | {"config.json": json_bytes(values)})
        with pytest.raises(ArtifactError, match=words):
            pretrain.load(tmp_path / "other")


def test_what_cannot_be_learned_is_refused(pursued: tuple[LabelledMarket, ...]) -> None:
    config, training = small_segmenter_config(), quick_training(steps=1, validate_every=1)
    item = pursued[0]
    column = item.columns[0]
    gone = replace(column, values=np.where(column.values == 2.0, np.float32(np.nan), column.values))
    assert item.beliefs is not None
    without = replace(item, columns=(gone, item.columns[1]))
    with pytest.raises(ConfigError, match=r"class 'bull' has no row in training on timescale '1h'"):
        fit_segmenter([without], pursued[1:], config, training, options=QUIET)
    with pytest.raises(ValueError, match="rows"):
        fit_segmenter([item], [item], config, training, options=QUIET)
    with pytest.raises(ValueError, match="at least one labelled market"):
        fit_segmenter([item], [], config, training, options=QUIET)
    numbers = replace(item, columns=(replace(column, classes=()), item.columns[1]))
    with pytest.raises(ConfigError, match="holds numbers"):
        fit_segmenter([numbers], pursued[1:], config, training, options=QUIET)
    other = replace(item.columns[1], classes=("down", "flat", "up"))
    with pytest.raises(ConfigError, match="each timescale has the same"):
        fit_segmenter([replace(item, columns=(column, other))], pursued[1:], config, training, options=QUIET)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"join": "glue"}, "join"),
        ({"join": "concatenation", "window": (8, 4, 4), "patches": (1, 1, 1)}, "as many patches"),
        ({"join": "separate", "memory": 8}, "memory"),
        ({"encoder": "gpt", "memory": 8}, "memory"),
        ({"timescales": ("1h",)}, "classes"),
        ({"timescales": ("1h", "1h"), "classes": CLASSES}, "each once"),
    ],
)
def test_architectures_that_cannot_be_meant_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        small_segmenter_config(**changes)


def test_rows_outside_the_span_teach_nothing() -> None:
    market = pursued_market(4)
    first = market.first_decision((8, 4, 4))
    inside = planted_classes(market, (first, first + 200))
    assert len(inside.decisions((8, 4, 4))) == 200
