"""Token markets: the pool against exact rational arithmetic, what the events do, bytes and errors."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryptoenv import Market
from synthetic.tokens.events import EVENT_KINDS, EventCounts, Forces, plan_events
from synthetic.tokens.market import TokenConfig, TokenSample, token_market
from synthetic.tokens.pool import POOL_COLUMNS, Flow, PoolNumbers, buy_tokens, sell_tokens, trade_bars
from tests.naive.token_pool import ExactPool, exact_bars

ROOT = Path(__file__).resolve().parents[3]
QUIET = EventCounts(**dict.fromkeys(EVENT_KINDS, 0))


@pytest.fixture(scope="module")
def sample() -> TokenSample:
    return token_market(TokenConfig(tokens=3, bars=1440), 7)


def only(**counts: int) -> EventCounts:
    return EventCounts(**{**dict.fromkeys(EVENT_KINDS, 0), **counts})


def small_flow(seed: int, length: int = 40) -> Flow:
    rng = np.random.default_rng(seed)
    trades = rng.poisson(5, length).astype(np.int64)
    liquidity = np.ones(length)
    liquidity[length // 3], liquidity[2 * length // 3] = 0.3, 2.5
    return Flow(
        trades=trades,
        size=np.exp(rng.standard_normal(length)),
        pressure=rng.standard_normal(length),
        log_value=np.cumsum(0.1 * rng.standard_normal(length)),
        liquidity=liquidity,
        side=rng.random(int(trades.sum())),
        spread=rng.standard_normal(int(trades.sum())),
    )


@pytest.mark.parametrize("outside", [793_100_000.0, 2e6])  # the second runs out of tokens to sell
@pytest.mark.parametrize("seed", [0, 1])
def test_the_pool_is_the_exact_one_to_1e_9(seed: int, outside: float) -> None:
    flow = small_flow(seed)
    numbers = PoolNumbers(85.0, 206_900_000.0, outside, 0.003, 1.2, 0.95)
    bars = pd.DataFrame(trade_bars(flow, numbers)[0], columns=list(POOL_COLUMNS))
    pool = ExactPool(*(Fraction(number) for number in numbers[:4]))
    rows = [dict(zip(Flow._fields, (column[t] for column in flow[:5]), strict=False)) for t in range(40)]
    draws = list(zip(flow.side.tolist(), flow.spread.tolist(), strict=True))
    for t, row in enumerate(exact_bars(pool, rows, draws, 1.2, 0.95)):
        for name, exact in row.items():
            # a sum of trades that are differences of reserves is exact to rounding of the reserves
            slack = 1e-9 * float(row["token_reserve"] if name == "volume" else row["liquidity"])
            slack = slack if name in ("volume", "buys", "sells") else 0.0
            assert abs(Fraction(float(bars.loc[t, name])) - exact) <= Fraction(1e-9) * abs(exact) + Fraction(slack), (
                name
            )


def test_a_planted_rounding_error_is_seen() -> None:
    x, y = buy_tokens(85.0, 2e8, 1.0, 0.003)
    exact = ExactPool(Fraction(85), Fraction(200_000_000), Fraction(1), Fraction(0.003))
    exact.buy(1.0)
    assert abs(Fraction(x) - exact.x) / exact.x < Fraction(1e-15)
    assert abs(Fraction(y) - exact.y) / exact.y < Fraction(1e-15)
    assert abs(Fraction(y * (1 + 2e-9)) - exact.y) / exact.y > Fraction(1e-9)
    assert sell_tokens(x, y, 0.0) == (pytest.approx(x, rel=1e-15), y)


def test_the_invariant_moves_only_when_liquidity_does(sample: TokenSample) -> None:
    for token, bars in sample.bars.items():
        truth = sample.truth[token]
        product = bars["liquidity"] * truth["token_reserve"]
        assert (np.abs(product / truth["invariant"] - 1) < 1e-9).all()
        moved = np.flatnonzero(np.diff(truth["invariant"])) + 1
        mine = sample.events[(sample.events["token"] == token) & (sample.events["kind"] == "liquidity_withdrawal")]
        assert set(moved) <= {*mine["first"], *(mine["last"] + 1)} and len(moved) >= len(mine)


def test_bars_are_valid_and_make_a_market(sample: TokenSample) -> None:
    for bars in sample.bars.values():
        assert len(bars) == 1440 and (bars.dtypes == np.float64).all()
        assert (bars["open"].to_numpy()[1:] == bars["close"].to_numpy()[:-1]).all()
        assert (bars["high"] >= bars[["open", "close"]].max(axis=1)).all()
        assert (bars["low"] <= bars[["open", "close"]].min(axis=1)).all() and (bars["low"] > 0).all()
        idle = bars["trades"] == 0
        assert (bars.loc[idle, "volume"] == 0).all() and (bars.loc[idle, "high"] == bars.loc[idle, "low"]).all()
        assert (bars[["buys", "sells"]].sum(axis=1)[~idle] > 0).all()
        market = Market.from_bars(bars.iloc[:, :5], ("1m",))
        assert len(market.bars) == 1440


def test_events_are_labelled_in_order_and_within_the_bars(sample: TokenSample) -> None:
    events = sample.events
    assert set(events["kind"]) == set(EVENT_KINDS) and set(events["token"]) == set(sample.bars)
    assert ((events["first"] <= events["peak"]) & (events["peak"] <= events["last"])).all()
    assert (events["first"] >= 0).all() and (events["last"] < 1440).all()
    assert (events.groupby("token")["first"].diff().dropna() >= 0).all()


def mean_over(counts: EventCounts, measure: Any, tokens: int = 30) -> float:
    sample = token_market(TokenConfig(tokens=tokens, bars=600, events=counts), 3)
    found = [
        measure(sample.bars[event.token], sample.truth[event.token], event)
        for event in sample.events.itertuples()
        if event.last < 560
    ]
    return float(np.median(found))


def ahead(bars: pd.DataFrame, event: Any, column: str) -> float:
    return float(bars[column].iloc[max(0, event.first - 60) : event.first].mean())


@pytest.mark.parametrize(
    ("kind", "measure", "least"),
    [
        ("pump_and_dump", lambda b, _, e: b["high"].iloc[e.peak] / b["open"].iloc[e.first], 1.1),
        ("pump_and_dump", lambda b, _, e: b["high"].iloc[e.peak] / b["close"].iloc[e.last], 2.0),
        ("pump_and_dump", lambda b, t, e: t["gathering"].iloc[max(0, e.first - 10) : e.first].mean(), 0.999),
        ("accumulation", lambda _, t, e: t["gathering"].iloc[e.first : e.last + 1].mean(), 0.999),
        ("accumulation", lambda b, t, e: t["pressure"].iloc[e.first : e.last + 1].mean(), 0.3),
        ("news_shock", lambda b, _, e: abs(np.log(b["close"].iloc[e.peak] / b["open"].iloc[e.first])), 0.5),
        ("sentiment_drift", lambda b, t, e: t["pressure"].iloc[e.first : e.last + 1].mean() ** 2, 0.015),
        ("volume_spike", lambda b, _, e: b["trades"].iloc[e.first] / ahead(b, e, "trades"), 4.0),
        ("volume_cluster", lambda b, _, e: b["trades"].iloc[e.first : e.last + 1].mean() / ahead(b, e, "trades"), 1.8),
        ("liquidity_withdrawal", lambda _, t, e: t["invariant"].iloc[e.first - 1] / t["invariant"].iloc[e.first], 2.5),
        ("trading_burst", lambda b, _, e: b["trades"].iloc[e.first : e.last + 1].mean() / ahead(b, e, "trades"), 5.0),
    ],
)
def test_each_event_does_what_its_name_says(kind: str, measure: Any, least: float) -> None:
    assert mean_over(only(**{kind: 1}), measure) > least


def test_pumps_are_of_very_different_sizes() -> None:
    sample = token_market(TokenConfig(tokens=60, bars=600, events=only(pump_and_dump=1)), 3)
    pumps = [(sample.bars[e.token], e) for e in sample.events.itertuples() if e.last < 590]
    sizes = [bars["high"].iloc[e.peak] / bars["open"].iloc[e.first] for bars, e in pumps]
    low, high = np.quantile(sizes, (0.25, 0.9))
    assert low < 1.25 and high > 2.0


def test_events_that_have_not_begun_can_be_left_out() -> None:
    counts, length = EventCounts().times(2), 1_000
    whole, planned = plan_events(counts, length, np.random.default_rng(5))
    for until in (-1, 300, 700, length):
        rng, again = np.random.default_rng(5), np.random.default_rng(5)
        forces, kept = plan_events(counts, length, rng, until=until)
        plan_events(counts, length, again)
        assert rng.random() == again.random()  # what is drawn later does not depend on what is left out
        assert set(kept) <= set(planned) and all(event.first <= until + 400 for event in kept)
        for mine, all_of in zip(forces, whole, strict=True):
            np.testing.assert_allclose(mine[: until + 1], all_of[: until + 1], rtol=1e-12)
    assert kept == planned
    bare = plan_events(counts, length, np.random.default_rng(5), until=-1)
    assert bare[1] == [] and all((a == b).all() for a, b in zip(bare[0], Forces.none(length), strict=True))


def test_less_liquidity_makes_prices_move_more() -> None:
    def roughness(bars: pd.DataFrame, _: pd.DataFrame, event: Any) -> float:
        steps = np.abs(np.log(bars["close"] / bars["open"]))
        return float(steps.iloc[event.first : event.last + 1].mean() / steps.iloc[: event.first].mean())

    assert mean_over(only(liquidity_withdrawal=1), roughness) > 1.4


def test_a_token_does_not_depend_on_how_many_there_are(sample: TokenSample) -> None:
    alone = token_market(TokenConfig(tokens=1, bars=1440), 7)
    pd.testing.assert_frame_equal(alone.bars["TOKEN0"], sample.bars["TOKEN0"], check_exact=True)
    assert not alone.bars["TOKEN0"].equals(token_market(TokenConfig(tokens=1, bars=1440), 8).bars["TOKEN0"])
    assert not sample.bars["TOKEN0"].equals(sample.bars["TOKEN1"])


DIGEST = """
import hashlib
from synthetic.tokens.market import TokenConfig, token_market
sample = token_market(TokenConfig(tokens=2, bars=300), 11)
frames = [*sample.bars.values(), *sample.truth.values()]
print(hashlib.sha256(b"".join(f.to_numpy().tobytes() for f in frames) + sample.events.to_csv().encode()).hexdigest())
"""


def test_same_seed_same_bytes_in_other_processes_and_without_jit() -> None:
    sample = token_market(TokenConfig(tokens=2, bars=300), 11)
    frames = [*sample.bars.values(), *sample.truth.values()]
    here = hashlib.sha256(
        b"".join(f.to_numpy().tobytes() for f in frames) + sample.events.to_csv().encode()
    ).hexdigest()
    for jit in ("0", "1"):
        environment = {**os.environ, "NUMBA_DISABLE_JIT": jit}
        done = subprocess.run(
            [sys.executable, "-c", DIGEST], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == here, f"NUMBA_DISABLE_JIT={jit}"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"quote_reserve": 0.0}, r"quote_reserve is 0\.0: it must be finite and above 0"),
        ({"token_reserve": -1.0}, r"token_reserve is -1\.0"),
        ({"supply": 5.0}, r"supply is 5\.0: it must be above token_reserve"),
        ({"fee": 1.0}, r"fee is 1\.0: it must lie in \[0, 1\)"),
        ({"tokens": 0}, "tokens is 0"),
        ({"bars": 3}, "bars is 3: it must be at least 20"),
        ({"trade_size": float("nan")}, "trade_size is nan"),
        ({"mood": -0.1}, r"mood is -0\.1"),
        ({"value_memory": 1.5}, r"value_memory is 1\.5"),
    ],
)
def test_bad_parameters_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenConfig(**fields)


def test_a_default_token_market_is_long_enough_for_the_environment() -> None:
    import gymnasium as gym

    sample = token_market()
    assert len(sample.bars) == 4 and all(
        set(mine["kind"]) == set(EVENT_KINDS) for _, mine in sample.events.groupby("token")
    )
    env = gym.make("cryptoenv:CryptoTrade-v0", market=sample.bars["TOKEN1"])
    env.reset(seed=0)
    for action in (2, 1, 0):
        _, reward, terminated, truncated, info = env.step(action)
        assert np.isfinite(reward) and not truncated and (info["equity"] > 0 or terminated)


def test_events_come_as_often_in_a_long_series_unless_they_are_counted() -> None:
    assert TokenConfig(bars=1440).events == EventCounts()
    assert TokenConfig(bars=144_000).events == EventCounts().times(10) != EventCounts()
    assert TokenConfig(bars=144_000, events=QUIET).events == QUIET


def test_bad_counts_and_seeds_are_named() -> None:
    with pytest.raises(ValueError, match="news_shock is -1"):
        EventCounts(news_shock=-1)
    with pytest.raises(ValueError, match="seed is -3"):
        token_market(seed=-3)
    assert token_market(TokenConfig(tokens=1, bars=40, events=QUIET)).events.empty
