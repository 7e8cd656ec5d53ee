import pandas as pd
import pytest

from cryptoenv.bars.timeframe import (
    DAY_MS,
    bar_open_ms,
    detect_timeframe,
    grid_offset_ms,
    timeframe_ms,
    timeframe_name,
    validate_timeframes,
)


@pytest.mark.parametrize(
    ("name", "minutes"),
    [("1m", 1), ("5m", 5), ("15m", 15), ("1h", 60), ("4h", 240), ("1d", 1440), ("3d", 4320), ("1w", 10080)],
)
def test_durations_and_names(name: str, minutes: int) -> None:
    assert timeframe_ms(name) == minutes * 60_000
    assert timeframe_name(minutes * 60_000) == name


@pytest.mark.parametrize(("name", "seconds"), [("1s", 1), ("5s", 5), ("30s", 30), ("90s", 90)])
def test_seconds(name: str, seconds: int) -> None:
    assert timeframe_ms(name) == seconds * 1000
    assert timeframe_name(seconds * 1000) == name
    index = pd.date_range("2024-01-01", periods=1000, freq=f"{seconds}s", tz="UTC")
    assert detect_timeframe(index) == name
    holes = index.delete([5, 6, 7, 300, 400, 401])
    assert detect_timeframe(holes) == name
    with pytest.raises(ValueError, match="'7s' does not divide a day"):
        timeframe_ms("7s")


def test_minutes_that_jitter_are_no_bars_of_a_second() -> None:
    jitter = pd.to_timedelta(pd.Series(range(500)).mul(7).mod(3), unit="s")
    index = pd.DatetimeIndex(pd.date_range("2024-01-01", periods=500, freq="1min", tz="UTC") + jitter)
    try:
        assert detect_timeframe(index) != "1s"
    except ValueError as error:
        assert "no timeframe lasts" in str(error)


@pytest.mark.parametrize("name", ["", "15", "m", "0m", "15min", "1M", "1.5h", "-1h", " 1h", 15, None])
def test_unknown_names_say_what_is_allowed(name: object) -> None:
    with pytest.raises(ValueError, match='allowed: a whole number and one of s, m, h, d, w, such as "30s"'):
        timeframe_ms(name)  # type: ignore[arg-type]


def test_timeframes_that_do_not_divide_a_day_are_refused() -> None:
    with pytest.raises(ValueError, match="'7h' does not divide a day"):
        timeframe_ms("7h")
    with pytest.raises(ValueError, match="no timeframe lasts 1500 ms"):
        timeframe_name(1500)


def test_weeks_open_on_mondays() -> None:
    thursday = int(pd.Timestamp("2024-08-08 13:37", tz="UTC").timestamp() * 1000)
    monday = int(pd.Timestamp("2024-08-05", tz="UTC").timestamp() * 1000)
    assert bar_open_ms(thursday, timeframe_ms("1w")) == monday
    assert bar_open_ms(thursday, DAY_MS) == int(pd.Timestamp("2024-08-08", tz="UTC").timestamp() * 1000)
    assert grid_offset_ms(timeframe_ms("1w")) == 4 * DAY_MS


def test_a_set_of_timeframes() -> None:
    assert validate_timeframes(["15m", "4h", "1d", "1w"]) == ("15m", "4h", "1d", "1w")
    assert validate_timeframes(("2d", "2w")) == ("2d", "2w")
    for wrong, message in (
        ("15m", "allowed: a sequence of names"),
        ((), "allowed: a sequence of names"),
        (("4h", "15m"), "'15m' is not longer than the one before"),
        (("15m", "15m"), "'15m' is not longer"),
        (("3h", "4h"), "a '4h' bar is not made of whole '3h' bars"),
        (("3d", "3w"), "a '3w' bar is not made of whole '3d' bars"),
    ):
        with pytest.raises(ValueError, match=message):
            validate_timeframes(wrong)


def test_detection_is_not_disturbed_by_gaps_or_units() -> None:
    index = pd.date_range("2024-01-01", periods=50, freq="5min", tz="UTC").delete([7, 20, 21, 22])
    assert detect_timeframe(index) == "5m"
    assert detect_timeframe(index.as_unit("ns")) == "5m"
    assert detect_timeframe(pd.date_range("2024-01-01", periods=9, freq="W-MON", tz="UTC")) == "1w"
    with pytest.raises(ValueError, match=r"1 bar\(s\): at least 2"):
        detect_timeframe(index[:1])
