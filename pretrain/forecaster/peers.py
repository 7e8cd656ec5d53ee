"""What a forecaster must beat: forecasts of old, each fitted on training rows and judged on the same path.

All but persistence speak in units of sigma * sqrt(horizon), sigma the standard deviation of the last 96 log-returns,
and take their bands from the quantiles of what they missed on training rows. Shapes: `n` rows, `H` horizons, `F`
features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE, SIGMA
from cryptoenv.bars.timeframe import DAY_MS, timeframe_ms
from pretrain.data.forecast_windows import ForecastDataset
from pretrain.data.scaler import SCALED_BOUND, RobustScaler
from pretrain.forecaster.evaluation import Forecasts, truth_of

Floats = NDArray[np.float64]
LEVELS = np.array([0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.99])
FITTED_ROWS = 20_000
NO_DRIFT = "volatility, learned quantiles"
AR_ORDER = 8
RIDGE_BARS = 16  #: of the window's end that the ridge reads bar by bar
BOOSTED = np.array([0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95])  #: levels of gradient boosting, a model each


class Peer(ABC):
    """A forecaster without a network: `fit` on training rows, then call it with rows of any dataset."""

    levels: Floats = LEVELS

    def __init__(self) -> None:
        self._missed: Floats = np.zeros((0, 0))

    @abstractmethod
    def learn(self, dataset: ForecastDataset, rows: NDArray[np.int64], returns: Floats) -> None:
        """Fit on rows (n,) whose returns (n, H) in units are known or NaN."""

    @abstractmethod
    def mean(self, dataset: ForecastDataset, rows: NDArray[np.int64]) -> Floats:
        """(n, H) expected returns in units."""

    def spread(self, dataset: ForecastDataset, rows: NDArray[np.int64]) -> Floats:
        """(n, H) how wide the band of each row is, in units; 1 where sigma says it all."""
        return np.ones((len(rows), len(dataset.horizons)))

    def fit(self, dataset: ForecastDataset) -> Peer:
        """Learn from evenly spread rows of a dataset; itself."""
        rows = np.unique(np.linspace(0, len(dataset) - 1, min(FITTED_ROWS, len(dataset))).round().astype(np.int64))
        returns = dataset.returns(rows)[0][:, -1].astype(np.float64)
        self.learn(dataset, rows, returns)
        missed = (returns - self.mean(dataset, rows)) / self.spread(dataset, rows)
        self._missed = np.stack([np.nanquantile(column, self.levels) for column in missed.T])
        return self

    def __call__(self, dataset: ForecastDataset, rows: NDArray[np.int64]) -> Forecasts:
        """What it says at rows (n,), in log-returns."""
        units = truth_of(dataset, rows).sigma[:, None] * np.sqrt(np.array(dataset.horizons, np.float64))
        mean, spread = self.mean(dataset, rows), self.spread(dataset, rows)
        quantiles = mean[..., None] + spread[..., None] * self._missed
        return Forecasts(self.levels, mean * units, quantiles * units[..., None])


class NoDrift(Peer):
    """No expectation, and the quantiles that returns had in units of sigma."""

    def learn(self, dataset: ForecastDataset, rows: NDArray[np.int64], returns: Floats) -> None:
        """Nothing of the returns (n, H)."""

    def mean(self, dataset: ForecastDataset, rows: NDArray[np.int64]) -> Floats:
        """Zeros (n, H)."""
        return np.zeros((len(rows), len(dataset.horizons)))


class Drift(NoDrift):
    """The mean return of the training rows goes on."""

    def learn(self, dataset: ForecastDataset, rows: NDArray[np.int64], returns: Floats) -> None:
        """The mean of returns (n, H)."""
        self._drift = np.nanmean(returns, axis=0)

    def mean(self, dataset: ForecastDataset, rows: NDArray[np.int64]) -> Floats:
        """The same everywhere, (n, H)."""
        return np.tile(self._drift, (len(rows), 1))


class SeasonalNaive(NoDrift):
    """What came at this time of the day before; of a longer horizon, what came over the last such stretch."""

    def mean(self, dataset: ForecastDataset, rows: NDArray[np.int64]) -> Floats:
        """Returns of a season ago, (n, H)."""
        day = max(1, DAY_MS // timeframe_ms(dataset.parts[0].market.timeframes[0]))
        out = np.zeros((len(rows), len(dataset.horizons)))
        for number, t, mine in _by_market(dataset, rows):
            close = np.log(dataset.parts[number].market.prices[:, CLOSE])
            sigma = dataset.parts[number].market.prices[t, SIGMA]
            for h, horizon in enumerate(dataset.horizons):
                begin = t - -(-horizon // day) * day
                known = (begin >= 0) & (sigma > 0.0)
                moved = close[begin[known] + horizon] - close[begin[known]]
                out[np.flatnonzero(mine)[known], h] = moved / (sigma[known] * np.sqrt(horizon))
        return out


class Linear(Peer):
    """Ridge regression (Hoerl and Kennard 1970) of each horizon's return on `inputs`, (n, F) of (dataset, rows)."""

    def __init__(self, inputs: Callable[[ForecastDataset, NDArray[np.int64]], Floats], penalty: float) -> None:
        super().__init__()
        self._inputs, self._penalty, self._models = inputs, penalty, []  # type: ignore[var-annotated]

    def learn(self, dataset: ForecastDataset, rows: NDArray[np.int64], returns: Floats) -> None:
        """One regression per horizon of the returns (n, H)."""
        from sklearn.linear_model import Ridge

        given = self._inputs(dataset, rows)
        known = [np.isfinite(column) for column in returns.T]
        self._models = [
            Ridge(self._penalty * ok.sum()).fit(given[ok], column[ok])
            for ok, column in zip(known, returns.T, strict=True)
        ]

    def mean(self, dataset: ForecastDataset, rows: NDArray[np.int64]) -> Floats:
        """What the regressions say, (n, H)."""
        given = self._inputs(dataset, rows)
        return np.column_stack([model.predict(given) for model in self._models])


class Har(NoDrift):
    """Log realised variance regressed on that of the last hour, four hours, day and week: bands, no expectation.

    Corsi 2009, "A simple approximate long-memory model of realized volatility", J. Financial Econometrics 7; the terms
    are those of bars within a day.
    """

    def learn(self, dataset: ForecastDataset, rows: NDArray[np.int64], returns: Floats) -> None:
        """Least squares per horizon of returns (n, H), in logarithms."""
        given, ahead = self._terms(dataset, rows), self._ahead(dataset, rows)
        self._weights = []
        for column in ahead.T:
            known = np.isfinite(column)
            self._weights.append(np.linalg.lstsq(given[known], column[known], rcond=None)[0])

    def spread(self, dataset: ForecastDataset, rows: NDArray[np.int64]) -> Floats:
        """Forecast volatility in units of sigma, (n, H)."""
        given, sigma = self._terms(dataset, rows), truth_of(dataset, rows).sigma
        logs = np.column_stack([given @ weights for weights in self._weights])
        return np.exp(0.5 * logs) / sigma[:, None]

    def _terms(self, dataset: ForecastDataset, rows: NDArray[np.int64]) -> Floats:
        hour = max(1, 3_600_000 // timeframe_ms(dataset.parts[0].market.timeframes[0]))
        out = np.ones((len(rows), 5))
        for number, t, mine in _by_market(dataset, rows):
            total = _squares(dataset, number)
            for k, bars in enumerate((hour, 4 * hour, 24 * hour, 168 * hour), start=1):
                first = np.maximum(t - bars, 0)
                out[mine, k] = np.log((total[t] - total[first]) / np.maximum(t - first, 1) + 1e-12)
        return out

    def _ahead(self, dataset: ForecastDataset, rows: NDArray[np.int64]) -> Floats:
        out = np.full((len(rows), len(dataset.horizons)), np.nan)
        for number, t, mine in _by_market(dataset, rows):
            total, end = _squares(dataset, number), dataset.parts[number].end
            for h, horizon in enumerate(dataset.horizons):
                known = t + horizon < end
                variance = (total[t[known] + horizon] - total[t[known]]) / horizon
                out[np.flatnonzero(mine)[known], h] = np.log(variance + 1e-12)
        return out


class Boosting(Peer):
    """Gradient boosting (scikit-learn's histogram trees) of mean and quantiles, on the last bars' features."""

    levels = BOOSTED

    def __init__(self, trees: int = 60, seed: int = 0) -> None:
        super().__init__()
        self._trees, self._seed = trees, seed
        self._means: list[Any] = []
        self._quantiles: list[list[Any]] = []

    def learn(self, dataset: ForecastDataset, rows: NDArray[np.int64], returns: Floats) -> None:
        """1 + Q models per horizon of returns (n, H)."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        given = last_bars(dataset, rows)
        shared = {"max_iter": self._trees, "learning_rate": 0.05, "max_leaf_nodes": 15, "random_state": self._seed}
        for column in returns.T:
            known = np.isfinite(column)
            self._means.append(HistGradientBoostingRegressor(**shared).fit(given[known], column[known]))
            self._quantiles.append([
                HistGradientBoostingRegressor(loss="quantile", quantile=q, **shared).fit(given[known], column[known])
                for q in self.levels
            ])  # fmt: skip

    def mean(self, dataset: ForecastDataset, rows: NDArray[np.int64]) -> Floats:
        """What the trees of the mean say, (n, H)."""
        given = last_bars(dataset, rows)
        return np.column_stack([model.predict(given) for model in self._means])

    def __call__(self, dataset: ForecastDataset, rows: NDArray[np.int64]) -> Forecasts:
        """Mean and quantiles, each by its own trees."""
        units = truth_of(dataset, rows).sigma[:, None] * np.sqrt(np.array(dataset.horizons, np.float64))
        given = last_bars(dataset, rows)
        quantiles = np.stack([[model.predict(given) for model in models] for models in self._quantiles])  # (H, Q, n)
        in_order = np.sort(quantiles.transpose(2, 0, 1), axis=-1)
        return Forecasts(self.levels, self.mean(dataset, rows) * units, in_order * units[..., None])


def peers(scaler: RobustScaler) -> dict[str, Peer]:
    """All of them by name, unfitted; `scaler` of the forecaster they are beside."""
    return {
        NO_DRIFT: NoDrift(),
        "drift": Drift(),
        f"AR({AR_ORDER})": Linear(last_returns, 1e-4),
        "ridge on the window": Linear(lambda dataset, rows: window_ends(dataset, rows, scaler), 1e-2),
        "seasonal naive": SeasonalNaive(),
        "HAR": Har(),
        "gradient boosting": Boosting(),
    }


def last_returns(dataset: ForecastDataset, rows: NDArray[np.int64]) -> Floats:
    """(n, AR_ORDER) the last log-returns in units of sigma, newest first."""
    out = np.zeros((len(rows), AR_ORDER))
    for number, t, mine in _by_market(dataset, rows):
        prices = dataset.parts[number].market.prices
        steps = np.diff(np.log(prices[:, CLOSE]), prepend=np.log(prices[0, CLOSE]))
        out[mine] = steps[t[:, None] - np.arange(AR_ORDER)] / np.maximum(prices[t, SIGMA], 1e-12)[:, None]
    return out


def last_bars(dataset: ForecastDataset, rows: NDArray[np.int64]) -> Floats:
    """(n, F) features of the last bar of every timeframe."""
    return np.concatenate([part[:, -1].numpy() for part in _gathered(dataset, rows)], axis=1).astype(np.float64)


def window_ends(dataset: ForecastDataset, rows: NDArray[np.int64], scaler: RobustScaler) -> Floats:
    """(n, F) scaled features of the last bars of the base window, and of the last bar of the others."""
    found = []
    for k, part in enumerate(_gathered(dataset, rows)):
        ends = part[:, -RIDGE_BARS if k == 0 else -1 :].numpy()
        scaled = np.clip((ends - scaler.median[k]) / scaler.scale(k), -SCALED_BOUND, SCALED_BOUND)
        found.append(scaled.reshape(len(rows), -1))
    return np.concatenate(found, axis=1).astype(np.float64)


def _gathered(dataset: ForecastDataset, rows: NDArray[np.int64]) -> tuple[Any, ...]:
    return dataset.source.gather(dataset.market[rows], dataset.t[rows])


def _by_market(dataset: ForecastDataset, rows: NDArray[np.int64]) -> Any:
    for number in np.unique(dataset.market[rows]):
        mine = dataset.market[rows] == number
        yield int(number), dataset.t[rows][mine], mine


def _squares(dataset: ForecastDataset, number: int) -> Floats:
    """(T,) running sum of squared log-returns of a part's market, up to its end alone."""
    close = np.log(dataset.parts[number].market.prices[:, CLOSE])
    return np.cumsum(np.diff(close, prepend=close[0]) ** 2)
