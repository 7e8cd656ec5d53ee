"""Accounts that are stepped side by side get the bits that `transition` gives each of them; all others are left."""

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import SIGMA
from cryptoenv.trading import account as a
from cryptoenv.trading.config import RiskLimits, TradingConfig
from cryptoenv.trading.kernel import open_account, transition
from cryptoenv.trading.plain_steps import ASKED, KNOWN_SIGMA, LANES, PLAIN, STEP_WIDTH, STEPS, step_plain
from tests.naive.kernel_fuzz import BAR_SECONDS, random_config, random_prices

BARS = 40


@njit
def stepped(columns: NDArray[np.float64], step: NDArray[np.float64], p: NDArray[np.float64]) -> None:
    step_plain(columns, step, p)


def bits(array: NDArray[np.float64]) -> NDArray[np.int64]:
    """Of NaN too; the sign of a NaN says nothing."""
    return np.where(np.isnan(array), np.nan, array).view(np.int64)


def compared(seed: int, config: TradingConfig, wild: bool) -> tuple[int, int, set[int]]:
    """Steps that were plain and that were not, and the order statuses of the plain ones, over random markets."""
    rng = np.random.default_rng(seed)
    markets = [random_prices(rng, BARS, wild) for _ in range(8)]
    low = -config.limits.exposure if config.shorts_allowed else 0.0
    p = config.parameters(BAR_SECONDS)
    accounts = np.zeros((LANES, a.ACCOUNT_WIDTH))
    for i, account in enumerate(accounts):
        open_account(account, 10_000.0, markets[i % 8][0, 3], float(rng.choice([low, 0.0, 0.5])))
    plain, apart, statuses = 0, 0, set()
    for t in range(BARS - 1):
        step = np.full((STEP_WIDTH, LANES), np.nan)
        step[ASKED] = np.where(rng.random(LANES) < 0.5, accounts[:, a.TARGET], rng.choice([low, 0.0, 0.3, 1.0], LANES))
        step[: len(markets[0][0])] = np.stack([markets[i % 8][t + 1] for i in range(LANES)], axis=1)
        step[KNOWN_SIGMA] = [markets[i % 8][t, SIGMA] for i in range(LANES)]
        step[STEPS] = accounts[:, a.RUINED] == 0.0
        columns = np.ascontiguousarray(accounts.T)
        stepped(columns, step, p)
        for i, account in enumerate(accounts):
            if not step[STEPS, i]:
                assert step[PLAIN, i] == 0.0
                continue
            before = account.copy()
            transition(account, markets[i % 8], t, step[ASKED, i], p)
            if step[PLAIN, i]:
                np.testing.assert_array_equal(bits(columns[:, i]), bits(account), err_msg=f"bar {t}, account {i}")
                statuses.add(int(account[a.ORDER_STATUS]))
            else:
                np.testing.assert_array_equal(bits(columns[:, i]), bits(before), err_msg=f"bar {t}, account {i}")
            plain, apart = plain + bool(step[PLAIN, i]), apart + (not step[PLAIN, i])
    return plain, apart, statuses


def test_plain_steps_are_the_kernels_bit_for_bit() -> None:
    plain, apart, rng = 0, 0, np.random.default_rng(3)
    found = set()
    for seed in range(12):
        config = random_config(rng, 100.0)
        rules = config.rules.__class__(
            min_notional=config.rules.min_notional, maintenance_margin=config.rules.maintenance_margin
        )
        config = TradingConfig(config.instrument, config.costs, config.limits, rules, config.sizing)
        now = compared(seed, config, wild=seed % 2 == 0)
        plain, apart, found = plain + now[0], apart + now[1], found | now[2]
    assert found == {a.OrderStatus.NONE, a.OrderStatus.FILLED}, "only these are plain"
    assert plain > 5000 and apart > 2000, "the fuzz must reach both kinds"


def test_usual_steps_are_plain() -> None:
    plain, apart, _ = compared(0, TradingConfig(limits=RiskLimits(participation=1.0)), wild=False)
    assert apart < plain / 4, "else nothing is gained"


def test_a_planted_difference_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = stepped

    def off(columns: NDArray[np.float64], step: NDArray[np.float64], p: NDArray[np.float64]) -> None:
        real(columns, step, p * (1.0 + 2.0**-52))

    monkeypatch.setitem(globals(), "stepped", off)
    with pytest.raises(AssertionError, match="account"):
        compared(0, TradingConfig(), wild=False)
