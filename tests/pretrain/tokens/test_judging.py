"""Figures of forecasts against naive ones, baselines on series that they should know, pumps and alarms by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from pretrain.data.splits import Span
from pretrain.tokens.baselines import BASELINES, autoregression, drift, persistence, ridge
from pretrain.tokens.judging import LEVELS, MEDIAN, Origin, errors, outlook, spread_origins, summary, true_returns
from pretrain.tokens.pumps import (
    Judged,
    alarms_a_day,
    alarms_at,
    average_precision,
    fitted_detectors,
    rule_scores,
    summaries,
)
from pretrain.tokens.series import PRICE, TokenSeries


def priced(price: np.ndarray, address: str = "x") -> TokenSeries:
    """A token of a given price, with random trades."""
    rng = np.random.default_rng(0)
    trades = rng.lognormal(0.0, 1.0, (len(price), 3))
    values = np.column_stack([price, trades[:, 0], np.full(len(price), 80.0), trades[:, 1:], price * 10.0])
    return TokenSeries(address, np.arange(len(price), dtype=np.int64) * 60_000, values, 10.0)


def test_figures_are_what_a_plain_loop_says(tokens: tuple[TokenSeries, ...]) -> None:
    steps = (1, 5, 40)
    origins = (Origin(0, 20), Origin(1, 100), Origin(2, 280))
    truth = true_returns(tokens, origins, steps)
    said = np.sort(np.random.default_rng(1).normal(0.0, 0.2, (3, 3, 5)), axis=2)
    now = np.array([tokens[o.token].values[o.row, PRICE] for o in origins])
    found = errors(said, truth, now)
    assert np.isnan(truth[2, 2]) and all(np.isnan(part[2, 2]) for part in found.values())
    for n, origin in enumerate(origins):
        for s, step in enumerate(steps[:2]):
            real = tokens[origin.token].values[origin.row + step, PRICE]
            expected = now[n] * np.exp(said[n, s, MEDIAN])
            assert found["mae"][n, s] == pytest.approx(abs(real - expected))
            assert found["mape"][n, s] == pytest.approx(100 * abs(real - expected) / real)
            assert found["log_error"][n, s] == pytest.approx(abs(np.log(real / expected)))
            inside = now[n] * np.exp(said[n, s, 1]) <= real <= now[n] * np.exp(said[n, s, 3])
            assert found["coverage_80"][n, s] == inside
    table = summary(found, steps)
    assert table["rmse"]["1"] == pytest.approx(np.sqrt(found["rmse"][:, 0].mean()))
    assert table["mae"]["40"] == pytest.approx(found["mae"][:2, 2].mean())
    assert summary({"mae": np.full((2, 1), np.nan)}, (1,)) == {"mae": {"1": None}}


def test_the_outlook_says_how_far_when_and_what_then() -> None:
    paths = np.zeros((2, 3, 6))
    paths[:, :, PRICE] = [[2.0, 4.0, 1.0], [0.5, 0.4, 0.8]]
    found = outlook(paths, 1.0)
    assert found["peak_multiple"][MEDIAN] == 2.5 and found["rows_to_peak"][MEDIAN] == 1.0  # 4 after 2 rows; 1 at once
    assert found["fall_after"][MEDIAN] == pytest.approx((0.75 + 0.6) / 2)


def test_origins_leave_room_ahead(tokens: tuple[TokenSeries, ...]) -> None:
    found = spread_origins(tokens, [Span(1, 100, 300), Span(2, 290, 300)], 4, 50)
    assert [o.row for o in found if o.token == 1] == [100, 150, 199, 249]
    assert all(o.row < 299 for o in found)


def test_baselines_know_what_they_should() -> None:
    rng = np.random.default_rng(2)
    train, steps, origins = [Span(0, 0, 3000)], (1, 10, 100), [Origin(0, 3200), Origin(0, 3500)]
    rising = [priced(np.exp(np.cumsum(0.002 + 0.01 * rng.standard_normal(4000))))]
    assert (persistence(rising, train, origins, steps)[..., MEDIAN] == 0.0).all()
    np.testing.assert_allclose(drift(rising, train, origins, steps)[0, :, MEDIAN], 0.002 * np.array(steps), rtol=0.2)
    noise = rng.standard_normal(4000)
    r = np.zeros(4000)
    for t in range(1, 4000):
        r[t] = 0.8 * r[t - 1] + 0.01 * noise[t]
    momentum = [priced(np.exp(np.cumsum(r)))]
    expected = np.array([[r[o.row] * 0.8 * (1 - 0.8**s) / 0.2 for s in steps] for o in origins])
    for method in (autoregression, ridge):
        said = method(momentum, train, origins, steps)
        assert said.shape == (2, 3, len(LEVELS)) and (np.diff(said, axis=2) > 0).all()
        np.testing.assert_allclose(said[:, 0, MEDIAN], expected[:, 0], atol=0.004)
    assert set(BASELINES) == {"persistence", "drift", "ar", "ridge"}


def test_baselines_look_at_training_and_the_past_alone(tokens: tuple[TokenSeries, ...]) -> None:
    train, origins, steps = [Span(0, 0, 150)], [Origin(1, 120)], (1, 10)
    changed = list(tokens)
    for number, first in ((0, 150), (1, 121)):
        values = tokens[number].values.copy()
        values[first:] *= 1.5
        changed[number] = replace(tokens[number], values=values, pumps=None)
    for method in BASELINES.values():
        assert (method(tokens, train, origins, steps) == method(changed, train, origins, steps)).all()


def test_average_precision_is_scikit_learns() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        scores, labels = rng.integers(0, 9, 60) / 9.0, rng.random(60) < 0.2
        labels[0] = True
        assert average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores))
    assert np.isnan(average_precision(np.ones(3), np.zeros(3, bool)))


def test_alarms_by_hand() -> None:
    scores = np.zeros(200)
    scores[[20, 22, 95, 150]] = 0.9, 0.8, 0.7, 0.6
    token = Judged(scores, 100, ((200, 205, 220), (270, 280, 290)))  # rows 100 to 300
    found = alarms_at([token], 0.5, 10, 86_400_000 // 200)
    # alarms at 120 (122 is silent), 195 (right, 5 rows ahead), 250: two false ones in one day, one of two pumps caught
    assert (found.recall, found.false_a_day, found.lead, found.lead_to_peak, found.pumps) == (0.5, 2.0, 5.0, 10.0, 2)
    best = alarms_a_day([token], 10, 86_400_000 // 200)
    assert best.recall == 0.5 and best.false_a_day == 1.0 and 0.6 < best.threshold <= 0.7
    assert alarms_a_day([token], 10, 86_400_000 // 200, false_a_day=0.0).recall == 0.0
    late = alarms_at([Judged(np.eye(1, 200, 103)[0], 100, ((200, 205, 220),))], 0.5, 10, 1)
    assert late.recall == 1.0 and late.lead == -3.0 and late.lead_to_peak == 2.0


def test_detectors_see_the_past_alone_and_learn(tokens: tuple[TokenSeries, ...]) -> None:
    token = tokens[0]
    values = token.values.copy()
    values[200:] *= 3.0
    changed = replace(token, values=values, pumps=None)
    for made in (rule_scores, summaries):
        assert np.array_equal(made(token)[:200], made(changed)[:200])
        assert not np.array_equal(made(token)[200:], made(changed)[200:])
    quiet = priced(np.exp(0.001 * np.random.default_rng(1).standard_normal(300)))
    spiked = quiet.values.copy()
    spiked[250, [0, 1, 5]] *= (1.5, 60.0, 1.5)
    assert rule_scores(replace(quiet, values=spiked))[250] > 4.0 > rule_scores(quiet)[10:].max()
    x = np.random.default_rng(0).standard_normal((400, 3))
    for name, model in fitted_detectors(x, x[:, 1] > 0.5).items():
        assert average_precision(model.predict_proba(x)[:, 1], x[:, 1] > 0.5) > 0.95, name
