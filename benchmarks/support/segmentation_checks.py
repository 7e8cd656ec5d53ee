"""A segmenter on real bars to come, bit for bit; and agents with its states as features and without."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agents.evaluation.tables import evaluate_runs
from agents.training.config import AgentTrainingConfig
from agents.training.pipeline import train
from benchmarks.support.results import write_result
from cryptoenv.bar_files.reading import read_bars
from pretrain.fitting.causality import check_predictions
from pretrain.segmenter.artifact import Segmenter
from pretrain.segmenter.stream import SegmentStream


def causality(file: Path, artifact: Path, decisions: int, streamed: int) -> dict[str, Any]:
    """Poisoned futures at `decisions` bars of real bars, and a stream of `streamed` bars against the batch.

    Raises:
        LookAheadError: a decision changes with what comes after it.
    """
    segmenter = Segmenter.load(artifact)
    bars = read_bars(file)
    found: dict[str, Any] = {}
    if decisions:
        began = time.monotonic()
        base = _base_bars(segmenter, bars.iloc[-40_000:])
        found["decisions"] = check_predictions(segmenter, base, decisions=decisions)
        found["seconds"] = round(time.monotonic() - began, 1)
    if streamed:
        base = _base_bars(segmenter, bars.iloc[-3 * streamed - 24_000 :])
        batch = segmenter.predict(base)
        whole = batch.join(segmenter.states(batch))
        stream = SegmentStream(segmenter, base.iloc[:-streamed])
        took, worked, wrong = [], [], 0
        for t in range(len(base) - streamed, len(base)):
            began, used = time.perf_counter(), time.process_time()
            row = stream.append(base.iloc[t : t + 1])
            took.append(1000.0 * (time.perf_counter() - began))
            worked.append(1000.0 * (time.process_time() - used))
            wrong += not row.equals(whole.iloc[t - len(base) : (t - len(base) + 1) or None])
        found |= {"streamed": streamed, "rows_that_differ": wrong}
        for name, values in (("ms_per_bar", took), ("cpu_ms_per_bar", worked)):
            found |= {f"{name}_p{p}": round(float(np.percentile(values, p)), 2) for p in (50, 99)}
    return found


def _base_bars(segmenter: Segmenter, bars: pd.DataFrame) -> pd.DataFrame:
    """Bars of the segmenter's base timeframe."""
    return segmenter.market(bars).bars[["open", "high", "low", "close", "volume"]]


def agents(keep: Path, seeds: int, until: float, seconds: float = 60.0) -> bool:
    """A clone of the oracle on the shipped extractor, without and with the segmenter's states as features; whether all
    runs are kept. A run: its seed, and its score on each of the test markets together."""
    for seed in range(seeds):
        for name in ("without", "with"):
            path = keep / f"agents-{name}-{seed}.json"
            if path.exists():
                continue
            if time.monotonic() + seconds > until:
                return False
            segments = str(keep / "standard-0") if name == "with" else None
            config = AgentTrainingConfig(train_markets=6, validation_markets=3, days=20)
            with tempfile.TemporaryDirectory() as place:
                run = train("bc", market="standard", segments=segments, config=config, out=Path(place) / "run",
                            seed=seed, progress=False)  # fmt: skip
                table = evaluate_runs([run], market="standard", split="test", markets=8, days=30)
            write_result(path, {"seed": seed, "features": name, "score": float(table["score"].iloc[0])})
            print(f"agents: {name} segments, seed {seed}: {table['score'].iloc[0]:.3f}", flush=True)
    return True


def agents_collected(keep: Path, seeds: int) -> dict[str, Any]:
    """Scores with and without, and the mean difference with its 95% interval (Student, over seeds)."""
    found: dict[str, list[float]] = {}
    for name in ("without", "with"):
        paths = [keep / f"agents-{name}-{seed}.json" for seed in range(seeds)]
        found[name] = [json.loads(path.read_text())["score"] for path in paths if path.exists()]
    if min(len(scores) for scores in found.values()) < seeds:
        return {"scores": found}
    gap = np.array(found["with"]) - np.array(found["without"])
    half = {3: 4.303, 5: 2.776}[seeds] * gap.std(ddof=1) / np.sqrt(seeds)  # Student, seeds - 1 degrees of freedom
    mean = float(gap.mean())
    return {"scores": found, "difference": {"value": mean, "low": mean - half, "high": mean + half}}
