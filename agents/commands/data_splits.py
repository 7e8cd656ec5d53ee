"""Bars of one's own, split, drawn and printed: what the pretrainings of all models begin with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptoenv import Market
    from pretrain.data.splits import SplitRule, Splits

SPLITS_PICTURE = "splits.png"


def shown_splits(markets: Sequence[Market], window: tuple[int, ...], rule: SplitRule, out: Path) -> Splits:
    """The split of markets, printed, and drawn into `out`.

    Args:
        markets: of one base timeframe.
        window: bars per timeframe that a decision needs.
        rule: kind of split, shares, bars purged before a border (0 where what is learned ends there anyway) and left
            out after it.
        out: folder of the picture.
    """
    from pretrain.data.splits import plot_splits, split_markets

    splits = split_markets(
        markets, window, rule.how, fractions=rule.fractions, look_ahead=rule.look_ahead, embargo=rule.embargo,
        seed=rule.seed,
    )  # fmt: skip
    plot_splits(markets, splits, out / SPLITS_PICTURE)
    print_splits(markets, splits)
    print(f"picture: {out / SPLITS_PICTURE}")
    return splits


def print_splits(markets: Sequence[Market], splits: Splits) -> None:
    """A line for each market of each part: its name, first and last bar, decisions."""
    from rich.console import Console
    from rich.table import Table

    table = Table("part", "market", "from", "to", "decisions", title="data splits", title_justify="left")
    for part in ("train", "validation", "test"):
        for span in splits.part(part):
            index = markets[span.market].bars.index
            first, last = (f"{index[row]:%Y-%m-%d %H:%M}" for row in (span.start, span.stop - 1))
            table.add_row(part, markets[span.market].name, first, last, f"{span.stop - span.start:,}")
    Console().print(table)
