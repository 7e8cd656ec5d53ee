"""An extractor as a trader: its own actions or values of positions, with a hysteresis tuned on validation markets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.hysteresis import MARGINS, VALIDATION_BLOCK
from agents.evaluation.rollout import blocks, roll
from agents.markets.expert_market import ExpertMarket
from agents.policies.trading_policy import TablePolicy
from agents.settings import TradingSettings
from cryptoenv.market.market import Market
from pretrain import Extractor
from pretrain.extractor.value_decisions import value_decisions

#: How many times its cost a change of position must be worth, where values decide.
VALUE_MARGINS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 2.0)


@dataclass(frozen=True)
class ExtractorTrader:
    """Decisions of an extractor: of its values of positions where they decide alone, else of its action head.

    Attributes:
        extractor: trained on the positions of `settings`.
        settings: positions and costs.
        margin: by which a target must beat the held position, of the log-odds of actions; of values, how many times
            its cost a change must be worth. None: what they say as they are, 0 and 1.
        beside: further extractors of the same positions; what all of them say on average decides.
    """

    extractor: Extractor
    settings: TradingSettings
    margin: float | None = None
    beside: tuple[Extractor, ...] = ()

    @property
    def by_values(self) -> bool:
        """Whether values of positions decide."""
        return self.extractor.config.values == "alone"

    @property
    def margins(self) -> tuple[float, ...]:
        """Margins that `tuned` chooses from."""
        return VALUE_MARGINS if self.by_values else MARGINS

    def says(self, market: Market) -> NDArray[np.float32]:
        """(T, P) values in percent, or (T, P, P) log-odds of actions; the mean of all its extractors."""
        every = (self.extractor, *self.beside)
        found = [one.values(market) if self.by_values else one.action_logits(market) for one in every]
        said: NDArray[np.float32] = np.mean(found, axis=0, dtype=np.float32)
        return said

    def table(self, said: NDArray[np.float32]) -> NDArray[np.int8]:
        """(T, P) int8: the target given each held position, from what `says` told of a market."""
        if not self.by_values:
            return decisions(said, 0.0 if self.margin is None else self.margin)
        margin = 1.0 if self.margin is None else self.margin
        return value_decisions(said, self.settings.positions, self.settings.turnover_cost, margin)

    def on(self, labelled: Sequence[ExpertMarket]) -> TablePolicy:
        """The policy on these markets, in their order."""
        return self._policy([self.says(t.market) for t in labelled])

    def tuned(self, validation: Sequence[ExpertMarket]) -> ExtractorTrader:
        """The same with the margin that earns most on validation markets (expected, where the truth is known)."""
        said = [self.says(t.market) for t in validation]
        rows = blocks(validation, VALIDATION_BLOCK)
        known = all(t.truth is not None for t in validation)
        earned = []
        for margin in self.margins:
            policy = replace(self, margin=margin)._policy(said)
            rollout = roll(policy, validation, rows, self.settings)
            earned.append(float((rollout.expected(validation) if known else rollout.realised).mean()))
        return replace(self, margin=self.margins[int(np.argmax(earned))])

    def _policy(self, said: Sequence[NDArray[np.float32]]) -> TablePolicy:
        return TablePolicy([self.table(one) for one in said], self.settings.positions)


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
