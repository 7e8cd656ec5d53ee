"""No label of one part reaches into another, whatever is split and however."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from cryptoenv.market.market import Market
from pretrain import ExtractorConfig, LabelledMarket, PretrainingConfig, fit_extractor
from pretrain.data.splits import (
    HOWS,
    JUDGED_BY,
    PARTS,
    Span,
    SplitRule,
    Timeline,
    plot_splits,
    refuse_families,
    split_markets,
    split_rows,
)
from pretrain.data.teachers import labelled_samples
from synthetic import SEED_FAMILIES, Origin, regime_market, task_seeds
from tests.pretrain.conftest import TIMEFRAMES, WINDOW, random_bars

HOUR = 3_600_000


@pytest.fixture(scope="module")
def shifted() -> list[Market]:
    """Five markets that begin and end at different times."""
    whole = random_bars(0)
    cuts = ((0, 1900), (96, 1920), (0, 1700), (240, 1920), (24, 1800))
    return [Market.from_bars(whole.iloc[a:b], TIMEFRAMES, name=f"T{a}") for a, b in cuts]


def moments(market: Market, span: Span, look_ahead: int) -> tuple[int, int]:
    """First decision and last bar that a label of the span looks at, in ms."""
    return market.start_ms + span.start * HOUR, market.start_ms + (span.stop - 1 + look_ahead) * HOUR


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    how=st.sampled_from(HOWS),
    look_ahead=st.integers(0, 60),
    embargo=st.integers(0, 40),
    seed=st.integers(0, 99),
    share=st.floats(0.3, 0.6),
)
def test_no_label_crosses_a_border(
    shifted: list[Market], how: str, look_ahead: int, embargo: int, seed: int, share: float
) -> None:
    rest = (1.0 - share) / 2.0
    shares: Any = (share, rest, 1.0 - share - rest)
    kind: Any = how
    try:
        splits = split_markets(
            shifted, WINDOW, kind, fractions=shares, look_ahead=look_ahead, embargo=embargo, seed=seed
        )
    except ValueError as error:  # a market that ends early, dealt to the last part
        assert how == "strict" and "part has no rows" in str(error)
        reject()
    for earlier, later in (("train", "validation"), ("validation", "test"), ("train", "test")):
        for a in splits.part(earlier):
            for b in splits.part(later):
                judged = later == "test"
                if how in ("token", "strict") or (how == "mixed" and not judged):
                    assert a.market != b.market
                if how in ("time", "strict") or (how == "mixed" and judged):
                    seen = moments(shifted[a.market], a, look_ahead)[1]
                    assert seen + embargo * HOUR < moments(shifted[b.market], b, 0)[0]
    for name in PARTS:
        for span in splits.part(name):
            assert shifted[span.market].first_decision(WINDOW) <= span.start < span.stop <= len(shifted[span.market])


def test_mixed_is_judged_on_the_last_time_of_all_markets(shifted: list[Market]) -> None:
    splits = split_markets(shifted, WINDOW, "mixed", fractions=(0.4, 0.2, 0.4), look_ahead=24)
    assert {span.market for span in splits.test} == set(range(5))
    assert len({span.market for span in splits.train}) == 3 and len({span.market for span in splits.validation}) == 2


def test_a_share_of_markets_to_learn_from_can_be_asked_for() -> None:
    lines = [Timeline(0, HOUR, 100) for _ in range(10)]
    counts = {
        how: [len(split_rows(lines, SplitRule(how, (0.4, 0.2, 0.4), 0, train_share=0.7)).part(name)) for name in PARTS]
        for how in ("token", "mixed")
    }
    assert counts == {"token": [7, 1, 2], "mixed": [7, 3, 10]}
    with pytest.raises(ValueError, match="goes with how='token' or 'mixed'"):
        SplitRule("time", train_share=0.5)
    with pytest.raises(ValueError, match=r"train_share=1\.0 is not allowed"):
        SplitRule("token", train_share=1.0)
    with pytest.raises(ValueError, match="differ in the time from row to row"):
        split_rows([Timeline(0, HOUR, 9), Timeline(0, 1, 9)], SplitRule())


def test_without_purging_labels_would_cross(shifted: list[Market]) -> None:
    splits = split_markets(shifted, WINDOW, "time", look_ahead=0)
    later = min(moments(shifted[s.market], s, 0)[0] for s in splits.validation)
    assert max(moments(shifted[s.market], s, 48)[1] for s in splits.train) > later


def test_what_cannot_be_split_is_refused(shifted: list[Market]) -> None:
    with pytest.raises(ValueError, match="how='date' is unknown"):
        split_markets(shifted, WINDOW, "date")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="add up to 1"):
        split_markets(shifted, WINDOW, fractions=(0.5, 0.5, 0.5))
    with pytest.raises(ValueError, match="needs at least three markets, got 2"):
        split_markets(shifted[:2], WINDOW, "token")
    with pytest.raises(ValueError, match="part has no rows"):
        split_markets(shifted, WINDOW, look_ahead=5000)


def test_nothing_is_learned_from_markets_that_are_kept_to_judge_by() -> None:
    def one(family: str) -> LabelledMarket:
        (item,) = labelled_samples("easy", family, 1, 5, ("15m", "4h", "1d"), (16, 4, 2), progress=False)
        return item

    extractor, validation, test = (one(family) for family in ("extractor", "validation", "test"))
    refuse_families([extractor.market, validation.market], ("train", "test"), "train")
    config = ExtractorConfig(window=(16, 4, 2), patches=(4, 2, 2), width=8, feedforward=8)
    agents_own = one("train")
    for parts, found in (
        (((extractor, test), (validation,)), r"train\[1\] is 'easy-\d+', of the seed family 'test'"),
        (((extractor,), (test,)), r"validation\[0\] is 'easy-\d+', of the seed family 'test'"),
        (((agents_own,), (validation,)), r"train\[0\] is 'easy-\d+', of the seed family 'train'"),
    ):
        with pytest.raises(ValueError, match=found):
            fit_extractor(*parts, config, PretrainingConfig(steps=1))


def test_a_test_market_is_known_under_any_name_and_own_bars_are_refused_for_none(tmp_path: Path) -> None:
    sample = regime_market("easy", 5, *task_seeds("easy", "test", 1))
    own = Market.from_bars(random_bars(1), TIMEFRAMES, name=sample.name)
    renamed = Market.from_bars(sample.bars, name="mine")
    folder = tmp_path / "mine"
    others = [
        replace(Market.from_bars(sample.bars, name=sample.name), name=""),
        Market.from_bars(sample.bars.iloc[200:].copy()),
        Market.from_bars(renamed.bars, name="again", timeframes=("1h", "4h")),
        pickle.loads(pickle.dumps(renamed)),
        copy.deepcopy(renamed),
        renamed.save(folder),
        pickle.loads(pickle.dumps(Market.load(folder))),
    ]
    for market in (renamed, *others):
        with pytest.raises(ValueError, match=r"train\[1\] is 'easy-5\d+'.*of the seed family 'test'"):
            refuse_families([own, market], JUDGED_BY, "train")
    refuse_families([own, replace(own, name="demo-6000000000001")], SEED_FAMILIES, "train")
    drawn = replace(own, origin=Origin("easy", sample.seed))
    assert len({own.hash, drawn.hash, replace(own, origin=Origin("hard", sample.seed)).hash}) == 3
    assert replace(own, origin=Origin("easy", 1)).hash != drawn.hash
    assert replace(drawn, name="other").hash == drawn.hash


def test_an_origin_that_lies_about_its_family_is_refused() -> None:
    with pytest.raises(ValueError, match="the seed's family"):
        Origin.from_dict({"task": "easy", "family": "train", "seed": task_seeds("easy", "test", 1)[0]})


def test_the_picture_shows_every_part(shifted: list[Market], tmp_path: Path) -> None:
    plot_splits(shifted, split_markets(shifted, WINDOW, "mixed", look_ahead=24), tmp_path / "splits.png")
    assert (tmp_path / "splits.png").stat().st_size > 5000
