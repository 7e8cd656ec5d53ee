"""What features are worth, and whether they stay what they are: tables and pictures of a market's features.

Forward returns look ahead; nothing here may come near an environment or a feature. Needs scikit-learn, scipy and
matplotlib (extra `report`), imported where used.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.features import FEATURE_BOUND
from cryptoenv.files.durable_files import make_folder, write_figure, write_file
from cryptoenv.market.market import Market

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HORIZONS: Final = (1, 4, 16)
_PSI_BINS: Final = 10
_SMALLEST_SHARE: Final = 1e-4


def feature_frame(market: Market, timeframe: str) -> pd.DataFrame:
    """The features of a timeframe's bars that have their whole warm-up, on the UTC index of the bars' opens.

    Raises:
        ValueError: a timeframe that the market lacks, or that has no features, or no bar with them.
    """
    if timeframe not in market.timeframes:
        raise ValueError(f"timeframe {timeframe!r} is not in the market; allowed: {', '.join(market.timeframes)}")
    k = market.timeframes.index(timeframe)
    first, matrix = market.valid_from[k], market.features[k]
    if first >= len(matrix) or matrix.shape[1] == 0:
        raise ValueError(f"{timeframe} has {len(matrix)} bars, {matrix.shape[1]} features, whole from bar {first} on")
    ends = market.bars.index[_end_rows(market, k)]
    opens = ends + (market.bars.index[1] - market.bars.index[0]) - pd.Timedelta(timeframe_ms(timeframe), unit="ms")
    return pd.DataFrame(matrix, index=opens, columns=list(market.feature_names[k])).iloc[first:]


def forward_returns(market: Market, timeframe: str, horizons: Sequence[int] = HORIZONS) -> pd.DataFrame:
    """Log-returns from each bar's close over the next `horizons` bars, NaN at the end; rows as `feature_frame`."""
    k = market.timeframes.index(timeframe)
    log_close = pd.Series(np.log(market.prices[_end_rows(market, k), CLOSE]))
    frame = pd.DataFrame({bars: log_close.shift(-bars) - log_close for bars in horizons}).iloc[market.valid_from[k] :]
    return frame.set_index(feature_frame(market, timeframe).index)


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Per feature: mean, standard deviation, 1 %, 50 % and 99 % quantiles, and the share of rows at the bound."""
    table = frame.describe(percentiles=[0.01, 0.5, 0.99]).T[["mean", "std", "1%", "50%", "99%"]]
    return table.assign(at_bound=(frame.abs() >= FEATURE_BOUND).mean())


def lag_table(frame: pd.DataFrame, returns: pd.DataFrame, lags: Sequence[int] = (0, 1, 4, 16)) -> pd.DataFrame:
    """Rank correlation (Spearman) of each feature, `lags` bars old, with each forward return.

    Returns:
        Rows: features; columns: (horizon, lag).
    """
    ranked = returns.rank()
    keys = [(horizon, lag) for horizon in returns.columns for lag in lags]
    columns = [frame.shift(lag).rank().corrwith(ranked[horizon]) for horizon, lag in keys]
    table = pd.concat(columns, axis=1)
    table.columns = pd.MultiIndex.from_tuples(keys, names=["horizon", "lag"])
    return table


def mutual_information(frame: pd.DataFrame, returns: pd.DataFrame, *, rows: int = 4000, seed: int = 0) -> pd.DataFrame:
    """Mutual information in nats of each feature with each forward return (Kraskov et al. 2004, by scikit-learn).

    Args:
        frame, returns: rows of the same bars.
        rows: how many are drawn, at most.
        seed: of the draw, and of the estimator's jitter.

    Returns:
        Rows: features; columns: horizons.
    """
    from sklearn.feature_selection import mutual_info_regression

    whole = np.flatnonzero(returns.notna().all(axis=1))
    drawn = np.sort(np.random.default_rng(seed).choice(whole, min(rows, len(whole)), replace=False))
    values = frame.to_numpy(dtype=np.float64)[drawn]
    return pd.DataFrame(
        {h: mutual_info_regression(values, returns[h].to_numpy()[drawn], random_state=seed) for h in returns.columns},
        index=frame.columns,
    ).rename_axis(columns="horizon")


def feature_drift(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """How much each feature's distribution moved between two ranges.

    Returns:
        Rows: features; columns: `psi`, the population stability index over the tenths of `before` (below 0.1 little,
        above 0.25 much), and `ks`, the distance of Kolmogorov and Smirnov. Rows follow each other in time, so no
        p-value holds.
    """
    from scipy.stats import ks_2samp

    rows = {}
    for name in before.columns:
        a, b = before[name].to_numpy(), after[name].to_numpy()
        edges = np.unique(np.quantile(a, np.linspace(0.0, 1.0, _PSI_BINS + 1)[1:-1]))
        old, new = (np.bincount(np.searchsorted(edges, x), minlength=len(edges) + 1) / len(x) for x in (a, b))
        old, new = np.maximum(old, _SMALLEST_SHARE), np.maximum(new, _SMALLEST_SHARE)
        rows[name] = {"psi": float(((new - old) * np.log(new / old)).sum()), "ks": float(ks_2samp(a, b).statistic)}
    return pd.DataFrame.from_dict(rows, orient="index")


def plot_correlations(frame: pd.DataFrame, title: str = "") -> "Figure":
    """Heat map of the features' rank correlations."""
    correlation = frame.corr("spearman")
    return _heat_map(correlation, title or "Rank correlation of features", 1.0)


def plot_lags(table: pd.DataFrame, title: str = "") -> "Figure":
    """Heat map of `lag_table`."""
    horizons, lags = (table.columns.get_level_values(level) for level in ("horizon", "lag"))
    labels = [f"{horizon} bars, lag {lag}" for horizon, lag in zip(horizons, lags, strict=True)]
    named = table.set_axis(labels, axis=1)
    return _heat_map(named, title or "Rank correlation with forward returns", float(np.nanmax(np.abs(table))))


def _heat_map(table: pd.DataFrame, title: str, limit: float) -> "Figure":
    from matplotlib.figure import Figure

    rows, columns = table.shape
    figure = Figure(figsize=(3.0 + 0.28 * columns, 2.0 + 0.28 * rows), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(table.to_numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    axes.set_xticks(range(columns), list(table.columns), rotation=90)
    axes.set_yticks(range(rows), list(table.index))
    axes.set_title(title)
    figure.colorbar(image, ax=axes)
    return figure


def inspect_features(market: Market, out: Path, *, seed: int = 0) -> pd.DataFrame:
    """Writes tables (CSV) and pictures (PNG) of every timeframe's features to a folder.

    Args:
        market: any with features.
        out: the folder, made if need be.
        seed: of the rows that mutual information is estimated on.

    Returns:
        One row per (timeframe, feature): summary, best rank correlation and mutual information over horizons, and the
        drift from the first half to the second.

    Raises:
        ValueError: no timeframe has at least 40 bars with features.
    """
    make_folder(out)
    tables = {}
    for k, timeframe in enumerate(market.timeframes):
        if market.feature_names[k] and len(market.features[k]) - market.valid_from[k] >= 40:
            tables[timeframe] = _inspect(market, timeframe, out, seed)
    if not tables:
        raise ValueError(f"{market!r} has no timeframe with features and 40 bars after the warm-up; bring more bars")
    table = pd.concat(tables, names=["timeframe", "feature"])
    write_file(out / "features.csv", table.to_csv())
    return table


def _inspect(market: Market, timeframe: str, out: Path, seed: int) -> pd.DataFrame:
    frame, returns = feature_frame(market, timeframe), forward_returns(market, timeframe)
    lags, information = lag_table(frame, returns), mutual_information(frame, returns, seed=seed)
    drift = feature_drift(frame.iloc[: len(frame) // 2], frame.iloc[len(frame) // 2 :])
    write_file(out / f"lags_{timeframe}.csv", lags.to_csv())
    write_file(out / f"mutual_information_{timeframe}.csv", information.to_csv())
    correlations = plot_correlations(frame, f"Rank correlation of features, {timeframe}")
    write_figure(correlations, out / f"correlation_{timeframe}.png")
    lagged = plot_lags(lags, f"Rank correlation with forward returns, {timeframe}")
    write_figure(lagged, out / f"lags_{timeframe}.png")
    best = lags.loc[:, lags.columns.get_level_values("lag") == 0].abs().max(axis=1)
    return summary(frame).assign(rank_correlation=best, information=information.max(axis=1), **drift)


def _end_rows(market: Market, k: int) -> np.ndarray:
    # (T_k,) base row with which each bar of timeframe k ends.
    return np.searchsorted(market.align[:, k], np.arange(len(market.features[k])))
