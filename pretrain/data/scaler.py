"""A robust scaler per timeframe and feature: median and interquartile range of training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cryptoenv.files.typed_values import ConfigError

# The interquartile range of a normal variable in units of its standard deviation: scaled features are of order one.
NORMAL_IQR = 1.349
# Scaled features beyond this many robust standard deviations are clipped: heavy tails must not steer a batch.
SCALED_BOUND = 8.0
FLOAT32_MOST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class RobustScaler:
    """Centre and spread of every feature.

    `names[k]` are the F_k features of `timeframes[k]`; `median[k]` and `iqr[k]` are (F_k,) float32, in feature units.
    A feature with no spread keeps `iqr` 0 and is only centred.
    """

    timeframes: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    median: tuple[NDArray[np.float32], ...]
    iqr: tuple[NDArray[np.float32], ...]

    @classmethod
    def fit(
        cls, timeframes: tuple[str, ...], names: tuple[tuple[str, ...], ...], rows: Sequence[NDArray[np.float32]]
    ) -> Self:
        """Median and interquartile range of `rows[k]`, (R_k, F_k) float32, per timeframe.

        Raises:
            ValueError: a timeframe has no rows.
        """
        median, iqr = [], []
        for timeframe, values in zip(timeframes, rows, strict=True):
            if len(values) == 0:
                raise ValueError(f"no training rows of timeframe {timeframe!r} to fit the scaler on")
            low, middle, high = np.percentile(values, (25.0, 50.0, 75.0), axis=0)
            median.append(middle.astype(np.float32))
            iqr.append((high - low).astype(np.float32))
        return cls(timeframes, names, tuple(median), tuple(iqr))

    def scale(self, timeframe: int) -> NDArray[np.float32]:
        """(F_k,) float32 divisors of timeframe number `timeframe`: robust standard deviations, or 1."""
        spread = self.iqr[timeframe] / np.float32(NORMAL_IQR)
        return np.where(spread > 1e-6, spread, np.float32(1.0)).astype(np.float32)

    def to_json(self) -> dict[str, dict[str, dict[str, float]]]:
        """`{timeframe: {feature: {"median": ..., "iqr": ...}}}`; float32 values survive JSON exactly."""
        return {
            timeframe: {
                name: {"median": float(self.median[k][f]), "iqr": float(self.iqr[k][f])}
                for f, name in enumerate(self.names[k])
            }
            for k, timeframe in enumerate(self.timeframes)
        }

    @classmethod
    def from_json(cls, values: object, timeframes: tuple[str, ...], names: tuple[tuple[str, ...], ...]) -> Self:
        """The scaler from parsed JSON, in the order of `timeframes` and `names`.

        Raises:
            ConfigError: other timeframes or features, a value that is no finite number, or a negative range.
        """
        table = _keyed(values, timeframes, "scaler")
        median, iqr = [], []
        for timeframe, wanted in zip(timeframes, names, strict=True):
            features = _keyed(table[timeframe], wanted, f"scaler[{timeframe!r}]")
            pairs = np.empty((len(wanted), 2), np.float32)
            for row, name in zip(pairs, wanted, strict=True):
                where = f"scaler[{timeframe!r}][{name!r}]"
                entry = _keyed(features[name], ("median", "iqr"), where)
                row[:] = [_finite(entry[key], f"{where}[{key!r}]") for key in ("median", "iqr")]
                if row[1] < 0.0:
                    raise ConfigError(f"{where}['iqr']={entry['iqr']!r} is not allowed: a number >= 0")
            median.append(pairs[:, 0].copy())
            iqr.append(pairs[:, 1].copy())
        return cls(timeframes, names, tuple(median), tuple(iqr))


def _keyed(value: object, keys: Sequence[str], where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be an object, got {type(value).__name__}")
    if different := sorted(set(value) ^ set(keys)):
        state = "is missing" if different[0] in keys else "is unknown"
        raise ConfigError(f"{where}: key {different[0]!r} {state}, expected {list(keys)}")
    return value


def _finite(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= FLOAT32_MOST:
        raise ConfigError(f"{where}={value!r} is not allowed: a finite number that a float32 can hold")
    return float(value)
