import math

import numpy as np
import pandas as pd
import pytest

from cryptoenv.bars import bar_opens_ms
from cryptoenv.features import FEATURE_BOUND, FEATURE_NAMES, compute_features, first_valid_row
from cryptoenv.features.anchored import WARM_UP_BARS, WARM_UP_DAILY_BARS
from cryptoenv.timeframe import DAY_MS, timeframe_ms
from tests.naive.features import features as naive_features
from tests.naive.random_bars import random_bars

PANDAS_NAMES = {"5m": "5min", "15m": "15min", "1h": "1h", "4h": "4h", "8h": "8h", "1d": "1D", "1w": "7D"}


def bars_of(timeframe: str, rows: int, seed: int = 0, start: str = "2021-01-04") -> tuple[int, np.ndarray]:
    days = rows * timeframe_ms(timeframe) / DAY_MS
    bars = random_bars(days, seed, PANDAS_NAMES[timeframe], start)
    return int(bar_opens_ms(bars)[0]), bars.to_numpy(copy=True)


def flattened(ohlcv: np.ndarray, first: int, last: int, volume: float | None = 0.0) -> np.ndarray:
    """The same bars with rows `first` to `last` flat at the close before them."""
    out = ohlcv.copy()
    out[first:last, :4] = out[first - 1, 3]
    if volume is not None:
        out[first:last, 4] = volume
    out[last:, :4] *= out[first - 1, 3] / ohlcv[last - 1, 3]
    return out


def expected(start: int, ohlcv: np.ndarray, timeframe: str, row: int) -> list[float]:
    duration = timeframe_ms(timeframe)
    if duration >= DAY_MS:
        anchor = row - WARM_UP_DAILY_BARS
    else:
        anchor = row - (start + row * duration) % DAY_MS // duration - WARM_UP_BARS
    rows = [tuple(values) for values in ohlcv[anchor : row + 1].tolist()]
    values = naive_features(rows, duration >= DAY_MS, DAY_MS / duration)
    assert set(values) == set(FEATURE_NAMES)
    return [min(max(values[name], -FEATURE_BOUND), FEATURE_BOUND) for name in FEATURE_NAMES]


@pytest.mark.parametrize("timeframe", ["5m", "15m", "4h", "1d", "1w"])
@pytest.mark.parametrize("case", ["random", "no volume at times", "flat at times", "tiny price"])
def test_features_equal_the_naive_oracle(timeframe: str, case: str) -> None:
    start, ohlcv = bars_of(timeframe, 120 if timeframe in ("1d", "1w") else 700, seed=len(case))
    rng = np.random.default_rng(3)
    if case == "no volume at times":
        ohlcv[rng.random(len(ohlcv)) < 0.3, 4] = 0.0
        ohlcv[len(ohlcv) // 2 : len(ohlcv) // 2 + 50, 4] = 0.0
    elif case == "flat at times":
        middle = len(ohlcv) // 2
        ohlcv = flattened(ohlcv, middle, middle + (35 if timeframe in ("1d", "1w") else 120))
        ohlcv = flattened(ohlcv, middle - 20, middle - 2, volume=None)
    elif case == "tiny price":
        ohlcv[:, :4] *= 1e-8
        ohlcv[:, 4] *= 1e9
    found = compute_features(start, ohlcv, timeframe)
    first = first_valid_row(start, timeframe)
    for row in sorted({first, len(ohlcv) - 1, *rng.integers(first, len(ohlcv), 60).tolist()}):
        wanted = expected(start, ohlcv, timeframe, row)
        np.testing.assert_allclose(found[row], wanted, rtol=1e-5, atol=2e-5, err_msg=f"row {row} of {FEATURE_NAMES}")


@pytest.mark.parametrize("timeframe", ["5m", "15m", "1h", "4h", "8h", "1d", "1w"])
def test_rows_before_the_first_valid_one_are_zero_and_none_after(timeframe: str) -> None:
    start, ohlcv = bars_of(timeframe, 900, start="2021-01-04" if timeframe in ("1d", "1w") else "2021-01-04 16:00")
    found, first = compute_features(start, ohlcv, timeframe), first_valid_row(start, timeframe)
    assert found.dtype == np.float32
    assert found.shape == (900, len(FEATURE_NAMES))
    assert (found[:first] == 0.0).all()
    assert (found[first:].std(axis=0) > 0.05).all()
    assert (found[first:] != 0.0).any(axis=1).all()
    assert np.isfinite(found).all()
    duration = timeframe_ms(timeframe)
    if duration < DAY_MS:
        assert (start + first * duration) % DAY_MS == 0
        assert WARM_UP_BARS <= first < WARM_UP_BARS + DAY_MS // duration


@pytest.mark.parametrize("timeframe", ["5m", "15m", "4h", "1d", "1w"])
@pytest.mark.parametrize("into_day", [False, True])
def test_longer_history_changes_no_bit(timeframe: str, into_day: bool) -> None:
    rows = 400 if timeframe in ("1d", "1w") else 1000
    start, ohlcv = bars_of(timeframe, 3 * rows)
    shift = 2 * rows + (3 if into_day else 0)
    later = start + shift * timeframe_ms(timeframe)
    whole, part = compute_features(start, ohlcv, timeframe), compute_features(later, ohlcv[shift:], timeframe)
    first = first_valid_row(later, timeframe)
    assert len(part) - first > 300
    assert whole[shift + first :].tobytes() == part[first:].tobytes()


@pytest.mark.parametrize("timeframe", ["15m", "4h", "1d"])
def test_one_bar_at_a_time_gives_the_bits_of_the_whole(timeframe: str) -> None:
    start, ohlcv = bars_of(timeframe, 420)
    whole, first = compute_features(start, ohlcv, timeframe), first_valid_row(start, timeframe)
    for row in range(max(first, 300), 420):
        assert compute_features(start, ohlcv[: row + 1], timeframe)[row].tobytes() == whole[row].tobytes()


@pytest.mark.parametrize("timeframe", ["15m", "1d"])
@pytest.mark.parametrize("price", [1e-9, 1.0, 1e7])
def test_flat_prices_and_no_volume_are_neutral(timeframe: str, price: float) -> None:
    start = int(pd.Timestamp("2021-01-04", tz="UTC").timestamp() * 1000)
    ohlcv = np.full((300, 5), price)
    ohlcv[:, 4] = 0.0
    found = compute_features(start, ohlcv, timeframe)[-1]
    values = dict(zip(FEATURE_NAMES, found.tolist(), strict=True))
    assert values.pop("volatility") == pytest.approx(math.log(0.001), abs=1e-5)
    assert values.pop("adx") == -1.0
    assert set(values.values()) == {0.0}


@pytest.mark.parametrize("factor", [1e-9, 1e6])
def test_units_of_price_and_volume_do_not_matter(factor: float) -> None:
    start, ohlcv = bars_of("15m", 500)
    scaled = ohlcv * np.array([factor, factor, factor, factor, 1.0 / factor])
    np.testing.assert_allclose(
        compute_features(start, scaled, "15m"), compute_features(start, ohlcv, "15m"), rtol=1e-4, atol=1e-4
    )


def test_a_crash_and_a_flood_of_volume_stay_within_the_bound() -> None:
    start, ohlcv = bars_of("15m", 600)
    ohlcv[400:, :4] *= 1e-6
    ohlcv[450, 4] = 1e300
    ohlcv[451, 4] = 5e-324
    found = compute_features(start, ohlcv, "15m")
    assert np.isfinite(found).all()
    assert np.abs(found).max() == FEATURE_BOUND
