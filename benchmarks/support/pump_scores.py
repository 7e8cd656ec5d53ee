"""What detectors of pumps are worth: the forecaster, the rule, taught detectors and the bound, on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.scoring import mean
from pretrain.data.splits import Span
from pretrain.tokens.artifact import TokenForecaster
from pretrain.tokens.model import CHANCES
from pretrain.tokens.pumps import Judged, alarms_a_day, average_precision, rule_scores, summaries
from pretrain.tokens.run import said_chances
from pretrain.tokens.series import TokenSeries
from pretrain.tokens.windows import known_chances
from synthetic.tokens.ceiling import pump_chances
from synthetic.tokens.market import TokenSample

Floats = NDArray[np.float64]

EVERY: Final = 12  #: rows of training that the detectors are taught on: one in so many


def pump_scores(
    made: TokenForecaster,
    taught: Sequence[dict[str, Any]],
    market: tuple[TokenSample, Sequence[TokenSeries]],
    rows: dict[int, tuple[int, int]],
) -> dict[str, Any]:
    """By target and detector, what it is worth on rows of tokens: forecaster, rule, `taught` detectors, bound."""
    config = made.config
    sample, tokens = market
    chances = said_chances(made, tokens, rows)
    came = {n: known_chances(tokens[n], config)[a:b] for n, (a, b) in rows.items()}
    names = list(sample.bars)
    seen = {n: summaries(tokens[n])[a:b] for n, (a, b) in rows.items()} if taught[0] else {}
    found: dict[str, Any] = {}
    for column, target in enumerate(CHANCES):
        scores = {
            "forecaster": {n: chances[n][target].to_numpy() for n in rows},
            "z-score rule": {n: rule_scores(tokens[n])[a:b] for n, (a, b) in rows.items()},
        }
        for name, model in taught[column].items():
            scores[name] = {n: model.predict_proba(part)[:, 1] for n, part in seen.items()}
        if target == "pump":
            scores["bound"] = {
                n: pump_chances(sample, names[n], config.pump_ahead)[a:b] for n, (a, b) in rows.items()
            }
        found[target] = {
            name: _worth(one, came, column, rows, tokens, config.pump_ahead) for name, one in scores.items()
        }
    return found


def taught_rows(
    tokens: Sequence[TokenSeries], spans: Sequence[Span], made: TokenForecaster, column: int
) -> tuple[Floats, NDArray[np.bool_]]:
    """Summaries of every twelfth row of training, and what came."""
    x = np.concatenate([summaries(tokens[s.market])[s.start : s.stop : EVERY] for s in spans])
    y = np.concatenate([known_chances(tokens[s.market], made.config)[s.start : s.stop : EVERY, column] for s in spans])
    return x[np.isfinite(y)], y[np.isfinite(y)] == 1.0


def _worth(
    scores: dict[int, Floats],
    came: dict[int, Floats],
    column: int,
    rows: dict[int, tuple[int, int]],
    tokens: Sequence[TokenSeries],
    ahead: int,
) -> dict[str, Any]:
    """Average precision by token and together; alarms at one false one a token and day; reliability of chances."""
    alone = []
    for n, part in scores.items():
        known = np.isfinite(came[n][:, column])
        alone.append(average_precision(part[known], came[n][known, column] == 1.0))
    said = np.concatenate([scores[n] for n in rows])
    seen = np.concatenate([came[n][:, column] for n in rows])
    known = np.isfinite(seen)
    said, happened = said[known], seen[known] == 1.0
    out: dict[str, Any] = {
        "average_precision": average_precision(said, happened), "by_token": alone, "share": float(happened.mean())
    }  # fmt: skip
    if column == 0:
        judged = [Judged(scores[n], rows[n][0], tokens[n].pumps or ()) for n in rows]
        out["alarms"] = asdict(alarms_a_day(judged, ahead, tokens[0].step_ms))
    if said.min() >= 0.0 and said.max() <= 1.0:
        edges = np.array_split(np.argsort(said, kind="stable"), 10)
        out["reliability"] = [[float(said[g].mean()), float(happened[g].mean())] for g in edges]
        out["brier"] = float(((said - happened) ** 2).mean())
    return out


def detector_means(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds; the interval of average precision over tokens."""
    alone = [value for part in parts for value in part["by_token"] if value is not None]
    by_token = mean(np.array(alone))
    out: dict[str, Any] = {"by_token": [by_token.value, by_token.low, by_token.high, len(alone)]}
    for name in ("average_precision", "share", "brier"):
        if name in parts[0]:
            out[name] = _known_mean([part[name] for part in parts])
    if "alarms" in parts[0]:
        for name in ("recall", "false_a_day", "lead", "lead_to_peak"):
            out[name] = _known_mean([part["alarms"][name] for part in parts])
        out["pumps"] = sum(part["alarms"]["pumps"] for part in parts)
    if "reliability" in parts[0]:
        out["reliability"] = np.mean([part["reliability"] for part in parts], axis=0).round(4).tolist()
    return out


def _known_mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


