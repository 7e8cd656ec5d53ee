import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryptoenv import BarsError, Market, read_bars
from cryptoenv.bars.bars import aggregate, bar_opens_ms, fill_gaps
from cryptoenv.bars.price_columns import CLOSE, FUNDING, FUNDING_MARKS, SIGMA, VOLUME
from cryptoenv.features import FEATURE_BOUND
from cryptoenv.market.files import MarketFileError
from tests.naive import aggregation
from tests.naive.random_bars import random_bars

BARS = random_bars(60, seed=1)


@pytest.fixture(scope="module")
def made() -> Market:
    return Market.from_bars(BARS, name="walk")


def assert_same(one: Market, other: Market) -> None:
    assert one.hash == other.hash
    assert (one.timeframes, one.feature_names, one.valid_from) == (
        other.timeframes,
        other.feature_names,
        other.valid_from,
    )
    for a, b in zip((one.prices, one.align, *one.features), (other.prices, other.align, *other.features), strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()
    pd.testing.assert_frame_equal(one.bars, other.bars)


def test_shapes_and_types(made: Market) -> None:
    assert len(made) == len(BARS) == 5760
    assert made.prices.shape == (5760, 8)
    assert made.prices.flags.c_contiguous
    assert [array.shape[0] for array in made.features] == [5760, 360, 60]
    assert {array.dtype for array in made.features} == {np.dtype(np.float32)}
    assert all(array.shape[1] == len(names) for array, names in zip(made.features, made.feature_names, strict=True))
    assert made.align.dtype == np.int64
    assert (made.align[:, 0] == np.arange(5760)).all()
    assert max(np.abs(array).max() for array in made.features) <= FEATURE_BOUND
    pd.testing.assert_frame_equal(made.bars, BARS, check_freq=False)
    for array in (made.prices, made.align, *made.features):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_the_index_of_ended_bars_equals_the_naive_one() -> None:
    bars = random_bars(30, seed=2, start="2021-01-02 07:15")
    market = Market.from_bars(bars, ("15m", "1h", "4h", "1d", "1w"))
    opens = bar_opens_ms(market.bars).tolist()
    for k, (timeframe, hours) in enumerate((("1h", 1), ("4h", 4), ("1d", 24), ("1w", 168)), start=1):
        higher = bar_opens_ms(aggregate(bars, timeframe)).tolist()
        wanted = [aggregation.last_ended(higher, hours * 3_600_000, time + 900_000) for time in opens]
        assert market.align[:, k].tolist() == wanted


@pytest.mark.parametrize("timeframes", [("5m", "15m", "1h"), ("15m", "4h"), ("1h",), ("30m", "1d")])
def test_finer_bars_are_aggregated_to_the_base(timeframes: tuple[str, ...]) -> None:
    fine = random_bars(20, seed=3, timeframe="5min", start="2021-01-01 00:05").iloc[:-1]
    market = Market.from_bars(fine, timeframes)
    base = fine if timeframes[0] == "5m" else aggregate(fine, timeframes[0])
    pd.testing.assert_frame_equal(market.bars, base, check_freq=False, check_index_type=False)
    assert_same(market, Market.from_bars(base, timeframes))


def test_gaps_are_bars_without_volume() -> None:
    holes = BARS.drop(BARS.index[100:130])
    market = Market.from_bars(holes)
    assert len(market) == len(BARS)
    gap = market.bars.iloc[100:130]
    assert (gap["volume"] == 0.0).all()
    assert (gap[["open", "high", "low", "close"]] == BARS["close"].iloc[99]).all(axis=None)


def test_sigma_is_the_deviation_of_the_last_96_returns(made: Market) -> None:
    returns = np.log(BARS["close"]).diff()
    wanted = returns.rolling(96, min_periods=2).std(ddof=0).fillna(0.0)
    np.testing.assert_allclose(made.prices[:, SIGMA], wanted, atol=1e-12)
    assert (made.prices[:2, SIGMA] == 0.0).all()
    later = Market.from_bars(BARS.iloc[1000:])
    assert later.prices[96:, SIGMA].tobytes() == made.prices[1096:, SIGMA].tobytes()


@pytest.mark.parametrize("base", ["15m", "1h", "1d"])
def test_funding_falls_due_in_the_bar_interval_before_its_open(base: str) -> None:
    times = pd.date_range("2020-12-31", periods=200, freq="8h", tz="UTC")
    funding = pd.Series(np.random.default_rng(0).normal(0, 1e-4, 200), times)
    market = Market.from_bars(BARS, (base,), funding=funding)
    opens = market.bars.index
    step = opens[1] - opens[0]
    marks = pd.date_range("2020-12-01", "2021-04-01", freq="8h", tz="UTC")
    for row in (0, 1, 2, 8, 32, 33, len(market) - 1):
        row = min(row, len(market) - 1)
        due = funding[(times > opens[row] - step) & (times <= opens[row])]
        assert market.prices[row, FUNDING] == pytest.approx(due.sum(), abs=1e-15)
        assert market.prices[row, FUNDING_MARKS] == ((marks > opens[row] - step) & (marks <= opens[row])).sum()
    assert market.funding_series
    assert (Market.from_bars(BARS, (base,)).prices[:, FUNDING] == 0.0).all()
    assert market.hash != Market.from_bars(BARS, (base,)).hash


@pytest.mark.parametrize(
    ("funding", "message"),
    [
        ([0.1], "funding is list; allowed: a pandas Series"),
        (pd.Series([0.1], pd.to_datetime(["2021-01-01"])), "index of funding has no time zone"),
        (
            pd.Series([0.1, np.nan], pd.to_datetime(["2021-01-01", "2021-01-02"], utc=True)),
            "funding row 1 .*nan.*finite rates",
        ),
        (
            pd.Series([0.1, 0.2], pd.to_datetime(["2021-01-02", "2021-01-01"], utc=True)),
            "funding row 1 .*strictly increasing",
        ),
        (pd.Series(["a"], pd.to_datetime(["2021-01-01"], utc=True)), "not numbers"),
    ],
)
def test_bad_funding_is_named(funding: Any, message: str) -> None:
    with pytest.raises(BarsError, match=message):
        Market.from_bars(BARS, funding=funding)


def test_bad_bars_and_timeframes() -> None:
    for bars, timeframes, message in (
        (BARS, ("5m", "1h"), "5m bars cannot be made of 15m bars"),
        (BARS.iloc[:2], ("1h",), "2 bars of 15m hold no whole bar of 1h"),
        (BARS.iloc[:1], ("15m",), r"1 bar\(s\): at least 2"),
        (BARS.iloc[:0], ("15m",), r"0 bar\(s\): at least 2"),
        (BARS.iloc[::-1], ("15m",), "row 1 .*earlier than the row before"),
        (BARS.to_numpy(), ("15m",), "bars are ndarray"),
        (BARS.drop(columns="volume"), ("15m",), "column 'volume' is missing"),
    ):
        with pytest.raises(BarsError, match=message):
            Market.from_bars(bars, timeframes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="allowed: a sequence of names"):
        Market.from_bars(BARS, "15m")


def test_the_first_decision_sees_whole_windows(made: Market) -> None:
    first = made.first_decision((32, 16, 8))
    assert first == 48 * 96 - 1  # 40 days of warm-up and 8 daily bars
    assert all(made.align[first] - np.array([31, 15, 7]) >= made.valid_from)
    assert any(made.align[first - 1] - np.array([31, 15, 7]) < made.valid_from)
    assert made.first_decision((300, 1, 1)) == 41 * 96 - 1
    assert made.first_decision((3000, 1, 1)) == 22 * 96 + 2999
    moved = Market.from_bars(random_bars(60, start="2021-01-01 03:30"))
    first = moved.first_decision((32, 16, 8))
    assert all(moved.align[first] - np.array([31, 15, 7]) >= moved.valid_from)
    assert any(moved.align[first - 1] - np.array([31, 15, 7]) < moved.valid_from)


def test_too_few_bars_names_how_many_are_needed() -> None:
    message = r"4608 bars of 15m \(48\.0 days\) are needed, 4607 \(48\.0 days\) were given"
    with pytest.raises(BarsError, match=message):
        Market.from_bars(BARS.iloc[:4607]).first_decision((32, 16, 8))
    assert Market.from_bars(BARS.iloc[:4608]).first_decision((32, 16, 8)) == 4607
    with pytest.raises(BarsError, match=r"are needed, 10 \(0\.1 days\) were given"):
        Market.from_bars(BARS.iloc[:10]).first_decision((32, 16, 8))


@pytest.mark.parametrize("window", [(32, 16), (32, 16, 0), (32, 16, 8.5), (32, True, 8), 32])
def test_windows_that_make_no_sense(made: Market, window: Any) -> None:
    with pytest.raises(ValueError, match="allowed: a whole number of bars >= 1 for each of"):
        made.first_decision(window)


def test_copies(made: Market) -> None:
    assert copy.deepcopy(made) is made
    again = pickle.loads(pickle.dumps(made))
    assert_same(again, made)
    assert again.name == "walk"
    assert not again.prices.flags.writeable


def test_save_and_load(made: Market, tmp_path: Path) -> None:
    saved = made.save(tmp_path / "market")
    assert_same(saved, made)
    assert_same(Market.load(str(tmp_path / "market")), made)
    assert saved.name == "walk"
    assert isinstance(saved.prices.base, np.memmap)
    assert not saved.prices.flags.writeable
    small = pickle.dumps(saved)
    assert len(small) < 1000
    assert_same(pickle.loads(small), made)
    assert_same(saved.save(tmp_path / "market"), made)
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize("file", ["prices.npy", "align.npy", "features_15m.npy", "features_1d.npy"])
@pytest.mark.parametrize("damage", ["bit", "short", "gone", "other"])
def test_a_damaged_array_is_refused_by_name(made: Market, tmp_path: Path, file: str, damage: str) -> None:
    made.save(tmp_path)
    path = tmp_path / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        path.unlink()
    elif damage == "other":
        np.save(path, np.array([1, 2, 3]))
    else:
        path.write_bytes(content if damage == "bit" else content[: len(content) // 2])
    with pytest.raises(MarketFileError, match=file):
        Market.load(tmp_path)


def test_a_damaged_description_is_refused(made: Market, tmp_path: Path) -> None:
    made.save(tmp_path)
    path = tmp_path / "market.json"
    text = path.read_text()
    changed = json.loads(text)
    changed["header"]["timeframes"][1] = "2h"
    older = json.loads(text)
    older["header"]["format"] = 0
    for content in (text[:100], "[]", json.dumps(changed), json.dumps({"name": "x"}), json.dumps(older)):
        path.write_text(content)
        with pytest.raises(MarketFileError, match=r"market\.json (is damaged|was changed)"):
            Market.load(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"market\.json is missing"):
        Market.load(tmp_path)


def test_the_hash_changes_with_any_price_and_with_nothing_else(made: Market) -> None:
    assert Market.from_bars(BARS.assign(trades=3), name="other").hash == made.hash
    assert Market.from_bars(BARS, ("15m", "4h")).hash != made.hash
    for column in BARS.columns:
        changed = BARS.copy()
        value = changed.iloc[4000, BARS.columns.get_loc(column)]
        toward = 0.0 if column == "low" else np.inf if column in ("high", "volume") else BARS["low"].iloc[4000]
        changed.iloc[4000, BARS.columns.get_loc(column)] = np.nextafter(value, toward)
        assert Market.from_bars(changed).hash != made.hash
    later = BARS.set_axis(BARS.index + pd.Timedelta("7D"))
    assert Market.from_bars(later).hash != made.hash


def test_bitcoin_with_its_gaps(real_data: Path) -> None:
    bars = read_bars(real_data / "binance_spot_BTCUSDT_5m_20230101_20240906.csv.gz")
    filled = fill_gaps(bars)
    assert len(filled) - len(bars) == 304
    missing = filled.drop(bars.index)
    assert len(missing) == 304
    assert (missing["volume"] == 0.0).all()
    market = Market.from_bars(bars)
    day = (market.bars.index >= "2023-12-31") & (market.bars.index < "2024-01-01")
    assert day.sum() == 96
    assert (market.prices[day, VOLUME] == 0.0).all()
    assert np.ptp(market.prices[day, CLOSE]) == 0.0
    assert all(np.isfinite(array).all() for array in market.features)
    half = Market.from_bars(bars.loc["2024-01-01":])
    offset = len(market) - len(half)
    first = half.valid_from[0]
    assert market.features[0][offset + first :].tobytes() == half.features[0][first:].tobytes()


@pytest.mark.parametrize(
    "asset", ["AMPUSDT_5m_2024", "PEPEUSDT_5m_2024", "PEOPLEUSDT_5m_2024", "BTCUSDT_1d_to_20241229"]
)
def test_awkward_real_assets_have_whole_features(real_data: Path, asset: str) -> None:
    bars = read_bars(real_data / f"binance_spot_{asset}.csv.gz")
    timeframes = ("1d", "1w") if "_1d_" in asset else ("15m", "4h", "1d")
    market = Market.from_bars(bars, timeframes)
    for first, array in zip(market.valid_from, market.features, strict=True):
        assert np.isfinite(array).all()
        assert (array[first:].std(axis=0) > 0.1).all()
        assert (np.abs(array[first:]) == FEATURE_BOUND).mean() < 0.01


@pytest.mark.parametrize(
    ("file", "timeframes"),
    [
        ("BTCUSDT_5m_20230101_20240906", ("15m", "4h", "1d")),
        ("ETHUSDT_5m_20230101_20240906", ("5m", "1h", "1d")),
        ("SOLUSDT_5m_2024", ("5m",)),
        ("PEPEUSDT_5m_2024", ("15m", "4h", "1d")),
        ("PEOPLEUSDT_5m_2024", ("15m", "1h", "4h")),
        ("AMPUSDT_5m_2024", ("5m", "15m", "4h", "1d")),
        ("BTCUSDT_1h_2017_2024", ("1h", "4h", "1d", "1w")),
        ("ETHUSDT_1h_2022_2024", ("1h", "8h", "1d")),
        ("BTCUSDT_1d_to_20241229", ("1d", "1w")),
        ("DOGEUSDT_1d_to_20241229", ("1d",)),
        ("perp_ETCUSDT_1m_202505", ("1m", "15m")),
    ],
)
def test_no_feature_is_missing_in_real_markets(real_data: Path, file: str, timeframes: tuple[str, ...]) -> None:
    bars = read_bars(real_data / f"binance_{file if file.startswith('perp') else f'spot_{file}'}.csv.gz")
    market = Market.from_bars(bars, timeframes)
    for first, array in zip(market.valid_from, market.features, strict=True):
        assert first < len(array)
        assert np.isfinite(array).all()
        assert (array[first:] != 0.0).any(axis=0).all()


def test_flat_and_dead_stretches_are_whole(real_data: Path) -> None:
    raw = pd.read_csv(real_data / "RAW_DIRTY_poloniex_ETHUSDT_30m_2015_2017.csv.gz", index_col=0)
    raw.index = pd.to_datetime(raw.index, unit="s", utc=True).rename("timestamp")
    bars = raw.rename(columns=str.lower)[["open", "high", "low", "close", "volume"]].sort_index()
    market = Market.from_bars(bars, ("30m", "4h", "1d"), reference=bars)
    assert (bars["volume"] == 0.0).sum() > 7000
    assert all(np.isfinite(array).all() for array in market.features)
