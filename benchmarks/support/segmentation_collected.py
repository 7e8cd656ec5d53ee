"""Single runs of the segmentation benchmark, kept as statistics of their test markets, and what all of them say."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.support.segmentation_figures import AT_RATE, difference, share_of_ceiling, with_intervals
from benchmarks.support.segmentation_rivals import rivals
from benchmarks.support.segmentation_variants import (
    ANEW,
    CEILINGS,
    FILTER,
    FILTERS,
    FULL,
    NO_MACHINE,
    NO_PURSUIT,
    ONE_SCALE,
    SEED_DESIGN,
    SEEDS,
    joins,
    variants,
)
from cryptoenv.files.durable_files import make_folder, write_file
from pretrain.segmenter.recipe import SegmenterRecipe


def place_of(keep: Path, part: str, name: str, seed: int) -> Path:
    """Where a single run of a part is kept."""
    plain = "".join(c if c.isalnum() else "-" for c in name)
    return keep / f"{part}--{plain}--{seed}.npz"


def keep_run(keep: Path, part: str, name: str, seed: int, found: dict[str, NDArray[np.float64]]) -> None:
    """Keep what a run found: by timescale (M, L) statistics."""
    make_folder(keep)
    content = io.BytesIO()
    np.savez(content, **found)  # type: ignore[arg-type]
    write_file(place_of(keep, part, name, seed), content.getvalue())


def kept_runs(keep: Path, part: str, name: str) -> dict[str, NDArray[np.float64]] | None:
    """By timescale (R, M, L) of all kept seeds."""
    found = [np.load(path) for seed in range(SEEDS) if (path := place_of(keep, part, name, seed)).exists()]
    return {key: np.stack([one[key] for one in found]) for key in found[0].files} if found else None


def collected(keep: Path, part: str, recipe: SegmenterRecipe) -> dict[str, Any]:
    """What the kept runs of a part say."""
    named = {name: rival.named for name, rival in rivals().items()}
    chosen = joins() if part == "joins" else variants(recipe, part)
    methods = [m for name in chosen for m in (name, f"{name}, {NO_MACHINE}")] + ([] if part == "joins" else list(named))
    methods += CEILINGS[part]
    scales = [scale.name for scale in recipe.timescales]
    if part == "easy":
        scales = scales[:1]  # one regime for all of them
    classes = ("bear", "consolidation", "bull")
    runs = {name: found for name in methods if (found := kept_runs(keep, part, name)) is not None}
    table, worth = [], []
    for name, by_scale in runs.items():
        for scale in scales:
            row = with_intervals(by_scale[scale], classes, named=named.get(name, True))
            quick = by_scale.get(f"{scale} {AT_RATE}")
            if quick is not None:
                at = with_intervals(quick, classes)
                row |= {AT_RATE: at["delay"], "false_changes_at_fixed_rate": at["false_changes_per_1000"]}
            row |= {"seeds": len(by_scale[scale]), "markets": by_scale[scale].shape[1]}
            table.append({"timescale": scale, "method": name, **row})
    for scale in scales:
        worth += _worth(runs, scale, classes)
    return {"methods": table, "differences": worth}


def _worth(runs: dict[str, Any], scale: str, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Paired differences, and the share of the filter's accuracy above chance."""
    out: list[dict[str, Any]] = []
    plain = f"{FULL}, {NO_MACHINE}"
    pairs = [
        ("pursuit's worth", plain, f"{NO_PURSUIT}, {NO_MACHINE}", "macro_f1"),
        ("start's worth", plain, f"{ANEW}, {NO_MACHINE}", "macro_f1"),
        ("several timescales' worth", f"{ANEW}, {NO_MACHINE}", f"{ONE_SCALE}, {NO_MACHINE}", "macro_f1"),
        ("machine's worth", FULL, plain, "macro_f1"), ("machine's worth", FULL, plain, "false_changes_per_1000"),
        ("machine's worth", FULL, plain, "delay"),
        ("against boosting", plain, "histogram gradient boosting", "macro_f1"),
    ]  # fmt: skip
    for what, a, b, name in pairs:
        if a in runs and b in runs:
            told = difference(runs[a][scale], runs[b][scale], classes, name)
            out.append({"timescale": scale, "what": what, "figure": name, **told})
    if FILTER in runs:
        chance = _most_common(runs[FILTER][scale], len(classes))
        ways = [] if SEED_DESIGN not in runs else [f"{name}, {NO_MACHINE}" for name in joins()]
        rest = (f"{ANEW}, {NO_MACHINE}", "histogram gradient boosting", "logistic regression")
        for name in (plain, FULL, *list(FILTERS)[1:], *rest, *ways):
            if name not in runs:
                continue
            told = share_of_ceiling(runs[name][scale], runs[FILTER][scale], chance, classes)
            out.append({"timescale": scale, "what": f"share of the filter's accuracy above chance: {name}", **told})
    return out


def _most_common(stats: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
    """Statistics whose confusion says the most common label of all markets at every bar."""
    counts = stats[..., : classes * classes].reshape(*stats.shape[:2], classes, classes).sum(axis=3)
    best = int(counts.sum(axis=(0, 1)).argmax())
    out = np.zeros_like(stats)
    for label in range(classes):
        out[..., label * classes + best] = counts[..., label]
    return out
