from __future__ import annotations

import numpy as np

from benchmarks.support.market_scores import FIRST, earned
from benchmarks.support.rules import FAMILIES, FOREVER, Rule, exposures, follow, grid
from synthetic import regime_market


def test_rules_look_at_no_future_bar() -> None:
    bars = regime_market("standard", 2, 0).bars
    poisoned = bars.copy()
    poisoned.iloc[3000:] *= np.random.default_rng(0).uniform(0.5, 2.0, (len(bars) - 3000, 5))
    rules = grid()[::7]
    assert {rule.family for rule in rules} == set(FAMILIES)
    traded = 0
    for rule, one, other in zip(rules, exposures(bars, rules), exposures(poisoned, rules), strict=True):
        assert (one[:3000] == other[:3000]).all(), rule.name
        assert np.isin(one, (-1.0, 0.0, 1.0)).all()
        traded += bool(np.diff(one).any())
    assert traded > 0.9 * len(rules)


def test_grid_has_each_rule_once() -> None:
    rules = grid()
    assert len(rules) == len(set(rules)) > 500
    assert len({rule.name for rule in rules}) == len(rules)


def test_positions_end_by_signal_exit_or_age() -> None:
    entries = np.array([0.0, 1, 0, 0, 0, -1, 0, 0, 1, 0])
    leave = np.array([0.0, 0, 0, 0, 0, 0, 1, -1, 0, 0])
    assert follow(entries, leave, FOREVER, 1).tolist() == [0, 1, 1, 1, 1, -1, -1, 0, 1, 1]
    assert follow(entries, leave, 2, -1).tolist() == [0, -1, -1, 0, 0, 1, 1, 0, -1, -1]


def test_a_rule_earns_what_its_position_earns() -> None:
    sample = regime_market("easy", 2, 0)
    exposure = np.ones(len(sample.bars))
    got = earned(sample, exposure, 0.001)
    closes = sample.bars["close"].to_numpy()
    assert np.isclose(got.realised.sum(), np.log(closes[-1] / closes[FIRST]) - 0.001)
    assert np.isclose(got.expected.sum(), sample.truth["drift"].to_numpy()[FIRST + 1 :].sum() - 0.001)
    assert Rule("momentum", (4, 0.5), 16, -1).name == "against momentum (4, 0.5), 16 bars"
