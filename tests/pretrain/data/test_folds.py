"""No training label span, and no training feature, meets what is judged, whatever the spans; borders by hand."""

from __future__ import annotations

from math import comb

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.data.folds import (
    LabelSpans,
    bar_borders,
    calendar_borders,
    combinatorial_paths,
    combinatorial_splits,
    walk_forward,
)


@st.composite
def _spans(draw: st.DrawFn) -> LabelSpans:
    count = draw(st.integers(24, 80))
    moment = np.cumsum(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)))
    ahead = draw(st.lists(st.integers(0, 12), min_size=count, max_size=count))
    return LabelSpans(moment, moment + np.array(ahead), draw(st.integers(0, 6)))


def _naive_clean(spans: LabelSpans, row: int, judged: np.ndarray, embargo: int) -> bool:
    """Whether no judged row's span meets the row's: one by one."""
    first, last = spans.moment[row] - spans.memory, spans.label_end[row]
    for s in judged:
        if first <= spans.label_end[s] and last >= spans.moment[s]:
            return False
        if spans.label_end[s] < spans.moment[row] <= spans.label_end[s] + embargo:
            return False
    return True


@settings(max_examples=60, deadline=None)
@given(_spans(), st.integers(0, 5), st.integers(1, 3))
def test_no_training_span_meets_a_judged_one(spans: LabelSpans, embargo: int, judged: int) -> None:
    groups = min(5, len(np.unique(spans.moment)))
    if judged >= groups:
        return
    for split in combinatorial_splits(spans, groups, judged, embargo=embargo):
        assert not set(split.train) & set(split.test)
        for row in split.train:
            assert _naive_clean(spans, row, split.test, embargo)


@settings(max_examples=60, deadline=None)
@given(_spans(), st.integers(0, 4), st.booleans())
def test_no_fold_learns_from_what_it_chooses_by_or_is_judged_on(
    spans: LabelSpans, embargo: int, anchored: bool
) -> None:
    first, last = int(spans.moment[0]), int(spans.moment[-1]) + 1
    try:
        folds = walk_forward(spans, bar_borders(first, last, 3, anchored=anchored), embargo=embargo)
    except ValueError:
        return  # too few rows for that
    for fold in folds:
        for row in fold.train:
            assert _naive_clean(spans, row, fold.validation, embargo) and _naive_clean(spans, row, fold.test, embargo)
        for row in fold.validation:
            assert _naive_clean(spans, row, fold.test, embargo)
        assert (spans.moment[fold.test] >= fold.border.test_start).all()
    judged = np.concatenate([fold.test for fold in folds])
    assert (np.diff(judged) == 1).all()  # every moment once, without a hole


def test_blocks_purge_their_own_neighbours_alone() -> None:
    """Blocks 2 and 9 of 12 rows whose labels end one row later: exactly four rows go."""
    spans = LabelSpans.fixed(12, 1)
    (split,) = [s for s in combinatorial_splits(spans, 12, 2) if s.judged == (2, 9)]
    assert split.train.tolist() == [0, 4, 5, 6, 7, 11]
    (split,) = [s for s in combinatorial_splits(LabelSpans.fixed(12, 0), 12, 2) if s.judged == (2, 9)]
    assert len(split.train) == 10
    (split,) = [s for s in combinatorial_splits(spans, 12, 2, embargo=1) if s.judged == (2, 9)]
    assert split.train.tolist() == [0, 5, 6, 7]  # labels of 2 and 9 end at 3 and 10: 4 and 11 are embargoed
    memory = LabelSpans.fixed(12, 1, memory=2)
    (split,) = [s for s in combinatorial_splits(memory, 12, 2) if s.judged == (2, 9)]
    assert split.train.tolist() == [0, 6, 7]  # features of 4 and 5 read bar 3, which the label of 2 told


def test_one_long_label_reaches_far_and_only_it() -> None:
    moment = np.arange(20)
    end = moment.copy()
    end[3] = 15
    spans = LabelSpans(moment, end)
    assert 3 not in spans.purged(np.arange(14), np.arange(14, 20)).tolist()
    assert len(spans.purged(np.arange(14), np.arange(14, 20))) == 13
    # A judged row's long label reaches over training rows after it.
    assert spans.purged(np.arange(4, 20), np.array([3])).tolist() == [16, 17, 18, 19]


def test_borders_by_bars() -> None:
    borders = bar_borders(100, 200, 4, train=0.6)
    assert [(b.train_start, b.test_start, b.test_stop) for b in borders] == [
        (100, 160, 170), (100, 170, 180), (100, 180, 190), (100, 190, 200)
    ]  # fmt: skip
    rolling = bar_borders(100, 200, 4, train=0.6, anchored=False)
    assert [b.train_start for b in rolling] == [100, 110, 120, 130]
    with pytest.raises(ValueError, match="too few"):
        bar_borders(0, 5, 6)


def test_borders_on_the_calendar() -> None:
    first, last = pd.Timestamp("2021-01-17", tz="UTC"), pd.Timestamp("2021-12-20", tz="UTC")
    borders = calendar_borders(first, last, train="6M", test="2M")
    told = [pd.to_datetime([b.train_start, b.test_start, b.test_stop], unit="ms") for b in borders]
    assert [[str(d.date()) for d in row] for row in told] == [
        ["2021-02-01", "2021-08-01", "2021-10-01"], ["2021-04-01", "2021-10-01", "2021-12-01"]
    ]  # fmt: skip
    anchored = calendar_borders(first, last, train="6M", test="4W", anchored=True)
    assert {pd.Timestamp(b.train_start, unit="ms", tz="UTC") for b in anchored} == {first}
    assert {pd.Timestamp(b.test_start, unit="ms").weekday() for b in anchored} == {0}
    for bad in ("3", "M", "0M", "3h"):
        with pytest.raises(ValueError, match="is no length"):
            calendar_borders(first, last, test=bad)
    with pytest.raises(ValueError, match="holds no 1Y"):
        calendar_borders(first, last, test="1Y")


@pytest.mark.parametrize(("groups", "judged"), [(6, 2), (5, 1), (8, 3), (4, 3)])
def test_paths_judge_every_group_once(groups: int, judged: int) -> None:
    spans = LabelSpans.fixed(4 * groups, 0)
    splits = list(combinatorial_splits(spans, groups, judged))
    paths = combinatorial_paths(groups, judged)
    assert paths.shape == (comb(groups, judged) * judged // groups, groups)
    for group in range(groups):
        used = paths[:, group].tolist()
        assert sorted(used) == [n for n, split in enumerate(splits) if group in split.judged]


def test_rows_that_share_a_moment_stay_together() -> None:
    moment = np.repeat(np.arange(10), 3)
    for split in combinatorial_splits(LabelSpans(moment, moment), 5, 2):
        assert not set(moment[split.train]) & set(moment[split.test])


@pytest.mark.parametrize(
    ("moment", "end", "memory", "message"),
    [([1, 0], [1, 1], 0, "falls at row 1"), ([0, 5], [1, 4], 0, "row 1 lies before"), ([0], [0], -1, "memory=-1"),
     ([], [], 0, "n >= 1")],
)  # fmt: skip
def test_spans_that_make_no_sense(moment: list[int], end: list[int], memory: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelSpans(np.array(moment), np.array(end), memory)


def test_purgedcv_purges_the_same() -> None:
    """Where a second implementation is at hand: it keeps what is kept here (its spans are open at their end)."""
    purgedcv = pytest.importorskip("purgedcv")
    count = 60  # half a day more: theirs leave the last moment out
    rng = np.random.default_rng(0)
    moment = np.arange(count)
    end = moment + rng.integers(0, 8, count)
    times = pd.date_range("2020-01-01", periods=count, freq="D")
    splitter = purgedcv.CombinatorialPurgedCV(
        n_splits=6, n_test_groups=2, prediction_times=pd.Series(times, index=times),
        evaluation_times=pd.Series(times[0] + pd.to_timedelta(end + 0.5, unit="D"), index=times),
    )  # fmt: skip
    theirs = {tuple(test): set(train) for train, test in splitter.split(np.zeros((count, 1)))}
    for split in combinatorial_splits(LabelSpans(moment, end), 6, 2):
        assert set(split.train) == theirs[tuple(split.test)]
