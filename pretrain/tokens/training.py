"""`fit_tokens`: from tokens and a split to a trained forecaster."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from cryptoenv.files.typed_values import written_values
from pretrain.data.splits import Splits, split_rows
from pretrain.data.windows import OrderedBatches, ShuffledBatches
from pretrain.fitting.batches import evenly_spread
from pretrain.fitting.fitting import FitOptions, fit
from pretrain.fitting.provenance import LearnedFrom, Provenance, versions
from pretrain.tokens.artifact import TokenForecaster
from pretrain.tokens.model import TokenModel
from pretrain.tokens.recipe import TokenRecipe
from pretrain.tokens.series import SeriesError, TokenSeries, require_one_step
from pretrain.tokens.task import TokenTask
from pretrain.tokens.windows import TokenWindows, first_decision, normalization_of

VALIDATION_BATCH = 16
TEACHER = "next rows"


def split_tokens(tokens: Sequence[TokenSeries], recipe: TokenRecipe) -> Splits:
    """The rows of the tokens as the recipe splits them.

    Raises:
        SeriesError: tokens of several distances of rows, or without a whole window. ValueError: a part without rows.
    """
    require_one_step(tokens)
    first = first_decision(recipe.architecture)
    longest = max(len(token) for token in tokens)
    if longest <= first + 1:
        raise SeriesError(
            f"seq_length={first + 1} is not allowed here: the longest token has {longest} rows, and a window and a row "
            "after it must fit"
        )
    return split_rows([token.timeline(first) for token in tokens], recipe.rule)


def fit_tokens(
    tokens: Sequence[TokenSeries],
    splits: Splits,
    recipe: TokenRecipe,
    options: FitOptions | None = None,
    *,
    start: TokenForecaster | None = None,
) -> TokenForecaster:
    """Trains a forecaster on the rows of training and keeps the weights that were best on those of validation.

    On CPU, the same tokens, split and recipe give the same weights, bit for bit (`pretrain.fitting.fit`).

    Args:
        tokens: all of them.
        splits: `Span.market` is the place in `tokens`; the test is not looked at.
        recipe: architecture, training, seed.
        options: what is written and shown, and whether an interrupted run goes on.
        start: a forecaster to go on from: its architecture, weights and normalisation.

    Raises:
        SeriesError: no window is whole. Diverged, ConfigError, CheckpointError: as `pretrain.fitting.fit`.
    """
    config = recipe.architecture if start is None else start.config
    normalization = normalization_of(tokens, splits.train) if start is None else start.normalization
    train = TokenWindows(tokens, splits.train, normalization, config, recipe.stride)
    held_out = TokenWindows(tokens, splits.validation, normalization, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = TokenModel(config)
    if start is None:
        model.begin_at(*train.usual(config.quantiles))
    else:
        model.load_state_dict(start.model.state_dict())
    training = recipe.training.over(len(train))
    batches = (
        ShuffledBatches(train, training.batch, training.steps, recipe.seed),
        OrderedBatches(held_out, VALIDATION_BATCH, evenly_spread(len(held_out), training.validation_windows)),
    )
    made_of = {f"architecture.{name}": value for name, value in written_values(config).items()}
    made_of |= {"start": None if start is None else start.hash, "chances_weight": recipe.chances_weight}
    made_of["stride"] = recipe.stride
    metrics = fit(
        model, TokenTask(recipe.chances_weight), batches, training, options or FitOptions(), seed=recipe.seed,
        data=train.hash, made_of=made_of,
    )  # fmt: skip
    return TokenForecaster(model, normalization, _provenance(tokens, splits, recipe, train.hash, metrics, start))


def _provenance(
    tokens: Sequence[TokenSeries],
    splits: Splits,
    recipe: TokenRecipe,
    digest: str,
    metrics: dict[str, float],
    start: TokenForecaster | None,
) -> Provenance:
    first = min(int(tokens[s.market].times[s.start]) for s in splits.train)
    last = max(int(tokens[s.market].times[s.stop - 1]) for s in splits.train)
    begins, ends = (pd.Timestamp(moment, unit="ms", tz="UTC").isoformat() for moment in (first, last))
    learned = LearnedFrom(TEACHER, len({s.market for s in splits.train}), begins, ends, digest)
    earlier = () if start is None else start.provenance.data
    return Provenance(TEACHER, digest, recipe.digest, versions(), metrics, (*earlier, learned))
