"""Foundation models of others on the same rows: Fracast-0, whose weights are in its package, Chronos and Kronos.

They read prices alone and are not trained here. What data their weights saw is their makers' to say. Nothing is
downloaded: weights come from a folder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE, HIGH, LOW, OPEN, VOLUME
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.files.typed_values import ConfigError
from pretrain.data.forecast_windows import ForecastDataset
from pretrain.forecaster.config import EXTERNAL
from pretrain.forecaster.evaluation import Forecasts
from synthetic.installation import install_hint

Floats = NDArray[np.float64]
CONTEXT = 512  #: bars that they read
TENTHS = np.arange(1, 10) / 10.0  #: the levels that all of them say
BATCH = 256
SAMPLES = 30  #: paths of Kronos, which says no quantiles, for each row
OHLCV = (OPEN, HIGH, LOW, CLOSE, VOLUME)


class Contexts(NamedTuple):
    """What n rows show: `prices` (n, CONTEXT, 5) float64 open, high, low, close and volume; `opens_ms` (n,) int64 of
    their last bars; `step_ms` of a bar."""

    prices: Floats
    opens_ms: NDArray[np.int64]
    step_ms: int

    @property
    def logs(self) -> Floats:
        """(n, CONTEXT) log closes less the last one."""
        found: Floats = np.log(self.prices[..., OHLCV.index(CLOSE)])
        return found - found[:, -1:]


#: n contexts, and bars ahead -> (n, bars ahead, 9) quantiles of the log-return since the last close
Ahead = Callable[[Contexts, int], Floats]


class External:
    """A model of others as a contender of `evaluation.judge`: call it with a dataset and rows.

    Args:
        name: one of EXTERNAL.
        folder: of the weights, where they are not in the package: of "chronos" `config.json` and `model.safetensors`,
            of "kronos" the folders `model` and `tokenizer` with these files.

    Raises:
        ConfigError: an unknown name, or no such folder. ImportError: the package is not installed.
    """

    def __init__(self, name: str, folder: str | Path | None = None) -> None:
        if name not in EXTERNAL:
            raise ConfigError(f"forecaster {name!r} is unknown; choose one of {EXTERNAL}")
        self.name = name
        self._ahead = _fracast() if name == "fracast" else (_chronos if name == "chronos" else _kronos)(folder)

    def __call__(self, dataset: ForecastDataset, rows: NDArray[np.int64]) -> Forecasts:
        """What it says at rows (n,), in log-returns; the median is its mean.

        Raises:
            ValueError: a row with fewer than CONTEXT bars before it.
        """
        t = dataset.t[rows]
        if len(t) and t.min() < CONTEXT - 1:
            raise ValueError(f"row {int(t.min())} has fewer than the {CONTEXT} bars that {self.name} reads")
        steps = np.array(dataset.horizons) - 1
        parts = np.array_split(rows, max(1, -(-len(rows) // BATCH)))
        found = [self._ahead(_contexts(dataset, part), int(steps[-1]) + 1)[:, steps] for part in parts]
        quantiles = np.sort(np.concatenate(found), axis=-1)
        return Forecasts(TENTHS, quantiles[..., 4], quantiles)


def _contexts(dataset: ForecastDataset, rows: NDArray[np.int64]) -> Contexts:
    prices = np.empty((len(rows), CONTEXT, len(OHLCV)))
    for i, (market, t) in enumerate(zip(dataset.market[rows], dataset.t[rows], strict=True)):
        prices[i] = dataset.parts[market].market.prices[t - CONTEXT + 1 : t + 1, OHLCV]
    step = timeframe_ms(dataset.parts[0].market.timeframes[0])
    return Contexts(prices, dataset.closes_ms(rows) - step, step)


def _fracast() -> Ahead:
    try:
        from fracast import FracastModel
    except ModuleNotFoundError as error:
        raise ImportError(f"the forecaster 'fracast' needs {error.name}: {install_hint('bench')}") from error
    model = FracastModel.from_pretrained()
    return lambda given, ahead: np.asarray(model.forecast_batch(given.logs, horizon=ahead), np.float64)


def _chronos(folder: str | Path | None) -> Ahead:
    """Of Chronos, Chronos-Bolt or Chronos-2 (Ansari et al. 2024, 2025), as the folder's configuration says."""
    place = _weights("chronos", folder, ("config.json",))
    try:
        import torch
        from chronos import BaseChronosPipeline
    except ModuleNotFoundError as error:
        raise ImportError(f"the forecaster 'chronos' needs {error.name}: pip install chronos-forecasting") from error
    pipeline = BaseChronosPipeline.from_pretrained(str(place), device_map="cpu")

    def ahead(given: Contexts, bars: int) -> Floats:
        # one series each: what is said of one must not depend on what else is in the batch
        series = list(torch.from_numpy(given.logs).float())
        found, _ = pipeline.predict_quantiles(series, prediction_length=bars, quantile_levels=TENTHS.tolist())
        return np.stack([np.asarray(one, np.float64).reshape(bars, len(TENTHS)) for one in found])

    return ahead


def _kronos(folder: str | Path | None) -> Ahead:
    """Of Kronos (Shi et al. 2025): candles as tokens, sampled forward; quantiles of SAMPLES closes."""
    place = _weights("kronos", folder, ("model/config.json", "tokenizer/config.json"))
    try:
        import pandas as pd
        import torch
        from kronos_finance.model import load_kronos
    except ModuleNotFoundError as error:
        raise ImportError(f"the forecaster 'kronos' needs {error.name}: pip install kronos-finance") from error
    model: Any = load_kronos(str(place / "model"), str(place / "tokenizer"), max_context=CONTEXT)
    model.model.eval()
    model.tokenizer.eval()

    def ahead(given: Contexts, bars: int) -> Floats:
        found = np.empty((len(given.prices), bars, len(TENTHS)))
        for i, (prices, opens) in enumerate(zip(given.prices, given.opens_ms, strict=True)):
            # as if the last close were 100: it divides by a deviation + 1e-5, which would hide coins below a cent
            table = pd.DataFrame(prices, columns=["open", "high", "low", "close", "volume"])
            table.iloc[:, :4] *= 100.0 / prices[-1, 3]
            moments = pd.Series(pd.to_datetime(opens + given.step_ms * np.arange(1 - CONTEXT, bars + 1), unit="ms"))
            before, after = moments[:CONTEXT], moments[CONTEXT:]
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(opens) % 2**31)  # of the row alone, not of its place in a batch
                # a copy per path: asked for several samples of one, it says their mean
                told = model.predict_batch([table] * SAMPLES, [before] * SAMPLES, [after] * SAMPLES, bars, top_p=1.0)
            closes = np.stack([one["close"].to_numpy() for one in told])
            logs = np.log(np.maximum(closes / 100.0, 1e-6))
            found[i] = np.quantile(logs, TENTHS, axis=0).T
        return found

    return ahead


def _weights(name: str, folder: str | Path | None, files: tuple[str, ...]) -> Path:
    """The folder of weights, where all files are there."""
    missing = files[0] if folder is None else next((f for f in files if not (Path(folder) / f).is_file()), None)
    if folder is None or missing is not None:
        found = "got none (`weights:` in the recipe)" if folder is None else f"got {folder}"
        raise ConfigError(f"the forecaster {name!r} needs a folder with its weights ({', '.join(files)}), {found}")
    return Path(folder)
