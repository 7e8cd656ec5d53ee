"""Chart patterns: truth that fits the bars, causal actions, volume, bytes and errors."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryptoenv import Market
from synthetic.patterns.patterns import PATTERN_KINDS, PatternParams, PatternTruth, follow_rule, generate_pattern
from synthetic.patterns.shapes import SHAPES

ROOT = Path(__file__).resolve().parents[3]


def drawn(kind: str, seed: int, noise: float = 0.05, **fields: Any) -> tuple[pd.DataFrame, PatternTruth]:
    return generate_pattern(kind, PatternParams(**fields), noise, np.random.default_rng(seed))


def span(truth: PatternTruth, part: str) -> tuple[int, int]:
    first, last = truth.spans.set_index("part").loc[part, ["first", "last"]]
    return int(first), int(last)


@pytest.mark.parametrize("kind", PATTERN_KINDS)
def test_bars_are_valid_and_the_truth_lies_within_them(kind: str) -> None:
    for seed in range(10):
        bars, truth = drawn(kind, seed)
        assert (bars["open"].to_numpy()[1:] == bars["close"].to_numpy()[:-1]).all() and (bars["volume"] > 0).all()
        assert (bars["high"] >= bars[["open", "close"]].max(axis=1)).all()
        assert (bars["low"] <= bars[["open", "close"]].min(axis=1)).all()
        first, last = span(truth, "pattern")
        assert first >= 0 and last == first + 139 and last < 160
        assert ((truth.spans["first"] >= first) & (truth.spans["last"] <= last)).all()
        assert (np.diff(truth.turning_points) >= 2).all()
        assert (truth.spans["first"] < truth.spans["last"]).all()
        assert truth.actions.dtype == np.int8 and truth.actions.shape == (160,)
    assert len(Market.from_bars(bars, ("15m",)).bars) == 160


@pytest.mark.parametrize("kind", [kind for kind, shape in SHAPES.items() if shape.rule])
def test_confirmed_patterns_pay_and_waiting_ends_at_the_confirmation(kind: str) -> None:
    earned = []
    side = SHAPES[kind].rule.side  # type: ignore[union-attr]
    for seed in range(40):
        bars, truth = drawn(kind, seed, noise=0.04)
        assert set(np.unique(truth.actions)) <= {0, side}
        if truth.confirmed >= 0:
            assert (truth.actions[: truth.confirmed] == 0).all() and truth.actions[truth.confirmed] == side
        growth = np.diff(np.log(bars["close"].to_numpy()))
        earned.append(float((truth.actions[:-1] * growth).sum()))
    assert np.mean(np.array(earned) > 0) >= 0.8 and np.mean(earned) > 0.25 * 0.08, (np.mean(earned), kind)


@pytest.mark.parametrize("kind", ["consolidation", "volatility_cycle"])
def test_patterns_without_a_side_ask_for_nothing(kind: str) -> None:
    _, truth = drawn(kind, 0)
    assert (truth.actions == 0).all() and truth.confirmed == -1


@pytest.mark.parametrize("kind", PATTERN_KINDS)
def test_actions_know_nothing_of_later_bars(kind: str) -> None:
    bars, truth = drawn(kind, 3)
    shape = SHAPES[kind]
    places = truth.turning_points
    for last in (40, 80, truth.confirmed, 120, 140):
        wild = bars.copy()
        wild.loc[wild.index[max(last, 0) + 1 :], "close"] *= 3.0
        clean = follow_rule(shape.rule, bars, truth.lines, places, 0.08)[0]
        assert (follow_rule(shape.rule, wild, truth.lines, places, 0.08)[0][: last + 1] == clean[: last + 1]).all()
    for line in shape.lines:  # what the rule is given is settled before a close can count
        if shape.rule and line.name == shape.rule.line:
            assert max(line.first, line.second) <= shape.rule.armed


def test_head_and_shoulders_stand_as_they_should() -> None:
    for seed in range(20):
        bars, truth = drawn("head_and_shoulders", seed)
        tops = [bars["high"].iloc[slice(*span(truth, p))].max() for p in ("left shoulder", "head", "right shoulder")]
        assert tops[1] > 1.015 * max(tops[0], tops[2])
        neckline = truth.lines.set_index("line").loc["neckline"]
        assert bars["close"].iloc[span(truth, "move")[1]] < neckline["last_price"]
        bars, truth = drawn("inverse_head_and_shoulders", seed)
        lows = [bars["low"].iloc[slice(*span(truth, p))].min() for p in ("left shoulder", "head", "right shoulder")]
        assert lows[1] < 0.985 * min(lows[0], lows[2])


def test_a_triangle_narrows_and_a_false_breakout_comes_back() -> None:
    for kind in ("ascending_triangle", "descending_triangle", "symmetrical_triangle_up", "symmetrical_triangle_down"):
        bars, truth = drawn(kind, 1)
        first, last = span(truth, "triangle")
        third = (last - first) // 3
        ranges = [np.ptp(bars["close"].iloc[a : a + third]) for a in (first, last - third)]
        assert ranges[1] < 0.6 * ranges[0], kind
    bars, truth = drawn("false_breakout_up", 1)
    line = truth.lines.set_index("line").loc["resistance", "first_price"]
    first, last = span(truth, "false breakout")
    assert bars["close"].iloc[first:last].max() > 1.02 * line and bars["close"].iloc[span(truth, "failure")[1]] < line


@pytest.mark.parametrize(
    "kind", ["ascending_triangle", "descending_triangle", "symmetrical_triangle_up", "breakout_up"]
)
def test_volume_recedes_and_rises_with_the_breakout(kind: str) -> None:
    early, late, broken = [], [], []
    for seed in range(30):
        bars, truth = drawn(kind, seed)
        first, last = span(truth, "range" if kind == "breakout_up" else "triangle")
        volume, half = bars["volume"].to_numpy(), (last - first) // 4
        early.append(volume[first : first + half].mean())
        late.append(volume[last - 2 * half : last - half].mean())
        broken.append(volume[slice(*span(truth, "breakout"))].mean())
    assert np.mean(late) < 0.85 * np.mean(early) and np.mean(broken) > 1.6 * np.mean(late)


def test_without_noise_and_variation_it_is_the_textbook() -> None:
    bars, truth = drawn("double_top", 0, noise=0.0, variation=0.0, length=140)
    at = truth.spans.set_index("part").loc[["peak 1", "peak 2"]]
    tops = [bars["close"].iloc[a : b + 1].max() for a, b in at[["first", "last"]].to_numpy()]
    assert tops == pytest.approx([100 * np.exp(0.08)] * 2, rel=1e-12)
    assert truth.lines.set_index("line").loc["neckline", "first_price"] == pytest.approx(100.0)


DIGEST = """
import hashlib, numpy as np
from synthetic.patterns.patterns import PATTERN_KINDS, PatternParams, generate_pattern
digest = hashlib.sha256()
for place, kind in enumerate(PATTERN_KINDS):
    bars, truth = generate_pattern(kind, PatternParams(), 0.1, np.random.default_rng([4, place]))
    digest.update(bars.to_numpy().tobytes() + truth.spans.to_csv().encode() + truth.actions.tobytes())
print(digest.hexdigest())
"""


def test_same_seed_same_bytes_in_other_processes_and_without_jit() -> None:
    digest = hashlib.sha256()
    for place, kind in enumerate(PATTERN_KINDS):
        bars, truth = generate_pattern(kind, PatternParams(), 0.1, np.random.default_rng([4, place]))
        digest.update(bars.to_numpy().tobytes() + truth.spans.to_csv().encode() + truth.actions.tobytes())
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", DIGEST], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == digest.hexdigest()


def test_bad_arguments_are_named() -> None:
    for fields, message in (
        ({"duration": 200}, "duration 200 is longer than the series: length is 160 bars"),
        ({"height": 0.0}, r"height is 0\.0"),
        ({"variation": 1.0}, r"variation is 1\.0"),
        ({"price": -5.0}, r"price is -5\.0"),
        ({"bar_minutes": 0}, "bar_minutes is 0"),
        ({"duration": 0}, "duration is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            PatternParams(**fields)
    with pytest.raises(ValueError, match=r"noise is -0\.1"):
        drawn("trend_up", 0, noise=-0.1)
    with pytest.raises(ValueError, match="kind is 'cup': allowed are trend_up"):
        drawn("cup", 0)
    with pytest.raises(ValueError, match="duration is 12: head_and_shoulders needs at least 36 bars"):
        drawn("head_and_shoulders", 0, duration=12)
