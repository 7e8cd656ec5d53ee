"""The run folder of a token forecaster: trained, then tested; every file under the name that the design gives it.

recipe.yaml, data/ (a `TokenStore`), splits.png, checkpoints/, tensorboard/, artifact/, learning_curves.png
img/token_N/{features,correlations}.png, predictions/token_N/{prediction_short,prediction_extended}.png
metrics.json, reliability.png
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.files.durable_files import write_file
from cryptoenv.files.typed_values import ConfigError, written_values
from cryptoenv.progress import tqdm
from pretrain.data.splits import PARTS, Span, Splits, draw_splits
from pretrain.fitting.drawing import CURVES, draw_learning_curves
from pretrain.fitting.fitting import LOG, FitOptions
from pretrain.fitting.mlflow_tracking import log_run
from pretrain.fitting.run_folder import ARTIFACT, RECIPE, held, write_once
from pretrain.tokens.artifact import TokenForecaster
from pretrain.tokens.hdf5_store import METADATA, StoreError, TokenStore
from pretrain.tokens.judging import LEVELS, STEPS, errors, outlook, said_in, spread_origins, summary, true_returns
from pretrain.tokens.pictures import (
    EXTENDED_PICTURE,
    IMAGES,
    PREDICTIONS,
    RELIABILITY_PICTURE,
    SHORT_PICTURE,
    draw_correlations,
    draw_features,
    draw_forecast,
    draw_reliability,
)
from pretrain.tokens.pumps import Judged, alarms_a_day, average_precision
from pretrain.tokens.recipe import TokenRecipe
from pretrain.tokens.series import PRICE, TokenSeries, require_one_step, synthetic_tokens
from pretrain.tokens.training import fit_tokens, split_tokens
from pretrain.tokens.windows import first_decision, known_chances, normalization_of
from synthetic.installation import install_hint

Floats = NDArray[np.float64]

DATA, SPLITS_PICTURE, METRICS = "data", "splits.png", "metrics.json"


@dataclass(frozen=True)
class JudgingPlan:
    """How a forecaster is tested.

    Attributes:
        forecast: rows ahead of `prediction_short.png`.
        extended: rows ahead of `prediction_extended.png`, and of the figures.
        paths: sampled of each forecast.
        origins: presents of each token that figures are taken from.
        seed: of the paths.

    Raises:
        ConfigError: a number below 1.
    """

    forecast: int = 1_000
    extended: int = 3_000
    paths: int = 64
    origins: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("forecast", "extended", "paths", "origins"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} is not allowed: a whole number >= 1")


def tokens_of(recipe: TokenRecipe) -> tuple[TokenSeries, ...]:
    """The synthetic tokens that a recipe learns from."""
    return synthetic_tokens(recipe.world, recipe.seed)


def prepared(out: Path, tokens: Sequence[TokenSeries], recipe: TokenRecipe) -> Splits:
    """Splits tokens, stores them in the run's `data/` with split and normalisation, and draws the split.

    What is stored there already must be the same tokens.

    Raises:
        StoreError: other tokens are in `data/`. SeriesError, ValueError: as `split_tokens`.
    """
    splits = split_tokens(tokens, recipe)
    store = TokenStore(out / DATA)
    if not (store.folder / METADATA).exists():
        store.add(tokens)
    elif [entry.address for entry in store.entries()] != [token.address for token in tokens]:
        raise StoreError(f"{store.folder} holds other tokens than these: choose another folder for the run")
    store.write_split(splits, recipe.rule)
    store.write_normalization(normalization_of(tokens, splits.train))
    draw_splits([token.timeline() for token in tokens], splits, out / SPLITS_PICTURE)
    return splits


def train_tokens(
    tokens: Sequence[TokenSeries],
    recipe: TokenRecipe,
    options: FitOptions,
    *,
    start: TokenForecaster | None = None,
    keep: bool = True,
) -> TokenForecaster:
    """Train what the recipe describes, in the run folder `options.out`.

    Args:
        tokens: to learn from, to validate and test on.
        recipe: what to train.
        options: what is written and shown; `out` is needed.
        start: a forecaster to go on from.
        keep: write the artifact.

    Raises:
        ConfigError, StoreError, SeriesError: what is given does not fit. FileExistsError: another run is in the folder.
    """
    assert options.out is not None
    split_tokens(tokens, recipe)  # what cannot be split leaves no folder
    with held(options):
        write_once(options.out / RECIPE, recipe.text(), options)
        splits = prepared(options.out, tokens, recipe)
        forecaster = fit_tokens(tokens, splits, recipe, options, start=start)
        if keep:
            forecaster.save(options.out / ARTIFACT)
        try:
            draw_learning_curves(options.out / LOG, options.out / CURVES)
        except ModuleNotFoundError as error:
            warnings.warn(f"no pictures without {error.name}: {install_hint('report')}", stacklevel=2)
        if options.mlflow is not None:
            log_run(options.mlflow, options.out, written_values(recipe), forecaster.provenance.metrics)
    return forecaster


def judged_rows(
    tokens: Sequence[TokenSeries], chosen: Sequence[int], splits: Splits | None, first: int
) -> dict[int, tuple[int, int]]:
    """By token, the rows `start <= t < stop` that it is tested on: its test span, or all rows where it has none."""
    spans = {} if splits is None else {span.market: (span.start, span.stop) for span in splits.test}
    return {number: spans.get(number, (first, len(tokens[number]))) for number in chosen}


def judge_tokens(
    forecaster: TokenForecaster,
    tokens: Sequence[TokenSeries],
    chosen: Sequence[int],
    splits: Splits | None,
    plan: JudgingPlan,
    out: Path,
    *,
    progress: bool = True,
) -> dict[str, Any]:
    """Forecast the chosen tokens, draw them, and write what the forecasts are worth to `metrics.json`.

    Args:
        forecaster: trained.
        tokens: of the data set.
        chosen: places in `tokens`.
        splits: of the data set; rows outside the test are judged, too, where there is none.
        plan: how far, how often.
        out: the run folder.
        progress: show how many tokens were forecast.

    Returns:
        What `metrics.json` holds: `forecast` (measure, step, value), the same and the `outlook` by token, and `pumps`.
    """
    rows = judged_rows(tokens, chosen, splits, first_decision(forecaster.config))
    steps = tuple(step for step in STEPS if step <= plan.extended)
    found: dict[str, Any] = {"tokens": {}, "steps": list(steps), "artifact": forecaster.hash}
    parts = []
    for number in tqdm(chosen, desc="forecasting", unit="token", disable=not progress):
        span = Span(number, *rows[number])
        measured, seen = _judge_token(forecaster, tokens, span, plan, out)
        parts.append(measured)
        address = tokens[number].address
        found["tokens"][str(number)] = {
            "address": address, "from_row": span.start, "outlook": seen, "forecast": summary(measured, steps)
        }  # fmt: skip
    together = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    found["forecast"] = summary(together, steps)
    found["pumps"] = _pumps(forecaster, tokens, rows, out)
    write_file(out / METRICS, json.dumps(_plain(found), indent=1, allow_nan=False) + "\n")
    return found


def _judge_token(
    forecaster: TokenForecaster, tokens: Sequence[TokenSeries], span: Span, plan: JudgingPlan, out: Path
) -> tuple[dict[str, Floats], dict[str, list[float]]]:
    """Errors (origins, steps) of forecasts from within a span, and the outlook from its first row, which is drawn."""
    token, name = tokens[span.market], f"token_{span.market}"
    steps = tuple(step for step in STEPS if step <= plan.extended)
    origins = spread_origins(tokens, [span], plan.origins, max(steps))
    fan = forecaster.forecast(
        token, span.start, steps=max(plan.forecast, plan.extended), paths=plan.paths, seed=plan.seed + span.market
    )  # fmt: skip
    draw_features(token, out / IMAGES / name)
    draw_correlations(token, out / IMAGES / name)
    folder = out / PREDICTIONS / name
    draw_forecast(token, span.start, fan[:, : plan.forecast], folder / SHORT_PICTURE)
    draw_forecast(token, span.start, fan[:, : plan.extended], folder / EXTENDED_PICTURE)
    seen = outlook(fan[:, : plan.forecast], float(token.values[span.start, PRICE]))
    said = np.full((len(origins), len(steps), len(LEVELS)), np.nan)
    now = np.array([token.values[o.row, PRICE] for o in origins])
    said[:1] = said_in(fan[None], now[:1], steps)
    known = tuple(step for step in steps if len(origins) > 1 and origins[1].row + step < len(token))
    if known:  # from later presents no further than there is a truth
        presents = [(token, o.row) for o in origins[1:]]
        fans = forecaster.forecasts(presents, steps=known[-1], paths=plan.paths, seed=plan.seed + span.market + 1)
        said[1:, : len(known)] = said_in(fans, now[1:], known)
    return errors(said, true_returns(tokens, origins, steps), now), seen


def said_chances(
    forecaster: TokenForecaster, tokens: Sequence[TokenSeries], rows: dict[int, tuple[int, int]]
) -> dict[int, pd.DataFrame]:
    """By token, the forecaster's chances of its tested rows, with what came beside them (`pump_came`, `rise_came`)."""
    out = {}
    for number, (start, stop) in rows.items():
        token = tokens[number]
        table = forecaster.predict(token).iloc[:, -2:]
        table.columns = pd.Index(["pump", "rise"])
        came = known_chances(token, forecaster.config)[first_decision(forecaster.config) :]
        table[["pump_came", "rise_came"]] = came
        offset = first_decision(forecaster.config)
        out[number] = table.iloc[max(0, start - offset) : stop - offset]
    return out


def _pumps(
    forecaster: TokenForecaster, tokens: Sequence[TokenSeries], rows: dict[int, tuple[int, int]], out: Path
) -> dict[str, Any]:
    """Average precision of both chances, alarms of pumps; draws their reliability."""
    tables = said_chances(forecaster, tokens, rows)
    together = pd.concat(tables.values())
    found: dict[str, Any] = {"rows_ahead": forecaster.config.pump_ahead, "rise": forecaster.config.rise}
    drawn = {}
    for name in ("pump", "rise"):
        known = together[together[f"{name}_came"].notna()]
        came = known[f"{name}_came"].to_numpy() == 1.0
        if not len(known):
            continue
        chance = known[name].to_numpy()
        found[name] = {
            "average_precision": average_precision(chance, came), "share_of_rows": float(came.mean()),
            "brier": float(((chance - came) ** 2).mean()),
        }  # fmt: skip
        drawn[f"{name} within {forecaster.config.pump_ahead} rows"] = (chance, came)
    judged = [
        Judged(table["pump"].to_numpy(), max(rows[n][0], first_decision(forecaster.config)), tokens[n].pumps or ())
        for n, table in tables.items()
        if tokens[n].pumps is not None
    ]
    if judged:
        alarms = alarms_a_day(judged, forecaster.config.pump_ahead, require_one_step(tokens))
        found["alarms_at_one_false_a_day"] = {
            "recall": alarms.recall, "lead_rows": alarms.lead, "lead_to_peak_rows": alarms.lead_to_peak,
            "pumps": alarms.pumps,
        }  # fmt: skip
    if drawn:
        draw_reliability(drawn, out / RELIABILITY_PICTURE)
    return found


def _plain(value: Any) -> Any:
    """JSON knows no NaN."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


def split_table(tokens: Sequence[TokenSeries], splits: Splits) -> list[tuple[str, str, str, str, str]]:
    """Part, token, first row's time, last row's time and rows of every span, in words."""
    rows = []
    for part in PARTS:
        for span in splits.part(part):
            index = tokens[span.market].index
            first, last = (f"{index[row]:%Y-%m-%d %H:%M:%S}" for row in (span.start, span.stop - 1))
            name = f"{span.market} ({tokens[span.market].address:.12})"
            rows.append((part, name, first, last, f"{span.stop - span.start:,}"))
    return rows
