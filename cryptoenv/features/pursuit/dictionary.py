"""The dictionary of the matching pursuit: sines, cosines and Gabor atoms over a window of `W` bars.

Atoms have zero mean, as the centred windows they describe, and unit norm. With u the time in bars from the window's
centre, and from the atom's own centre for Gabor atoms, before centring and scaling:

| family | atom | numbers |
|---|---|---|
| sine | sin(2 pi f u / W): odd; f = 0.5 is a trend across the window | f of `cycles` |
| cosine | cos(2 pi f u / W): even; f = 0.5 is an arch | f of `cycles` |
| gabor | exp(-u^2 / (2 s^2)) times cos or sin of 2 pi f u / (4 s) | s of `scales`, f of `gabor_cycles` |

Gabor atoms stand at the last bar and every s bars before it. Source: Mallat and Zhang 1993, "Matching pursuits with
time-frequency dictionaries", sections V and VI (real Gabor atoms on a grid of scale, position and frequency).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

FAMILIES: Final = ("sine", "cosine", "gabor")
SINE, COSINE, GABOR = range(3)
_LEAST_CYCLES: Final = 0.25  #: slower sines and cosines are straight lines and parabolas that only differ in rounding
_UNIT_NORM_ERROR: Final = 1e-9


@dataclass(frozen=True)
class PursuitConfig:
    """What fixes a rolling matching pursuit: window, atoms and sparsity.

    Attributes:
        window: W, bars per window, at least 8.
        sparsity: k, atoms chosen per window: at least 1, less than W and than the number of atoms.
        cycles: cycles per window of the sines and cosines, each from 0.25 to below W / 2.
        scales: standard deviations of the Gabor envelopes in bars, each from 1 to below W.
        gabor_cycles: cycles per four standard deviations of the Gabor atoms, each from 0 (a plain bump) to below twice
            the smallest scale (half a cycle per bar).
    """

    window: int = 64
    sparsity: int = 8
    cycles: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
    scales: tuple[float, ...] = (4.0, 8.0, 16.0)
    gabor_cycles: tuple[float, ...] = (0.0, 1.0, 2.0)

    def __post_init__(self) -> None:
        """Refuse what makes no dictionary.

        Raises:
            ValueError: a field is out of its range; the message names it and what is allowed.
        """
        for name in ("window", "sparsity"):
            if not isinstance(getattr(self, name), int):
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: a whole number")
        if self.window < 8:
            raise ValueError(f"window is {self.window} bars; allowed: at least 8")
        for name in ("cycles", "scales", "gabor_cycles"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        self._require("cycles", _LEAST_CYCLES, self.window / 2)
        self._require("scales", 1.0, float(self.window))
        self._require("gabor_cycles", 0.0, 2.0 * min(self.scales, default=float(self.window)))
        atoms = sum(1 for _ in _kinds(self))
        if not 1 <= self.sparsity < min(atoms, self.window):
            raise ValueError(
                f"sparsity is {self.sparsity}; allowed: at least 1, less than the window ({self.window} bars) and "
                f"than the number of atoms ({atoms})"
            )

    def _require(self, name: str, least: float, limit: float) -> None:
        values: tuple[float, ...] = getattr(self, name)
        for value in values:
            if not least <= value < limit:
                raise ValueError(
                    f"{name} holds {value:g}; allowed: {least:g} to below {limit:g} (window {self.window})"
                )
        if len(set(values)) < len(values):
            raise ValueError(f"{name} {values} repeats a value; allowed: each once")


class AtomKind(NamedTuple):
    """What an atom is: family (index into FAMILIES), odd or even about its centre, and where it stands.

    `cycles` are per `span` bars: the window, or four standard deviations of a Gabor atom. `centre` is a bar of the
    window.
    """

    family: int
    odd: bool
    cycles: float
    span: float
    centre: float

    def cycles_per_bar(self) -> float:
        """How fast it turns; a plain bump counts as half a cycle."""
        return max(self.cycles, 0.5 if self.family == GABOR else 0.0) / self.span

    @property
    def label(self) -> str:
        """Such as "sine_0.5" or "gabor_odd_2_per_16_at_63": part of a feature's name."""
        if self.family != GABOR:
            return f"{FAMILIES[self.family]}_{self.cycles:g}"
        shape = ("odd" if self.odd else "even") if self.cycles else "bump"
        turns = f"_{self.cycles:g}" if self.cycles else ""
        return f"gabor_{shape}{turns}_per_{self.span:g}_at_{self.centre:g}"

    def __str__(self) -> str:
        """Such as "sine, 0.5 / 64 bars" or "gabor odd, 2 / 16 bars, at bar 63": cycles / bars."""
        name = FAMILIES[self.family]
        if self.family != GABOR:
            return f"{name}, {self.cycles:g} / {self.span:g} bars"
        turns = f"{'odd' if self.odd else 'even'}, {self.cycles:g} / " if self.cycles else "bump, "
        return f"{name} {turns}{self.span:g} bars, at bar {self.centre:g}"


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Atoms of unit norm, with what a pursuit over many windows needs of them.

    Attributes:
        atoms: (D, W) float64, read-only.
        kinds: D descriptions of them.
        columns: (W, D) float64, the transpose, laid out for correlating with one bar after the other.
        gram: (D, D) float64, their inner products.
    """

    atoms: NDArray[np.float64]
    kinds: tuple[AtomKind, ...]
    columns: NDArray[np.float64] = field(init=False)
    gram: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        """Check the atoms and derive the rest from them.

        Raises:
            ValueError: atoms that are not a table, not finite or not of unit norm, or not as many as `kinds`.
        """
        atoms = np.array(self.atoms, np.float64, order="C")
        if atoms.ndim != 2 or len(atoms) != len(self.kinds) or not atoms.size:
            raise ValueError(f"atoms have shape {atoms.shape}; allowed: ({len(self.kinds)} as `kinds`, W)")
        norms = np.sqrt(np.square(atoms).sum(axis=1))
        off = np.flatnonzero(~(np.abs(norms - 1.0) <= _UNIT_NORM_ERROR))
        if len(off):
            raise ValueError(f"atom {off[0]} has norm {norms[off[0]]!r}; allowed: 1 within {_UNIT_NORM_ERROR:g}")
        gram = np.zeros((len(atoms), len(atoms)))
        for bar in atoms.T:  # one bar after the other: a matrix product's bits depend on the library and its threads
            gram += np.multiply.outer(bar, bar)
        for name, array in (("atoms", atoms), ("columns", np.ascontiguousarray(atoms.T)), ("gram", gram)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)


@lru_cache(maxsize=16)
def dictionary(config: PursuitConfig) -> Dictionary:
    """The dictionary of a config; the same object for equal configs."""
    kinds = tuple(_kinds(config))
    return Dictionary(np.array([_atom(kind, config.window) for kind in kinds]), kinds)


@lru_cache(maxsize=64)
def slowest_atoms(config: PursuitConfig, count: int) -> tuple[int, ...]:
    """Numbers of the `count` atoms of fewest cycles per bar; of equally slow ones the first of the dictionary."""
    kinds = tuple(_kinds(config))
    return tuple(sorted(range(len(kinds)), key=lambda d: kinds[d].cycles_per_bar())[:count])


def _kinds(config: PursuitConfig) -> Iterator[AtomKind]:
    last = config.window - 1
    for family, odd in ((SINE, True), (COSINE, False)):
        for cycles in config.cycles:
            yield AtomKind(family, odd, cycles, float(config.window), last / 2)
    for scale in config.scales:
        for cycles in config.gabor_cycles:
            for odd in (False, True)[: 2 if cycles > 0.0 else 1]:
                for steps in range(math.floor(last / scale) + 1):
                    yield AtomKind(GABOR, odd, cycles, 4.0 * scale, last - steps * scale)


def _atom(kind: AtomKind, window: int) -> list[float]:
    """One atom in plain Python: the same bits wherever the C library's sine is the same."""
    turn = math.sin if kind.odd else math.cos
    values = []
    for bar in range(window):
        time = bar - kind.centre
        envelope = math.exp(-0.5 * (4.0 * time / kind.span) ** 2) if kind.family == GABOR else 1.0
        values.append(envelope * turn(2.0 * math.pi * kind.cycles * time / kind.span))
    mean = math.fsum(values) / window
    norm = math.sqrt(math.fsum((value - mean) ** 2 for value in values))
    return [(value - mean) / norm for value in values]
