"""Models of others: the one whose weights are in its package speaks, the others say what they lack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cryptoenv.files.typed_values import ConfigError
from cryptoenv.market.market import Market
from pretrain.data.forecast_windows import ForecastDataset, Part
from pretrain.forecaster.external import External


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


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="forecaster 'oracle' is unknown"):
        External("oracle")
    with pytest.raises(ConfigError, match="needs a folder with its weights"):
        External("chronos", tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ImportError, match="pip install chronos-forecasting"):
        External("chronos", tmp_path)
