"""Retraining: new bars, the recipe of the version that is used, a walk-forward on what that version never saw, and a
proposal beside it. Nothing is swapped: a person promotes, or does not.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agents.evaluation.backtest.deciders import unlabelled
from agents.evaluation.charges import with_impact
from agents.evaluation.walk_forward.plan import WalkForwardPlan, fold_markets
from agents.evaluation.walk_forward.stitched import Stitched, stitch
from agents.markets.embedded import embed
from agents.markets.own_markets import in_words, maker_for, own_markets, several, task_named
from agents.policies.segmented_extractor import SEGMENTER, load_extractor
from agents.run_folders.run_folder import EXTRACTOR, INPUTS, LEARNED_UNTIL, RECIPE, TRAINED_UNTIL, Run, write_json
from agents.run_folders.versions.drift_file import ModelReference
from agents.run_folders.versions.models_folder import ModelsFolder
from agents.run_folders.versions.version import (
    AGENT_KIND,
    DRIFT,
    MODEL,
    RECORD,
    TABLE,
    Version,
    VersionError,
    read_version,
    require_whole,
)
from agents.training.drift_of_training import calibration_of, model_reference
from agents.training.pipeline import learn
from agents.training.recipe import AgentRecipe, write_recipe
from agents.training.walk_forward import WalkForward, walk_forward
from cryptoenv.analysis.resampling import LEAST, block_interval
from cryptoenv.bars.timeframe import DAY_MS, timeframe_ms
from cryptoenv.files.durable_files import make_folder
from cryptoenv.files.folder_lock import folder_lock
from cryptoenv.files.typed_values import Range, require_numbers
from cryptoenv.market.market import Market
from pretrain.data.folds import Border

WORK = "retraining"  #: folder of what is being trained; an interrupted retraining goes on in it
LEDGER = "trials.jsonl"
SHOWN = ("log_return", "sharpe", "max_drawdown", "trades")
#: Of a walk-forward, what a proposal keeps.
KEPT = ("metrics.json", "folds.parquet", "equity.parquet", "methods.parquet", "walk_forward.png")


class NothingNew(ValueError):
    """There is no reason to train: the version that is used has seen nearly all bars there are."""


@dataclass(frozen=True)
class RetrainPlan:
    """How a version is trained anew.

    Attributes:
        folds: judged parts of equal length of the bars that the version in use never saw.
        seeds: trainings of each fold.
        validation: share of what is learned from, at its end, that is chosen by.
        least_new_days: days of bars that the version in use never saw, below which nothing is trained.
        bars: instead of the recipe's market, files, markets or series.
        again: train, too, where a version that is to replace the one in use was made of nearly all bars there are.

    Raises:
        ConfigError: a number outside its range.
    """

    folds: int = 2
    seeds: int = 1
    validation: float = 0.25
    least_new_days: float = 2.0
    bars: tuple[str, ...] = ()
    again: bool = True

    def __post_init__(self) -> None:
        require_numbers(self, {
            "folds": Range(1, 100), "seeds": Range(1, 100), "validation": Range(0.05, 0.9),
            "least_new_days": Range(0.1, 3650.0),
        })  # fmt: skip


@dataclass(frozen=True)
class Job:
    """All that a retraining works on.

    Attributes:
        current: the version in use. run: its agent. recipe: with the extractor of that version.
        named: the recipe as it was written.
        markets: whole ones. settings: that they are traded with.
        walk: how the recipe is judged.
    """

    current: Version
    run: Run
    recipe: AgentRecipe
    named: AgentRecipe
    markets: tuple[Market, ...]
    settings: Any
    plan: WalkForwardPlan

    @property
    def digest(self) -> str:
        """What tells one retraining from another: version, recipe, plan and bars."""
        told = [self.current.name, repr(self.recipe), asdict(self.plan), [market.hash for market in self.markets]]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def sources_in_use(models: ModelsFolder, plan: RetrainPlan) -> tuple[str, ...]:
    """Where the bars of the version in use come from, and funding rates.

    Raises:
        VersionError, PointerError: no version in use, or a damaged one. ValueError: a synthetic task.
    """
    place = models.current()
    _require_agent(read_version(place))
    recipe = _recipe(place / MODEL)
    return tuple(map(str, (*several(_market(recipe, plan)), *recipe.inputs.funding)))


def prepared(models: ModelsFolder, plan: RetrainPlan) -> Job:
    """Look at everything before any work.

    Raises:
        VersionError, PointerError: no version in use, or a damaged one. NothingNew: too few new bars. ValueError:
            bars that will not do; a version that no walk-forward can train.
    """
    place = models.current()
    current = require_whole(place)
    _require_agent(current)
    run = Run.load(place / MODEL)
    named = _recipe(place / MODEL)
    market = _market(named, plan)
    segments = str(place / MODEL / SEGMENTER) if named.segments else None
    recipe = replace(named, market=market, extractor=str(place / MODEL / EXTRACTOR), segments=segments)
    extractor = load_extractor(recipe.extractor, recipe.segments)
    settings = recipe.training.settings_for(extractor)
    maker = maker_for(extractor, recipe.inputs, f"the extractor of version {current.name}")
    markets = own_markets(tuple(map(str, several(market))), settings, maker)
    return Job(current, run, recipe, replace(named, market=market), markets, settings,
               folds_of_new_bars(models, current, markets, settings, plan))  # fmt: skip


def _require_agent(version: Version) -> None:
    if version.kind != AGENT_KIND:
        raise VersionError(
            f"version {version.name} is a {version.kind}, and no agent: `retrain_model` trains it anew"
        )


def _recipe(model: Path) -> AgentRecipe:
    if not (model / RECIPE).is_file():
        raise VersionError(f"{model} has no {RECIPE}: how it was trained is not known, so it cannot be trained again")
    return AgentRecipe.read(model / RECIPE)


def _market(recipe: AgentRecipe, plan: RetrainPlan) -> Any:
    market = plan.bars or recipe.market
    if isinstance(market, str) and task_named(market) is not None:
        raise ValueError(f"{market} is a synthetic task, which brings no new bars: name your own with --bars")
    return market


def folds_of_new_bars(
    models: ModelsFolder, current: Version, markets: Sequence[Market], settings: Any, plan: RetrainPlan
) -> WalkForwardPlan:
    """Folds over what the version in use never saw (of one from synthetic markets: the last quarter).

    Args:
        models: with that version. current: it. markets: whole ones. settings: has their timeframes and windows.
        plan: how.

    Raises:
        NothingNew: too few new bars, or a proposal of nearly the same bars that is not to be made again.
    """
    step = timeframe_ms(settings.timeframes[0])
    first = max(m.start_ms + (m.first_decision(settings.window) + 1) * step for m in markets)
    last = min(m.start_ms + len(m) * step for m in markets)
    proposed = () if plan.again else _proposed(models, current)
    for version in (current, *proposed):
        new = math.inf if version.last_bar is None else (last - _seen(version, step)) / DAY_MS
        if new < plan.least_new_days:
            what = f"version {version.name}" + (", which is proposed," if version != current else "")
            raise NothingNew(
                f"{what} has seen all but {max(new, 0.0):.1f} days of the bars there are; "
                f"{plan.least_new_days:g} new days are the least"
            )
    seen = first + round(0.75 * (last - first)) if current.last_bar is None else _seen(current, step)
    share = -(-(seen - first) // step) / max((last - first) // step, 1)
    share = min(max(share, 0.05), 0.95)
    made = WalkForwardPlan(plan.folds, plan.seeds, share, validation=plan.validation)
    borders = made.borders(markets, settings)
    if current.last_bar is not None and borders[0].test_start < seen:
        raise NothingNew(
            f"version {current.name} has seen {100 * (seen - first) / (last - first):.0f}% of the bars there are: the "
            "rest is too short to judge a new one on"
        )
    return made


def _seen(version: Version, step: int) -> int:
    """Close of the last bar that a version has seen, in milliseconds."""
    return int(pd.DatetimeIndex([version.last_bar]).as_unit("ms").asi8[0]) + step


def _proposed(models: ModelsFolder, current: Version) -> list[Version]:
    """Versions that are to replace the one in use, and were never used."""
    listed = [one.version for one in models.versions() if one.state == "proposed"]
    return [one for one in listed if one is not None and one.parent == current.name]


def place_of_work(models: ModelsFolder, digest: str) -> Path:
    """The folder that a retraining of `digest` works in, kept from an interrupted one; those of others are removed."""
    place = models.folder / WORK / digest
    for other in (models.folder / WORK).iterdir():
        if other.is_dir() and other != place:
            shutil.rmtree(other)
    make_folder(place)
    return place


def retrain(
    models: ModelsFolder, plan: RetrainPlan | None = None, *, why: str = "by hand", workers: int | None = None,
    progress: bool = True,
) -> Version:  # fmt: skip
    """Train the version in use anew on all bars there are, and put the result beside it as a proposal.

    The recipe is judged by a walk-forward on bars that the version in use never saw, against that version on the same
    bars; what is proposed is the recipe trained on all of them. An interrupted retraining goes on with the same call
    while there are no newer bars.

    Args:
        models: with a version in use.
        plan: how.
        why: that it is trained; kept with the proposal.
        workers: processes side by side. progress: show progress bars.

    Raises:
        FolderLockedError: another retraining of this folder is at work. NothingNew: too few new bars. What `prepared`
            and a training raise; nothing is proposed then.
    """
    plan = plan or RetrainPlan()
    models.current()
    make_folder(models.folder / WORK)
    with folder_lock(models.folder / WORK, f"a retraining of {models.folder}"):
        job = prepared(models, plan)
        place = place_of_work(models, job.digest)
        walk = WalkForward(place / TABLE, job.recipe, job.plan, tuple(map(str, several(job.recipe.market))))
        walk_forward(walk, workers=workers, ledger=models.folder / LEDGER, progress=progress)
        borders = job.plan.borders(job.markets, job.settings)
        record, returns = _compared(job, walk, borders, progress)
        reference = _trained(job, place / "run", borders, returns, progress)

        def fill(into: Path) -> None:
            write_json(into / RECORD, record)
            reference.write(into / DRIFT)
            (into / TABLE).mkdir()
            for name in KEPT:
                if (walk.folder / name).is_file():
                    shutil.copy2(walk.folder / name, into / TABLE / name)

        found = models.add(place / "run", why=why, parent=job.current.name, fill=fill, named="retrain")
        shutil.rmtree(place)
    return found


def _compared(
    job: Job, walk: WalkForward, borders: Sequence[Border], progress: bool
) -> tuple[dict[str, Any], np.ndarray]:
    """The walk-forward against the version in use, on the same bars; and the former's returns per bar, one seed's
    markets one after the other."""
    settings = with_impact(job.settings)
    table = embed(job.run.agent.extractor, [unlabelled(market, settings) for market in job.markets], progress=progress)
    held = stitch(0, [job.run.agent] * len(borders), job.markets, table, borders, settings)
    equity = pd.read_parquet(walk.folder / "equity.parquet")
    seeds = range(job.recipe.seed, job.recipe.seed + job.plan.seeds)
    ours = np.array([
        [np.diff(np.log(equity[f"{one.name}, seed {seed}"].dropna().to_numpy())) for one in held.backtests]
        for seed in seeds
    ])  # fmt: skip
    theirs = np.array([np.diff(np.log(one.equity)) for one in held.backtests])
    methods = pd.read_parquet(walk.folder / "methods.parquet")
    chosen = [f"{one.name}, seed {seed}" for one in held.backtests for seed in seeds]
    return how_judged(job.current, borders, [one.name for one in held.backtests], len(seeds)) | {
        "current": _figures([one.figures() for one in held.backtests]),
        "proposed": _figures(methods.loc[chosen].to_dict("records")),
        "difference_per_day": paired_difference(ours.mean(axis=(0, 1)), theirs.mean(axis=0), _per_day(held)),
    }, ours[0].reshape(-1)  # fmt: skip


def how_judged(current: Version, borders: Sequence[Border], markets: Sequence[str], seeds: int) -> dict[str, Any]:
    """What a proposal's record says of how it was judged, whatever it is: against which version, and on which bars."""
    return {
        "against": current.name, "judged_from": moment(borders[0].test_start),
        "judged_to": moment(borders[-1].test_stop), "folds": len(borders), "seeds": seeds, "markets": list(markets),
    }  # fmt: skip


def paired_difference(ours: np.ndarray, theirs: np.ndarray, bars_per_day: float) -> dict[str, float] | None:
    """Mean difference of net log-returns per day on the same bars, with its 95% interval (blocks of neighbours).

    Args:
        ours, theirs: (n,) net log-returns per bar. bars_per_day: for the unit.

    Returns:
        None for fewer than 20 bars.
    """
    if len(ours) < LEAST:
        return None
    found = block_interval((ours - theirs) * bars_per_day)
    return {"value": found.value, "low": found.low, "high": found.high, "level": found.level, "bars": len(ours)}


def _per_day(held: Stitched) -> float:
    return DAY_MS / timeframe_ms(held.backtests[0].market.timeframes[0])


def _figures(rows: Sequence[Any]) -> dict[str, float]:
    """Means over markets and seeds of what is shown."""
    values = {name: [float(row[name]) for row in rows if row.get(name) is not None] for name in SHOWN}
    return {name: float(np.mean(found)) for name, found in values.items() if found}


def moment(milliseconds: int) -> str:
    """Milliseconds since the epoch in ISO 8601, UTC."""
    return pd.Timestamp(milliseconds, unit="ms", tz="UTC").isoformat()


def _trained(
    job: Job, folder: Path, borders: Sequence[Border], returns: np.ndarray, progress: bool
) -> ModelReference:
    """Train the recipe on all bars into a run's folder; one that is there and finished is left as it is."""
    end = borders[-1].test_stop
    parts = fold_markets(job.markets, Border(borders[0].train_start, end, end), job.settings, job.plan)
    if not (folder / "metrics.json").is_file():
        extractor, config = job.run.agent.extractor, job.recipe.training
        shutil.rmtree(folder, ignore_errors=True)  # of a training that was killed
        write_recipe(job.named, 1, folder)
        trained = learn(
            job.recipe.algorithm, extractor, (parts.train, parts.validation), config, seed=job.recipe.seed,
            progress=progress,
        )  # fmt: skip
        until = {
            TRAINED_UNTIL: max(str(part.market.bars.index[-1].isoformat()) for part in parts.train),
            LEARNED_UNTIL: max(str(part.market.bars.index[-1].isoformat()) for part in parts.validation),
        }
        told = {
            "algorithm": job.recipe.algorithm, "market": in_words(job.named.market), "seed": job.recipe.seed,
            "training": asdict(config), **until,
        }  # fmt: skip
        told |= {INPUTS: job.recipe.inputs.given} if job.recipe.inputs.given else {}
        if job.recipe.segments is not None:
            shutil.copytree(job.recipe.segments, folder / SEGMENTER)
        Run(folder, trained.agent, trained.clone).save(told, trained.metrics)
    return model_reference(parts.train, returns, calibration_of(job.run.agent.extractor, parts.validation))
