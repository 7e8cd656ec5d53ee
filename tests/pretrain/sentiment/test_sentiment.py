"""Texts to scores that are known when they say so, and what they are worth where they lead returns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptoenv import Market, join_exogenous
from cryptoenv.features import FeatureSpec
from pretrain.data.forecast_windows import ForecastDataset, Part
from pretrain.forecaster.peers import Linear, last_bars
from pretrain.sentiment.dated_texts import TextsError, read_texts
from pretrain.sentiment.hourly import hourly_scores
from pretrain.sentiment.scorers import label_places, new_scorer

GOOD, BAD = "great news, a wonderful success", "terrible crash, an awful disaster"


def texts_at(times: list[str], texts: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"text": texts}, pd.DatetimeIndex(times, tz="UTC", name="timestamp"))


def test_csv_and_json_lines_say_the_same(tmp_path: Path) -> None:
    rows = [("2024-01-01T10:05:00Z", GOOD), ("2024-01-01T09:00:00+00:00", "later in the file, earlier in time")]
    (tmp_path / "a.csv").write_text("published,Title\n" + "\n".join(f'{time},"{text}"' for time, text in rows))
    lines = [json.dumps({"timestamp": pd.Timestamp(time).timestamp(), "text": text}) for time, text in rows]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    tables = [read_texts(tmp_path / name) for name in ("a.csv", "a.jsonl")]
    assert [list(table["text"]) for table in tables] == [[rows[1][1], GOOD]] * 2
    assert (tables[0].index == tables[1].index).all()


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    cases = {
        "a.txt": ("x", "texts are read from"),
        "b.csv": ("time,words\n2024-01-01,x\n", "none of the columns text"),
        "c.csv": ("time,text\nyesterday,x\n", "column 'time'"),
        "e.jsonl": ('{"time": 1, "text": "x"}\n[1]\n', "line 2 holds list, no object"),
        "f.jsonl": ("{broken", "line 1"),
        "d.csv": ("time,text\n2024-01-01,\n", "text of row 0 is empty"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(TextsError, match=message):
            read_texts(tmp_path / name)
    with pytest.raises(TextsError, match="no such folder; allowed: 'lexicon'"):
        new_scorer(str(tmp_path / "nothing"))
    with pytest.raises(TextsError, match=r"its labels are \['happy', 'sad'\]"):
        label_places({0: "happy", 1: "sad"}, tmp_path)
    assert label_places({0: "Negative", 1: "neutral", 2: "Positive"}, tmp_path) == (2, 0)


def test_the_lexicon_knows_good_from_bad() -> None:
    good, bad, plain = new_scorer("lexicon")([GOOD, BAD, "the meeting begins at noon"])
    assert good > 0.5 > 0.0 > -0.5 > bad
    assert plain == 0.0


def test_an_hour_is_known_when_its_last_text_is() -> None:
    times = ["2024-01-01 09:54", "2024-01-01 09:55", "2024-01-01 09:56", "2024-01-01 12:30"]
    table = hourly_scores(texts_at(times, ["x"] * 4), np.array([1.0, 0.0, -1.0, 0.5]), "5min")
    assert [str(moment)[11:16] for moment in table.index] == ["10:00", "11:00", "12:00", "13:00"]
    # 09:55 is known at 10:00 sharp, 09:56 only after it
    np.testing.assert_array_equal(table["sentiment_mean"], [0.5, -1.0, 0.0, 0.5])
    np.testing.assert_array_equal(table["sentiment_count"], [2.0, 1.0, 0.0, 1.0])
    hours = pd.date_range("2024-01-01 08:00", periods=6, freq="h", tz="UTC")
    joined = join_exogenous(pd.DataFrame({"close": 1.0}, hours), table, known_after="0s")
    assert np.isnan(joined["sentiment_mean"].iloc[0])  # the bar of 08:00 closes at 09:00, before anything is known
    assert joined["sentiment_mean"].iloc[1] == 0.5  # that of 09:00 closes at 10:00


@pytest.mark.parametrize("shuffled", [False, True])
def test_texts_that_lead_returns_are_found_and_shuffled_ones_are_not(shuffled: bool) -> None:
    """A text in an hour moves the price in the hour after it; the same texts at other times say nothing."""
    rng = np.random.default_rng(3)
    hours = pd.date_range("2024-01-01", periods=24 * 100, freq="h", tz="UTC", name="timestamp")
    mood = rng.choice([-1.0, 0.0, 1.0], len(hours), p=[0.3, 0.4, 0.3])
    moved = np.zeros(len(hours))
    moved[1:] = 0.003 * mood[:-1]
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.004, len(hours)) + moved))
    opened = np.concatenate(([100.0], close[:-1]))
    bars = pd.DataFrame(
        {"open": opened, "high": np.maximum(opened, close) * 1.001, "low": np.minimum(opened, close) / 1.001,
         "close": close, "volume": rng.lognormal(3.0, 0.5, len(hours))}, hours,
    )  # fmt: skip
    said = rng.permutation(mood) if shuffled else mood
    spoken = said != 0.0
    words = [GOOD if value > 0.0 else BAD for value in said[spoken]]
    texts = pd.DataFrame({"text": words}, hours[spoken] + pd.Timedelta("20min"))
    table = hourly_scores(texts, new_scorer("lexicon")(words))
    joined = join_exogenous(bars, table.reindex(hours, fill_value=0.0), known_after="0s", stale_after=None).iloc[24:]
    spec = FeatureSpec.from_dict({
        "single": {"returns": {}, "exogenous": {"columns": ["sentiment_mean"], "bars": 96}},
    })  # fmt: skip
    market = Market.from_bars(joined, ("1h",), features=spec)
    train, test = (ForecastDataset([part], (8,), (1,)) for part in (Part(market, 0, 1600), Part(market, 1600)))
    peer = Linear(last_bars, 1e-3).fit(train)
    returns = test.returns(np.arange(len(test)))[0][:, -1].astype(np.float64)
    known = np.isfinite(returns[:, 0])
    missed = (returns - peer.mean(test, np.arange(len(test))))[known, 0]
    skill = 1.0 - (missed**2).mean() / (returns[known, 0] ** 2).mean()
    assert skill < 0.03 if shuffled else skill > 0.1
