"""Retraining of what is no agent: an extractor, a segmenter, a forecaster. As `agents.training.retraining`, with a loss
per bar in place of returns: the recipe and the version in use are judged on the same bars, which neither had seen.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.walk_forward.plan import row_of
from agents.run_folders.run_folder import write_json
from agents.run_folders.versions.models_folder import ModelsFolder
from agents.run_folders.versions.version import (
    AGENT_KIND,
    DRIFT,
    MODEL,
    RECORD,
    Version,
    VersionError,
    read_version,
    require_whole,
)
from agents.training.drift_of_training import Learned, calibration_of, model_reference
from agents.training.model_trainings import NOTHING, TRAININGS, Training
from agents.training.retraining import WORK, RetrainPlan, folds_of_new_bars, how_judged, moment, place_of_work
from cryptoenv.analysis.resampling import LEAST, block_interval
from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.files.durable_files import make_folder, read_regular
from cryptoenv.files.folder_lock import folder_lock
from cryptoenv.market.market import Market
from pretrain import Extractor, FitOptions, Predictor, load
from pretrain.data.folds import Border
from pretrain.data.splits import Span, Splits
from pretrain.data.teachers import OWN_LABELS
from pretrain.extractor.recipe_runs import EMBARGO
from pretrain.fitting.market_inputs import MarketMaker
from pretrain.fitting.run_folder import ARTIFACT, INPUTS, RECIPE
from pretrain.forecaster.artifact import Forecaster
from pretrain.loading import read_recipe
from pretrain.segmenter.artifact import Segmenter
from pretrain.segmenter.classes import labelled_parts
from pretrain.segmenter.training import held_rows

BARS = "bars"  #: of a version's data: where its bars came from
LARGEST = 16_000_000  #: bytes of `inputs.json`
LEAST_CHANCE = 1e-6  #: that a class is given, so that no loss is infinite
#: What is lost per bar, by kind of model.
FIGURES = {
    "cryptoenv-extractor": "Brier score of a rise, mean over horizons",
    "cryptoenv-forecaster": "absolute error of the expected return in basis points, mean over horizons",
    "cryptoenv-segmenter": "log loss of classes by hindsight, mean over timescales",
}


@dataclass(frozen=True)
class ModelJob:
    """All that a retraining works on.

    Attributes:
        current: the version in use. model: what it is. training: how its recipe is trained.
        markets: whole ones. bars: where they came from.
        borders: of the folds, in milliseconds. validation: share of what is learned from that is chosen by.
    """

    current: Version
    model: Predictor
    training: Training
    markets: tuple[Market, ...]
    bars: tuple[str, ...]
    borders: tuple[Border, ...]
    validation: float

    @property
    def digest(self) -> str:
        """What tells one retraining from another: version, recipe, borders and bars."""
        told = [self.current.name, self.training.recipe.digest, [asdict(one) for one in self.borders], self.validation,
                [market.hash for market in self.markets]]  # fmt: skip
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def bars_in_use(models: ModelsFolder, plan: RetrainPlan) -> tuple[str, ...]:
    """Where the bars of the version in use come from: the plan's, else those that it was retrained on.

    Raises:
        ValueError: neither says so. VersionError, PointerError: no version in use, a damaged one, or one of a kind that
            nothing here trains.
    """
    current = read_version(models.current())
    _require_known(current)
    found = plan.bars or tuple(current.data.get(BARS, ()))
    if not found:
        raise ValueError(f"version {current.name} does not say where its bars come from: name them with --bars")
    return tuple(map(str, found))


def prepared_model(models: ModelsFolder, plan: RetrainPlan) -> ModelJob:
    """Look at everything before any work.

    Raises:
        VersionError, PointerError: no version in use, a damaged one, or one without its recipe. NothingNew: too few
            new bars. ValueError: bars that will not do, or a recipe that needs the truth of synthetic markets.
    """
    place = models.current()
    current = require_whole(place)
    _require_known(current)
    training, bars = _training(place, current), bars_in_use(models, plan)
    recipe, model = training.recipe, load(place / MODEL)
    assert isinstance(model, Predictor)
    if getattr(recipe, "teacher", "") == OWN_LABELS:
        raise ValueError("the recipe learns labels of your own, and new bars have none: train it with `pretrain`")
    maker = MarketMaker(model.layout, recipe.inputs)
    markets = tuple(maker.market_at(Path(one)) for one in bars)
    walk = folds_of_new_bars(models, current, markets, model.layout, plan)
    reads: Any = model.layout  # all that borders ask for: timeframes and window
    borders = tuple(walk.borders(markets, reads))
    return ModelJob(current, model, training, markets, bars, borders, plan.validation)


def _require_known(version: Version) -> None:
    if version.kind not in FIGURES:
        known = ", ".join((AGENT_KIND, *sorted(FIGURES)))
        raise VersionError(
            f"version {version.name} is a {version.kind}, which `retrain` does not train; it trains {known}. Train it "
            "by its own command, and add the result with `cryptoenv models add`"
        )


def _training(place: Path, current: Version) -> Training:
    """How the recipe that is kept with a version is trained; what was fine-tuned goes on from that version."""
    kept = place / RECIPE
    if not kept.is_file():
        raise VersionError(
            f"version {current.name} has no {RECIPE}: how it was trained is not known; add the run that made it, not "
            "its artifact alone"
        )
    start = ""
    if current.kind == "cryptoenv-extractor":
        told = json.loads(read_regular(place / INPUTS, LARGEST)) if (place / INPUTS).is_file() else {}
        start = str(place / MODEL) if told.get("start") else NOTHING
    recipe: Any = read_recipe(kept)
    return TRAININGS[recipe.model](recipe, start)


def retrain_model(
    models: ModelsFolder, plan: RetrainPlan | None = None, *, why: str = "by hand", progress: bool = True
) -> Version:
    """Train the recipe of the version in use anew on all bars there are, and put the result beside it as a proposal.

    Per fold of bars that the version in use never saw, the recipe is trained on what came before and judged on the
    fold, as is that version; what is proposed is the recipe trained on all bars.

    Args:
        models: with a version in use that is no agent.
        plan: how; its `seeds` are of agents alone.
        why: that it is trained; kept with the proposal.
        progress: show progress bars.

    Raises:
        FolderLockedError: another retraining of this folder is at work. What `prepared_model` and a training raise;
            nothing is proposed then.
    """
    plan = plan or RetrainPlan()
    models.current()
    make_folder(models.folder / WORK)
    with folder_lock(models.folder / WORK, f"a retraining of {models.folder}"):
        job = prepared_model(models, plan)
        place = place_of_work(models, job.digest)
        ours, theirs = [], []
        for number, border in enumerate(job.borders):
            judged = _trained(job, place / f"fold-{number}", border.test_start, progress)
            for market in job.markets:
                span = Span(0, row_of(market, border.test_start), min(row_of(market, border.test_stop), len(market)))
                ours.append(losses(judged, market, span, job.training.recipe))
                theirs.append(losses(job.model, market, span, job.training.recipe))
        record = _record(job, np.concatenate(ours), np.concatenate(theirs))
        proposed = _trained(job, place / "run", job.borders[-1].test_stop, progress)
        learned = [Learned(market, market.first_decision(job.model.layout.window)) for market in job.markets]
        calibration = calibration_of(job.model, _judged(job)) if isinstance(job.model, Extractor) else None
        reference = model_reference(learned, None, calibration)

        def fill(into: Path) -> None:
            write_json(into / RECORD, record)
            reference.write(into / DRIFT)

        told = {BARS: list(job.bars), **_until(job)}
        assert proposed is not None
        found = models.add(place / "run", why=why, parent=job.current.name, told=told, fill=fill, named="retrain")
        shutil.rmtree(place)
    return found


def _judged(job: ModelJob) -> list[Learned]:
    """Bars that the version in use never saw."""
    return [Learned(market, row_of(market, job.borders[0].test_start)) for market in job.markets]


def _until(job: ModelJob) -> dict[str, str]:
    last = max(str(market.bars.index[-1].isoformat()) for market in job.markets)
    return {"learned_until": last}


def _trained(job: ModelJob, folder: Path, end: int, progress: bool) -> Predictor:
    """The recipe trained on what came before `end` (milliseconds), in a run's folder; one that is finished is read."""
    if not (folder / ARTIFACT).is_dir():
        shutil.rmtree(folder, ignore_errors=True)  # of a training that was killed
        splits = splits_before(job.markets, end, job.training, job.validation)
        return job.training.on_bars(job.markets, splits, FitOptions(folder, progress=progress))
    found = load(folder)
    assert isinstance(found, Predictor)
    return found


def splits_before(markets: Sequence[Market], end: int, training: Training, validation: float) -> Splits:
    """What is learned from and chosen by, of all bars that close before `end` (milliseconds); the last `validation` of
    them is chosen by. Rows whose labels reach over a border are left out, and 96 more.

    Raises:
        ValueError: too few bars.
    """
    gap = training.look_ahead + EMBARGO
    learned, chosen = [], []
    for number, market in enumerate(markets):
        first, stop = market.first_decision(training.layout.window), min(row_of(market, end) + 1, len(market))
        middle = stop - round((stop - first) * validation)
        if not first < middle - gap < middle < stop - gap:
            raise ValueError(f"{market.name or 'the market'} has too few bars before {moment(end)} to learn from")
        learned.append(Span(number, first, middle - gap))
        chosen.append(Span(number, middle, stop - training.look_ahead))
    return Splits(tuple(learned), tuple(chosen), ())


def losses(model: Predictor, market: Market, span: Span, recipe: Any) -> NDArray[np.float64]:
    """(n,) what is lost at each bar of a span whose outcome lies within it; see `FIGURES`.

    Args:
        model: an extractor, a segmenter or a forecaster.
        market: of its layout.
        span: rows.
        recipe: of a segmenter, with its timescales.
    """
    if isinstance(model, Segmenter):
        (item,) = labelled_parts([market], [span], recipe.timescales)
        each = []
        for chances, labels in held_rows(model, item):
            chance = chances[np.arange(len(labels)), np.maximum(labels, 0)]
            each.append(np.where(labels < 0, np.nan, -np.log(np.maximum(chance, LEAST_CHANCE))))
        lost = np.array(each)
        known: NDArray[np.float64] = lost[:, np.isfinite(lost).all(axis=0)].mean(axis=0)
        return known
    assert isinstance(model, Extractor | Forecaster)
    table, closes = model.predict(market), np.log(market.prices[:, CLOSE])
    horizons = model.config.horizons
    first = len(market) - len(table)
    rows = np.arange(max(span.start, first), span.stop - max(horizons))
    said = table.iloc[rows - first]
    parts = []
    for ahead in horizons:
        move = closes[rows + ahead] - closes[rows]
        if isinstance(model, Extractor):
            parts.append((said[f"up_{ahead}"].to_numpy(np.float64) - (move > 0.0)) ** 2)
        else:
            parts.append(1e4 * np.abs(said[f"return_{ahead}_mean"].to_numpy(np.float64) - move))
    found: NDArray[np.float64] = np.mean(parts, axis=0)
    return found


def _record(job: ModelJob, ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> dict[str, Any]:
    """The table of a proposal; the difference is what the version in use loses more."""
    interval = block_interval(theirs - ours) if len(ours) >= LEAST else None
    difference = None
    if interval is not None:
        difference = {"value": interval.value, "low": interval.low, "high": interval.high, "level": interval.level,
                      "bars": len(ours)}  # fmt: skip
    return how_judged(job.current, job.borders, [market.name for market in job.markets], seeds=1) | {
        "figure": FIGURES[job.current.kind],
        "current": {"loss": float(theirs.mean())}, "proposed": {"loss": float(ours.mean())}, "difference": difference,
    }  # fmt: skip
