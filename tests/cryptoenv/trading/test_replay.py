"""Replays and sweeps against the kernel step by step, and trades against what the account says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from cryptoenv import CryptoTradeEnv, Market
from cryptoenv.analysis.trades import trades_of
from cryptoenv.trading import account as a
from cryptoenv.trading.config import Costs, RiskLimits, TradingConfig
from cryptoenv.trading.kernel import open_account, transition
from cryptoenv.trading.replay import SWEEP_NAMES, TRACE_COLUMNS, Opening, Trace, replay, sweep
from tests.naive.kernel_fuzz import BAR_SECONDS, random_config, random_prices
from tests.naive.random_bars import random_bars


def _by_steps(
    prices: NDArray[np.float64], targets: NDArray[np.float64], p: NDArray[np.float64], first: int, stay_out: bool
) -> NDArray[np.float64]:
    """The naive way: one transition after the other."""
    account, out = np.zeros(a.ACCOUNT_WIDTH), []
    open_account(account, 10_000.0, prices[first, 3], 0.0)
    wanted, ended = 0.0, None
    for s, target in enumerate(targets):
        wanted = wanted if math.isnan(target) else target
        if wanted != ended:
            ended = None
        if account[a.RUINED] == 0.0:
            transition(account, prices, first + s, 0.0 if stay_out and ended is not None else wanted, p)
            if account[a.EXIT_KIND] in (1.0, 2.0):
                ended = wanted
        out.append(account.copy())
    return np.array(out)


def _random_targets(rng: np.random.Generator, config: TradingConfig, steps: int) -> NDArray[np.float64]:
    limit = config.limits.exposure
    low = -limit if config.shorts_allowed else 0.0
    targets = rng.choice([low, 0.0, limit, 0.5 * limit, math.nan], size=steps)
    return np.where(rng.random(steps) < 0.7, math.nan, targets)


@pytest.mark.parametrize("seed", range(40))
def test_a_replay_is_the_kernel_step_by_step(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prices = random_prices(rng, 300, wild=seed % 2 == 0)
    config = random_config(rng, prices[0, 3])
    p, targets = config.parameters(BAR_SECONDS), _random_targets(rng, config, 280)
    trace = replay(prices, targets, p, first=10, stay_out=seed % 3 == 0)
    naive = _by_steps(prices, targets, p, 10, seed % 3 == 0)
    alive = naive[:, a.RUINED] == 0.0
    last = len(naive) if alive.all() else int((~alive).argmax()) + 1
    np.testing.assert_array_equal(trace.steps[:last], naive[:last][:, TRACE_COLUMNS])
    if last < len(naive):
        assert (trace.column("equity")[last:] == naive[-1, a.EQUITY]).all()
        assert (trace.column("turnover")[last:] == 0.0).all() and (trace.column("fees")[last:] == 0.0).all()
    _check_trades(trace, prices[:, 3])


def _check_trades(trace: Trace, closes: NDArray[np.float64]) -> None:
    """Gains and costs of the trades add up to the account's, in total and whenever it is flat."""
    table = trades_of(trace, closes)
    scale = max(trace.start, float(np.abs(table["gross"]).sum()), float(table["fees"].sum()))
    shortfall = trace.column("shortfall")[-1]
    gained = trace.equity[-1] - trace.start - shortfall
    assert table["gain"].sum() == pytest.approx(gained, abs=1e-8 * scale)
    for kind in ("fees", "slippage", "funding", "borrow"):
        assert table[kind].sum() == pytest.approx(trace.column(kind).sum(), abs=1e-8 * scale), kind
    closed = table[~table["open"]]
    flat_at = {trace.first + 1 + int(s) for s in np.flatnonzero(trace.column("quantity") == 0.0)}
    running = closed["gain"].cumsum()
    for number, row in closed.iterrows():
        after = closed["exit_bar"][number + 1 :] if number + 1 < len(closed) else []
        if row["exit_bar"] in flat_at and row["exit_bar"] not in set(after):
            equity = trace.equity[int(row["exit_bar"]) - trace.first]
            short = trace.column("shortfall")[int(row["exit_bar"]) - trace.first - 1]
            assert running[number] == pytest.approx(equity - trace.start - short, abs=1e-8 * scale)
    assert (closed["bars"] >= 0).all() and (table["entry_bar"] <= table["exit_bar"]).all()


def test_trades_by_hand() -> None:
    prices = np.zeros((7, 8))
    for t, price in enumerate((100.0, 100.0, 110.0, 120.0, 90.0, 80.0, 80.0)):
        prices[t, :5] = (price, price, price, price, 1e9)
    costs, limits = Costs(fee=0.01, half_spread=0.0, impact=0.0), RiskLimits(rebalance_tolerance=9.0)
    config = TradingConfig(costs=costs, limits=limits)
    trace = replay(prices, np.array([1.0, 1.0, -1.0, -1.0, 0.0, 0.0]), config.parameters(BAR_SECONDS))
    table = trades_of(trace, prices[:, 3])
    long, short = table.to_dict(orient="records")
    # 10_000 at 100: 100 units, a fee of 100; out (and short) at 120 after the decision at 110.
    assert (long["side"], long["quantity"], long["entry_price"], long["exit_price"]) == (1, 100.0, 100.0, 120.0)
    assert long["gross"] == pytest.approx(2_000.0) and long["fees"] == pytest.approx(100.0 + 120.0)
    assert (long["entry_bar"], long["exit_bar"], long["bars"], long["open"]) == (1, 3, 2, False)
    assert long["return"] == pytest.approx(1_780.0 / 10_000.0)
    units = 10_900.0 / 110.0
    assert short["side"] == -1 and short["quantity"] == pytest.approx(units)
    assert short["gross"] == pytest.approx(units * 40.0) and short["exit_bar"] == 5


def test_a_replay_is_the_environment() -> None:
    market = Market.from_bars(random_bars(4, seed=5), ("15m",))
    env = CryptoTradeEnv(market=market, timeframes=("15m",), window=(4,), random_start=False, episode_bars=150)
    _, info = env.reset(seed=0)
    rng, targets, equity, first = np.random.default_rng(0), [], [info["equity"]], info["bar"]
    for _ in range(150):
        action = int(rng.integers(3))
        targets.append((-1.0, 0.0, 1.0)[action])
        _, _, terminated, truncated, info = env.step(action)
        equity.append(info["equity"])
        if terminated or truncated:
            break
    p = TradingConfig().parameters(BAR_SECONDS)
    trace = replay(market.prices, np.array(targets), p, first=first)
    np.testing.assert_array_equal(trace.equity, equity)


def test_a_sweep_is_as_many_replays() -> None:
    rng = np.random.default_rng(1)
    prices = random_prices(rng, 800, wild=False)
    config = TradingConfig(limits=RiskLimits(stop_loss=0.02))
    p = config.parameters(BAR_SECONDS)
    lines = np.cumsum(rng.normal(0.0, 1.0, (4, 800)), axis=1)
    lines[:, :20] = np.nan
    rules = np.array([[0, 1, 0.0, 1.0, -1.0], [2, 3, 1.0, 1.0, 0.0], [3, 0, 0.5, 0.5, -1.0]])
    for stay_out in (False, True):
        found = sweep(prices, lines, rules, p, first=5, stay_out=stay_out, every=10)
        for rule, line, marks in zip(rules, *found, strict=True):
            fast, slow = lines[int(rule[0])], lines[int(rule[1])]
            targets = np.where(fast > slow + rule[2], rule[3], np.where(fast < slow - rule[2], rule[4], np.nan))
            trace = replay(prices, targets[5:-1], p, first=5, stay_out=stay_out)
            told = dict(zip(SWEEP_NAMES, line, strict=True))
            assert marks.tolist() == [*trace.equity[:-1][::10], trace.equity[-1]]
            gains = np.diff(trace.equity) / trace.equity[:-1]
            assert told["equity"] == trace.equity[-1]
            assert told["mean_return"] == pytest.approx(gains.mean(), abs=1e-15)
            assert told["deviation"] == pytest.approx(gains.std(ddof=1))
            assert told["turnover"] == pytest.approx(trace.column("turnover").sum())
            assert told["fees"] == pytest.approx(trace.column("fees").sum())
            assert told["max_drawdown"] == pytest.approx((1 - trace.equity / np.maximum.accumulate(trace.equity)).max())
            assert told["fills"] == (trace.column("fill_quantity") != 0.0).sum()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, x: replay(p, np.zeros(10), x, first=0), "last but one"),
        (lambda p, x: replay(p, np.zeros((2, 2)), x), "targets have shape"),
        (lambda p, x: replay(p, np.array([math.inf]), x), r"targets\[0\] is infinite"),
        (lambda p, x: replay(p, np.zeros(1), x, opening=Opening(0.0)), "cash > 0"),
        (lambda p, x: sweep(p, np.zeros((1, 3)), np.zeros((1, 5)), x), "lines have shape"),
        (lambda p, x: sweep(p, np.zeros((1, 10)), np.array([[0, 1, 0, 1, 0.0]]), x), "lines that are not there"),
    ],
)
def test_what_cannot_be_replayed_is_refused(call, message: str) -> None:
    prices = random_prices(np.random.default_rng(0), 10, wild=False)
    with pytest.raises(ValueError, match=message):
        call(prices, TradingConfig().parameters(BAR_SECONDS))
