"""Rolling orthogonal matching pursuit over a fixed dictionary, and the features made of it."""

from cryptoenv.features.pursuit.batch_omp import (
    COMPLETE,
    DEPENDENT,
    EXACT,
    SMALLEST,
    PursuitResult,
    Work,
    correlate,
    in_parts,
    pursue,
    pursue_alpha,
    working_memory,
)

__all__ = [
    "COMPLETE",
    "DEPENDENT",
    "EXACT",
    "SMALLEST",
    "PursuitResult",
    "Work",
    "correlate",
    "in_parts",
    "pursue",
    "pursue_alpha",
    "working_memory",
]
