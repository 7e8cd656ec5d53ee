"""`cryptoenv data import`: a file into the store, all of it or nothing."""

import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from agents.command_line import main
from cryptoenv.store.key import SeriesKey
from cryptoenv.store.store import BarStore
from tests.naive.random_bars import random_bars

BARS = random_bars(3, seed=8)
KEY = SeriesKey("venue", "BTC/USDT", "15m")


def run(folder: Path, bars: pd.DataFrame, *options: str) -> int:
    bars.to_csv(folder / "bars.csv")
    series = ("--exchange", "venue", "--symbol", "BTC/USDT", "--store", str(folder / "data"))
    return main(["data", "import", str(folder / "bars.csv"), *series, *options])


def stored(folder: Path) -> pd.DataFrame:
    return BarStore(folder / "data").read(KEY)


def test_a_file_goes_into_the_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newest_first = pd.concat([BARS, BARS.iloc[-3:]])[::-1].drop(BARS.index[20:25])
    assert run(tmp_path, newest_first) == 0
    expected = BARS.drop(BARS.index[20:25])
    pd.testing.assert_frame_equal(stored(tmp_path), expected, check_freq=False, check_index_type=False)
    assert "283 bars added, 0 were there already; the series lacks 5 bars" in capsys.readouterr().out
    assert run(tmp_path, BARS) == 0
    assert "5 bars added, 283 were there already; the series lacks 0 bars" in capsys.readouterr().out
    pd.testing.assert_frame_equal(stored(tmp_path), BARS, check_freq=False, check_index_type=False)
    assert main(["data", "validate", "--store", str(tmp_path / "data")]) == 0


def ending(last_open: pd.Timestamp) -> pd.DataFrame:
    """The same bars, the last of which opens at `last_open`."""
    return BARS.set_axis(BARS.index + (last_open - BARS.index[-1]), axis=0)


def this_quarter() -> pd.Timestamp:
    """The quarter of an hour that is under way, and goes on for 10 seconds at least."""
    now = pd.Timestamp.now("UTC")
    while now.ceil("15min") - now < pd.Timedelta("10s"):
        time.sleep(0.5)
        now = pd.Timestamp.now("UTC")
    return now.floor("15min")


BAD: dict[str, tuple[Callable[[], pd.DataFrame], str]] = {
    "an impossible bar": (lambda: BARS.assign(close=[-1.0, *BARS["close"][1:]]), "rows cannot be used"),
    "no volume": (lambda: BARS.assign(volume=0.0), "likely wrong: zero volume"),
    "future": (lambda: ending(this_quarter() + pd.Timedelta("3D")), "bar of the future"),
    "open": (lambda: ending(this_quarter()), "bar still open"),
    "two timeframes": (lambda: pd.concat([BARS.iloc[:160:4], BARS.iloc[160:]]), "two timeframes"),
    "no time zone": (lambda: BARS.tz_localize(None), "--time-zone|time_zone="),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_wrong_leaves_the_store_alone(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    bars, message = BAD[kind]
    assert run(tmp_path, bars()) == 2
    assert not (tmp_path / "data").exists()
    said = capsys.readouterr().err
    assert any(part in " ".join(said.split()) for part in message.split("|"))


def test_what_may_be_accepted(tmp_path: Path) -> None:
    assert run(tmp_path, BAD["an impossible bar"][0](), "--drop-unusable") == 0
    assert len(stored(tmp_path)) == len(BARS) - 1


def test_alarms_may_be_accepted_and_zones_be_said(tmp_path: Path) -> None:
    assert run(tmp_path, BARS.assign(volume=0.0).tz_localize(None), "--accept-alarms", "--time-zone", "UTC") == 0
    assert len(stored(tmp_path)) == len(BARS)


def test_rows_that_differ_from_those_stored_change_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, BARS.iloc[:200]) == 0
    other = BARS.assign(volume=BARS["volume"].where(BARS.index != BARS.index[150], 1.0))
    assert run(tmp_path, other) == 2
    assert len(stored(tmp_path)) == 200
    assert run(tmp_path, BARS, "--timeframe", "fortnight") == 2
