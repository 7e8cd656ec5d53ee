"""The slippage calibration: known coefficients come back, wrong ones are noticed, real books give plausible ones."""

import gzip
import itertools
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryptoenv import Costs
from cryptoenv.analysis.slippage_calibration import Book, SlippageFit, _non_negative_fit, calibrate_slippage
from tests.naive.binance_stream import StreamError, read_stream

BTC_TICK = 0.01
START = pd.Timestamp("2024-01-01", tz="UTC")


def random_trades(count: int = 7200, seed: int = 0, deviation: float = 1e-4) -> pd.DataFrame:
    """One trade a second; log returns of `deviation` per second."""
    rng = np.random.default_rng(seed)
    index = pd.date_range(START, periods=count, freq="1s", name="timestamp")
    price = 100.0 * np.exp(np.cumsum(deviation * rng.standard_normal(count)))
    quantity = rng.lognormal(0.0, 1.0, count)
    return pd.DataFrame({"price": price, "quantity": quantity, "side": rng.choice([-1, 1], count)}, index=index)


def naive_scales(trades: pd.DataFrame, bar_seconds: float) -> tuple[float, float]:
    """Sigma and volume per bar of trades that come one a second, in plain Python."""
    span = len(trades) - 1
    step = min(bar_seconds, span / 60)
    prices = trades["price"].tolist()
    grid = [prices[int(i * step + 1e-9)] for i in range(int(span / step + 1e-9) + 1)]
    returns = [math.log(b / a) for a, b in itertools.pairwise(grid)]
    mean = sum(returns) / len(returns)
    deviation = math.sqrt(sum((r - mean) ** 2 for r in returns) / len(returns))
    return deviation * math.sqrt(bar_seconds / step), sum(trades["quantity"].tolist()) / span * bar_seconds


def law_book(mid: float, half_spread: float, factor: float, edges: np.ndarray, when: pd.Timestamp) -> Book:
    """A book whose vwap from either side is exactly `mid * (1 +- (half_spread + factor * sqrt(q)))` at every edge."""
    paid = edges * (half_spread + factor * np.sqrt(edges))  # over mid, in relative price
    size = np.diff(edges, prepend=0.0)
    offset = np.diff(paid, prepend=0.0) / size
    touch = np.array([[half_spread, 1e-12]])  # so that half the spread is the half-spread
    levels = np.concatenate([touch, np.column_stack([offset, size])])
    bids, asks = levels.copy(), levels.copy()
    bids[:, 0], asks[:, 0] = mid * (1.0 - levels[:, 0]), mid * (1.0 + levels[:, 0])
    return when, bids, asks


EDGES = np.geomspace(0.1, 50.0, 40)


def law_books(trades: pd.DataFrame, half_spread: float, impact: float, bar_seconds: float = 900.0) -> list[Book]:
    """Books that follow the law with these coefficients, one a minute, all with another mid."""
    sigma, volume = naive_scales(trades, bar_seconds)
    times = [START + pd.Timedelta(minutes=i) for i in range(30)]
    return [law_book(90.0 + i, half_spread, impact * sigma / math.sqrt(volume), EDGES, t) for i, t in enumerate(times)]


@pytest.mark.parametrize(("half_spread", "impact"), [(1e-4, 0.1), (8.1e-8, 0.7), (2e-3, 0.01), (5e-5, 1e-4)])
@pytest.mark.parametrize("bar_seconds", [60.0, 900.0])
def test_known_coefficients_come_back(half_spread: float, impact: float, bar_seconds: float) -> None:
    trades = random_trades()
    books = law_books(trades, half_spread, impact, bar_seconds)
    fit = calibrate_slippage(trades, books, bar_seconds, quantities=EDGES)
    assert (fit.sigma, fit.volume) == pytest.approx(naive_scales(trades, bar_seconds), rel=1e-9)
    assert fit.half_spread == pytest.approx(half_spread, rel=1e-6)
    assert fit.impact == pytest.approx(impact, rel=1e-4)
    assert fit.r_squared > 1.0 - 1e-6


def test_the_default_grid_recovers_them_too() -> None:
    trades = random_trades()
    fit = calibrate_slippage(trades, law_books(trades, 1e-4, 0.3))
    assert fit.half_spread == pytest.approx(1e-4, rel=0.01)
    assert fit.impact == pytest.approx(0.3, rel=0.02)
    rows = fit.table[fit.table["source"] == "book"]
    assert len(rows) == 24
    assert rows["quantity"].iloc[0] == pytest.approx(trades["quantity"].median())


def test_sigma_and_volume_scale_with_the_bar() -> None:
    trades = random_trades(100_000, seed=3)
    books = law_books(trades, 1e-4, 0.1)
    minute, quarter = calibrate_slippage(trades, books, 60.0), calibrate_slippage(trades, books, 900.0)
    assert minute.sigma == pytest.approx(1e-4 * math.sqrt(60.0), rel=0.05)
    assert quarter.sigma == pytest.approx(1e-4 * math.sqrt(900.0), rel=0.2)
    assert quarter.volume == pytest.approx(15.0 * minute.volume)


def test_a_wrong_coefficient_is_noticed() -> None:
    """The comparison above is not blind: books of other coefficients give other coefficients, and a worse law."""
    trades = random_trades()
    right = calibrate_slippage(trades, law_books(trades, 1e-4, 0.1), quantities=EDGES)
    for half_spread, impact in ((1.02e-4, 0.1), (1e-4, 0.102)):
        planted = calibrate_slippage(trades, law_books(trades, half_spread, impact), quantities=EDGES)
        assert (planted.half_spread, planted.impact) != pytest.approx((right.half_spread, right.impact), rel=1e-3)
        gap = (right.table["measured"] / planted.table["modelled"] - 1.0).abs().max()
        assert gap > 1e-3 > (right.table["measured"] / right.table["modelled"] - 1.0)[:40].abs().max()


def naive_walk(levels: np.ndarray, quantity: float) -> float | None:
    """Average price of taking `quantity` from `levels`, None where they hold less."""
    left, paid = quantity, 0.0
    for price, size in levels.tolist():
        taken = min(left, size)
        paid, left = paid + taken * price, left - taken
        if left <= 0.0:
            return paid / quantity
    return None


def random_books(count: int = 12, seed: int = 0) -> list[Book]:
    rng = np.random.default_rng(seed)
    books = []
    for i in range(count):
        steps = rng.lognormal(-3.0, 1.0, (2, 30)).cumsum(axis=1)
        sizes = rng.lognormal(0.0, 1.0, (2, 30))
        bids, asks = np.column_stack([100.0 - steps[0], sizes[0]]), np.column_stack([100.0 + steps[1], sizes[1]])
        books.append((START + pd.Timedelta(seconds=40 * i), bids, asks))
    return books


def test_walks_equal_a_plain_walk_and_leave_out_what_cannot_be_filled() -> None:
    books, quantities = random_books(), [0.01, 0.5, 3.0, 20.0, 45.0, 1e6]
    fit = calibrate_slippage(random_trades(600), books, quantities=quantities)
    rows = fit.table[fit.table["source"] == "book"]
    assert 1e6 not in rows["quantity"].tolist()
    assert rows["count"].iloc[0] == 24 > rows["count"].iloc[-1] > 0
    for quantity, measured, count in rows[["quantity", "measured", "count"]].to_numpy().tolist():
        walks = []
        for _, bids, asks in books:
            mid = (bids[0, 0] + asks[0, 0]) / 2
            walks += [abs(p / mid - 1.0) for p in (naive_walk(s, quantity) for s in (bids, asks)) if p is not None]
        assert count == len(walks)
        assert measured == pytest.approx(sum(walks) / len(walks), rel=1e-12)


def test_sweeps_are_runs_of_one_side_in_one_timestamp() -> None:
    trades = random_trades(600)
    rows = [(100.0, 1.0, 1), (101.0, 3.0, 1), (99.0, 2.0, -1), (98.0, 2.0, -1), (98.0, 4.0, 1)]
    at = pd.DatetimeIndex([START + pd.Timedelta(seconds=600)] * len(rows), name="timestamp")
    trades = pd.concat([trades, pd.DataFrame(rows, columns=["price", "quantity", "side"], index=at)])
    books = random_books()
    _, bids, asks = books[-1]
    half = (asks[0, 0] - bids[0, 0]) / (asks[0, 0] + bids[0, 0])
    fit = calibrate_slippage(trades.iloc[-106:], books, quantities=[0.1, 4.0])
    large = trades.iloc[-106:-5]["quantity"]
    large = large[large > math.sqrt(0.1 * 4.0)]  # nearer to 4.0 than to 0.1 in the logarithm
    costs = [100.75 / 100.0 - 1.0 + half, 1.0 - 98.5 / 99.0 + half, half]
    for when in large.index:
        _, bids, asks = [book for book in books if book[0] < when][-1]
        costs.append((asks[0, 0] - bids[0, 0]) / (asks[0, 0] + bids[0, 0]))
    sweep = fit.table[fit.table["source"] == "sweep"].iloc[-1]
    assert sweep["count"] == len(costs)
    assert sweep["measured"] == pytest.approx(sum(costs) / len(costs), rel=1e-12)


def test_modelled_slippage_rises_with_quantity_and_costs_carry_the_fit() -> None:
    fit = calibrate_slippage(random_trades(600), random_books())
    modelled = fit.slippage(np.geomspace(1e-6, 1e3, 50))
    assert (np.diff(modelled) > 0.0).all()
    assert modelled[0] > fit.half_spread > 0.0
    book = fit.table[fit.table["source"] == "book"]
    assert (np.diff(book["measured"]) >= 0.0).all() and (np.diff(book["modelled"]) > 0.0).all()
    assert fit.slippage(2.0) == pytest.approx(fit.half_spread + fit.impact * fit.sigma * math.sqrt(2.0 / fit.volume))
    assert fit.costs(fee=0.0004) == Costs(fee=0.0004, half_spread=fit.half_spread, impact=fit.impact)


def test_neither_coefficient_is_ever_negative() -> None:
    """A book of one price level: slippage does not grow, so impact is clamped and the half-spread fitted alone."""
    flat = [(START + pd.Timedelta(seconds=i), np.array([[99.0, 1e4]]), np.array([[101.0, 1e4]])) for i in range(10)]
    fit = calibrate_slippage(random_trades(600), flat)
    assert fit.impact == pytest.approx(0.0, abs=1e-12)
    assert fit.half_spread == pytest.approx(0.01)
    design = np.column_stack([np.ones(3), [1.0, 2.0, 3.0]])
    assert _non_negative_fit(design, np.array([3.0, 2.0, 1.0])) == pytest.approx([2.0, 0.0])
    assert _non_negative_fit(design, np.array([0.0, 2.0, 4.0])) == pytest.approx([0.0, 16.0 / 14.0])
    assert _non_negative_fit(design, np.array([-1.0, -2.0, -4.0])) == pytest.approx([0.0, 0.0])


def with_column(name: str, row: int, value: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(trades: pd.DataFrame) -> pd.DataFrame:
        changed = trades.astype(float)
        changed.loc[changed.index[row], name] = value
        return changed

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="side"), "no column 'side'"),
        (lambda t: t.iloc[:99], "99 trades are too few"),
        (lambda t: t.tz_localize(None), "DatetimeIndex in UTC"),
        (lambda t: t.reset_index(drop=True), "DatetimeIndex in UTC"),
        (lambda t: t.iloc[::-1], "time order"),
        (lambda t: t.set_index(t.index[[0] * len(t)]), "span some time"),
        (with_column("price", 7, math.nan), r"'price', row 7 .*nan must be > 0"),
        (with_column("quantity", 3, -1.0), r"'quantity', row 3 .*must be > 0"),
        (with_column("price", 3, math.inf), r"'price', row 3 .*must be > 0"),
        (with_column("side", 5, 0.0), r"'side', row 5 .*must be \+1 or -1"),
        (lambda t: t.assign(price=100.0), "never moved"),
    ],
)
def test_bad_trades_are_named(change: Callable[[pd.DataFrame], pd.DataFrame], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibrate_slippage(change(random_trades(600)), random_books())


def with_book(position: int, side: int, row: int, column: int, value: float) -> Callable[[list[Any]], list[Any]]:
    def change(books: list[Any]) -> list[Any]:
        books[position][side][row, column] = value
        return books

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:9], "9 books are too few"),
        (lambda b: b[::-1], r"books\[1\] .*is earlier"),
        (with_book(4, 2, 0, 0, 50.0), r"books\[4\] .*is crossed: best bid .*, best ask 50"),
        (with_book(4, 1, 2, 0, math.nan), r"books\[4\] .*bids, level 2: price nan"),
        (with_book(4, 1, 2, 1, 0.0), r"books\[4\] .*bids, level 2: quantity 0"),
        (with_book(4, 1, 2, 0, 200.0), r"books\[4\] .*bids, level 2: price 200.0 is not worse"),
        (lambda b: [(t, x[:0], y) for t, x, y in b], r"books\[0\] .*bids must be a \(L, 2\) array"),
        (lambda b: [(t, x, y[:, 0]) for t, x, y in b], r"books\[0\] .*asks must be a \(L, 2\) array"),
        (lambda b: [(t, x * [1.0, 1e-6], y) for t, x, y in b], "books are too thin"),
    ],
)
def test_bad_books_are_named(change: Callable[[list[Any]], list[Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibrate_slippage(random_trades(600), change(random_books()))


def test_other_bad_arguments_are_named() -> None:
    trades, books = random_trades(600), random_books()
    with pytest.raises(TypeError, match="trades must be a DataFrame"):
        calibrate_slippage([1.0], books)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"books\[0\] must be a tuple"):
        calibrate_slippage(trades, [list(book) for book in books])  # type: ignore[misc]
    with pytest.raises(TypeError, match="tz-aware pandas Timestamp"):
        calibrate_slippage(trades, [(t.tz_localize(None), b, a) for t, b, a in books])
    for bad in (0.0, -900.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="bar_seconds"):
            calibrate_slippage(trades, books, bad)
    for quantities in ([1.0], [0.0, 1.0], [1.0, math.nan], []):
        with pytest.raises(ValueError, match="quantities"):
            calibrate_slippage(trades, books, quantities=quantities)
    with pytest.raises(ValueError, match="can fill 0 of 2 quantities"):
        calibrate_slippage(trades, books, quantities=[1e6, 1e7])


def test_the_plot_is_written_and_matplotlib_is_loaded_only_for_it(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    fit = calibrate_slippage(random_trades(600), random_books())
    fit.plot(tmp_path / "fit.png")
    assert (tmp_path / "fit.png").read_bytes().startswith(b"\x89PNG")
    code = "import sys, cryptoenv.slippage_calibration; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture(scope="module")
def btc(real_data: Path) -> tuple[pd.DataFrame, list[Book], np.ndarray]:
    """Six minutes of BTC/USDT on Binance spot, one book a second."""
    recording = real_data / "hft_binance_spot_btcusdt_20240808.raw.gz"
    if not recording.is_file():
        pytest.skip(f"the recording is not there: {recording.name}")
    return read_stream(recording, every=10)


def test_the_recording_is_rebuilt_whole(btc: tuple[pd.DataFrame, list[Book], np.ndarray]) -> None:
    trades, books, quotes = btc
    assert (len(trades), len(quotes), len(books)) == (9757, 28040, 345)
    assert (quotes[:, 0] < quotes[:, 1]).all()
    best = {(bids[0, 0], asks[0, 0]) for _, bids, asks in books}
    quoted = set(map(tuple, quotes.tolist()))
    assert len(best & quoted) > 0.98 * len(best)  # the rebuilt touch is one that the exchange quoted


def test_real_books_give_half_a_tick_and_a_plausible_impact(
    btc: tuple[pd.DataFrame, list[Book], np.ndarray], tmp_path: Path
) -> None:
    trades, books, _ = btc
    fit: SlippageFit = calibrate_slippage(trades, books)
    half_tick = 0.5 * BTC_TICK / trades["price"].mean()
    touches = [(a[0, 0] - b[0, 0]) / (a[0, 0] + b[0, 0]) for _, b, a in books]
    assert np.median(touches) == pytest.approx(half_tick, rel=0.01)
    assert half_tick < fit.half_spread < 2.0 * half_tick  # the mean holds the moments of a wide spread
    assert 0.02 < fit.impact < 1.0
    assert 0.001 < fit.sigma < 0.01 and 100.0 < fit.volume < 2000.0
    assert fit.r_squared > 0.7
    sweeps = fit.table[(fit.table["source"] == "sweep") & (fit.table["count"] >= 10)]
    ratio = np.average(sweeps["measured"] / sweeps["modelled"], weights=sweeps["count"])
    assert 0.5 < ratio < 2.0  # what takers really paid, which was not fitted
    fit.plot(tmp_path / "fit.png")


def test_a_recording_with_a_hole_is_refused(tmp_path: Path) -> None:
    snapshot = {"lastUpdateId": 10, "bids": [["99", "1"]], "asks": [["101", "1"]]}

    def update(first: int, last: int) -> dict[str, Any]:
        data = {"E": 1_700_000_000_000, "U": first, "u": last, "b": [["99", "0"], ["98", "2"]], "a": [["101", "3"]]}
        return {"stream": "btcusdt@depth@100ms", "data": data}

    def write(*messages: dict[str, Any]) -> Path:
        path = tmp_path / "stream.gz"
        path.write_bytes(gzip.compress("".join(f"0 {json.dumps(m)}\n" for m in messages).encode()))
        return path

    _, books, _ = read_stream(write(update(3, 9), snapshot, update(11, 12)))
    assert books[0][1].tolist() == [[98.0, 2.0]] and books[0][2].tolist() == [[101.0, 3.0]]
    with pytest.raises(StreamError, match="updates 11 to 12 are missing"):
        read_stream(write(snapshot, update(13, 14)))
    with pytest.raises(StreamError, match="no snapshot"):
        read_stream(write(update(1, 2)))
