"""What an agent begins with where its extractor knows what positions are worth: decisions of those values."""

from __future__ import annotations

from dataclasses import replace

import torch

from agents.markets.embedded import EmbeddedMarkets
from agents.settings import TradingSettings
from pretrain import Extractor
from pretrain.extractor.value_decisions import VALUE_DECISIONS, value_decisions


def knows_values(extractor: Extractor, settings: TradingSettings) -> bool:
    """Whether an extractor's values decide alone, and are of the positions that are traded."""
    return extractor.config.values == "alone" and extractor.config.positions == settings.positions


def taught_by_values(extractor: Extractor, markets: EmbeddedMarkets, settings: TradingSettings) -> EmbeddedMarkets:
    """The markets with what the extractor's own values would do in the place of their labels.

    No label of a teacher that knows more than bars is then cloned: head, values and extractor come from bars alone.

    Args:
        extractor: with values of the settings' positions.
        markets: with embeddings of this extractor, its columns first.
        settings: positions and costs.
    """
    model, found = extractor.model, []
    width = extractor.config.width
    for offset, labelled in zip(markets.table.offsets, markets.labelled, strict=True):
        rows = markets.table.rows[offset : offset + len(labelled.market), :width]
        with torch.inference_mode():
            values = model.values(torch.from_numpy(rows).to(extractor.device)).cpu().numpy()
        labels = value_decisions(values, settings.positions, settings.turnover_cost)
        found.append(replace(labelled, labels=labels, label_kind=VALUE_DECISIONS))
    return EmbeddedMarkets(tuple(found), markets.table)
