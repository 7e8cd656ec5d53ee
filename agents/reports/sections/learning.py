"""Curves of a training, what the model looked at, and the pictures that a run drew."""

from __future__ import annotations

import numpy as np

from agents.reports.document.blocks import SHARE, Block, Picture, Section, Words
from agents.reports.document.charts import Bars, Line, Lines
from agents.reports.records.record import Curve, Record

MOST_CURVES = 12
MOST_FEATURES = 16
#: Curves that are looked at first, by a part of their name.
FIRST = ("kept:", "validation/log_return", "validation/loss", "train/loss", "rollout/ep_rew", "bc/loss", "bc/prob_true",
         "validation/", "train/kl_to_clone", "train/", "rollout/", "bc/", "pretraining/")  # fmt: skip
#: Counters and settings, which say nothing of learning.
LEFT_OUT = ("batch_size", "bc/batch", "bc/epoch", "epoch", "samples_so_far", "time/fps", "learning_rate", "l2_")


def curves(record: Record) -> Section:
    """What was measured as learning went on."""
    title = "Training"
    told = [one for one in record.curves if not any(part in one.name for part in LEFT_OUT) and np.ptp(one.values) > 0.0]
    if not told:
        return Section("curves", title, (), record.missing.get("curves", "nothing was trained"))
    if any(one.name.startswith("kept:") for one in told):  # the same figures from the log
        told = [one for one in told if not one.name.endswith("validation/log_return")]
    ordered = sorted(told, key=lambda one: (_place(one.name), one.name))
    blocks: list[Block] = [_chart(one, number) for number, one in enumerate(ordered[:MOST_CURVES])]
    left = [one.name for one in ordered[MOST_CURVES:]]
    if left:
        blocks.append(Words((f"Also in the TensorBoard log: {', '.join(left)}.",)))
    return Section("curves", title, tuple(blocks))


def _place(name: str) -> int:
    return next((i for i, part in enumerate(FIRST) if part in name), len(FIRST))


def _chart(curve: Curve, number: int) -> Lines:
    known = curve.values[np.isfinite(curve.values)]
    message = (
        f"From {known[0]:.4g} to {known[-1]:.4g} over {int(curve.steps[-1]):,} steps; lowest {known.min():.4g}, "
        f"highest {known.max():.4g}."
    )
    return Lines(
        f"curve-{number}", curve.name, message, (Line(curve.name, curve.values, curve.steps),), "", "steps", timed=False
    )


def looked(record: Record) -> Section:
    """Attention by age, importance of features, and the run's pictures."""
    title = "What the model looked at"
    blocks: list[Block] = []
    if record.importance:
        ordered = sorted(record.importance.items(), key=lambda item: -item[1])[:MOST_FEATURES]
        first = ", ".join(f"{name} {SHARE.shown(share)}" for name, share in ordered[:3])
        blocks.append(Bars(
            "importance", "Decisions that change when a feature is hidden",
            f"Most: {first}. Hidden is: its median in every bar, on decisions spread over the first market.",
            tuple(name for name, _ in ordered), {"decisions that change": np.array([share for _, share in ordered])},
            {"decisions that change": "main"}, "share of decisions", "feature", percent=True,
        ))  # fmt: skip
    for number, one in enumerate(record.looked):
        blocks.append(Bars(
            f"attention-{number}", f"Attention to {one.timeframe} bars",
            f"{SHARE.shown(float(one.shares.sum()))} of the attention is on {one.timeframe} bars, most on those "
            f"{one.ages[one.shares.argmax()]:.0f} bars ago.",
            tuple(f"{age:.0f} ago" for age in one.ages), {"attention": one.shares}, {"attention": "third"},
            "share of attention", f"{one.timeframe} bars ago", percent=True,
        ))  # fmt: skip
    for number, (name, path) in enumerate(record.pictures):
        blocks.append(Picture(f"picture-{number}", name, path, f"The picture {name} that the run drew."))
    why = record.missing.get("looked", "no model decided here: a rule or signals did" if record.kind == "backtest" else
                             "the run kept neither attention nor importance")  # fmt: skip
    return Section("looked", title, tuple(blocks), "" if blocks else why)
