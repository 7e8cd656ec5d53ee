"""The folder of a training of an agent as a record, finished or not; of a pretrained model's run too."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agents.reports.records.record import Curve, Reading, Record
from agents.run_folders.run_folder import (
    AGENT,
    CHECKPOINTS,
    CONFIG,
    EXTRACTOR,
    LEARNED_UNTIL,
    LOG,
    METRICS,
    PICTURE,
    PRETRAINING,
    RECIPE,
    SEEDS,
    TRAINED_UNTIL,
    Run,
    kept_of_run,
    read_json,
)
from cryptoenv.files.generations import generations, step_of
from pretrain.fitting.artifact_folder import kind_of
from pretrain.fitting.drawing import logged_scalars

UNFINISHED = "the training has not ended"
NOT_JUDGED = "the agent was not judged for this report"
MOST_PICTURES = 24


def training_record(folder: Path, on: Any = None) -> Record:
    """A training's folder; the agent is judged where `on` says on what.

    Args:
        folder: of the run.
        on: `JudgeOn`, or None: then the record holds what the folder holds.
    """
    reading = Reading(folder)
    finished = (folder / METRICS).is_file() and (folder / AGENT).is_dir()
    metrics = reading.json(METRICS, "figures", UNFINISHED)
    config = reading.json(CONFIG, "configuration", UNFINISHED)
    seeds = reading.json(SEEDS, "seeds", "") if (folder / SEEDS).is_file() else {}
    if not finished:
        reading.notes.append(f"{UNFINISHED}: {kept_of_run(folder)}")
    curves = curves_of(folder / LOG, reading) + curves_of(folder / PRETRAINING / LOG, reading, "pretraining/")
    recipe = reading.text(RECIPE)
    extractor = reading.json(f"{EXTRACTOR}/config.json", "extractor", UNFINISHED)
    table = metrics.get("table")
    methods = pd.DataFrame.from_dict(table, orient="index") if isinstance(table, dict) and table else None
    name = str(config.get("algorithm", "agent")) if methods is None else str(methods.index[0])
    why = UNFINISHED if not finished else NOT_JUDGED
    lacking = dict.fromkeys(("equity", "trades", "regimes", "stress", "looked", "importance", "methods"), why)
    record = Record(
        folder, "training", name, metrics, methods=methods, curves=curves + _validation(metrics),
        pictures=((PICTURE, folder / PICTURE),) if (folder / PICTURE).is_file() else (),
        settings={"configuration": config, "seeds": seeds, "extractor": _short(extractor)},
        listings={RECIPE: recipe} if recipe else {}, sources=_sources(config, extractor),
        missing=lacking | reading.missing, notes=tuple(reading.notes),
    )  # fmt: skip
    if on is None or not finished:
        return record
    from agents.reports.records.judged_agent import judged

    more = reading.attempt("judging", lambda: judged(Run.load(folder), on, record))
    if more is None:
        why = f"the agent could not be judged: {reading.missing['judging']}"
        return replace(record, missing=dict.fromkeys(lacking, why) | reading.missing, notes=tuple(reading.notes))
    return replace(record, **more)


def model_record(folder: Path) -> Record:
    """A pretraining's folder (extractor, segmenter, forecaster, tokens) or an artifact's: figures, curves, pictures."""
    reading = Reading(folder)
    artifact = folder / "artifact" if (folder / "artifact").is_dir() else folder
    config = {}
    if (artifact / CONFIG).is_file():
        config = reading.attempt("configuration", lambda: read_json(artifact / CONFIG)) or {}
    metrics = reading.json(METRICS, "figures", "the training leaves its figures in the model's config.json")
    metrics = metrics or config.get("metrics", {})
    curves = curves_of(folder / LOG, reading)
    recipe = reading.text("recipe.yaml")
    if (folder / CHECKPOINTS).is_dir() and not (artifact / CONFIG).is_file():
        found = generations(folder / CHECKPOINTS)
        kept = f"the last checkpoint is of step {step_of(found[-1]):,}" if found else "there is no checkpoint yet"
        reading.notes.append(
            f"{UNFINISHED}: {kept}; go on with cryptoenv pretrain --resume --out {shlex.quote(str(folder))}"
        )
    pictures = sorted(folder.rglob("*.png"), key=lambda path: (len(path.parts), path.as_posix()))
    kind = (reading.attempt("kind", lambda: kind_of(artifact)) if config else None) or "model"
    why = "a model predicts, and does not trade: `cryptoenv backtest` trades its predictions"
    lacking = dict.fromkeys(("equity", "trades", "regimes", "stress", "verdict", "folds", "methods"), why)
    return Record(
        folder, "model", kind.removeprefix("cryptoenv-"), metrics, curves=curves,
        pictures=tuple((path.relative_to(folder).as_posix(), path) for path in pictures[:MOST_PICTURES]),
        settings={"artifact": _short(config)}, listings={"recipe.yaml": recipe} if recipe else {},
        sources=_learned(config), missing=lacking | reading.missing, notes=tuple(reading.notes),
    )  # fmt: skip


def curves_of(log: Path, reading: Reading, prefix: str = "") -> tuple[Curve, ...]:
    """Figures in TensorBoard's events of a training, and of the folders below."""
    if not log.is_dir():
        reading.missing.setdefault("curves", "there is no TensorBoard log")
        return ()
    found: list[Curve] = []
    for folder in sorted({path.parent for path in log.rglob("events.out.tfevents.*")}):
        inside = folder.relative_to(log).as_posix()
        stem = prefix + ("" if inside == "." else f"{inside}/")
        found += reading.attempt("curves", lambda folder=folder, stem=stem: _scalars(folder, stem)) or []  # type: ignore[misc]
    return tuple(found)


def _scalars(folder: Path, stem: str) -> list[Curve]:
    found = []
    for tag, points in logged_scalars(folder).items():
        values = np.array([one.value for one in points], dtype=np.float64)
        if len(points) > 1 and np.isfinite(values).any():
            found.append(Curve(stem + tag, np.array([one.step for one in points], dtype=np.float64), values))
    return found


def _validation(metrics: Mapping[str, Any]) -> tuple[Curve, ...]:
    """What was measured on validation markets as learning went on, which chose the weights."""
    points = metrics.get("validation")
    if not isinstance(points, list) or len(points) < 2:
        return ()
    steps, values = np.array(points, dtype=np.float64).T
    return (Curve("kept: log-return on validation markets", steps, values),)


def _sources(config: Mapping[str, Any], extractor: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    market = config.get("market", config.get("bars"))
    rows: list[dict[str, Any]] = []
    if market is not None:
        paths = market if isinstance(market, list) else [market]
        rows = [{"what": "learned from", "path": str(path), "to": config.get(TRAINED_UNTIL)} for path in paths]
        if config.get(LEARNED_UNTIL):
            rows += [{"what": "chosen by", "path": str(path), "to": config[LEARNED_UNTIL]} for path in paths]
    return (*rows, *_learned(extractor))


def _learned(config: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """What the extractor or model was pretrained on, as its artifact says."""
    rows: list[dict[str, Any]] = []
    given = config.get("data") or config.get("provenance", {}).get("data") or []
    for one in given if isinstance(given, list) else []:
        if isinstance(one, dict):
            rows.append({"what": f"pretrained on ({one.get('teacher')}, {one.get('markets')} markets)",
                         "from": one.get("first"), "to": one.get("last"), "hash": one.get("hash")})  # fmt: skip
    if not rows and config.get("training_data"):
        rows.append({"what": "pretrained on", "hash": config["training_data"]})
    return tuple(rows)


def _short(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without lists of features and figures, which have places of their own."""
    dropped = ("features", "metrics", "target", "data")
    return {key: value for key, value in config.items() if key not in dropped}
