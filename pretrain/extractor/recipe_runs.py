"""From a recipe to an artifact: pretraining on synthetic markets, fine-tuning on real bars; the run folder of both."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple, cast

from cryptoenv.files.typed_values import ConfigError
from cryptoenv.market.market import Market
from cryptoenv.progress import tqdm
from pretrain.data.labelled_market import LabelledMarket
from pretrain.data.own_labels import labelled_spans
from pretrain.data.rewards import REWARDS, DrawnMarkets, OracleMarkets, OwnPieces, Piece
from pretrain.data.splits import Span, Splits, split_markets
from pretrain.data.teachers import OWN_LABELS, Teacher, labelled_bars, labelled_samples
from pretrain.extractor.artifact import Extractor
from pretrain.extractor.recipe import Recipe
from pretrain.extractor.rewards_training import RewardMarkets, fit_rewards
from pretrain.extractor.training import fit_extractor
from pretrain.fitting.artifact_folder import json_bytes
from pretrain.fitting.batches import refuse_shared_rows
from pretrain.fitting.fitting import LOG, FitOptions
from pretrain.fitting.market_inputs import MarketMaker, require_synthetic
from pretrain.fitting.mlflow_tracking import log_run
from pretrain.fitting.run_folder import ARTIFACT, INPUTS, PICTURES, RECIPE, held, write_once
from synthetic import regime_market, task_seeds
from synthetic.installation import install_hint

EMBARGO = 96  #: base bars left out after a border of time


class LabelledMarkets(NamedTuple):
    """Labelled markets to learn from, and others to validate on."""

    train: tuple[LabelledMarket, ...]
    validation: tuple[LabelledMarket, ...]


def expert_markets(recipe: Recipe, *, progress: bool = True) -> LabelledMarkets:
    """The markets of a recipe with its teacher's labels: "extractor" seeds, and "validation" seeds.

    Raises:
        ConfigError: the teacher is the user's own labels, or features read a reference or further columns: no synthetic
            market has such.
    """
    if recipe.teacher == OWN_LABELS:
        raise ConfigError(f"teacher={OWN_LABELS!r} needs bars and labels of your own: give --bars and --labels")
    layout = recipe.layout
    require_synthetic(layout)
    teacher = cast(Teacher, recipe.teacher)
    train, validation = (
        labelled_samples(
            recipe.task, family, count, recipe.days, layout.timeframes, layout.window, teacher=teacher,
            features=layout.features, progress=progress,
        )
        for family, count in (("extractor", recipe.markets), ("validation", recipe.validation_markets))
    )  # fmt: skip
    return LabelledMarkets(train, validation)


def reward_markets(recipe: Recipe, *, progress: bool = True) -> RewardMarkets:
    """The synthetic markets of a recipe that `streams`: "extractor" seeds as they are needed, and "validation" seeds.

    Raises:
        ConfigError: features that read a reference or further columns: no synthetic market has such.
    """
    layout = recipe.layout
    require_synthetic(layout)
    given = (recipe.task, recipe.markets, recipe.days, layout.market, layout.window)
    if recipe.teacher == REWARDS:
        source = DrawnMarkets(*given)
    else:
        cost, positions = recipe.rewards.turnover_cost, recipe.architecture.positions
        source = OracleMarkets(*given, cost=cost, positions=positions)
    seeds = task_seeds(recipe.task, "validation", recipe.validation_markets)
    found = []
    for seed in tqdm(seeds, desc="markets (validation)", unit="market", disable=not progress):
        market = layout.market(regime_market(recipe.task, recipe.days, seed).bars)
        found.append(Piece(market, market.first_decision(layout.window), len(market)))
    return RewardMarkets(source, recipe.markets, tuple(found))


def own_reward_markets(markets: Sequence[Market], splits: Splits, recipe: Recipe) -> RewardMarkets:
    """Pieces of the train part of bars of one's own, and the whole validation part; the test part is not looked at.

    Raises:
        ValueError: synthetic markets that are kept to judge by, no span as long as a stretch, or rows in both parts.
    """
    source = OwnPieces(markets, splits.train, recipe.rewards, recipe.seed)
    train, validation = (
        tuple(Piece(markets[span.market], span.start, span.stop) for span in part)
        for part in (splits.train, splits.validation)
    )
    refuse_shared_rows(train, validation)
    return RewardMarkets(source, len({piece.market.hash for piece in train}), validation)


def own_expert_markets(recipe: Recipe, files: Sequence[Path]) -> LabelledMarkets:
    """Train and validation parts in time of bars of one's own, with the recipe's teacher's labels.

    Args:
        recipe: its teacher needs no truth ("path" or "horizon"); timeframes and features of the markets.
        files: of bars, saved markets or series of a store.

    Raises:
        ValueError: a teacher that needs the truth; bars that cannot be used, or too few.
    """
    maker, config = MarketMaker(recipe.layout, recipe.inputs), recipe.architecture
    markets = [maker.market_at(file) for file in files]
    splits = split_markets(
        markets, config.window, "time", fractions=recipe.inputs.fractions, look_ahead=max(config.horizons),
        embargo=EMBARGO, seed=recipe.seed,
    )  # fmt: skip
    teacher = cast(Teacher, recipe.teacher)
    train, validation = (
        labelled_bars(markets, part, teacher=teacher, positions=config.positions)
        for part in (splits.train, splits.validation)
    )
    return LabelledMarkets(train, validation)


def pretrain_extractor(recipe: Recipe, options: FitOptions, *, markets: LabelledMarkets | None = None) -> Extractor:
    """Pretrain what `recipe` describes; on the same machine, the same recipe gives the same artifact, bit for bit.

    Where `options.out` is given, that folder gets `recipe.yaml`, logs, checkpoints, `artifact/` and `pictures/`.

    Args:
        recipe: architecture, training, and what is learned from.
        options: what is written and shown, and whether an interrupted run goes on.
        markets: `expert_markets(recipe)` where they are at hand.

    Raises:
        ConfigError: the recipe does not fit its markets. FileExistsError: `options.out` holds another run.
        FolderLockedError: another pretraining writes there. CheckpointError: nothing good is left to resume from.
    """
    with held(options):
        if options.out is not None:
            write_once(options.out / RECIPE, recipe.text(), options)
        validation: Sequence[LabelledMarket] = ()
        if recipe.streams:
            drawn = reward_markets(recipe, progress=options.progress)
            trained = fit_rewards(
                drawn, recipe.architecture, recipe.rewards, recipe.training, seed=recipe.seed, options=options
            )
        else:
            train, validation = markets or expert_markets(recipe, progress=options.progress)
            trained = fit_extractor(
                train, validation, recipe.architecture, recipe.training, seed=recipe.seed, options=options
            )
        provenance = replace(trained.provenance, recipe=recipe.digest)
        extractor = Extractor(trained.model, trained.scaler, provenance, trained.features)
        _keep(extractor, validation, options)
        if options.mlflow is not None and options.out is not None:
            log_run(options.mlflow, options.out, recipe.values, extractor.provenance.metrics)
    return extractor


def finetune_extractor(
    start: Extractor | None,
    markets: Sequence[Market] | Sequence[LabelledMarket],
    splits: Splits,
    recipe: Recipe,
    options: FitOptions,
) -> Extractor:
    """Go on from `start` on real bars, or begin anew, with labels that need no truth; the test part is not looked at.

    Args:
        start: brings architecture and scaler; a head is added for each column of labels that it does not know. None
            makes a new one of the recipe's architecture.
        markets: of its timeframes and features (of a new one: of the recipe's, `recipe.layout`); with labels of their
            own (`labelled_market`), those are learned.
        splits: of these markets, by `pretrain.data.splits.split_markets`.
        recipe: its teacher ("rewards", "path" or "horizon"), training and seed count.
        options: as for `pretrain_extractor`; `inputs.json` says what was gone on from, and on which bars.

    Raises:
        ValueError: a teacher that needs the truth. ArtifactError: a market does not fit `start`. FileExistsError:
            `options.out` holds another run. FolderLockedError: another pretraining writes there. CheckpointError:
            nothing good is left to resume from.
    """
    own = [market for market in markets if isinstance(market, LabelledMarket)]
    plain = [market.market if isinstance(market, LabelledMarket) else market for market in markets]
    if own and len(own) < len(plain):
        raise ConfigError(f"{len(own)} of {len(plain)} markets have labels of their own; allowed: all of them, or none")
    layout, config = (recipe.layout, recipe.architecture) if start is None else (start.layout, start.config)
    for market in plain:
        layout.require(market)
    positions, by_rewards = config.positions, recipe.teacher == REWARDS and not own

    def labelled(part: tuple[Span, ...]) -> tuple[LabelledMarket, ...]:
        if by_rewards:
            return ()
        teacher = cast(Teacher, recipe.teacher)
        return labelled_spans(own, part) if own else labelled_bars(plain, part, teacher=teacher, positions=positions)

    train, validation = labelled(splits.train), labelled(splits.validation)
    with held(options):
        if options.out is not None:
            write_once(options.out / RECIPE, recipe.text(), options)
            bars = [{"name": market.name, "hash": market.hash} for market in plain]
            inputs = {"start": None if start is None else start.hash, "markets": bars, "splits": asdict(splits)}
            write_once(options.out / INPUTS, json_bytes(inputs).decode(), options)
        if by_rewards:
            extractor = fit_rewards(
                own_reward_markets(plain, splits, recipe), config, recipe.rewards, recipe.training, seed=recipe.seed,
                options=options, start=start,
            )  # fmt: skip
        else:
            extractor = fit_extractor(
                train, validation, config if start is None else None, recipe.training, seed=recipe.seed,
                options=options, start=start,
            )  # fmt: skip
        _keep(extractor, validation, options)
        if options.mlflow is not None and options.out is not None:
            log_run(options.mlflow, options.out, recipe.values, extractor.provenance.metrics)
    return extractor


def _keep(extractor: Extractor, held_out: Sequence[LabelledMarket], options: FitOptions) -> None:
    """Save the artifact and, where matplotlib is installed, the pictures."""
    if options.out is None:
        return
    extractor.save(options.out / ARTIFACT)
    if not held_out:  # nothing was labelled: there is nothing to compare with
        return
    try:
        from pretrain.extractor.pictures import draw_run

        draw_run(extractor, held_out, Path(options.out) / PICTURES, Path(options.out) / LOG)
    except ModuleNotFoundError as error:
        warnings.warn(f"no pictures without {error.name}: {install_hint('report')}", stacklevel=3)
