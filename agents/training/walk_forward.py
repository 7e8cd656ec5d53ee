"""Walk-forward of a recipe: every fold and seed trained once, side by side, resumable; then one record over all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agents.algorithms.threads import one_thread
from agents.evaluation.backtest.backtesting import COSTS, buy_and_hold
from agents.evaluation.backtest.judgement import as_text
from agents.evaluation.backtest.signals import state_column
from agents.evaluation.backtest.traded import Traded
from agents.evaluation.rollout import blocks, roll
from agents.evaluation.stress import stress_table, stressed
from agents.evaluation.tables import with_impact
from agents.evaluation.walk_forward.findings import Findings, TrainedFold, find_out
from agents.evaluation.walk_forward.plan import WalkForwardPlan, fold_markets
from agents.evaluation.walk_forward.regimes import RegimeRules
from agents.evaluation.walk_forward.stitched import Stitched, stitch
from agents.markets.embedded import EmbeddingTable, embed
from agents.markets.expert_market import ExpertMarket
from agents.markets.own_markets import data_named, maker_for, own_markets
from agents.policies.segmented_extractor import load_extractor
from agents.run_folders.run_folder import LEARNED_UNTIL, METRICS, PLAN, TRAINED_UNTIL, Run, read_json, write_json
from agents.run_folders.run_origin import origin_of
from agents.settings import TradingSettings
from agents.training.multi_seed import over_ray
from agents.training.recipe import AgentRecipe, write_agent_recipe
from cryptoenv.analysis.trial_ledger import ledger_beside
from cryptoenv.bars.timeframe import DAY_MS, timeframe_ms
from cryptoenv.files.durable_files import make_file, make_folder, write_file
from cryptoenv.files.folder_lock import folder_lock
from cryptoenv.market.market import Market
from cryptoenv.progress import tqdm, write_line
from pretrain import Extractor, load
from pretrain.data.folds import Border
from pretrain.extractor.embedding_cache import keep_part
from pretrain.fitting.artifact_folder import weights_bytes
from pretrain.fitting.side_by_side import side_by_side
from pretrain.segmenter.artifact import Segmenter
from synthetic.installation import install_hint

RECIPE, MARKETS, CACHE, FOLDS = "recipe.yaml", "markets", "cache", "folds.parquet"
TRAINED = "trained.json"  #: of a fold's run: what `TrainedFold` says; written last
BLOCK = 480  #: decisions of a block in which a training part is rolled
HELD = "buy and hold"  #: of a market, beside the seeds
FILES = (
    FOLDS, "regimes.parquet", "methods.parquet", "stress.parquet", "equity.parquet", "accounts.parquet",
    "trades.parquet", "metrics.json",
)  # fmt: skip


@dataclass(frozen=True)
class WalkForward:
    """A walk-forward in its folder.

    Attributes:
        folder: of everything.
        recipe: what is trained; its market is left aside.
        plan: how time is cut.
        bars: files of bars, saved markets or series of a store, or names of markets of a task, one per market.
    """

    folder: Path
    recipe: AgentRecipe
    plan: WalkForwardPlan
    bars: tuple[str, ...]

    @property
    def identity(self) -> dict[str, Any]:
        """What a walk-forward that goes on must have in common with the one before."""
        told = hashlib.sha256(repr(replace(self.recipe, market="")).encode()).hexdigest()
        return {"plan": asdict(self.plan), "recipe": told, "bars": list(self.bars)}

    def run_folder(self, fold: int, seed: int) -> Path:
        """Of one training."""
        return self.folder / f"fold-{fold}" / f"seed-{seed}"

    def places(self, borders: Sequence[Border]) -> list[tuple[int, int]]:
        """All folds and seeds that are trained."""
        folds = 1 if self.plan.frozen else len(borders)
        first = self.recipe.seed
        return [(fold, seed) for fold in range(folds) for seed in range(first, first + self.plan.seeds)]


def walk_forward(
    walk: WalkForward,
    *,
    workers: int | None = None,
    ray: bool = False,
    ledger: Path | None = None,
    rules: RegimeRules | None = None,
    states: StatesOf | None = None,
    progress: bool = True,
) -> Findings:
    """Train what is not trained yet, then trade all judged parts in a row and say what came of it.

    The folder of an interrupted one goes on with the same call: what is trained stays, what was being trained is
    trained anew, and the result is the same as without the interruption.

    Args:
        walk: what to do, and where.
        workers: processes side by side; as many as there are cores where None.
        ray: over Ray instead.
        ledger: of trials; `trials.jsonl` beside the folder where None.
        rules: of the regimes. states: a segmenter whose states are regimes, too.
        progress: show a progress bar over trainings.

    Raises:
        ValueError: bars that will not do, folds that are too short. FileExistsError: the folder holds something else.
        FolderLockedError: another process works there. What a training raises.
    """
    extractor = load_extractor(walk.recipe.extractor, walk.recipe.segments)
    settings = walk.recipe.training.settings_for(extractor)
    refuse_other(walk)
    maker = maker_for(extractor, walk.recipe.inputs, f"the extractor {walk.recipe.extractor}")
    sources = [Traded.named(name).market_source for name in walk.bars]
    markets: Sequence[Market] = own_markets(sources, settings, maker)
    said = states.of(markets) if states is not None else ()
    borders = walk.plan.borders(markets, settings)
    for border in borders[:1] if walk.plan.frozen else borders:
        fold_markets(markets, border, settings, walk.plan)
    make_folder(walk.folder)
    with folder_lock(walk.folder, f"the walk-forward {walk.folder}"):
        refuse_other(walk)
        markets = _saved(walk, markets)
        table = embed(extractor, [_bare(market) for market in markets], progress=progress)
        _train_all(walk, borders, table, workers or os.cpu_count() or 1, ray, progress)
        stitched = _stitched(walk, extractor, markets, table, borders, with_impact(settings))
        trained = [_told(walk.run_folder(*place)) for place in walk.places(borders)]
        what = hashlib.sha256(json.dumps(walk.identity, sort_keys=True).encode()).hexdigest()[:24]
        place = ledger or ledger_beside(walk.folder)
        data = data_named(sources)
        found = find_out(
            stitched, trained, borders, ledger=place, data=data, what=what, rules=rules, states=said
        )  # fmt: skip
        _write(walk, found, stitched)
        _draw(walk.folder, found, stitched)
        shutil.rmtree(walk.folder / CACHE, ignore_errors=True)
    return found


@dataclass(frozen=True)
class StatesOf:
    """States of a segmenter that are regimes.

    Attributes:
        segmenter: its folder.
        timescale: whose states, such as "4h"; "all" is the machine over all of them.
    """

    segmenter: str
    timescale: str = "all"

    def of(self, markets: Sequence[Market]) -> list[pd.Series]:
        """Per market, the state that is known at the close of each bar, by its open.

        Raises:
            ValueError: no segmenter, or no such timescale.
        """
        model = load(self.segmenter)
        if not isinstance(model, Segmenter):
            raise ValueError(f"{self.segmenter} holds a {type(model).__name__}: states are told by a segmenter")
        column = state_column(self.timescale)
        if column not in model.machines.state_columns:
            known = ", ".join((*model.machines.timescales, "all"))
            raise ValueError(f"{self.segmenter} has no states of {self.timescale!r}; it has {known}")
        own = model.layout.timeframes[0]
        said = [model.states(model.predict(model.market(market.bars)))[column].astype(object) for market in markets]
        return [known_at_closes(one, own, market) for one, market in zip(said, markets, strict=True)]


def known_at_closes(said: pd.Series, timeframe: str, market: Market) -> pd.Series:
    """What is known at the close of each bar of a market, by its open, of what is `said` at another timeframe's closes.

    Args:
        said: by the open of its bar, of `timeframe`.
    """
    closes = pd.DatetimeIndex(market.bars.index) + pd.Timedelta(timeframe_ms(market.timeframes[0]), "ms")
    moments = pd.DatetimeIndex(said.index) + pd.Timedelta(timeframe_ms(timeframe), "ms")
    return said.set_axis(moments).reindex(closes, method="ffill").set_axis(market.bars.index)


def refuse_other(walk: WalkForward) -> None:
    """Check that the folder is new, or of the same walk-forward.

    Raises:
        FileExistsError: it is neither.
    """
    path = walk.folder / PLAN
    if path.is_file():
        if read_json(path) != json.loads(json.dumps(walk.identity)):
            raise FileExistsError(f"{walk.folder} holds a walk-forward of another recipe, plan or bars: choose another")
    elif walk.folder.exists() and (not walk.folder.is_dir() or any(p.name != ".lock" for p in walk.folder.iterdir())):
        raise FileExistsError(f"{walk.folder} holds something else: name a new or empty folder")


def _saved(walk: WalkForward, markets: Sequence[Market]) -> list[Market]:
    """The markets in the folder, which all processes map; bars that changed since are refused.

    Raises:
        FileExistsError: other bars than before.
    """
    found = []
    for number, market in enumerate(markets):
        place = walk.folder / MARKETS / str(number)
        if place.is_dir():
            kept = Market.load(place)
            if kept.hash != market.hash:
                raise FileExistsError(f"{walk.bars[number]} has other bars than when {walk.folder} began: begin anew")
        else:
            kept = market.save(place)
        found.append(kept)
    if not (walk.folder / PLAN).is_file():
        tasks = {one.sample.task.name for one in map(Traded.named, walk.bars) if one.sample is not None}
        learned = tasks.pop() if tasks else walk.bars
        write_agent_recipe(replace(walk.recipe, market=learned), walk.folder / RECIPE)
        write_json(walk.folder / PLAN, walk.identity)
    return found


def _bare(market: Market) -> ExpertMarket:
    """A market to be embedded: nothing else of it is looked at."""
    return ExpertMarket(market, np.empty((0, 0), dtype=np.int8), 0)


def _train_all(
    walk: WalkForward, borders: Sequence[Border], table: EmbeddingTable, workers: int, ray: bool, progress: bool
) -> None:
    """Train every fold and seed that is not trained; a job is a fold, whose seeds share its markets."""
    places = walk.places(borders)
    todo: dict[int, list[int]] = {}
    for fold, seed in places:
        if not (walk.run_folder(fold, seed) / TRAINED).is_file():
            todo.setdefault(fold, []).append(seed)
    if not todo:
        return
    make_folder(walk.folder / CACHE)
    make_file(walk.folder / CACHE / "whole.npy", lambda path: np.save(path, table.rows))
    jobs = [(walk, fold, borders[fold], tuple(seeds)) for fold, seeds in sorted(todo.items(), reverse=True)]
    failures: list[BaseException] = []
    with tqdm(total=len(places), desc="walk-forward", unit="training", disable=not progress) as bar:
        for ended in over_ray(train_fold, jobs) if ray else side_by_side(train_fold, jobs, workers, every=1.0):
            done = sum((walk.run_folder(*place) / TRAINED).is_file() for place in places)
            bar.update(done - bar.n)
            if ended is not None and isinstance(ended[1], BaseException):
                failures.append(ended[1])
                write_line(f"fold {jobs[ended[0]][1]} failed: {ended[1]}")
    if failures:
        raise failures[0]


@lru_cache(maxsize=4)
def _markets_in(folder: Path, count: int) -> tuple[Market, ...]:
    return tuple(Market.load(folder / MARKETS / str(number)) for number in range(count))


@one_thread()
def train_fold(walk: WalkForward, fold: int, border: Border, seeds: tuple[int, ...]) -> list[int]:
    """Train the agents of one fold, one seed after the other; each is kept as soon as it is done."""
    from agents.training.pipeline import learn

    extractor = load_extractor(walk.recipe.extractor, walk.recipe.segments)
    config = walk.recipe.training
    settings = config.settings_for(extractor)
    whole = _markets_in(walk.folder.absolute(), len(walk.bars))
    parts = fold_markets(whole, border, settings, walk.plan)
    before = os.environ.get("CRYPTOENV_CACHE")
    os.environ["CRYPTOENV_CACHE"] = str(walk.folder.absolute() / CACHE)
    try:
        warnings.filterwarnings("ignore", module=r"imitation\.")  # they warn their developers; this process is theirs
        _keep_embeddings(walk, extractor, whole, (*parts.train, *parts.validation))
        for seed in seeds:
            trained = learn(
                walk.recipe.algorithm, extractor, (parts.train, parts.validation), config, seed=seed, progress=False
            )
            folder = walk.run_folder(fold, seed)
            shutil.rmtree(folder, ignore_errors=True)  # of a training that was killed
            run = Run(folder, trained.agent, trained.clone)
            until = {TRAINED_UNTIL: _spans(parts.train)[0][1], LEARNED_UNTIL: _spans(parts.validation)[0][1]}
            told = {"algorithm": walk.recipe.algorithm, "market": list(walk.bars), "seed": seed, "fold": fold, **until}
            metrics = {key: value for key, value in trained.metrics.items() if not key.endswith("seconds")}
            run.save(told, metrics)
            earned = _earned(trained.agent, parts.train, with_impact(settings))
            _tell(folder, TrainedFold(
                fold, seed, hashlib.sha256(weights_bytes(trained.agent.policy)).hexdigest(), _spans(parts.train),
                _spans(parts.validation), earned,
            ))  # fmt: skip
    finally:
        if before is None:
            del os.environ["CRYPTOENV_CACHE"]
        else:
            os.environ["CRYPTOENV_CACHE"] = before
    return list(seeds)


def _keep_embeddings(
    walk: WalkForward, extractor: Extractor, whole: Sequence[Market], parts: Sequence[ExpertMarket]
) -> None:
    """Embeddings of the parts are those of the whole markets: cut out, they need not be computed again."""
    rows = np.load(walk.folder / CACHE / "whole.npy", mmap_mode="r")
    offsets = np.concatenate(([0], np.cumsum([len(market) for market in whole])))
    for number, part in enumerate(parts):
        of = number % len(whole)
        keep_part(extractor, whole[of], rows[offsets[of] : offsets[of + 1]], part.market)


def _earned(agent: Any, parts: Sequence[ExpertMarket], settings: TradingSettings) -> tuple[float, ...]:
    """Net log-return per day of an agent where it learned, per market, in blocks that each begin flat."""
    found = []
    for part in parts:
        rows = blocks([part], BLOCK)
        days = rows.steps * timeframe_ms(settings.timeframes[0]) / DAY_MS
        found.append(float(roll(agent.on([part]), [part], rows, settings).realised.mean() / days))
    return tuple(found)


def _spans(parts: Sequence[ExpertMarket]) -> tuple[tuple[str, str], ...]:
    """Open times of the first and the last bar that is decided at, per market."""
    return tuple(
        (str(p.market.bars.index[p.first].isoformat()), str(p.market.bars.index[-1].isoformat())) for p in parts
    )


def _tell(folder: Path, trained: TrainedFold) -> None:
    write_file(folder / TRAINED, json.dumps(asdict(trained), indent=1, sort_keys=True) + "\n")


def _told(folder: Path) -> TrainedFold:
    told = read_json(folder / TRAINED)
    spans = {name: tuple((str(a), str(b)) for a, b in told[name]) for name in ("trained", "chosen")}
    return TrainedFold(told["fold"], told["seed"], told["weights"], spans["trained"], spans["chosen"],
                       tuple(float(one) for one in told["earned"]))  # fmt: skip


def _stitched(
    walk: WalkForward,
    extractor: Extractor,
    markets: Sequence[Market],
    table: EmbeddingTable,
    borders: Sequence[Border],
    settings: TradingSettings,
) -> list[Stitched]:
    found = []
    for seed in range(walk.recipe.seed, walk.recipe.seed + walk.plan.seeds):
        folds = [0] * len(borders) if walk.plan.frozen else range(len(borders))
        loaded = {fold: Run.load(walk.run_folder(fold, seed)).agent for fold in sorted(set(folds))}
        found.append(stitch(seed, [loaded[fold] for fold in folds], markets, table, borders, settings))
    return found


def _write(walk: WalkForward, found: Findings, stitched: Sequence[Stitched]) -> None:
    """Tables and figures; `metrics.json` last."""
    folder = walk.folder
    told = found.folds.assign(efficiency=found.folds["efficiency"].map(str))
    make_file(folder / FOLDS, told.to_parquet)
    stresses = [stress_table(list(stressed(one))).reset_index().assign(market=one.name, seed=record.seed)
                for record in stitched for one in record.backtests]  # fmt: skip
    tables = {"regimes": found.regimes, "methods": found.methods, "stress": pd.concat(stresses, ignore_index=True)}
    for name, table in tables.items():
        make_file(folder / f"{name}.parquet", as_text(table).to_parquet)
    accounts = {f"{one.name}, seed {record.seed}": one for record in stitched for one in record.backtests}
    held = {f"{one.name}, {HELD}": buy_and_hold(one) for one in stitched[0].backtests}
    equity = pd.DataFrame({name: one.equity_table()["equity"] for name, one in (accounts | held).items()})
    make_file(folder / "equity.parquet", equity.to_parquet)
    columns = {f"{name}: {column}": one.equity_table()[column]
               for name, one in accounts.items() for column in ("exposure", *COSTS)}  # fmt: skip
    make_file(folder / "accounts.parquet", pd.DataFrame(columns).to_parquet)
    trades = [one.trades.assign(market=one.name, seed=record.seed) for record in stitched for one in record.backtests]
    make_file(folder / "trades.parquet", pd.concat(trades, ignore_index=True).to_parquet)
    write_json(folder / METRICS, found.metrics() | {"origin": origin_of(walk.bars)})


def _draw(folder: Path, found: Findings, stitched: Sequence[Stitched]) -> None:
    try:
        from agents.reports.walk_forward_picture import draw_walk_forward
    except ModuleNotFoundError as error:
        warnings.warn(f"no picture without {error.name}: {install_hint('report')}", stacklevel=3)
        return
    draw_walk_forward(found, stitched, folder / "walk_forward.png")

