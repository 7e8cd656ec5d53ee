"""`agents.score` on markets of one's own: a `Market`, a frame, several."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import agents
from cryptoenv import Market
from synthetic import regime_market


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return regime_market("easy", days=40, seed=5).bars


def always_long(seen: dict[str, np.ndarray]) -> np.ndarray:
    return np.full(len(seen["account"]), 2)


def test_any_policy_is_judged_on_own_markets(bars: pd.DataFrame) -> None:
    market = Market.from_bars(bars)
    table = agents.score(always_long, market)
    assert table.loc["policy"].to_dict() == table.loc["buy and hold"].to_dict()
    assert "filter oracle" not in table.index and "daily_log_return" in table
    pd.testing.assert_frame_equal(agents.score(always_long, bars), table)
    later = agents.score(always_long, [market], split="test")
    assert later.loc["policy", "log_return"] != table.loc["policy", "log_return"]


def test_what_a_market_cannot_do_is_named(bars: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="timeframes"):
        agents.score(always_long, Market.from_bars(bars, ("1h", "4h", "1d")))
    with pytest.raises(ValueError, match="no task"):
        agents.score(always_long, "nowhere.csv")
    with pytest.raises(ValueError, match="split='train'"):
        agents.score(always_long, bars, split="train")
