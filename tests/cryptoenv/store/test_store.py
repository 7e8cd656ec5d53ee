"""The store: what goes in comes out, covered ranges and gaps, refusals that store nothing, names, bytes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.timeframe import DAY_MS, HOUR_MS, MINUTE_MS, WEEK_MS, grid_offset_ms, timeframe_ms
from cryptoenv.store.key import SeriesKey, StoreError, file_name, key_of, name_of
from cryptoenv.store.ranges import gaps_between, merged, not_covered, runs_of, subtracted
from cryptoenv.store.store import BarStore

KEY = SeriesKey("binance", "BTC/USDT", "1m")
FUNDING = SeriesKey("binance", "BTC/USDT:USDT", "funding")
START = 1_706_659_200_000  # 2024-01-31


def bars_at(opens_ms: np.ndarray) -> pd.DataFrame:
    """Bars whose values follow from their time alone."""
    phase = (opens_ms // MINUTE_MS % 10_007) / 7.0
    close = 100.0 + np.sin(phase)
    open_ = 100.0 + np.cos(phase)
    values = np.column_stack([open_, np.maximum(open_, close) + 0.1, np.minimum(open_, close) - 0.1, close, phase])
    index = pd.DatetimeIndex((opens_ms * 1000).view("datetime64[us]"), tz="UTC", name="timestamp")
    return pd.DataFrame(values, index=index, columns=["open", "high", "low", "close", "volume"])


def row_of_bars(count: int, start_ms: int = START, step_ms: int = MINUTE_MS) -> pd.DataFrame:
    return bars_at(start_ms + step_ms * np.arange(count, dtype=np.int64))


def rates_at(times_ms: list[int]) -> pd.DataFrame:
    index = pd.DatetimeIndex(pd.to_datetime(times_ms, unit="ms", utc=True), name="timestamp")
    return pd.DataFrame({"rate": [time % 977 / 1e6 for time in times_ms]}, index=index)


def contents(store: Path) -> dict[str, bytes]:
    """Every file of a store that is data: name and bytes."""
    files = (path for path in store.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(store)): path.read_bytes() for path in files}


def _written(store: Path) -> list[int]:
    return [path.stat().st_mtime_ns for path in sorted(store.rglob("*")) if path.suffix in (".parquet", ".json")]


def stored(folder: Path, key: SeriesKey, *appends: tuple[pd.DataFrame, tuple[int, int]]) -> BarStore:
    store = BarStore(folder)
    with store.writer(key) as writer:
        for frame, covered in appends:
            writer.append(frame, covered)
    return store


@pytest.mark.parametrize("timeframe", ["1m", "15m", "1h", "4h", "1d", "3d", "1w"])
def test_what_goes_in_comes_out(tmp_path: Path, timeframe: str) -> None:
    step = timeframe_ms(timeframe)
    start = START + (grid_offset_ms(step) - START) % step
    bars = row_of_bars(3_000, start, step)
    key = SeriesKey("binance", "BTC/USDT", timeframe)
    store = stored(tmp_path, key, (bars, (start, start + 3_000 * step)))
    pd.testing.assert_frame_equal(store.read(key), bars, check_exact=True, check_freq=False)
    manifest = store.manifest(key)
    assert (manifest.rows, manifest.covered, manifest.gaps) == (3_000, ((start, start + 3_000 * step),), ())
    assert (manifest.first, manifest.last) == (bars.index[0], bars.index[-1])
    assert manifest.size == sum(len(b) for name, b in contents(tmp_path).items() if name.endswith(".parquet"))
    assert store.validate(key) == () and store.repair(key) == () and store.series() == (key,)


def test_reading_a_part_of_it(tmp_path: Path) -> None:
    bars = row_of_bars(3_000)
    store = stored(tmp_path, KEY, (bars, (START, START + 3_000 * MINUTE_MS)))
    for since, until in (("2024-01-31 23:58", "2024-02-01T00:03Z"), ("2024-02-01", None), (None, "2024-01-31T05:00")):
        expected = bars[
            (bars.index >= pd.Timestamp(since or "2000-01-01").tz_localize("UTC"))
            & (bars.index < (pd.Timestamp(until or "2030-01-01").tz_localize(None).tz_localize("UTC")))
        ]
        pd.testing.assert_frame_equal(store.read(KEY, since, until), expected, check_freq=False)
    assert len(store.read(KEY, START + MINUTE_MS, START + 3 * MINUTE_MS)) == 2
    assert len(store.read(KEY, datetime(2024, 2, 1, tzinfo=UTC))) == 1_560
    assert len(store.read(KEY, "2024-02-01T01:00+01:00", "2024-02-01T00:01Z")) == 1
    assert len(store.read(KEY, "2025-01-01")) == 0 and len(store.read(KEY, None, "2020-01-01")) == 0
    with pytest.raises(StoreError, match=r"since is .*allowed"):
        store.read(KEY, datetime(2024, 2, 1))
    with pytest.raises(StoreError, match="until is 'soon'"):
        store.read(KEY, None, "soon")


def test_a_real_gap_is_kept_and_a_rerun_changes_nothing(tmp_path: Path) -> None:
    """D7: 40 absent bars in three gaps, over a month's end too; none is filled, a rerun writes nothing."""
    bars = row_of_bars(2_000)
    holes = ((100, 110), (1_430, 1_455), (1_995, 2_000))
    keep = np.ones(2_000, dtype=bool)
    for first, last in holes:
        keep[first:last] = False
    pages = [(bars[keep], (START, START + 2_000 * MINUTE_MS))]
    store = stored(tmp_path, KEY, *pages)
    gaps = tuple((START + a * MINUTE_MS, START + b * MINUTE_MS) for a, b in holes)
    assert store.manifest(KEY).gaps == gaps and store.manifest(KEY).missing_bars == 40
    pd.testing.assert_frame_equal(store.read(KEY), bars[keep], check_freq=False)
    before, written = contents(tmp_path), _written(tmp_path)
    stored(tmp_path, KEY, *pages, *pages)
    assert contents(tmp_path) == before and _written(tmp_path) == written
    with store.writer(KEY) as writer:
        assert writer.missing(START, START + 2_000 * MINUTE_MS) == []
        assert writer.missing(START - MINUTE_MS, START + 2_001 * MINUTE_MS) == [
            (START - MINUTE_MS, START),
            (START + 2_000 * MINUTE_MS, START + 2_001 * MINUTE_MS),
        ]
        writer.append(bars.iloc[100:110], (START + 100 * MINUTE_MS, START + 110 * MINUTE_MS))  # the venue filled it
        assert writer.manifest.gaps == gaps[1:]
        writer.append(bars.iloc[:0], (START, START + 10 * MINUTE_MS))  # a stored bar stays, whatever comes later
        assert writer.manifest.gaps == gaps[1:] and writer.manifest.rows == 1_970


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_appends_does_not_show(tmp_path: Path, seed: int) -> None:
    """Overlapping pages in any order: the bytes of one append."""
    rng = np.random.default_rng(seed)
    opens = START + MINUTE_MS * np.flatnonzero(rng.random(3_000) < 0.9).astype(np.int64)
    bars = bars_at(opens)
    end = START + 3_000 * MINUTE_MS
    stored(tmp_path / "one", KEY, (bars, (START, end)))
    edges = START + MINUTE_MS * np.arange(0, 3_000, 250)
    pages = [(int(e), int(min(e + MINUTE_MS * rng.integers(250, 600), end))) for e in edges]
    pages = [pages[i] for i in rng.permutation(len(pages))]
    frames = [(bars[(opens >= a) & (opens < b)], (a, b)) for a, b in pages]
    stored(tmp_path / "many", KEY, *frames)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


def test_a_differing_bar_is_an_error_that_names_it(tmp_path: Path) -> None:
    bars = row_of_bars(2_000)
    store = stored(tmp_path, KEY, (bars, (START, START + 2_000 * MINUTE_MS)))
    before = contents(tmp_path)
    other = row_of_bars(2_010)
    other.iloc[1_999, 4] += 1e-9
    with (
        store.writer(KEY) as writer,
        pytest.raises(StoreError, match=r"row 1999 \(2024-02-01T09:19:00\+00:00\) is .* but the store has .*volume"),
    ):
        writer.append(other, (START, START + 2_010 * MINUTE_MS))
    assert contents(tmp_path) == before


def _spoiled(position: int, column: str, value: float) -> pd.DataFrame:
    bars = row_of_bars(200)
    bars.loc[bars.index[position], column] = value
    return bars


BAD_FRAMES = {
    "nan": _spoiled(7, "close", np.nan),
    "infinity": _spoiled(7, "volume", np.inf),
    "negative price": _spoiled(7, "low", -1.0),
    "negative volume": _spoiled(7, "volume", -1.0),
    "high below low": _spoiled(7, "high", 1.0),
    "duplicate": pd.concat([row_of_bars(10), row_of_bars(10).tail(1)]),
    "unsorted": row_of_bars(10).iloc[::-1],
    "off the grid": row_of_bars(10, START + 1),
    "naive": row_of_bars(10).tz_localize(None),
    "another zone": row_of_bars(10).tz_convert("Europe/Paris"),
    "outside the range": row_of_bars(201),
    "short row": row_of_bars(10).drop(columns="volume"),
    "text": row_of_bars(10).astype({"close": str}),
    "further column": row_of_bars(10).assign(sentiment=1.0),
}


@pytest.mark.parametrize("case", BAD_FRAMES)
def test_of_bad_rows_nothing_is_stored(tmp_path: Path, case: str) -> None:
    store = stored(tmp_path, KEY, (row_of_bars(5), (START, START + 5 * MINUTE_MS)))
    before = contents(tmp_path)
    with store.writer(KEY) as writer, pytest.raises((BarsError, StoreError)):
        writer.append(BAD_FRAMES[case], (START, START + 200 * MINUTE_MS))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("covered", [(START, START), (START + MINUTE_MS, START), (START + 1, START + MINUTE_MS)])
def test_a_wrong_covered_range_is_refused(tmp_path: Path, covered: tuple[int, int]) -> None:
    with BarStore(tmp_path).writer(KEY) as writer, pytest.raises(StoreError, match="covered is"):
        writer.append(row_of_bars(0), covered)


def test_funding_is_a_series_of_its_own(tmp_path: Path) -> None:
    times = [START + hour * HOUR_MS + 3 for hour in (0, 8, 16, 20, 24)]  # the venue went from 8 h to 4 h
    rates = rates_at(times)
    store = stored(tmp_path, FUNDING, (rates, (START, START + DAY_MS + 5)))
    pd.testing.assert_frame_equal(store.read(FUNDING), rates, check_freq=False)
    assert store.manifest(FUNDING).gaps == () and store.manifest(FUNDING).rows == 5
    for bad in (rates * np.nan, rates.iloc[::-1], rates.rename(columns={"rate": "r"}), pd.concat([rates, rates])):
        with store.writer(FUNDING) as writer, pytest.raises((BarsError, StoreError)):
            writer.append(bad, (START, START + DAY_MS + 5))
    with store.writer(FUNDING) as writer, pytest.raises(StoreError, match=r"but the store has \{'rate'"):
        writer.append(rates + 1e-9, (START, START + DAY_MS + 5))


def test_a_closed_writer_and_an_unknown_series_are_refused(tmp_path: Path) -> None:
    store = BarStore(tmp_path)
    with store.writer(KEY) as writer:
        pass
    with pytest.raises(StoreError, match="closed"):
        writer.append(row_of_bars(1), (START, START + MINUTE_MS))
    assert store.manifest(KEY).rows == 0 and store.manifest(KEY).first is None and store.read(KEY).empty
    for ask in (store.read, store.manifest, store.validate, store.repair):
        with pytest.raises(StoreError, match=r"no series binance ETH/USDT 1m .* there are: binance BTC/USDT 1m"):
            ask(SeriesKey("binance", "ETH/USDT", "1m"))
    for wrong in (("", "BTC/USDT", "1m"), ("binance", "BTC/USDT", "7m"), ("binance", "BTC/USDT", "../x")):
        with pytest.raises(StoreError):
            SeriesKey(*wrong)


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30))
def test_file_names_are_invertible_and_safe(name: str) -> None:
    folder = file_name(name)
    assert name_of(folder) == name
    assert "/" not in folder and "\0" not in folder and not folder.startswith(".")


def test_file_names_people_see() -> None:
    assert file_name("BTC/USDT") == "BTC_USDT" and file_name("BTC/USDT:USDT") == "BTC_USDT+USDT"
    assert file_name("../..") == "%2E._.."
    assert key_of("binance", "BTC_USDT+USDT", "1m") == SeriesKey("binance", "BTC/USDT:USDT", "1m")
    assert key_of("binance", "%zz", "1m") is None and key_of("binance", "BTC_USDT", "lost+found") is None


ranges = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6)


@given(ranges, st.integers(0, 40), st.integers(0, 40))
def test_ranges_are_sets_of_moments(pieces: list[tuple[int, int]], start: int, end: int) -> None:
    def moments(some: object) -> set[int]:
        return {moment for a, b in some for moment in range(a, b)}  # type: ignore[attr-defined]

    plain = merged(pieces)
    assert moments(plain) == moments(pieces)
    assert all(a[1] < b[0] for a, b in pairwise(plain)) and all(a < b for a, b in plain)
    assert moments(subtracted(plain, (start, end))) == moments(plain) - set(range(start, end))
    assert moments(not_covered(plain, start, end)) == set(range(start, end)) - moments(plain)


@given(st.sets(st.integers(0, 30)))
def test_gaps_and_runs_share_out_a_span(places: set[int]) -> None:
    opens = np.array(sorted(places), dtype=np.int64) * 5
    gaps, runs = gaps_between(opens, 5, (0, 155)), runs_of(opens, 5)
    assert {m for a, b in runs for m in range(a, b, 5)} == set(opens.tolist())
    assert merged((*gaps, *runs)) == ((0, 155),) and sum(b - a for a, b in (*gaps, *runs)) == 155


def test_weeks_belong_to_the_year_they_open_in(tmp_path: Path) -> None:
    key = SeriesKey("binance", "BTC/USDT", "1w")
    monday = 1_703_462_400_000  # 2023-12-25
    store = stored(tmp_path, key, (row_of_bars(3, monday, WEEK_MS), (monday, monday + 3 * WEEK_MS)))
    assert [part.rows for part in store.manifest(key).parts] == [1, 2]
    next(key.folder(tmp_path).glob("2023-*")).write_bytes(b"")
    store.repair(key)
    with store.writer(key) as writer:
        assert writer.missing(monday, monday + 3 * WEEK_MS) == [(monday, monday + WEEK_MS)]


@pytest.mark.parametrize("hours", [0, 88])  # Thursday 00:00, Sunday 16:00 (midnight in Singapore)
def test_weeks_keep_the_grid_of_their_venue(hours: int, tmp_path: Path) -> None:
    plain = SeriesKey("kraken", "BTC/USD", "1w")
    first = 2800 * WEEK_MS + hours * HOUR_MS
    bars = row_of_bars(60, first, WEEK_MS)
    key = replace(plain, offset_ms=hours * HOUR_MS)
    assert key == plain
    store = stored(tmp_path, key, (bars.iloc[:50].drop(bars.index[20]), (first, first + 50 * WEEK_MS)))
    with store.writer(plain) as writer:  # whoever opens it again finds the grid
        writer.append(bars.iloc[50:], (first + 50 * WEEK_MS, first + 60 * WEEK_MS))
        with pytest.raises(StoreError, match="on the grid of 1w"):
            writer.append(bars.iloc[:0], (first + DAY_MS, first + WEEK_MS + DAY_MS))
    held = store.manifest(plain)
    assert held.key.offset_ms == hours * HOUR_MS
    assert held.gaps == ((first + 20 * WEEK_MS, first + 21 * WEEK_MS),)
    wanted = bars.drop(bars.index[20])
    pd.testing.assert_frame_equal(store.read(plain), wanted, check_freq=False, check_index_type=False)
    assert store.validate(plain) == ()
    (plain.folder(tmp_path) / "manifest.json").unlink()
    store.repair(plain)
    assert store.manifest(plain).key.offset_ms == hours * HOUR_MS
    assert store.validate(plain) == ()
    pd.testing.assert_frame_equal(store.read(plain), wanted, check_freq=False, check_index_type=False)
    next(plain.folder(tmp_path).glob("2023-*")).write_bytes(b"")
    store.repair(plain)
    assert store.validate(plain) == ()


@pytest.mark.parametrize(
    ("timeframe", "offset"), [("1d", 0), ("1w", 1), ("1w", WEEK_MS), ("1w", -HOUR_MS), ("funding", 0)]
)
def test_a_grid_that_cannot_be_is_refused(timeframe: str, offset: int) -> None:
    with pytest.raises(StoreError, match="offset_ms is"):
        SeriesKey("kraken", "BTC/USD", timeframe, offset)
