"""`fit_rewards`: from bars alone to an extractor that knows what positions are worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cryptoenv.files.typed_values import require, written_values
from pretrain.data.rewards import (
    Lanes,
    Piece,
    RewardsConfig,
    RewardStream,
    Source,
)
from pretrain.data.scaler import RobustScaler
from pretrain.data.splits import JUDGED_BY, refuse_families
from pretrain.extractor.artifact import Extractor
from pretrain.extractor.config import ExtractorConfig
from pretrain.extractor.model import ExtractorModel
from pretrain.extractor.rewards_task import OracleTask, RewardLearner, RewardsTask
from pretrain.fitting.artifact_folder import ArtifactError
from pretrain.fitting.config import PretrainingConfig
from pretrain.fitting.fitting import FitOptions, fit
from pretrain.fitting.provenance import LearnedFrom, Provenance, versions

SCALED_BY = 16  #: lanes of the first pool that the scaler is fitted on
RETURNS_WEIGHT = 0.01  #: of the heads that tell returns: their gradients are clipped together with those of the values


class RewardMarkets(NamedTuple):
    """Where pools of lanes to learn from come from, how many markets those are, and pieces to validate on."""

    source: Source
    markets: int
    validation: tuple[Piece, ...]


def fit_rewards(
    markets: RewardMarkets,
    config: ExtractorConfig,
    rewards: RewardsConfig,
    training: PretrainingConfig,
    *,
    seed: int = 0,
    options: FitOptions | None = None,
    start: Extractor | None = None,
) -> Extractor:
    """Train an extractor on what every position would have earned; the averaged weights that earned most are kept.

    On CPU, the same seed, markets and configuration give the same weights, bit for bit, unless `training.max_seconds`
    cuts a run short. A step of the optimiser takes one stretch of all lanes; `training.batch` is not read.

    Args:
        markets: to learn from, and others (or other rows) to validate on.
        config: architecture, with an encoder "recurrent"; feature names are taken from the markets.
        rewards: lanes, discount, costs.
        training: budget and optimiser.
        seed: of the initial weights.
        options: what is written and shown, and whether an interrupted run goes on.
        start: an extractor to go on from, with values of its own: its architecture, weights and scaler.

    Raises:
        ConfigError: a configuration that does not fit the markets, or one that has no memory to carry on.
        ArtifactError: `start` has no values. ValueError: synthetic markets that are kept to judge by.
        Diverged: the loss is not finite. CheckpointError: the run to resume has no good checkpoint left.
    """
    if start is not None:
        _require_values(start, rewards)
        config = start.config
    _require_supported(config, training)
    refuse_families([piece.market for piece in markets.validation], ("train", *JUDGED_BY), "validation")
    first = markets.source.pool(0, min(rewards.lanes, SCALED_BY))
    config = config.for_market(first[0].market)
    if start is None:
        config = replace(config, values="alone", value_cost=rewards.turnover_cost)
        scaler = RobustScaler.fit(config.timeframes, config.feature_names, _feature_rows(first, config.window))
    else:
        start.layout.require(first[0].market)
        scaler = start.scaler
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ExtractorModel(config, scaler)
    if start is not None:
        model.load_state_dict(start.model.state_dict())
    learner = RewardLearner(model, rewards.lanes)
    of_pieces = partial(_lanes, config=config, rewards=rewards)
    stream = RewardStream(markets.source, of_pieces, rewards, training.steps)
    made_of = {f"architecture.{name}": value for name, value in written_values(config).items()}
    made_of |= {f"rewards.{name}": value for name, value in written_values(rewards).items()}
    made_of["start"] = None if start is None else start.hash
    task = RewardsTask(rewards, RETURNS_WEIGHT)
    if first[0].oracle is not None:
        task = OracleTask(rewards, RETURNS_WEIGHT, training.regime_weight)
        beliefs = first[0].oracle.beliefs.shape[1]
        fits = config.regimes in (0, beliefs)
        require(fits, "regimes", config.regimes, f"{beliefs}, as many as the task has, or 0 for none")
    metrics = fit(
        learner, task, (stream, _Judging(markets.validation, of_pieces)), training,
        options or FitOptions(), seed=seed, data=markets.source.hash, made_of=made_of,
    )  # fmt: skip
    steps = int(metrics["steps"])
    metrics["bars"] = float(steps * rewards.lanes * rewards.stretch)
    read = RewardStream(markets.source, of_pieces, rewards, steps).pools * rewards.lanes
    provenance = _provenance(markets, first, min(read, markets.markets), metrics, start)
    return Extractor(learner.averaged, scaler, provenance, first[0].market.feature_spec)


def _require_supported(config: ExtractorConfig, training: PretrainingConfig) -> None:
    remembers = config.encoder == "recurrent"
    require(remembers, "encoder", config.encoder, "'recurrent' where rewards teach: its memory is carried on")
    require(training.devices == 1, "devices", training.devices, "1 where rewards teach")
    require(config.dropout == 0.0, "dropout", config.dropout, "0.0 in the encoder 'recurrent'")


def _require_values(start: Extractor, rewards: RewardsConfig) -> None:
    if start.config.values != "alone":
        raise ArtifactError(
            "the extractor to go on from has no values of positions: begin with one that rewards taught (--from bars), "
            "or anew (--from none)"
        )
    same = start.config.value_cost == rewards.turnover_cost
    allowed = f"costs of {start.config.value_cost:g} per unit of turnover in all, which the extractor was taught with"
    require(same, "fee + half_spread", rewards.turnover_cost, allowed)


def _lanes(pieces: Sequence[Piece], config: ExtractorConfig, rewards: RewardsConfig) -> Lanes:
    return Lanes(pieces, config.positions, config.horizons, rewards)


class _Judging:
    """Pieces to validate on as lanes, those of equal length side by side; in a data loader's place."""

    def __init__(self, pieces: Sequence[Piece], of_pieces: partial[Lanes]) -> None:
        by_length: dict[int, list[Piece]] = {}
        for piece in pieces:
            by_length.setdefault(piece.stop - piece.start, []).append(piece)
        self._lanes = [of_pieces(found) for found in by_length.values()]

    def __len__(self) -> int:
        return len(self._lanes)

    def __iter__(self) -> Iterator[Lanes]:
        return iter(self._lanes)


def _feature_rows(pieces: Sequence[Piece], window: tuple[int, ...]) -> list[NDArray[np.float32]]:
    """Per timeframe, (R_k, F_k) float32: every bar that some decision of the pieces shows."""
    rows: list[list[NDArray[np.float32]]] = [[] for _ in window]
    for piece in pieces:
        ends = piece.market.align[[piece.start, piece.stop - 1]]
        for k, bars in enumerate(window):
            begin = piece.start if k == 0 else ends[0, k] - bars + 1
            rows[k].append(piece.market.features[k][begin : ends[1, k] + 1])
    return [np.concatenate(parts) for parts in rows]


def _provenance(
    markets: RewardMarkets, first: Sequence[Piece], read: int, metrics: dict[str, float], start: Extractor | None
) -> Provenance:
    digest, kind = markets.source.hash, markets.source.teacher
    told = replace(LearnedFrom.of(kind, first, digest), markets=read)
    earlier: tuple[LearnedFrom, ...] = ()
    if start is not None:
        kind, earlier = f"{start.provenance.label_kind}, then {kind}", start.provenance.data
    return Provenance(kind, digest, "", versions(), metrics, (*earlier, told))
