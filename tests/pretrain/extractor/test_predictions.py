"""Predictions have the same bits over all of history, alone and bar by bar; none knows the future."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import pretrain
from cryptoenv import Market
from cryptoenv.bar_files.reading import read_bars
from cryptoenv.bars.errors import BarsError
from cryptoenv.features import Exogenous, FeatureSpec, LookAheadError, Reference, TimeframeFeatures, Volatility
from pretrain import ArtifactError, Extractor
from pretrain.data.scaler import RobustScaler
from pretrain.extractor.model import ExtractorModel
from pretrain.fitting.blocks import Block
from pretrain.fitting.causality import check_predictions
from pretrain.fitting.provenance import Provenance
from tests.pretrain.conftest import HOURS, TIMEFRAMES, random_bars, small_config

REAL = Path(__file__).parents[3].parent / "shared/data/binance_spot_BTCUSDT_5m_20230101_20240906.csv.gz"
FEW = FeatureSpec(*[TimeframeFeatures(volatility_bars=8, warm_up_bars=8, volatility=Volatility())] * 4)
FIRST = HOURS - 400


def untrained(market: Market, **changes: object) -> Extractor:
    config = small_config(**changes).for_market(market)
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=(50, len(names))).astype(np.float32) for names in market.feature_names]
    scaler = RobustScaler.fit(config.timeframes, config.feature_names, rows)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ExtractorModel(config, scaler)
    return Extractor(model, scaler, Provenance("none", ""), market.feature_spec)


def streamed(model: Extractor, bars: pd.DataFrame, first: int, **options: object) -> pd.DataFrame:
    model.start_stream(bars.iloc[:first], **options)
    return pd.concat([model.predict_stream(bars.iloc[row : row + 1]) for row in range(first, len(bars))])


KINDS = {
    "memory": {"memory": 8, "regimes": 4},
    "transformer": {},
    "lstm": {"encoder": "lstm"},
    "gru": {"encoder": "gru"},
    "convolution": {"encoder": "convolution"},
    "flat": {"encoder": "flat"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_predict_stream_and_batch_give_the_same_bits(kind: str) -> None:
    bars = random_bars(3)
    count, spec = (600, FEW) if kind == "memory" else (40, None)
    model = untrained(Market.from_bars(bars, TIMEFRAMES, features=spec), **KINDS[kind])
    table = model.predict(bars)
    rows = streamed(model, bars, HOURS - count)
    assert len(rows) == count and rows.equals(table.iloc[-count:])
    for end in (HOURS - 1, HOURS - 37, HOURS - 300):  # the last one alone, of fewer bars, and of a later beginning
        alone = model.predict(bars.iloc[: end + 1]).iloc[-1:]
        later = model.predict(bars.iloc[200 : end + 1]).iloc[-1:]
        assert alone.equals(table.loc[alone.index]) and later.equals(alone)


def test_what_a_table_holds() -> None:
    bars = random_bars(3)
    market = Market.from_bars(bars, TIMEFRAMES)
    model = untrained(market, memory=8, regimes=4)
    table = model.predict(market)
    assert list(table.columns) == list(model.columns) == [
        "up_4", "up_8", "return_4_q10", "return_4_q50", "return_4_q90", "return_8_q10", "return_8_q50", "return_8_q90",
        "regime_0", "regime_1", "regime_2", "regime_3", "action_-1", "action_0", "action_+1",
    ]  # fmt: skip
    assert table.index.equals(market.bars.index[market.first_decision(model.config.window) :])
    for name in ("regime", "action"):
        np.testing.assert_allclose(table.filter(regex=f"^{name}_").sum(axis=1), 1.0, rtol=1e-5)
    assert (table["return_4_q10"] < table["return_4_q90"]).all()
    logits = model.action_logits(market)[-len(table) :, 1]
    assert (table.filter(like="action_").to_numpy().argmax(axis=1) == logits.argmax(axis=1)).all()
    with torch.inference_mode():
        said = model.model.predict(torch.from_numpy(model.embed(market)[-1:]))
    unit = market.prices[-1, 5] * 2.0  # sigma of a bar times sqrt(4)
    np.testing.assert_allclose(table["return_4_q90"].iloc[-1], said.return_quantiles[0, 0, 2] * unit, rtol=1e-4)


def test_a_stream_from_nothing_of_finer_bars_with_gaps() -> None:
    fine = random_bars(4, 900)
    fine.index = pd.date_range("2020-01-01 00:15", periods=900, freq="15min", tz="UTC", name="timestamp")
    fine = fine.drop(fine.index[[500, 501, 603, 604, 605, 606, 607, 608, 800]])
    model = untrained(Market.from_bars(fine, ("30m", "4h"), features=FEW), timeframes=("30m", "4h"), window=(16, 8),
                      patches=(4, 4), memory=8)  # fmt: skip
    table = model.predict(fine)
    stream = model.stream(timeframe="15m")
    rows = pd.concat([stream.append({"timestamp": moment, **bar}) for moment, bar in fine.iterrows()])
    assert rows.equals(table) and len(table) > 190
    going_on = model.stream(fine.iloc[:700])
    assert pd.concat([going_on.append(fine.iloc[k : k + 1]) for k in range(700, 730)]).equals(
        table.loc[fine.index[699] - pd.Timedelta("20min") :].iloc[: len(rows.loc[fine.index[700] : fine.index[729]])]
    )


def test_a_bad_bar_changes_nothing() -> None:
    bars = random_bars(3)
    model = untrained(Market.from_bars(bars, TIMEFRAMES), memory=8)
    stream = model.stream(bars.iloc[:FIRST])
    good = bars.iloc[FIRST : FIRST + 1]
    for bad in (bars.iloc[FIRST - 1 : FIRST], good * -1.0, good.shift(freq="40D"), good.shift(freq="7min")):
        with pytest.raises(BarsError):
            stream.append(bad)
    assert stream.append(bars.iloc[FIRST]).equals(model.predict(bars).loc[bars.index[FIRST : FIRST + 1]])


def test_further_columns_and_a_reference_market() -> None:
    bars, other = random_bars(5), random_bars(6)
    mood = np.random.default_rng(1).normal(size=HOURS).cumsum()
    given = bars.assign(mood=np.where(np.arange(HOURS) % 3, np.nan, mood))
    role = TimeframeFeatures(
        volatility_bars=8, warm_up_bars=8, volatility=Volatility(), exogenous=Exogenous(("mood",), bars=30),
        reference=Reference(bars=30),
    )  # fmt: skip
    spec = FeatureSpec(role, role, role, role)
    market = Market.from_bars(given, TIMEFRAMES, features=spec, reference=other)
    model = untrained(market, memory=8)
    assert model.layout.reference and model.market(given, reference=other).hash == market.hash
    table = model.predict(given, reference=other)
    model.start_stream(given.iloc[:FIRST], reference=other.iloc[:FIRST])
    later = given.iloc[FIRST : FIRST + 30].assign(reference=other["close"])
    rows = pd.concat([model.predict_stream(later.iloc[k : k + 1]) for k in range(30)])
    assert rows.equals(table.loc[rows.index]) and len(rows) == 30
    with pytest.raises(BarsError, match="give its bars with reference="):
        model.predict(given)
    with pytest.raises(BarsError, match="column 'mood'"):
        model.predict(bars, reference=other)
    plain = untrained(Market.from_bars(bars, TIMEFRAMES))
    with pytest.raises(ArtifactError, match="leave it out"):
        plain.predict(bars, reference=other)
    with pytest.raises(ArtifactError, match="feature_names of '1h' differ"):
        model.predict(Market.from_bars(given, TIMEFRAMES, features=spec))


class Leaky(Extractor):
    """Says of every decision what the next one's close is."""

    def read(self, block: Block) -> np.ndarray:
        said = super().read(block).copy()
        said[:-1, 0] += np.log(block.close[1:] / block.close[:-1]).astype(np.float32)
        return said


def test_predictions_do_not_know_the_future_and_a_planted_leak_is_found() -> None:
    bars = random_bars(3)
    model = untrained(Market.from_bars(bars, TIMEFRAMES), memory=8)
    assert check_predictions(model, bars, decisions=12, seed=1) == 12
    leaky = Leaky(model.model, model.scaler, model.provenance, model.features)
    with pytest.raises(LookAheadError, match="up_4"):
        check_predictions(leaky, bars, decisions=12, seed=1)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_file(), reason=f"needs {REAL}")
def test_ten_thousand_real_bars_of_the_shipped_extractor() -> None:
    bars = read_bars(REAL).iloc[:60_000]
    model = pretrain.load("default")
    table = model.predict(bars)
    first = len(bars) - 10_000 * 3
    rows = streamed(model, bars, first)  # type: ignore[arg-type]
    assert len(rows) == 10_000 and rows.equals(table.iloc[-10_000:])


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_file(), reason=f"needs {REAL}")
def test_the_shipped_extractor_does_not_know_the_future_at_1000_decisions() -> None:
    assert check_predictions(pretrain.load("default"), read_bars(REAL).iloc[:60_000], decisions=1000) == 1000
