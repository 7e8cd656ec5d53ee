"""What a market does not put up with: another market in its folder, funding with holes, times that are wrong."""

import pickle
from pathlib import Path

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest

from cryptoenv import BarsError, Market
from cryptoenv.bars.price_columns import FUNDING, FUNDING_MARKS
from cryptoenv.market.files import MarketFileError
from tests.naive.random_bars import random_bars


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return random_bars(60, 0)


def rates(bars: pd.DataFrame, late: str = "0ms") -> pd.Series:
    marks = pd.date_range(bars.index[0].ceil("8h"), bars.index[-1], freq="8h")
    return pd.Series(1e-4, index=marks + pd.Timedelta(late))


def test_a_pickled_market_is_not_mistaken_for_its_successor(bars: pd.DataFrame, tmp_path: Path) -> None:
    saved = Market.from_bars(bars).save(tmp_path)
    pickled = pickle.dumps(saved)
    assert pickle.loads(pickled).hash == saved.hash
    Market.from_bars(bars.iloc[:-5]).save(tmp_path)
    with pytest.raises(MarketFileError, match="was replaced since"):
        pickle.loads(pickled)


def test_funding_that_leaves_out_bars_is_refused(bars: pd.DataFrame) -> None:
    whole = rates(bars)
    market = Market.from_bars(bars, funding=whole)
    late = Market.from_bars(bars, funding=rates(bars, "3ms"))
    np.testing.assert_array_equal(late.prices, market.prices)
    charged, marks = market.prices[:, FUNDING] != 0.0, market.prices[:, FUNDING_MARKS] != 0.0
    np.testing.assert_array_equal(charged, marks)
    for part in (whole.iloc[:0], whole.iloc[:-3], whole.iloc[3:], whole.set_axis(whole.index - pd.Timedelta("9999D"))):
        with pytest.raises(BarsError, match="cut the bars to them"):
            Market.from_bars(bars, funding=part)
    with pytest.raises(BarsError, match=r"allowed: rates within \+-0.1"):
        Market.from_bars(bars, funding=whole * 1e6)


def test_bars_a_century_apart_are_refused(bars: pd.DataFrame) -> None:
    later = bars.set_axis(bars.index + pd.Timedelta(days=36_500))
    with pytest.raises(BarsError, match="nearly all of them gaps: check the times"):
        Market.from_bars(pd.concat([bars, later]))


def test_tasks_and_bars_make_one_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "easy").mkdir()
    monkeypatch.chdir(tmp_path)  # a folder of a task's name does not hide the task
    env = gym.make("CryptoTrade-v0", market=["easy", random_bars(100, 1)])
    assert len(env.unwrapped.pool.markets) == 65  # type: ignore[attr-defined]
    assert len(gym.make("CryptoTrade-v0", market="easy").unwrapped.pool.markets) == 64  # type: ignore[attr-defined]
