"""The benchmark of forecasters: its optima are optima, its ceiling is one, and bands cover on real bars held out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import forecasting
from benchmarks.support.filter_forecast import law_quantiles, log_scores, next_bar_law
from benchmarks.support.forecast_contenders import Setting, run_planted
from benchmarks.support.forecast_data import PLANTED, planted_bars
from benchmarks.support.forecast_figures import ALL, merged, shares_over_moments, summary
from synthetic import regime_market
from synthetic.oracles.macro_filter import EVERYTHING, OBSERVABLE

FILES = (
    "binance_spot_BTCUSDT_5m_20230101_20240906.csv.gz", "binance_spot_ETHUSDT_5m_20230101_20240906.csv.gz",
    "binance_spot_SOLUSDT_5m_2024.csv.gz", "binance_spot_PEPEUSDT_5m_2024.csv.gz",
)  # fmt: skip


def test_planted_optima_are_what_the_law_allows() -> None:
    found = planted_bars()
    logs = {name: np.log(bars["close"].to_numpy()) for name, (bars, _) in found.items()}
    steps = np.diff(logs["ar1"])
    known = 0.5 * steps[:-1]
    skill = 1.0 - ((steps[1:] - known) ** 2).mean() / (steps[1:] ** 2).mean()
    assert skill == pytest.approx(found["ar1"][1]["1"], abs=0.02)
    wave = 0.02 * np.sin(2.0 * np.pi * np.arange(len(logs["sine"])) / 24.0)
    level = logs["sine"] - np.log(100.0)
    moved, said = level[4:] - level[:-4], wave[4:] - level[:-4]
    skill = 1.0 - ((moved - said) ** 2).mean() / (moved**2).mean()
    assert skill == pytest.approx(found["sine"][1]["4"], abs=0.02)
    assert set(found["white noise"][1].values()) == {0.0}


def test_the_exact_law_of_the_next_bar_is_calibrated() -> None:
    """Its probability integral transform is uniform, its expectation explains, and being told more never hurts."""
    from scipy.stats import t as student

    sample = regime_market("standard", 20, 4_000_000_000_000_123)
    shares, centres, spreads, degrees = next_bar_law(sample, OBSERVABLE)
    ahead = np.diff(np.log(sample.bars["close"].to_numpy()))[1000:]
    below = shares[1000:-1] * student.cdf((ahead[:, None] - centres[1000:-1]) / spreads[1000:-1], degrees)
    uniform = np.histogram(below.sum(axis=1), 10, (0.0, 1.0))[0] / len(ahead)
    assert np.abs(uniform - 0.1).max() < 0.02
    rows = np.arange(1000, 1900, 10)
    quantiles = law_quantiles(sample, rows, np.array([0.1, 0.9]))
    z = (quantiles[:, :, None] - centres[rows][:, None]) / spreads[rows][:, None]
    reached = (student.cdf(z, degrees) * shares[rows][:, None]).sum(axis=2)
    np.testing.assert_allclose(reached, [[0.1, 0.9]] * 90, atol=2e-3)
    scores, means = log_scores(sample)
    told, _ = log_scores(sample, EVERYTHING)
    assert np.nanmean(told[1000:]) > np.nanmean(scores[1000:])
    assert 1.0 - ((ahead - means[1000:-1]) ** 2).mean() / (ahead**2).mean() > 0.005


@pytest.mark.slow
def test_each_planted_law_has_scores_of_its_own(tmp_path: Path) -> None:
    found = run_planted(Setting(PLANTED, (), "", 0.1, 8, 100, tmp_path), "sine", 0)
    other = found | {"contender": "ar1", "scores": {ALL: {"ar1": {"1": {"skill": 9.0}}}}}
    told = summary([found, other])
    assert told["sine | all | 1"]["seeds"] == 1 and told["ar1 | all | 1"] == {"seeds": 1, "skill": 9.0}
    assert told["sine | all | 1"]["crps_of_historical"] == pytest.approx(
        found["scores"][ALL]["sine"]["1"]["crps_of_historical"], abs=1e-4
    )


def test_the_report_is_the_mean_over_seeds_by_market(tmp_path: Path) -> None:
    for seed, skill in enumerate((0.1, 0.3)):
        rows = {"1": {"skill": skill, "crps_low": None}}
        scores = {market: {"gpt": rows, "persistence": rows} for market in (ALL, "BTC")}
        (tmp_path / "real").mkdir(exist_ok=True)
        run = {"contender": "gpt", "seed": seed, "scores": scores}
        (tmp_path / f"real/gpt-{seed}.json").write_text(json.dumps(run))
    told = merged(tmp_path)
    assert told["summary"] == {"real": {f"gpt | {m} | 1": {"seeds": 2, "skill": 0.2} for m in (ALL, "BTC")}}
    assert [one["scores"] for one in told["runs"]["real"]] == [
        {ALL: {"gpt": {"1": {"skill": skill, "crps_low": None}}}} for skill in (0.1, 0.3)
    ]


def test_the_summary_that_stands_is_that_of_its_runs() -> None:
    """Of all markets together; the scores of single markets are not kept in the runs."""
    told = json.loads((Path(forecasting.__file__).parent / "results/forecasting.json").read_text(encoding="utf-8"))
    for what, runs in told["runs"].items():
        stands = {key: values for key, values in told["summary"][what].items() if f" | {ALL} | " in key}
        assert stands == summary(runs), what


def test_coverage_of_markets_that_move_together_is_known_less_well() -> None:
    """Two markets at three moments, half of the rows covered: each moment half, or one market always."""
    held = np.zeros((6, 2))
    held[::2] = 1.0
    np.testing.assert_allclose(shares_over_moments(held, np.array([1, 1, 2, 2, 3, 3])), [[0.5, 0.5, 0.5]] * 2)
    np.testing.assert_allclose(shares_over_moments(held, np.array([1, 2, 1, 2, 1, 2])), [[0.5, 0.0, 1.0]] * 2)


@pytest.mark.slow
def test_bands_cover_on_real_bars_held_out(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A GPT of half a CPU minute: 80% bands that are tracked cover 80 +- 3% of three months of BTC, ETH, SOL and PEPE
    that it has not seen, in each market at each horizon, and its CRPS is not worse than that of 20-bar historical
    volatility."""
    files = [str(real_data / name) for name in FILES]
    options = ["--contender", "gpt", "--seconds", "30", "--every", "4", "--work", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["forecasting", "real", *files, *options])
    forecasting.main()
    scores = json.loads((tmp_path / "real/gpt-0.json").read_text())["scores"]
    for market, contenders in scores.items():
        for horizon, values in contenders["gpt, tracked"].items():
            assert abs(values["cover_80"] - 0.8) <= 0.03, (market, horizon, values["cover_80"])
    for horizon, values in scores["all"]["gpt"].items():
        assert values["crps_low"] <= 1.0, (horizon, values["crps_of_historical"])
