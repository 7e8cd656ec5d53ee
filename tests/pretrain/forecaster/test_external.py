"""Models of others: the one whose weights are in its package speaks, the others say what they lack."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from cryptoenv.files.typed_values import ConfigError
from cryptoenv.market.market import Market
from pretrain import FitOptions, pretrain_forecaster
from pretrain.data.forecast_windows import ForecastDataset, Part
from pretrain.forecaster import external
from pretrain.forecaster.external import External
from pretrain.forecaster.recipe import ForecasterRecipe


def test_fracast_says_quantiles_of_returns(markets: tuple[Market, ...]) -> None:
    pytest.importorskip("fracast")
    dataset = ForecastDataset([Part(markets[0], 1300)], (12, 3, 2), (1, 8))
    said = External("fracast")(dataset, np.array([0, 5, 300]))
    assert said.quantiles.shape == (3, 2, 9)
    assert (np.diff(said.quantiles, axis=2) >= 0.0).all()
    width = said.quantiles[..., 8] - said.quantiles[..., 0]
    assert (width > 0.002).all()  # hours of 1%: bands of that order, wider for longer
    assert (width < 0.5).all()
    assert width[:, 1].mean() > width[:, 0].mean()


def test_what_is_shown_ends_at_the_row(markets: tuple[Market, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted model: it is shown the bars up to each row, and its steps are those of the horizons."""
    shown: list[external.Contexts] = []

    def ahead(given: external.Contexts, bars: int) -> np.ndarray:
        shown.append(given)
        return np.tile(np.arange(1.0, bars + 1.0)[None, :, None], (len(given.prices), 1, 9)) * external.TENTHS

    monkeypatch.setattr(external, "_fracast", lambda: ahead)
    market, rows = markets[0], np.array([0, 5, 300])
    dataset = ForecastDataset([Part(market, 1300)], (12, 3, 2), (1, 8))
    said = External("fracast")(dataset, rows)
    (given,), t = shown, dataset.t[rows]
    assert given.prices.shape == (3, external.CONTEXT, 5) and (t == 1300 + rows).all()
    for place, row in enumerate(t):
        bars = market.bars.iloc[row + 1 - external.CONTEXT : row + 1]
        np.testing.assert_array_equal(given.prices[place], bars[["open", "high", "low", "close", "volume"]])
        assert given.opens_ms[place] == bars.index[-1].value // 10**6
    assert (given.logs[:, -1] == 0.0).all() and given.step_ms == 3_600_000
    np.testing.assert_allclose(said.quantiles[1], [external.TENTHS, 8.0 * external.TENTHS])
    np.testing.assert_allclose(said.mean[1], [0.5, 4.0])


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="forecaster 'oracle' is unknown"):
        External("oracle")
    with pytest.raises(ConfigError, match="needs a folder with its weights"):
        External("chronos", tmp_path)
    (tmp_path / "config.json").write_text("{}")
    if importlib.util.find_spec("chronos") is None:
        with pytest.raises(ImportError, match="'chronos' needs chronos: pip install chronos-forecasting"):
            External("chronos", tmp_path)
    with pytest.raises(ConfigError, match=r"its weights \(model/config.json, tokenizer/config.json\)"):
        External("kronos", tmp_path)
    for name in ("model", "tokenizer"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    if importlib.util.find_spec("kronos_finance") is None:
        with pytest.raises(ImportError, match="'kronos' needs kronos_finance: pip install kronos-finance"):
            External("kronos", tmp_path)


CHRONOS = {
    "architectures": ["Chronos2Model"], "chronos_pipeline_class": "Chronos2Pipeline", "d_model": 16, "d_kv": 8,
    "d_ff": 16, "num_layers": 1, "num_heads": 2, "model_type": "t5", "vocab_size": 2, "reg_token_id": 1,
    "chronos_config": {
        "context_length": 512, "output_patch_size": 16, "input_patch_size": 16, "input_patch_stride": 16,
        "quantiles": [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95], "use_reg_token": True,
        "use_arcsinh": True, "max_output_patches": 8, "time_encoding_scale": 512,
    },
}  # fmt: skip


def test_chronos_2_says_the_same_alone_and_together(markets: tuple[Market, ...], tmp_path: Path) -> None:
    """With weights drawn here: what is shown is that its interface is met, not that it forecasts."""
    pytest.importorskip("chronos")
    from chronos.chronos2.config import Chronos2CoreConfig
    from chronos.chronos2.model import Chronos2Model

    torch.manual_seed(0)
    Chronos2Model(Chronos2CoreConfig(**CHRONOS)).save_pretrained(tmp_path)
    check_alone_and_together(External("chronos", tmp_path), markets[0])


def test_kronos_says_the_same_alone_and_together(markets: tuple[Market, ...], tmp_path: Path) -> None:
    pytest.importorskip("kronos_finance")
    from kronos_finance._vendor.kronos_model import Kronos, KronosTokenizer

    torch.manual_seed(0)
    shared = {"n_heads": 2, "d_model": 8, "ff_dim": 8, "ffn_dropout_p": 0.0, "attn_dropout_p": 0.0,
              "resid_dropout_p": 0.0, "s1_bits": 2, "s2_bits": 2}  # fmt: skip
    KronosTokenizer(
        d_in=6, n_enc_layers=1, n_dec_layers=1, beta=0.05, gamma0=1.0, gamma=1.1, zeta=0.05, group_size=4, **shared
    ).save_pretrained(tmp_path / "tokenizer")
    Kronos(n_layers=1, token_dropout_p=0.0, learn_te=True, **shared).save_pretrained(tmp_path / "model")
    check_alone_and_together(External("kronos", tmp_path), markets[0])


def check_alone_and_together(model: External, market: Market) -> None:
    dataset = ForecastDataset([Part(market, 1300)], (12, 3, 2), (1, 4))
    said = model(dataset, np.array([3, 100]))
    assert said.quantiles.shape == (2, 2, 9)
    assert np.isfinite(said.quantiles).all()
    assert (np.diff(said.quantiles, axis=2) >= 0.0).all()
    np.testing.assert_allclose(model(dataset, np.array([100])).quantiles[0], said.quantiles[1], atol=1e-5)


def test_a_recipe_names_one_and_nothing_trains_it(tmp_path: Path) -> None:
    recipe = ForecasterRecipe.of({"forecaster": "external", "external": "kronos", "weights": "there"}, "a file")
    with pytest.raises(ConfigError, match="cryptoenv evaluate RECIPE"):
        pretrain_forecaster(recipe, FitOptions(progress=False))
    for values, message in (
        ({"forecaster": "external"}, "external='' is not allowed: one of"),
        ({"external": "kronos"}, "nothing but with forecaster='external'"),
        ({"forecaster": "other"}, "'own' or 'external'"),
    ):
        with pytest.raises(ConfigError, match=message):
            ForecasterRecipe.of(dict(values), "a file")
