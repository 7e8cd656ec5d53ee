"""What is asked of N rows at once: seeds, reset options and actions, checked before any row is touched."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptoenv.env.episode import DRAWN
from cryptoenv.env.spec import EnvironmentSpec, numbers_of


class RowStarts(NamedTuple):
    """Where N rows are asked to begin.

    Attributes:
        markets: (N,) int64, DRAWN where not given. bars: (N,) int64, DRAWN where not given.
        exposures: (N,) float64.
    """

    markets: NDArray[np.int64]
    bars: NDArray[np.int64]
    exposures: NDArray[np.float64]


def check_seeds(seeds: Sequence[Any] | NDArray[Any], rows: int) -> None:
    """Check that `seeds` are (N,) with N = `rows`, each of them >= 0, or None.

    Raises:
        ValueError: another number of them, or one that is no seed; the row is named.
    """
    if len(seeds) != rows:
        raise ValueError(f"seed has {len(seeds)} entries; pass one for each of the {rows} rows")
    for i, seed in enumerate(seeds):
        whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
        if seed is not None and not (whole and seed >= 0):
            raise ValueError(f"seed[{i}]={seed!r} of row {i} must be a whole number >= 0, or None")


def checked_mask(mask: Any, rows: int) -> NDArray[np.bool_]:
    """The reset mask, (N,) bool with N = `rows`; all of them where it is None.

    Raises:
        TypeError: no such array. ValueError: it selects no row.
    """
    if mask is None:
        return np.ones(rows, dtype=np.bool_)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (rows,):
        raise TypeError(f"options['reset_mask'] must be a bool array of shape ({rows},), got {mask!r}")
    if not mask.any():
        raise ValueError("options['reset_mask'] selects no row; set at least one to True")
    return mask


def checked_starts(given: dict[str, Any], setup: EnvironmentSpec, rows: int) -> RowStarts:
    """Where the options `market`, `start` and `exposure`, one number or N = `rows` of them, ask the rows to begin.

    Raises:
        ValueError, TypeError: another shape, or what the env does not allow; the row is named.
    """
    starts = RowStarts(
        np.full(rows, DRAWN, dtype=np.int64), np.full(rows, DRAWN, dtype=np.int64), np.zeros(rows, dtype=np.float64)
    )
    for key, value in given.items():
        if np.ndim(value) > 1 or (np.ndim(value) == 1 and len(value) != rows):
            raise ValueError(f"options[{key!r}] must be one number or {rows} of them, got shape {np.shape(value)}")
    for i in range(rows if given else 0):
        row = {key: value[i] if np.ndim(value) == 1 else value for key, value in given.items()}
        try:
            starts.markets[i], starts.bars[i] = setup.checked_start(row)
            starts.exposures[i] = setup.checked_exposure(row.get("exposure", 0.0))
        except (ValueError, TypeError) as error:
            raise type(error)(f"row {i}: {error}") from error
    return starts


def write_targets(actions: Any, setup: EnvironmentSpec, targets: NDArray[np.float64]) -> None:
    """Write the target exposures of `actions` into `targets`, (N,) float64.

    Args:
        actions: (N,) whole numbers, or (N, 1) or (N,) exposures where they are continuous.
        setup: what is allowed.
        targets: overwritten; left alone where an action is refused.

    Raises:
        ValueError: another shape or kind of number, or an action out of range; the row is named.
    """
    values, rows = numbers_of(actions, "actions"), len(targets)
    if setup.targets is None:
        if values.shape not in {(rows, 1), (rows,)}:
            raise ValueError(f"actions must have shape ({rows}, 1), got {values.shape}")
        if values.dtype.kind not in "fiu":
            raise ValueError(f"actions must be numbers of shape ({rows}, 1), got {values.dtype}")
        values = values.reshape(rows).astype(np.float64)
        low = setup.lowest_action
        allowed = (values >= low) & (values <= 1.0)
        if not allowed.all():
            row = int(np.argmin(allowed))
            raise ValueError(f"action {values[row]} of row {row} is not allowed: pass numbers in [{low}, 1.0]")
        np.multiply(values, setup.limit, out=targets)
        return
    if values.shape != (rows,) or values.dtype.kind not in "iu":
        raise ValueError(f"actions must be whole numbers of shape ({rows},), got {values.dtype} {values.shape}")
    if values.min() < 0 or values.max() >= len(setup.targets):
        row = int(np.argmax((values < 0) | (values >= len(setup.targets))))
        raise ValueError(
            f"action {values[row]} of row {row} is not allowed: pass whole numbers from 0 to {len(setup.targets) - 1}"
        )
    np.take(setup.targets, values, out=targets)
