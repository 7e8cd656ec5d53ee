"""The bound on what can be known: chances of pumps and futures of prices are calibrated against what came."""

from __future__ import annotations

import numpy as np
import pytest

from synthetic.tokens.ceiling import gathering_ends_by, known_futures, pump_chances
from synthetic.tokens.events import EVENT_KINDS, EventCounts, gathering_bars
from synthetic.tokens.market import TokenConfig, TokenSample, token_market

COUNTS = EventCounts(**{**dict.fromkeys(EVENT_KINDS, 0), "pump_and_dump": 4, "accumulation": 4})


@pytest.fixture(scope="module")
def market() -> TokenSample:
    return token_market(TokenConfig(tokens=60, bars=1500, events=COUNTS), 1)


def test_the_law_of_gatherings_is_that_of_the_events() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([gathering_bars(rng) for _ in range(4000)])
    for rows in (9, 10, 40, 60, 100):
        assert float(gathering_ends_by(np.array(float(rows)))) == pytest.approx((drawn <= rows).mean(), abs=0.025)


def test_chances_of_pumps_are_what_comes(market: TokenSample) -> None:
    ahead, said, came = 30, [], []
    for token, bars in market.bars.items():
        chance = pump_chances(market, token, ahead)
        assert chance.shape == (len(bars),) and (chance >= 0).all() and (chance <= 1).all()
        pumps = market.events[(market.events["token"] == token) & (market.events["kind"] == "pump_and_dump")]
        t = np.arange(150, 1300)
        first = pumps["first"].to_numpy()
        said.append(chance[t])
        came.append(((first > t[:, None]) & (first <= t[:, None] + ahead)).any(axis=1))
    chances, seen = np.concatenate(said), np.concatenate(came)
    assert chances.mean() == pytest.approx(seen.mean(), rel=0.15)
    for low, high in ((0.0, 0.05), (0.05, 0.15), (0.15, 0.3), (0.3, 0.6)):
        group = (chances >= low) & (chances < high)
        assert group.sum() > 500 and chances[group].mean() == pytest.approx(seen[group].mean(), abs=0.07), (low, high)
    assert chances[seen].mean() > 2.0 * chances[~seen].mean()


def test_futures_hold_what_came_as_often_as_they_say() -> None:
    market = token_market(TokenConfig(tokens=20, bars=600, events=COUNTS), 2)
    steps = (1, 20, 100)
    inside, better = np.zeros(3), np.zeros(3)
    count = 0
    for token, bars in market.bars.items():
        price = bars["close"].to_numpy()
        for row in (120, 300, 450):
            paths = known_futures(market, token, row, steps=100, paths=30, seed=3)
            for s, step in enumerate(steps):
                low, middle, high = np.quantile(paths[:, step - 1], (0.1, 0.5, 0.9))
                inside[s] += low <= price[row + step] <= high
                better[s] += abs(np.log(price[row + step] / price[row])) - abs(np.log(price[row + step] / middle))
            count += 1
    assert (np.abs(inside / count - 0.8) < 0.13).all(), inside / count
    assert better[1] > 0 and better[2] > 0  # closer than the last price


def test_futures_begin_at_the_present_and_the_seed_decides() -> None:
    market = token_market(TokenConfig(tokens=1, bars=200, events=COUNTS), 5)
    first = known_futures(market, "TOKEN0", 100, steps=20, paths=3, seed=1)
    assert first.tobytes() == known_futures(market, "TOKEN0", 100, steps=20, paths=3, seed=1).tobytes()
    start = market.bars["TOKEN0"]["close"].iloc[100]
    many = known_futures(market, "TOKEN0", 100, steps=1, paths=300, seed=1)
    assert abs(np.median(np.log(many / start))) < 0.2
    assert known_futures(market, "TOKEN0", 190, steps=40, paths=2).shape == (2, 40)
