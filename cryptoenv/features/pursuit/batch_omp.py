"""Orthogonal matching pursuit of many windows over one dictionary, jitted.

Batch-OMP of Rubinstein, Zibulevsky and Elad 2008, "Efficient implementation of the K-SVD algorithm using batch
orthogonal matching pursuit" (algorithm 1): a window enters only through its correlations alpha with the atoms; the Gram
matrix G is computed once, and its Cholesky factor grows by one row L_j per chosen atom. With the factor, the inner
products V_j of all atoms with the j-th orthonormal direction are kept:

    V_j = (G[atom_j] - sum_{i<j} L_ji V_i) / L_jj,   L_ji = V_i[atom_j],   y_j = alpha[atom_j] / L_jj,
    alpha <- alpha - y_j V_j

so that a step reads one row of the Gram matrix and solves nothing; the coefficients are L^-T y, once, at the end.
y_j^2 is the energy that the j-th atom explains beyond those before it.

Every sum runs in a fixed order and every window is computed by itself: the bits do not depend on how many windows are
given at once, nor on the number of threads.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.features.pursuit.dictionary import Dictionary

SMALLEST: Final = float(np.finfo(np.float64).eps)  #: squared correlation or pivot that is zero to scikit-learn
COMPLETE, EXACT, DEPENDENT = range(3)
_LARGEST: Final = 1e100  #: value in a window whose energy does not overflow


@dataclass(frozen=True, eq=False)
class PursuitResult:
    """The pursuits of n windows, k atoms each, in the order in which they were chosen.

    Attributes:
        atoms: (n, k) int64, -1 where the pursuit had ended.
        coefficients: (n, k) float64, least squares over the chosen atoms; 0 where it had ended.
        energies: (n, k) float64, squared norm that each atom explains beyond those before it; 0 where it had ended.
        error: (n,) float64, squared norm of what is left: that of the window less its energies.
        endings: (n,) int64, COMPLETE (k atoms), EXACT (what was left is orthogonal to all atoms) or DEPENDENT (the
            next atom is a combination of the chosen ones); at the last two scikit-learn warns and stops, too.
    """

    atoms: NDArray[np.int64]
    coefficients: NDArray[np.float64]
    energies: NDArray[np.float64]
    error: NDArray[np.float64]
    endings: NDArray[np.int64]

    @property
    def dependent(self) -> int:
        """Number of windows that ended at a dependent atom."""
        return int(np.count_nonzero(self.endings == DEPENDENT))

    def reconstruct(self, dictionary: Dictionary) -> NDArray[np.float64]:
        """(n, W) float64: the windows as the chosen atoms describe them."""
        weights = np.zeros((len(self.atoms), len(dictionary.atoms)))
        rows, steps = np.nonzero(self.atoms >= 0)
        weights[rows, self.atoms[rows, steps]] = self.coefficients[rows, steps]
        return weights @ dictionary.atoms


def pursue(windows: NDArray[np.float64], dictionary: Dictionary, sparsity: int, threads: int = 1) -> PursuitResult:
    """Describe each window by at most `sparsity` atoms, chosen greedily, with least-squares coefficients.

    Args:
        windows: (n, W) float64, of norm about one: what is left counts as nothing below correlations of 1.5e-8.
        dictionary: D atoms of W bars.
        sparsity: k, from 1 to min(D, W).
        threads: how many work on contiguous parts of the windows; the bits are the same.

    Raises:
        ValueError: windows of another shape, not finite or beyond 1e100 (row and bar are named); `sparsity` or
            `threads` out of range.
    """
    columns, gram = dictionary.columns, dictionary.gram
    bars, atoms = columns.shape
    windows = np.require(windows, np.float64, ("C", "W"))  # one compiled version, for read-only windows too
    if windows.ndim != 2 or windows.shape[1] != bars:
        raise ValueError(f"windows have shape {windows.shape}; allowed: (n, {bars}) as the atoms")
    if not 1 <= sparsity <= min(atoms, bars):
        raise ValueError(f"sparsity is {sparsity}; allowed: 1 to {min(atoms, bars)} ({atoms} atoms of {bars} bars)")
    allowed = np.abs(windows) < _LARGEST
    if not allowed.all():
        row, bar = np.argwhere(~allowed)[0]
        raise ValueError(f"windows[{row}, {bar}] is {windows[row, bar]}; allowed: finite numbers below {_LARGEST:g}")
    count = len(windows)
    chosen = np.empty((count, sparsity), np.int64)
    coefficients, gains = np.empty((count, sparsity)), np.empty((count, sparsity))
    norms, endings = np.empty(count), np.empty(count, np.int64)

    def part(first: int, last: int) -> None:
        rows = slice(first, last)
        _pursue_rows(
            windows[rows], columns, gram, chosen[rows], coefficients[rows], gains[rows], norms[rows], endings[rows]
        )

    in_parts(part, 0, count, threads)
    energies = np.square(gains)
    error = norms.copy()
    for step in range(sparsity):  # not sum(): its order of adding depends on the number of steps
        error -= energies[:, step]
    return PursuitResult(chosen, coefficients, energies, np.maximum(error, 0.0), endings)


def in_parts(part: Callable[[int, int], None], first: int, last: int, threads: int) -> None:
    """Call `part(start, stop)` for contiguous parts of the rows from `first` to before `last`, one per thread.

    Raises:
        ValueError: `threads` is below 1.
    """
    if threads < 1:
        raise ValueError(f"threads is {threads}; allowed: at least 1")
    if threads == 1:
        part(first, last)
        return
    cuts = [first + i * (last - first) // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(part, cuts[:-1], cuts[1:]))


class Work(NamedTuple):
    """Memory of one pursuit at a time: alpha (D,), L (k, k) and V (k, D), all float64."""

    alpha: NDArray[np.float64]
    factor: NDArray[np.float64]
    explained: NDArray[np.float64]


@njit(cache=True, nogil=True, error_model="numpy")
def working_memory(atoms: int, sparsity: int) -> Work:
    """Fresh memory for pursuits of `sparsity` of `atoms`."""
    return Work(np.empty(atoms), np.empty((sparsity, sparsity)), np.empty((sparsity, atoms)))


@njit(cache=True, nogil=True, error_model="numpy")
def correlate(window: np.ndarray, columns: np.ndarray, alpha: np.ndarray) -> None:
    """Write the inner products alpha (D,) of a window (W,) with the atoms, given as columns (W, D).

    Bars are added one after the other; eight at once only spare loads and stores of alpha.
    """
    bars, atoms = columns.shape
    for d in range(atoms):
        alpha[d] = 0.0
    whole = bars - bars % 8
    for w in range(0, whole, 8):
        x0, x1, x2, x3 = window[w], window[w + 1], window[w + 2], window[w + 3]
        x4, x5, x6, x7 = window[w + 4], window[w + 5], window[w + 6], window[w + 7]
        c0, c1, c2, c3 = columns[w], columns[w + 1], columns[w + 2], columns[w + 3]
        c4, c5, c6, c7 = columns[w + 4], columns[w + 5], columns[w + 6], columns[w + 7]
        for d in range(atoms):
            total = alpha[d] + x0 * c0[d] + x1 * c1[d] + x2 * c2[d] + x3 * c3[d]
            alpha[d] = total + x4 * c4[d] + x5 * c5[d] + x6 * c6[d] + x7 * c7[d]
    for w in range(whole, bars):
        column, x = columns[w], window[w]
        for d in range(atoms):
            alpha[d] += x * column[d]


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _larger(top: float, value: float) -> float:
    size = abs(value)
    return size if size > top else top


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _peak(alpha: np.ndarray) -> int:
    """The atom of the largest |alpha|, the lowest of equal ones; eight maxima do not wait for each other."""
    atoms = alpha.shape[0]
    whole = atoms - atoms % 8
    t0 = t1 = t2 = t3 = t4 = t5 = t6 = t7 = 0.0
    for d in range(0, whole, 8):
        t0, t1 = _larger(t0, alpha[d]), _larger(t1, alpha[d + 1])
        t2, t3 = _larger(t2, alpha[d + 2]), _larger(t3, alpha[d + 3])
        t4, t5 = _larger(t4, alpha[d + 4]), _larger(t5, alpha[d + 5])
        t6, t7 = _larger(t6, alpha[d + 6]), _larger(t7, alpha[d + 7])
    for d in range(whole, atoms):
        t0 = _larger(t0, alpha[d])
    top = max(max(max(t0, t1), max(t2, t3)), max(max(t4, t5), max(t6, t7)))
    for d in range(0, whole, 8):
        a0, a1, a2, a3 = abs(alpha[d]), abs(alpha[d + 1]), abs(alpha[d + 2]), abs(alpha[d + 3])
        a4, a5, a6, a7 = abs(alpha[d + 4]), abs(alpha[d + 5]), abs(alpha[d + 6]), abs(alpha[d + 7])
        if max(max(max(a0, a1), max(a2, a3)), max(max(a4, a5), max(a6, a7))) == top:
            break
    else:
        d = whole
    while d < atoms - 1 and abs(alpha[d]) != top:
        d += 1
    return d


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _explain(alpha: np.ndarray, gram: np.ndarray, atom: int, j: int, work: Work, y: float) -> None:
    """Write V_j, with row j of the factor, and take y V_j from alpha.

    Up to four rows are subtracted in one pass, in their order: passes over memory cost more than the arithmetic.
    """
    atoms = alpha.shape[0]
    factor, explained = work.factor, work.explained
    inverse = 1.0 / factor[j, j]
    first = j % 4
    if first == 0:
        for d in range(atoms):
            explained[j, d] = gram[atom, d]
    elif first == 1:
        w0 = factor[j, 0]
        for d in range(atoms):
            explained[j, d] = gram[atom, d] - w0 * explained[0, d]
    elif first == 2:
        w0, w1 = factor[j, 0], factor[j, 1]
        for d in range(atoms):
            explained[j, d] = gram[atom, d] - w0 * explained[0, d] - w1 * explained[1, d]
    else:
        w0, w1, w2 = factor[j, 0], factor[j, 1], factor[j, 2]
        for d in range(atoms):
            explained[j, d] = gram[atom, d] - w0 * explained[0, d] - w1 * explained[1, d] - w2 * explained[2, d]
    for i in range(first, j, 4):
        w0, w1, w2, w3 = factor[j, i], factor[j, i + 1], factor[j, i + 2], factor[j, i + 3]
        for d in range(atoms):
            total = explained[j, d] - w0 * explained[i, d] - w1 * explained[i + 1, d]
            explained[j, d] = total - w2 * explained[i + 2, d] - w3 * explained[i + 3, d]
    for d in range(atoms):
        explained[j, d] *= inverse
        alpha[d] -= y * explained[j, d]


@njit(cache=True, nogil=True, error_model="numpy")
def _choose(gram: np.ndarray, work: Work, chosen: np.ndarray, gains: np.ndarray) -> tuple[int, int]:
    """Choose atoms by work.alpha, growing the factor; returns how many and why it ended."""
    alpha, factor, explained = work.alpha, work.factor, work.explained
    sparsity = chosen.shape[0]
    for j in range(sparsity):
        atom = _peak(alpha)
        if alpha[atom] * alpha[atom] < SMALLEST:
            return j, EXACT
        pivot = gram[atom, atom]
        for i in range(j):
            factor[j, i] = explained[i, atom]
            pivot -= factor[j, i] * factor[j, i]
        if pivot <= SMALLEST:
            return j, DEPENDENT
        factor[j, j] = math.sqrt(pivot)
        chosen[j] = atom
        gains[j] = alpha[atom] / factor[j, j]
        if j + 1 < sparsity:
            _explain(alpha, gram, atom, j, work, gains[j])
    return sparsity, COMPLETE


@njit(cache=True, nogil=True, error_model="numpy")
def pursue_alpha(
    gram: np.ndarray, work: Work, chosen: np.ndarray, coefficients: np.ndarray, gains: np.ndarray
) -> tuple[int, int]:
    """Pursue the window whose correlations are in `work.alpha`, which is used up.

    Args:
        gram: (D, D) float64.
        work: memory made by `working_memory`.
        chosen, coefficients, gains: (k,) written: atoms, coefficients and y; -1 and 0 after the end.

    Returns:
        Number of atoms and COMPLETE, EXACT or DEPENDENT.
    """
    count, ending = _choose(gram, work, chosen, gains)
    for j in range(count - 1, -1, -1):
        total = gains[j]
        for i in range(j + 1, count):
            total -= work.factor[i, j] * coefficients[i]
        coefficients[j] = total / work.factor[j, j]
    for j in range(count, chosen.shape[0]):
        chosen[j], coefficients[j], gains[j] = -1, 0.0, 0.0
    return count, ending


@njit(cache=True, nogil=True, error_model="numpy")
def _pursue_rows(
    windows: np.ndarray,
    columns: np.ndarray,
    gram: np.ndarray,
    chosen: np.ndarray,
    coefficients: np.ndarray,
    gains: np.ndarray,
    norms: np.ndarray,
    endings: np.ndarray,
) -> None:
    work = working_memory(columns.shape[1], chosen.shape[1])
    for n in range(windows.shape[0]):
        norms[n] = 0.0
        for w in range(windows.shape[1]):
            norms[n] += windows[n, w] * windows[n, w]
        correlate(windows[n], columns, work.alpha)
        _, endings[n] = pursue_alpha(gram, work, chosen[n], coefficients[n], gains[n])
