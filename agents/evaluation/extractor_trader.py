"""An extractor as a trader: its own action head, with a hysteresis tuned on validation markets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.hysteresis import MARGINS, VALIDATION_BLOCK
from agents.evaluation.rollout import blocks, roll
from agents.markets.expert_market import ExpertMarket
from agents.policies.trading_policy import TablePolicy
from agents.settings import TradingSettings
from pretrain import Extractor


@dataclass(frozen=True)
class ExtractorTrader:
    """Decisions of an extractor's action head.

    Attributes:
        extractor: trained on action labels for the positions of `settings`.
        settings: positions and costs.
        margin: of the log-odds, by which a target must beat the held position.
    """

    extractor: Extractor
    settings: TradingSettings
    margin: float = 0.0

    def on(self, labelled: Sequence[ExpertMarket]) -> TablePolicy:
        """The policy on these markets, in their order."""
        tables = [decisions(self.extractor.action_logits(t.market), self.margin) for t in labelled]
        return TablePolicy(tables, self.settings.positions)

    def tuned(self, validation: Sequence[ExpertMarket]) -> ExtractorTrader:
        """The same with the margin that earns most on validation markets (expected, where the truth is known)."""
        logits = [self.extractor.action_logits(t.market) for t in validation]
        rows = blocks(validation, VALIDATION_BLOCK)
        known = all(t.truth is not None for t in validation)
        earned = []
        for margin in MARGINS:
            policy = TablePolicy([decisions(found, margin) for found in logits], self.settings.positions)
            rollout = roll(policy, validation, rows, self.settings)
            earned.append(float((rollout.expected(validation) if known else rollout.realised).mean()))
        return ExtractorTrader(self.extractor, self.settings, MARGINS[int(np.argmax(earned))])


def decisions(logits: NDArray[np.float32], margin: float) -> NDArray[np.int8]:
    """(T, P) int8: the likeliest target given each held position, unless it beats holding by at most `margin`.

    Args:
        logits: (T, P, P) float32, `Extractor.action_logits`.
        margin: of the log-odds.
    """
    best = logits.argmax(axis=2)
    held = np.arange(logits.shape[1])
    gain = logits.max(axis=2) - logits[:, held, held]
    return np.where(gain > margin, best, held).astype(np.int8)
