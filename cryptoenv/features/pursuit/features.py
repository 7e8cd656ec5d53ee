"""Features of the rolling orthogonal matching pursuit: what the last `W` closes are made of.

The window of a bar is the log of its last W closes, centred and scaled to unit norm. Its pursuit (see `pursuit`)
chooses k atoms of the dictionary; energies are shares of the window, which add up to 1 with the error's.

| feature | value before scaling | scaled |
|---|---|---|
| sine_slow ... gabor_fast | root of the energy of a family's atoms: up to 1, up to 4, more cycles a window | 2, 4, 8 |
| trend, arch | sum of the coefficients of slow sines (positive: rising), of slow cosines (positive: a hill) | 2 |
| recent | sum of the coefficients of the even Gabor atoms in the last quarter (positive: raised) | 1 |
| end_level, end_slope | last value of the reconstruction, and its change over W / 16 bars, times sqrt(W) | 1 |
| end_gap | distance of the last bar from the reconstruction, times sqrt(W) | 2 |
| leading, last | root of the energy share of the first atom less 0.8, of the k-th less 0.08 | 5, 20 |
| error | root of the share that k atoms leave, less 0.25 | 8 |
| pace | mean log2 of the cycles per window over the explained energy, less 0.5 | 1 |
| stretch | log of the window's norm / that of a random walk with the same bar-to-bar changes | 2 |
| ATOM | with `atoms`: the signed coefficient of one atom, 0 where it was not chosen | 2 |

The scales are round numbers that bring a random walk to order one under the default config.
A window whose closes are all equal reads 0 everywhere. Every value depends on the last W closes only, so histories,
their parts and live bars give the same bits.
"""

import math
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.features.pursuit.batch_omp import correlate, in_parts, pursue_alpha, working_memory
from cryptoenv.features.pursuit.dictionary import COSINE, FAMILIES, GABOR, SINE, PursuitConfig, dictionary

PURSUIT_BOUND: Final = 8.0
BANDS: Final = (("slow", 1.0), ("medium", 4.0), ("fast", math.inf))  #: and the most cycles per window
PURSUIT_NAMES: Final[tuple[str, ...]] = (
    *(f"{family}_{band}" for family in FAMILIES for band, _ in BANDS),
    "trend", "arch", "recent", "end_level", "end_slope", "end_gap", "leading", "last", "error", "pace", "stretch",
)  # fmt: skip
_OFFSETS: Final = (*(9 * (0.0,)), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -0.8, -0.08, -0.25, -0.5, 0.0)
_SCALES: Final = (*(3 * (2.0, 4.0, 8.0)), 2.0, 2.0, 1.0, 1.0, 1.0, 2.0, 5.0, 20.0, 8.0, 1.0, 2.0)
_COEFFICIENT_SCALE: Final = 2.0
_SMALLEST_NORM: Final = 1e-150  #: of a window: the squares of its bars are numbers
_LARGEST_NORM: Final = 1e150
_GROUPS: Final = len(FAMILIES) * len(BANDS)
_SIGNED: Final = 5
_FEATURES: Final = len(PURSUIT_NAMES)


class _Tables(NamedTuple):
    """What the features need of the dictionary."""

    columns: NDArray[np.float64]  # (W, D)
    gram: NDArray[np.float64]  # (D, D)
    group: NDArray[np.int64]  # (D,) family and band
    loads: NDArray[np.float64]  # (D, _SIGNED) what a coefficient adds to the signed features
    octave: NDArray[np.float64]  # (D,) log2 of cycles per window
    place: NDArray[np.int64]  # (D,) column of an atom's coefficient, -1 where it has none
    offset: NDArray[np.float64]  # (F,)
    scale: NDArray[np.float64]  # (F,)


def pursuit_features(closes: NDArray[np.float64], config: PursuitConfig, threads: int = 1) -> NDArray[np.float64]:
    """Features of every bar that has W closes.

    Args:
        closes: (T,) float64, positive.
        config: window, dictionary and sparsity.
        threads: how many work on contiguous parts of the bars; the bits are the same.

    Returns:
        (T, len(PURSUIT_NAMES)) float64 in [-PURSUIT_BOUND, PURSUIT_BOUND]; the first W - 1 rows are 0.

    Raises:
        ValueError: closes that are not a series of positive numbers (the bar is named), or `threads` below 1.
    """
    closes = np.require(closes, np.float64, ("C", "W"))
    if closes.ndim != 1:
        raise ValueError(f"closes have shape {closes.shape}; allowed: (T,)")
    bad = np.flatnonzero(~(np.isfinite(closes) & (closes > 0.0)))
    if len(bad):
        raise ValueError(f"closes[{bad[0]}] is {closes[bad[0]]}; allowed: positive finite prices")
    return pursuit_rows(_logs(closes), config, threads=threads)


def pursuit_rows(
    values: NDArray[np.float64], config: PursuitConfig, atoms: tuple[int, ...] = (), threads: int = 1
) -> NDArray[np.float64]:
    """The same features of any series, taken as it is; those of closes are of their logs.

    Args:
        values: (T,) float64, finite.
        config: window, dictionary and sparsity.
        atoms: numbers of atoms of the dictionary whose signed coefficients are wanted too.
        threads: how many work on contiguous parts of the bars; the bits are the same.

    Returns:
        (T, len(PURSUIT_NAMES) + len(atoms)) float64 in [-PURSUIT_BOUND, PURSUIT_BOUND]; the first W - 1 rows are 0.
    """
    out = np.zeros((len(values), _FEATURES + len(atoms)))
    tables = _tables(config, atoms)

    def part(first: int, last: int) -> None:
        _feature_rows(first, last, values, tables, config.sparsity, out)

    if len(values) >= config.window:
        in_parts(part, config.window - 1, len(values), threads)
    return out


@lru_cache(maxsize=16)
def _tables(config: PursuitConfig, wanted: tuple[int, ...]) -> _Tables:
    atoms = dictionary(config)
    bars = config.window
    group = np.empty(len(atoms.kinds), np.int64)
    loads = np.zeros((len(atoms.kinds), _SIGNED))
    octave = np.empty(len(atoms.kinds))
    for d, kind in enumerate(atoms.kinds):
        cycles = kind.cycles_per_bar() * bars
        band = next(i for i, (_, most) in enumerate(BANDS) if cycles <= most)
        group[d] = kind.family * len(BANDS) + band
        octave[d] = math.log2(cycles)
        loads[d, 0] = kind.family == SINE and band == 0
        loads[d, 1] = kind.family == COSINE and band == 0
        loads[d, 2] = kind.family == GABOR and not kind.odd and kind.centre >= 0.75 * (bars - 1)
    loads[:, 3] = math.sqrt(bars) * atoms.atoms[:, -1]
    loads[:, 4] = math.sqrt(bars) * (atoms.atoms[:, -1] - atoms.atoms[:, -1 - max(bars // 16, 1)])
    place = np.full(len(atoms.kinds), -1)
    place[list(wanted)] = np.arange(len(wanted))
    return _Tables(atoms.columns, atoms.gram, group, loads, octave, place, np.array(_OFFSETS), np.array(_SCALES))


@njit(cache=True, nogil=True, error_model="numpy")
def _logs(closes: np.ndarray) -> np.ndarray:
    # Not np.log: its bits may depend on where in the array a value stands.
    out = np.empty(closes.shape[0])
    for i in range(closes.shape[0]):
        out[i] = math.log(closes[i])
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _normalise(logs: np.ndarray, last: int, window: np.ndarray) -> tuple[float, float]:
    """Write the window that ends at `last`; its norm before scaling (0: flat) and the mean square of its changes."""
    bars = window.shape[0]
    first = last - bars + 1
    mean, changes = 0.0, 0.0
    for w in range(bars):
        window[w] = logs[first + w] - logs[first]  # exactly 0 in a flat window, which a mean alone need not be
        mean += window[w]
    mean /= bars
    squares = 0.0
    for w in range(1, bars):
        change = window[w] - window[w - 1]
        changes += change * change
    for w in range(bars):
        window[w] -= mean
        squares += window[w] * window[w]
    norm = math.sqrt(squares)
    if norm > 0.0:
        inverse = 1.0 / norm
        for w in range(bars):
            window[w] *= inverse
    return norm, changes / (bars - 1)


@njit(cache=True, nogil=True, error_model="numpy")
def _describe(
    chosen: np.ndarray, coefficients: np.ndarray, gains: np.ndarray, tables: _Tables, row: np.ndarray
) -> None:
    """Write the features of one pursuit of a window of unit norm; `row` (F,) holds zeros."""
    explained, octaves = 0.0, 0.0
    for j in range(chosen.shape[0]):
        if chosen[j] < 0:
            break
        share = gains[j] * gains[j]
        explained += share
        octaves += share * tables.octave[chosen[j]]
        row[tables.group[chosen[j]]] += share
        for s in range(_SIGNED):
            row[_GROUPS + s] += coefficients[j] * tables.loads[chosen[j], s]
    for g in range(_GROUPS):
        row[g] = math.sqrt(row[g])
    after = _GROUPS + _SIGNED
    row[after + 1] = abs(gains[0])
    row[after + 2] = abs(gains[chosen.shape[0] - 1])
    row[after + 3] = math.sqrt(max(1.0 - explained, 0.0))
    row[after + 4] = octaves / explained if explained > 0.0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _feature_rows(first: int, last: int, logs: np.ndarray, tables: _Tables, sparsity: int, out: np.ndarray) -> None:
    bars, atoms = tables.columns.shape
    work = working_memory(atoms, sparsity)
    window, chosen = np.empty(bars), np.empty(sparsity, np.int64)
    coefficients, gains = np.empty(sparsity), np.empty(sparsity)
    root = math.sqrt(bars)
    for t in range(first, last):
        norm, change = _normalise(logs, t, window)
        if not _SMALLEST_NORM < norm < _LARGEST_NORM:  # flat, or beyond what can be reckoned with
            continue
        correlate(window, tables.columns, work.alpha)
        pursue_alpha(tables.gram, work, chosen, coefficients, gains)
        row = out[t]
        _describe(chosen, coefficients, gains, tables, row)
        row[_GROUPS + _SIGNED] = root * window[bars - 1] - row[_GROUPS + 3]
        # a centred random walk of W bars with changes of variance v has the expected squared norm v (W^2 - 1) / 6
        row[_FEATURES - 1] = math.log(norm / math.sqrt(change * (bars * bars - 1.0) / 6.0))
        for f in range(_FEATURES):
            row[f] = min(max((row[f] + tables.offset[f]) * tables.scale[f], -PURSUIT_BOUND), PURSUIT_BOUND)
        for j in range(sparsity):
            if chosen[j] >= 0 and tables.place[chosen[j]] >= 0:
                value = _COEFFICIENT_SCALE * coefficients[j]
                row[_FEATURES + tables.place[chosen[j]]] = min(max(value, -PURSUIT_BOUND), PURSUIT_BOUND)
