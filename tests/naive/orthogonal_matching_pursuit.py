"""Orthogonal matching pursuit from its definition: least squares over the chosen atoms afresh at every step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SMALLEST = 2.220446049250313e-16


@dataclass
class Pursuit:
    """What one window's pursuit chose, and how clear each choice was."""

    atoms: list[int]
    coefficients: list[float]
    energies: list[float]
    error: float
    margins: list[float]  #: of each choice: largest |correlation| less the second largest, at the step
    ending: str = "complete"


def pursue(window: np.ndarray, atoms: np.ndarray, sparsity: int) -> Pursuit:
    """Pursue one window (W,) over atoms (D, W)."""
    residual = np.array(window, dtype=float)
    found = Pursuit([], [], [], float(residual @ residual), [])
    while len(found.atoms) < sparsity:
        sizes = [abs(float(residual @ atom)) for atom in atoms]
        best = max(range(len(sizes)), key=lambda i: (sizes[i], -i))
        if sizes[best] ** 2 < SMALLEST:
            found.ending = "exact"
            break
        basis = np.array([atoms[i] for i in found.atoms]).reshape(-1, len(window))
        apart = atoms[best] - basis.T @ np.linalg.lstsq(basis.T, atoms[best], rcond=None)[0]
        if float(apart @ apart) <= SMALLEST:
            found.ending = "dependent"
            break
        found.margins.append(sizes[best] - max(sizes[:best] + sizes[best + 1 :], default=0.0))
        found.atoms.append(best)
        basis = np.array([atoms[i] for i in found.atoms])
        solved = np.linalg.lstsq(basis.T, window, rcond=None)[0]
        residual = window - basis.T @ solved
        left = float(residual @ residual)
        found.coefficients = solved.tolist()
        found.energies.append(found.error - left)
        found.error = left
    return found


def normalised(closes: list[float]) -> list[float]:
    """Log closes, centred and of unit norm; zeros where they are all equal."""
    logs = [math.log(close) - math.log(closes[0]) for close in closes]
    centred = [value - math.fsum(logs) / len(logs) for value in logs]
    norm = math.sqrt(math.fsum(value * value for value in centred))
    return [value / norm if norm > 0.0 else 0.0 for value in centred]


BANDS = (1.0, 4.0, math.inf)


def features(closes: list[float], atoms: np.ndarray, kinds: list, sparsity: int) -> list[float]:
    """The 20 features of one window, from the table in `cryptoenv/features/pursuit_features.py`.

    `kinds`: for each atom (family, odd, cycles, span, centre).
    """
    bars = len(closes)
    window = np.array(normalised(closes))
    if not window.any():
        return [0.0] * 20
    found = pursue(window, atoms, sparsity)
    shares = [[0.0] * 3 for _ in range(3)]
    trend = arch = recent = octaves = 0.0
    for atom, weight, energy in zip(found.atoms, found.coefficients, found.energies, strict=True):
        family, odd, cycles, span, centre = kinds[atom]
        pace = (max(cycles, 0.5) if family == 2 else cycles) / span * bars
        band = 0 if pace <= BANDS[0] else 1 if pace <= BANDS[1] else 2
        shares[family][band] += energy
        octaves += energy * math.log2(pace)
        trend += weight if family == 0 and band == 0 else 0.0
        arch += weight if family == 1 and band == 0 else 0.0
        recent += weight if family == 2 and not odd and centre >= 0.75 * (bars - 1) else 0.0
    described = sum((w * atoms[i] for i, w in zip(found.atoms, found.coefficients, strict=True)), np.zeros(bars))
    changes = [b - a for a, b in zip(map(math.log, closes), map(math.log, closes[1:]), strict=False)]
    logs = np.log(closes)
    size = math.sqrt(float(np.square(logs - logs.mean()).sum()))
    walk = math.sqrt(math.fsum(c * c for c in changes) / len(changes) * (bars**2 - 1) / 6)
    explained = math.fsum(found.energies)
    root = math.sqrt(bars)
    steps = max(bars // 16, 1)
    last = found.energies[-1] if len(found.energies) == sparsity else 0.0
    values = [scale * math.sqrt(max(share, 0.0)) for row in shares for scale, share in zip((2, 4, 8), row, strict=True)]
    values += [2 * trend, 2 * arch, recent]
    values += [root * described[-1], root * (described[-1] - described[-1 - steps])]
    values += [2 * root * (window[-1] - described[-1])]
    values += [5 * (math.sqrt(found.energies[0]) - 0.8), 20 * (math.sqrt(max(last, 0.0)) - 0.08)]
    values += [8 * (math.sqrt(max(1.0 - explained, 0.0)) - 0.25), octaves / explained - 0.5, 2 * math.log(size / walk)]
    return [min(max(value, -8.0), 8.0) for value in values]
