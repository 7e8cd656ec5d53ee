"""Pattern markets: what is planted, what the truth says of it, no seams, bytes and errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from cryptoenv import Market
from synthetic.patterns.market import PatternSample, pattern_market, pattern_seeds
from synthetic.patterns.patterns import PATTERN_KINDS
from synthetic.patterns.planting import BACKGROUNDS, LONGEST, SHORTEST
from synthetic.patterns.shapes import SHAPES
from synthetic.regimes.chain_task import WARMUP_DAYS
from synthetic.regimes.origin import Origin

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def samples() -> list[PatternSample]:
    return [pattern_market(365, seed) for seed in range(200, 208)]


def log_returns(sample: PatternSample) -> NDArray[np.float64]:
    return np.log(sample.bars["close"].to_numpy() / sample.bars["open"].to_numpy())


def test_the_bars_are_a_market_that_can_be_decided_after_the_warm_up() -> None:
    sample = pattern_market(3, 5)
    bars = sample.bars
    assert len(bars) == (WARMUP_DAYS + 3) * 96 and list(bars) == ["open", "high", "low", "close", "volume"]
    assert (bars["open"].to_numpy()[1:] == bars["close"].to_numpy()[:-1]).all()
    assert (bars[["open", "low", "volume"]] > 0).all(axis=None)
    assert (bars["high"] >= bars[["open", "close"]].max(axis=1)).all()
    assert (bars["low"] <= bars[["open", "close"]].min(axis=1)).all()
    market = Market.from_bars(bars, ("15m", "4h", "1d"), name=sample.name)
    assert market.first_decision((32, 16, 8)) < WARMUP_DAYS * 96
    assert market.origin == Origin.of(bars) == Origin("patterns", 5) and sample.name == "patterns-5"
    assert not {"pattern", "action", "background"} & {name for names in market.feature_names for name in names}


def test_all_kinds_stand_in_all_backgrounds(samples: list[PatternSample]) -> None:
    spans = pd.concat([sample.spans for sample in samples])
    assert set(zip(spans["kind"], spans["background"], strict=True)) == {
        (kind, background) for kind in PATTERN_KINDS for background in BACKGROUNDS
    }
    for sample in samples:
        counts = sample.spans["kind"].value_counts().reindex(PATTERN_KINDS, fill_value=0)
        assert counts.max() - counts.min() <= 1
    assert set(pattern_market(60, 1).spans["kind"]) == set(PATTERN_KINDS)


def test_spans_and_truth_say_the_same() -> None:
    sample = pattern_market(120, 9)
    spans, truth = sample.spans, sample.truth
    durations = spans["end"] - spans["start"] + 1
    assert durations.between(SHORTEST, LONGEST).all() and (spans["start"].to_numpy()[1:] > spans["end"][:-1] + 7).all()
    pattern, told, action = (truth[name].to_numpy() for name in ("pattern", "recognised", "action"))
    outside = np.ones(len(truth), bool)
    for span in spans.to_dict("records"):
        kind, within = PATTERN_KINDS.index(span["kind"]), slice(span["start"], span["end"] + 1)
        outside[within] = False
        rule = SHAPES[span["kind"]].rule
        assert (pattern[within] == kind).all()
        assert (truth["background"].iloc[within] == BACKGROUNDS.index(span["background"])).all()
        after = span["confirmation"] - span["start"] if span["confirmation"] >= 0 else len(told[within])
        assert (told[within][:after] == -1).all() and (told[within][after:] == kind).all()
        if rule is None or span["confirmation"] < 0:
            assert (action[within] == 0).all() and np.isnan(span["target"])
        else:
            assert (action[within][:after] == 0).all() and action[span["confirmation"]] == rule.side
            confirming = sample.bars["close"].iloc[span["confirmation"]]
            assert rule.side * (span["target"] - confirming) > 0
            held = action[within][after:]
            assert (np.diff(np.abs(held)) <= 0).all()  # one entry
    assert (pattern[outside] == -1).all() and (told[outside] == -1).all()
    trend = np.array([1, -1, 0, 0, 0], np.int8)
    assert (action[outside] == trend[truth["background"].to_numpy()[outside]]).all()


def test_confirmed_patterns_pay_after_the_confirmation_and_not_before(samples: list[PatternSample]) -> None:
    earned: dict[str, list[float]] = {kind: [] for kind, shape in SHAPES.items() if shape.rule}
    for sample in samples:
        gains = sample.actions[:-1] * log_returns(sample)[1:]
        for span in sample.spans.to_dict("records"):
            if span["kind"] in earned:
                earned[span["kind"]].append(float(gains[span["start"] : span["end"]].sum()) / span["height"])
    for kind, values in earned.items():
        assert np.mean(values) > 0.3 and np.mean(np.array(values) > 0) > 0.75, (kind, np.mean(values))


def test_the_truth_gives_mean_and_second_moment(samples: list[PatternSample]) -> None:
    for inside in (False, True):
        rest, squares = [], []
        for sample in samples:
            rows = (sample.truth["pattern"].to_numpy() >= 0) == inside
            returns, truth = log_returns(sample)[rows], sample.truth[rows]
            rest.append((returns - truth["drift"].to_numpy()) / truth["volatility"].to_numpy())
            squares.append(returns**2 / truth["second_moment"].to_numpy())
        noise, ratio = np.concatenate(rest), np.concatenate(squares)
        assert abs(noise.mean()) < 4 / np.sqrt(len(noise)) and abs(ratio.mean() - 1.0) < 0.02


def test_density_and_volatility_are_what_was_asked_for() -> None:
    for density in (0.2, 0.5, 0.8):
        share = np.mean([(pattern_market(250, seed, density).truth["pattern"] >= 0).mean() for seed in range(2)])
        assert abs(share - density) < 0.06
    assert len(pattern_market(10, 0, 0.0).spans) == 0
    calm, wild = (log_returns(pattern_market(200, 3, volatility=v)).std() for v in (0.002, 0.02))
    assert wild / calm == pytest.approx(10.0, rel=1e-6) and 0.002 < calm < 0.003


def borders(sample: PatternSample) -> NDArray[np.int64]:
    """First and last bars of patterns, and their neighbours outside."""
    first, last = (sample.spans[name].to_numpy() for name in ("start", "end"))
    return np.concatenate([first - 1, first, last, last + 1])


def seen(sample: PatternSample) -> NDArray[np.float64]:
    """(T, 5) what one bar shows: log-return, wicks, log traded value, and its change."""
    opening, high, low, close, volume = (sample.bars[name].to_numpy() for name in sample.bars)
    value = np.log(volume * opening)
    wicks = np.log(high / np.maximum(opening, close)), np.log(np.minimum(opening, close) / low)
    return np.stack([np.log(close / opening), *wicks, value, np.diff(value, prepend=value[0])], axis=1)


def distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Kolmogorov-Smirnov distance times the square root of the effective number: beyond 1.95 once in a thousand."""
    values = np.sort(np.concatenate([one, other]))
    shares = [np.searchsorted(np.sort(part), values, side="right") / len(part) for part in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max() * np.sqrt(len(one) * len(other) / (len(one) + len(other))))


def test_returns_at_planted_borders_are_distributed_as_elsewhere(samples: list[PatternSample]) -> None:
    at = [borders(sample)[::4] for sample in samples]
    for column in range(5):
        near = np.concatenate([seen(sample)[rows, column] for sample, rows in zip(samples, at, strict=True)])
        far = np.concatenate([np.delete(seen(sample)[:, column], borders(sample)) for sample in samples])
        assert len(near) > 700 and distance(near, far) < 1.95, column
        assert distance(near + 0.2 * far.std(), far) > 1.95  # a jump of a fifth of a deviation would be found


def test_who_sees_border_bars_alone_does_not_find_them(samples: list[PatternSample]) -> None:
    rng = np.random.default_rng(0)
    share, error = told_apart(samples, lambda sample, rows: seen(sample)[rows], rng)
    assert abs(share - 0.5) < 3 * error

    def jumping(sample: PatternSample, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        shown = seen(sample)
        shown[borders(sample), 0] *= 1.5  # a seam: borders are wilder
        return shown[rows]

    share, error = told_apart(samples, jumping, rng)
    assert share - 0.5 > 3 * error


def told_apart(samples: list[PatternSample], show: Any, rng: np.random.Generator) -> tuple[float, float]:
    """Area under the curve of a quadratic classifier on held-out markets, and its standard error."""
    parts = []
    for some in (samples[::2], samples[1::2]):
        rows, wanted = [], []
        for sample in some:
            near = borders(sample)
            elsewhere = np.setdiff1d(np.arange(2, len(sample.bars) - 2), near)
            rows += [show(sample, near), show(sample, rng.choice(elsewhere, len(near), replace=False))]
            wanted += [np.ones(len(near)), np.zeros(len(near))]
        parts.append((np.concatenate(rows), np.concatenate(wanted)))
    mean, spread = parts[0][0].mean(axis=0), parts[0][0].std(axis=0)

    def terms(shown: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled = (shown - mean) / spread
        upper = np.triu_indices(scaled.shape[1])
        pairs = (scaled[:, :, None] * scaled[:, None, :])[:, upper[0], upper[1]]
        return np.concatenate([np.ones((len(scaled), 1)), scaled, np.abs(scaled), np.clip(pairs, -9, 9)], axis=1)

    weights = np.linalg.lstsq(terms(parts[0][0]), parts[0][1], rcond=None)[0]
    said, wanted_later = terms(parts[1][0]) @ weights, parts[1][1]
    ranks = said.argsort().argsort() + 1.0
    near = int(wanted_later.sum())
    far = len(wanted_later) - near
    area = (ranks[wanted_later == 1].sum() - near * (near + 1) / 2) / (near * far)
    return float(area), float(np.sqrt((near + far + 1) / (12 * near * far)))


def test_seeds_of_families_are_disjoint() -> None:
    found = [pattern_seeds(family, 100) for family in ("extractor", "validation", "test")]
    assert len(set().union(*found)) == 300
    assert Origin.of(pattern_market(1, pattern_seeds("test", 1)[0]).bars).family == "test"  # type: ignore[union-attr]


DIGEST = """
import hashlib
from synthetic import pattern_market
sample = pattern_market(20, 4, 0.6, 0.004)
tables = sample.bars.to_numpy().tobytes() + sample.truth.to_numpy().tobytes() + sample.spans.to_csv().encode()
print(hashlib.sha256(tables).hexdigest())
"""


def test_same_seed_same_bytes_in_other_processes_and_without_jit() -> None:
    found = set()
    for jit in ("0", "1"):
        environment = {**os.environ, "NUMBA_DISABLE_JIT": jit}
        done = subprocess.run(
            [sys.executable, "-c", DIGEST], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        found.add(done.stdout.strip())
    assert len(found) == 1
    assert not pattern_market(2, 0).bars.equals(pattern_market(2, 1).bars)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"days": 0}, "days is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"density": 0.9}, r"density is 0\.9: it must lie in \[0, 0\.8\]"),
        ({"density": float("nan")}, "density is nan"),
        ({"volatility": 0.0}, r"volatility is 0\.0"),
        ({"volatility": 0.2}, r"volatility is 0\.2"),
        ({"bar_minutes": 7}, "bar_minutes is 7: it must divide a day"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pattern_market(**arguments)


def test_the_environment_takes_it() -> None:
    import gymnasium as gym

    sample = pattern_market(2, 8)
    env = gym.make("cryptoenv:CryptoTrade-v0", market=sample.bars, episode_bars=96)
    _, info = env.reset(seed=0)
    assert info["bar"] >= WARMUP_DAYS * 96 - 96 * 10
    _, reward, *_ = env.step(2)
    assert np.isfinite(reward)
