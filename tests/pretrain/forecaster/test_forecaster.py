"""The forecaster: same bits everywhere, nothing from later bars, honest paths, artifacts that are checked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import pretrain
from cryptoenv.files.typed_values import ConfigError
from cryptoenv.market.market import Market
from pretrain.data.forecast_windows import ForecastDataset, Part, divided
from pretrain.data.windows import WindowSource
from pretrain.fitting.artifact_folder import ArtifactError
from pretrain.forecaster.artifact import Forecaster
from pretrain.forecaster.calibration import forecasts
from pretrain.forecaster.config import CALENDAR, RETURN
from pretrain.forecaster.evaluation import forecasts_of, judge, truth_of
from pretrain.forecaster.model import ForecasterModel
from pretrain.forecaster.paths import Origin, path_features, sample_paths
from pretrain.forecaster.pictures import GATES, draw_gates
from pretrain.forecaster.sequence_networks import SequenceNetwork, ended_since
from pretrain.forecaster.training import CHOOSING, fit_forecaster
from tests.pretrain.conftest import TIMEFRAMES, random_bars, random_market
from tests.pretrain.forecaster.conftest import PUBLISHED, QUIET, VARIANTS, tiny_config, tiny_forecaster, tiny_training


def fresh_model(forecaster: Forecaster, **changes: object) -> ForecasterModel:
    torch.manual_seed(0)
    config = replace(tiny_config(**changes), feature_names=forecaster.config.feature_names)
    return ForecasterModel(config, forecaster.scaler).eval()


def windows_at(model: ForecasterModel, market: Market, rows: list[int]) -> tuple[list[torch.Tensor], torch.Tensor]:
    source = WindowSource([market], model.config.layout_window)
    windows = source.gather(np.zeros(len(rows), np.int64), np.array(rows))
    closes = market.start_ms + (np.array(rows, np.int64) + 1) * 3_600_000
    return list(windows), torch.from_numpy(closes)


@pytest.mark.parametrize("name", VARIANTS)
def test_history_and_stream_give_the_same_bits(
    name: str, markets: tuple[Market, ...], forecaster: Forecaster, tmp_path: Path
) -> None:
    model = forecaster if name == "tokens" else tiny_forecaster(markets, **VARIANTS[name])
    market = markets[2]
    table = model.predict(market)
    assert (table.notna().all() & np.isfinite(table).all()).all()
    stream = model.stream(market.bars.iloc[:-3])
    for i in (-3, -2, -1):
        pd.testing.assert_frame_equal(stream.append(market.bars.iloc[[i]]), table.iloc[[i]], check_exact=True)
    short = model.predict(market.bars.iloc[: len(market) - 40])
    pd.testing.assert_frame_equal(short, table.iloc[:-40], check_exact=True, check_freq=False)
    levels = [f"return_4_q{100.0 * q:g}" for q in model.config.quantiles]
    assert (np.diff(table[levels].to_numpy(), axis=1) >= 0.0).all()
    sums = table[["direction_4_down", "direction_4_flat", "direction_4_up"]].sum(axis=1)
    np.testing.assert_allclose(sums, 1.0, atol=1e-5)
    if name == "hybrid":
        draw_gates(model, market, tmp_path / GATES)
        assert (tmp_path / GATES).stat().st_size > 10_000  # a bar for each indicator


def test_training_repeats_bit_for_bit_and_differs_by_seed(markets: tuple[Market, ...], forecaster: Forecaster) -> None:
    assert tiny_forecaster(markets).hash == forecaster.hash
    parts, training = ([Part(markets[0])], [Part(markets[1])]), tiny_training(steps=2, validate_every=2)
    given: dict[str, Any] = {"options": QUIET, "calibrated": False}
    one, other = (fit_forecaster(*parts, tiny_config(), training, seed=seed, **given) for seed in (0, 1))
    assert one.hash != other.hash


@pytest.mark.parametrize("name", ["tokens", "channels", "attention"])
def test_no_bar_of_a_window_hears_of_later_ones(
    name: str, markets: tuple[Market, ...], forecaster: Forecaster
) -> None:
    """Every bar answers in training: what it says must not change with the bars after it, of any timeframe."""
    model = fresh_model(forecaster, **VARIANTS[name])
    config = model.config
    t, last = 1507, config.window[0] - 1
    bars = random_bars(2)
    for back in (1, 5, last):
        poisoned = bars.copy()
        poisoned.iloc[t + 1 - back :] *= 1.7
        said = []
        for market in (markets[2], Market.from_bars(poisoned, TIMEFRAMES)):
            windows, closes = windows_at(model, market, [t])
            with torch.inference_mode():
                said.append(model(windows, closes)[0, : last + 1 - back])
        torch.testing.assert_close(said[0], said[1], rtol=0.0, atol=0.0)
        assert len(said[0]) == last + 1 - back


def test_higher_timeframes_are_read_wherever_places_begin(
    forecaster: Forecaster, markets: tuple[Market, ...]
) -> None:
    """A jump in the places must not hide the tokens before it (Transformers would take it for another text)."""
    model = forecaster.model
    windows, closes = windows_at(model, markets[2], [1500])
    for start in (0, 5):
        with torch.inference_mode():
            before = model(windows, closes, start=start)
            after = model([windows[0], windows[1] + 1.0, windows[2]], closes, start=start)
        assert (before - after).abs().max() > 1e-4


def test_ended_since_counts_bars_that_ended() -> None:
    hour, day = 3_600_000, 86_400_000
    closes = torch.tensor([10 * day + 5 * hour, 10 * day])
    back = torch.tensor([0, 1, 5, 6, 30])
    assert ended_since(closes, back, "1h", "4h").tolist() == [[0, 0, 1, 2, 8], [0, 1, 2, 2, 8]]
    assert ended_since(closes, back, "1h", "1d").tolist() == [[0, 0, 0, 1, 2], [0, 1, 1, 1, 2]]


@pytest.mark.parametrize("name", ["tokens", "channels"])
def test_the_cache_gives_what_reading_the_window_anew_gives(
    name: str, markets: tuple[Market, ...], forecaster: Forecaster
) -> None:
    """One more token through the cache: as the whole sequence read at once, without its oldest bar in sight."""
    model = fresh_model(forecaster, **VARIANTS[name])
    network, config = model.network, model.config
    assert isinstance(network, SequenceNetwork)
    windows, closes = windows_at(model, markets[2], [1500])
    token = torch.randn(1, config.width, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        scaled = model.scaled(windows)
        hidden, cache = network.begin(scaled, closes, None)
        torch.testing.assert_close(hidden, model(windows, closes)[:, -1], rtol=1e-5, atol=1e-5)
        found = network.go_on(token, cache, 0)
        unseen = torch.zeros(1, config.window[0], dtype=torch.bool)
        tokens = torch.cat((network.tokens(scaled, closes, unseen, None), token[:, None]), dim=1)
        count = tokens.shape[1]
        mask = torch.ones(1, 1, count, count, dtype=torch.bool).tril()
        mask[..., -1, config.prefix] = False  # the last token does not see the oldest bar
        whole = network.blocks(
            inputs_embeds=tokens, position_ids=torch.arange(count)[None], attention_mask=mask, use_cache=False
        )[0]
    torch.testing.assert_close(found, whole[:, -1], rtol=1e-5, atol=1e-5)


def test_a_drawn_bar_has_the_features_that_a_market_would_give_it(
    forecaster: Forecaster, markets: tuple[Market, ...]
) -> None:
    market, config, row = markets[2], forecaster.config, 1500
    origin = Origin.of(market, row)
    found = path_features(config, origin.returns[None], np.array([origin.close_ms]))[0]
    names = config.feature_names[0]
    for name in (RETURN, *CALENDAR):
        if name in names:
            assert found[names.index(name)] == pytest.approx(market.features[0][row, names.index(name)], abs=1e-5)


def test_paths_widen_and_depend_on_seed_and_origin_alone(forecaster: Forecaster, markets: tuple[Market, ...]) -> None:
    market = markets[2]
    index = market.bars.index
    alone = forecaster.forecast(market, 8, origins=[index[1500]], paths=64)
    both = forecaster.forecast(market, 8, origins=[index[1400], index[1500]], paths=64)
    pd.testing.assert_frame_equal(both.iloc[8:].reset_index(drop=True), alone, check_exact=True)
    shorter = forecaster.forecast(market.bars.iloc[:1501], 8, paths=64)
    pd.testing.assert_frame_equal(shorter, alone, check_exact=True)
    assert not forecaster.forecast(market, 8, origins=[index[1500]], paths=64, seed=1).equals(alone)
    width = (alone["return_q90"] - alone["return_q10"]).to_numpy()
    assert width[-1] > 1.8 * width[0]  # a random walk's grows with the root of 8
    assert alone["time"].iloc[-1] == index[1508]
    np.testing.assert_allclose(alone["price_q50"], market.bars["close"].iloc[1500] * np.exp(alone["return_q50"]))


def test_direct_forecasts_are_the_heads_at_their_horizons(forecaster: Forecaster, markets: tuple[Market, ...]) -> None:
    market = markets[2]
    table, said = forecaster.forecast(market, 8, method="direct"), forecaster.predict(market).iloc[-1]
    for h in (1, 4, 8):
        assert table.loc[h - 1, "return_q90"] == pytest.approx(said[f"return_{h}_q90"], rel=1e-4)
    assert len(table) == 8


def test_forecasts_refuse_what_they_cannot_do(forecaster: Forecaster, markets: tuple[Market, ...]) -> None:
    with pytest.raises(ConfigError, match="steps=9 is not allowed: 1 to 8"):
        forecaster.forecast(markets[2], 9)
    with pytest.raises(ConfigError, match="method='guess'"):
        forecaster.forecast(markets[2], 4, method="guess")
    with pytest.raises(ValueError, match="is none of the decisions"):
        forecaster.forecast(markets[2], 4, origins=[markets[2].bars.index[3]])
    with pytest.raises(ArtifactError, match="forecasts no steps ahead"):
        pretrain.load("default").forecast(markets[2], 4)


def test_no_forecast_depends_on_its_batch(forecaster: Forecaster, markets: tuple[Market, ...]) -> None:
    dataset = ForecastDataset([Part(markets[2], 1400, 1560)], forecaster.config.layout_window, (1, 4, 8))
    rows = np.arange(len(dataset))
    found = [forecasts(forecaster.model, dataset, rows, batch) for batch in (1, 7, 1024)]
    assert len(found[0][0]) == len(rows)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    truth = truth_of(dataset, rows)
    said = {str(batch): forecasts_of(forecaster, dataset, rows, batch) for batch in (1, 7, 1024)}
    table = judge(truth, said)
    assert (table["rows"].unstack() == [len(rows) - h + 1 for h in (1, 4, 8)]).all(axis=None)
    for name in ("1", "7"):
        pd.testing.assert_frame_equal(table.loc[name], table.loc["1024"], rtol=1e-4, atol=1e-6)


def test_bands_cover_on_the_rows_they_were_put_right_on(forecaster: Forecaster, markets: tuple[Market, ...]) -> None:
    config = forecaster.config
    apart = divided([Part(markets[1])], config.layout_window, CHOOSING, config.horizons[-1])[1]
    dataset = ForecastDataset(apart, config.layout_window, config.horizons)
    _, quantiles, returns = forecasts(forecaster.model, dataset, np.arange(len(dataset)))
    low, high = config.quantiles.index(0.1), config.quantiles.index(0.9)
    for h in range(len(config.horizons)):
        known = np.isfinite(returns[:, h])
        inside = (returns[known, h] >= quantiles[known, h, low]) & (returns[known, h] <= quantiles[known, h, high])
        assert inside.mean() == pytest.approx(0.8, abs=0.01)


def test_an_artifact_comes_back_and_a_changed_one_does_not(
    forecaster: Forecaster, markets: tuple[Market, ...], tmp_path: Path
) -> None:
    folder = forecaster.save(tmp_path / "artifact")
    loaded = pretrain.load(folder)
    assert isinstance(loaded, Forecaster)
    assert loaded.hash == forecaster.hash
    assert loaded.provenance.data[0].last == markets[0].bars.index[-1].isoformat()
    pd.testing.assert_frame_equal(loaded.predict(markets[2]), forecaster.predict(markets[2]), check_exact=True)
    values = json.loads((folder / "config.json").read_text())
    values["architecture"]["layers"] = 2
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match=r"config\.json does not have the sha256"):
        pretrain.load(folder)


def test_a_planted_cycle_is_forecast_and_white_noise_is_not() -> None:
    """Log-price = sine of 16 bars + noise: the next 4 bars are known to R2 of 0.9; of a random walk, nothing is."""
    rng = np.random.default_rng(0)
    bars = random_bars(5, 24 * 90)
    phase = 2.0 * np.pi * np.arange(len(bars)) / 16.0
    close = 100.0 * np.exp(0.02 * np.sin(phase) + rng.normal(0.0, 0.004, len(bars)))
    wave = bars.assign(open=np.concatenate(([100.0], close[:-1])), close=close)
    wave["high"], wave["low"] = wave[["open", "close"]].max(axis=1) * 1.001, wave[["open", "close"]].min(axis=1) / 1.001
    skills = {}
    for name, source in (("wave", wave), ("noise", bars)):
        market = Market.from_bars(source, TIMEFRAMES)
        parts = [Part(market, 0, 1300), Part(market, 1300, 1700), Part(market, 1700)]
        training = tiny_training(steps=160, learning_rate=1e-2, validate_every=40, patience=20)
        model = fit_forecaster(parts[:1], parts[1:2], tiny_config(), training, options=QUIET)
        dataset = ForecastDataset(parts[2:], model.config.layout_window, model.config.horizons)
        means, _, returns = forecasts(model.model, dataset, np.arange(len(dataset)))
        known = np.isfinite(returns[:, 1])
        skills[name] = 1.0 - np.mean((means - returns)[known, 1] ** 2) / np.mean(returns[known, 1] ** 2)
    assert skills["wave"] > 0.7
    assert skills["noise"] == 0.0  # calibration believes nothing, so that nothing is claimed


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_read_every_timeframe_alone_or_together(
    name: str, forecaster: Forecaster, markets: tuple[Market, ...]
) -> None:
    model = fresh_model(forecaster, **PUBLISHED[name])
    windows, closes = windows_at(model, markets[2], [1500, 1511, 1530])
    with torch.inference_mode():
        together = model.last(windows, closes).quantiles
        alone = model.last([part[1:2] for part in windows], closes[1:2]).quantiles
        torch.testing.assert_close(together[1:2], alone, rtol=0.0, atol=2e-6)
        for k in range(3):
            moved = [part + (0.5 if k == j else 0.0) for j, part in enumerate(windows)]
            assert (model.last(moved, closes).quantiles - together).abs().max() > 1e-5


def test_configurations_are_checked() -> None:
    for changes, message in (
        ({"network": "lstm"}, "steps=8 is not allowed: 0 but for the network 'gpt'"),
        ({"horizons": (2, 4)}, "1 first, where paths are sampled"),
        ({"timescales": "channels"}, "1 of every higher timeframe"),
        ({"quantiles": (0.5, 0.4)}, "strictly increasing"),
        ({"heads": 3}, "a divisor of width=16"),
        ({"ablate": ("gate",)}, "parts of the network 'hybrid'"),
    ):
        with pytest.raises(ConfigError, match=message):
            tiny_config(**changes)


def test_paths_need_the_return_of_a_bar(forecaster: Forecaster) -> None:
    names = tuple(tuple(n for n in part if n != RETURN) for part in forecaster.config.feature_names)
    config = replace(forecaster.config, feature_names=names)
    scaler = forecaster.scaler
    kept = [np.array([n != RETURN for n in part]) for part in scaler.names]
    scaler = replace(
        scaler, names=names, median=tuple(m[k] for m, k in zip(scaler.median, kept, strict=True)),
        iqr=tuple(m[k] for m, k in zip(scaler.iqr, kept, strict=True)),
    )  # fmt: skip
    with pytest.raises(ValueError, match="paths need the feature 'return_1'"):
        ForecasterModel(config, scaler)


def test_shared_rows_and_judged_markets_are_refused(markets: tuple[Market, ...]) -> None:
    with pytest.raises(ValueError, match="are the same market with rows"):
        fit_forecaster([Part(markets[0])], [Part(markets[0], 1000)], tiny_config(), tiny_training(), options=QUIET)
    with pytest.raises(ValueError, match="train: at least one part"):
        fit_forecaster([], [Part(markets[0])], tiny_config(), tiny_training(), options=QUIET)


def test_sampling_draws_the_distribution_of_the_next_bar(forecaster: Forecaster) -> None:
    """Over many paths the first step's quantiles are the head's own."""
    market = random_market(7)
    model = forecaster.model
    source = WindowSource([market], model.config.layout_window)
    with torch.inference_mode():
        drawn = sample_paths(model, source, [Origin.of(market, 1500)], 1, 4000, [np.random.default_rng(0)])[0, :, 0]
    said = forecaster.predict(market).loc[market.bars.index[1500]]
    for q in (0.1, 0.5, 0.9):
        assert np.quantile(drawn, q) == pytest.approx(said[f"return_1_q{100 * q:g}"], abs=2e-4)
