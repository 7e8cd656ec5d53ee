"""A small training run that a test kills and resumes; a module of its own, so that a process can import it."""

from __future__ import annotations

from pathlib import Path

from pretrain import FitOptions, fit_extractor
from tests.pretrain.conftest import planted, random_market, small_config, small_training


def run(folder: Path, *, resume: bool, memory: int = 0) -> tuple[str, float]:
    """Train (or go on) in `folder`; the hash of the final extractor and its validation loss."""
    items = [planted(random_market(seed)) for seed in range(2)]
    trained = fit_extractor(
        items[:1],
        items[1:],
        small_config(dropout=0.1, memory=memory),
        small_training(steps=60 if memory else 200, validate_every=10, patience=50),
        seed=5,
        options=FitOptions(folder, resume=resume, progress=False),
    )
    return trained.hash, trained.provenance.metrics["validation/loss"]
