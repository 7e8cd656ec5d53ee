"""Foundation models of others, judged on the same rows: Fracast-0, whose weights are in its package, and Chronos.

They read log-prices alone and are not trained here. What data their weights saw is their makers' to say.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.files.typed_values import ConfigError
from pretrain.data.forecast_windows import ForecastDataset
from pretrain.forecaster.evaluation import Forecasts
from synthetic.installation import install_hint

Floats = NDArray[np.float64]
EXTERNAL = ("fracast", "chronos")
CONTEXT = 512  #: closes that they read
TENTHS = np.arange(1, 10) / 10.0  #: the levels that both say
BATCH = 256
#: (n, CONTEXT) log-prices less the last one, and bars ahead -> (n, bars ahead, 9) quantiles of the log-return
Ahead = Callable[[Floats, int], Floats]


class External:
    """A model of others as a contender of `evaluation.judge`: call it with a dataset and rows.

    Args:
        name: one of EXTERNAL.
        folder: of the weights, where they are not in the package.

    Raises:
        ConfigError: an unknown name, or no such folder. ImportError: the package is not installed.
    """

    def __init__(self, name: str, folder: str | Path | None = None) -> None:
        if name not in EXTERNAL:
            raise ConfigError(f"forecaster {name!r} is unknown; choose one of {EXTERNAL}")
        self.name = name
        self._ahead = _fracast() if name == "fracast" else _chronos(folder)

    def __call__(self, dataset: ForecastDataset, rows: NDArray[np.int64]) -> Forecasts:
        """What it says at rows (n,), in log-returns; the median is its mean.

        Raises:
            ValueError: a row with fewer than CONTEXT bars before it.
        """
        markets, t = dataset.market[rows], dataset.t[rows]
        if len(t) and t.min() < CONTEXT - 1:
            raise ValueError(f"row {int(t.min())} has fewer than the {CONTEXT} bars that {self.name} reads")
        contexts = np.empty((len(rows), CONTEXT))
        for i, (market, row) in enumerate(zip(markets, t, strict=True)):
            contexts[i] = np.log(dataset.parts[market].market.prices[row - CONTEXT + 1 : row + 1, CLOSE])
        contexts -= contexts[:, -1:]
        steps = np.array(dataset.horizons) - 1
        parts = np.array_split(contexts, max(1, -(-len(rows) // BATCH)))
        found = np.concatenate([self._ahead(part, int(steps[-1]) + 1)[:, steps] for part in parts])
        quantiles = np.sort(found, axis=-1)
        return Forecasts(TENTHS, quantiles[..., 4], quantiles)


def _fracast() -> Ahead:
    try:
        from fracast import FracastModel
    except ModuleNotFoundError as error:
        raise ImportError(f"the forecaster 'fracast' needs {error.name}: {install_hint('bench')}") from error
    model = FracastModel.from_pretrained()
    return lambda contexts, ahead: np.asarray(model.forecast_batch(contexts, horizon=ahead), np.float64)


def _chronos(folder: str | Path | None) -> Ahead:
    if folder is None or not (Path(folder) / "config.json").is_file():
        raise ConfigError(f"the forecaster 'chronos' needs a folder with its weights (config.json, ...), got {folder}")
    try:
        import torch
        from chronos import BaseChronosPipeline
    except ModuleNotFoundError as error:
        raise ImportError(f"the forecaster 'chronos' needs {error.name}: pip install chronos-forecasting") from error
    pipeline = BaseChronosPipeline.from_pretrained(str(folder), device_map="cpu")

    def ahead(contexts: Floats, bars: int) -> Floats:
        given = torch.from_numpy(contexts).float()
        quantiles, _ = pipeline.predict_quantiles(given, prediction_length=bars, quantile_levels=TENTHS.tolist())
        return np.asarray(quantiles, np.float64).reshape(len(contexts), bars, len(TENTHS))

    return ahead
