"""What forecasters are judged on: held-out time of real bars, synthetic markets with a ceiling, planted laws."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.support.filter_forecast import log_scores
from cryptoenv.bar_files.reading import read_bars
from cryptoenv.files.durable_files import make_folder
from cryptoenv.market.market import Market
from pretrain.data.forecast_windows import Part
from pretrain.data.splits import split_markets
from pretrain.forecaster.recipe import ForecasterRecipe
from synthetic import regime_market, task_seeds
from synthetic.oracles.macro_filter import EVERYTHING

FRACTIONS = (0.74, 0.12, 0.14)
TIMEFRAMES = ("15m", "4h", "1d")
EMBARGO = 96
SYNTHETIC_MARKETS = {"extractor": 48, "validation": 6, "test": 6}
DAYS = 60
REAL, SYNTHETIC, PLANTED = "real", "synthetic", "planted"


class Parts(NamedTuple):
    """Parts to learn from, to choose and calibrate by (the validation of `fit_forecaster`), and to judge on."""

    train: tuple[Part, ...]
    validation: tuple[Part, ...]
    test: tuple[Part, ...]


class Ceiling(NamedTuple):
    """Of each test market, (T,) log score and expectation of the next bar's return by the exact filter, and its log
    score when it is told the latent level of volatility as well."""

    scores: tuple[NDArray[np.float64], ...]
    means: tuple[NDArray[np.float64], ...]
    told: tuple[NDArray[np.float64], ...]


@lru_cache(maxsize=1)
def real_parts(files: tuple[Path, ...], kept: Path) -> Parts:
    """Of the files' markets, with borders at moments that all share; markets stay in the folder `kept`."""
    markets = tuple(_real_market(file, kept) for file in files)
    windows = [ForecasterRecipe.read(name).architecture.layout_window for name in ("forecaster", "hybrid")]
    window = tuple(int(max(sizes)) for sizes in zip(*windows, strict=True))
    splits = split_markets(markets, window, fractions=FRACTIONS, look_ahead=0, embargo=EMBARGO)
    found = (splits.part(name) for name in Parts._fields)
    return Parts(*(tuple(Part(markets[s.market], s.start, s.stop) for s in spans) for spans in found))


def _real_market(file: Path, kept: Path) -> Market:
    folder = kept / file.name.split(".")[0]
    if not folder.is_dir():
        make_folder(kept)
        Market.from_bars(read_bars(file), TIMEFRAMES, name=_short(file)).save(folder)
    return Market.load(folder)


def _short(file: Path) -> str:
    return next((word for word in file.name.split("_") if word.isupper()), file.stem).removesuffix("USDT")


@lru_cache(maxsize=1)
def synthetic_parts(task: str, kept: Path) -> Parts:
    """Of markets by seed family; markets stay in the folder `kept`."""
    return Parts(*(
        tuple(Part(_synthetic_market(task, seed, kept)) for seed in task_seeds(task, family, count))
        for family, count in SYNTHETIC_MARKETS.items()
    ))  # fmt: skip


def _synthetic_market(task: str, seed: int, kept: Path) -> Market:
    folder = kept / f"{task}-{DAYS}-{seed}"
    if not folder.is_dir():
        make_folder(kept)
        sample = regime_market(task, DAYS, seed)
        Market.from_bars(sample.bars, TIMEFRAMES, name=sample.name).save(folder)
    return Market.load(folder)


@lru_cache(maxsize=1)
def ceiling_of(task: str) -> Ceiling:
    """What the exact filter says of the test markets of a task of two levels."""
    scores, means, told = [], [], []
    for seed in task_seeds(task, "test", SYNTHETIC_MARKETS["test"]):
        sample = regime_market(task, DAYS, seed)
        of_one, expected = log_scores(sample)
        scores.append(of_one)
        means.append(expected)
        told.append(log_scores(sample, EVERYTHING)[0])
    return Ceiling(tuple(scores), tuple(means), tuple(told))


def names_of(parts: Sequence[Part], what: str) -> list[str]:
    """Names of markets that are also judged alone."""
    return [part.market.name for part in parts] if what == REAL else []


def planted_bars() -> dict[str, tuple[pd.DataFrame, dict[str, float]]]:
    """Bars of an hour, and the skill (1 - MSE / persistence's) of who knows the law, by horizon."""
    count, rng = 9_000, np.random.default_rng(0)
    noise, size = 0.004, 0.02
    wave = size * np.sin(2.0 * np.pi * np.arange(count) / 24.0)
    sine = wave + rng.normal(0.0, noise, count)
    phi, steps = 0.5, np.zeros(count)
    for i in range(1, count):
        steps[i] = phi * steps[i - 1] + rng.normal(0.0, 0.004)
    white = np.cumsum(rng.normal(0.0, 0.004, count))
    best: dict[str, dict[str, float]] = {"sine": {}, "ar1": {}, "white noise": {}}
    for h in (1, 4, 16):
        moved = np.mean((wave[h:] - wave[:-h]) ** 2)
        # the noise of the last bar is known to be noise: of the change, only that of the bar to come is left
        best["sine"][str(h)] = round(float(1.0 - noise**2 / (moved + 2.0 * noise**2)), 3)
        weights = np.cumsum(phi ** np.arange(h))
        left = 0.004**2 * np.sum(weights**2)
        known = (phi * (1.0 - phi**h) / (1.0 - phi)) ** 2 * 0.004**2 / (1.0 - phi**2)
        best["ar1"][str(h)] = round(float(known / (known + left)), 3)
        best["white noise"][str(h)] = 0.0
    logs = {"sine": sine, "ar1": np.cumsum(steps), "white noise": white}
    return {name: (_bars(100.0 * np.exp(found), rng), best[name]) for name, found in logs.items()}


def _bars(close: NDArray[np.float64], rng: np.random.Generator) -> pd.DataFrame:
    open_ = np.concatenate(([close[0]], close[:-1]))
    wick = np.exp(rng.exponential(0.001, (2, len(close))))
    index = pd.date_range("2020-01-01", periods=len(close), freq="h", tz="UTC", name="timestamp")
    columns = {
        "open": open_, "high": np.maximum(open_, close) * wick[0], "low": np.minimum(open_, close) / wick[1],
        "close": close, "volume": rng.lognormal(3.0, 0.5, len(close)),
    }  # fmt: skip
    return pd.DataFrame(columns, index=index)
