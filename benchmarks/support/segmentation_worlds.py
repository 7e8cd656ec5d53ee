"""Markets of the segmentation benchmark: synthetic ones by seed family, and files of real bars split in time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from cryptoenv.bar_files.reading import file_stem, read_bars
from pretrain.data.labelled_market import LabelledMarket
from pretrain.data.splits import split_markets
from pretrain.segmenter.classes import labelled_parts, labelled_task
from pretrain.segmenter.recipe import SegmenterRecipe

MARKETS = {"standard": (24, 3, 10), "easy": (8, 2, 6), "joins": (8, 2, 6)}  #: to learn from, to tune on, to test on
DAYS = 60
FILES = ("binance_spot_BTCUSDT_5m_20230101_20240906.csv.gz", "binance_spot_ETHUSDT_5m_20230101_20240906.csv.gz")


class Parts(NamedTuple):
    """Markets with labels: to learn from, to tune on, to test on."""

    train: tuple[LabelledMarket, ...]
    validation: tuple[LabelledMarket, ...]
    test: tuple[LabelledMarket, ...]


@dataclass(frozen=True)
class World:
    """One part of the benchmark: where its markets come from, as each variant of the recipe reads them."""

    part: str
    recipe: SegmenterRecipe
    folder: Path | None = None

    def parts(self, recipe: SegmenterRecipe) -> Parts:
        """The markets, as `recipe` reads them."""
        if self.part == "real":
            return self._real(recipe)
        task = "standard" if self.part == "joins" else self.part
        families = zip(("extractor", "validation", "test"), MARKETS[self.part], strict=True)
        train, validation, test = (self._labelled(recipe, task, family, count) for family, count in families)
        # what is judged are the same rows for all, whatever they read
        return Parts(train, validation, tuple(replace(item, start=max(item.start, self._first)) for item in test))

    @cached_property
    def _first(self) -> int:
        """First row of a synthetic market that is judged."""
        task = "standard" if self.part == "joins" else self.part
        return self._labelled(self.recipe, task, "test", 1)[0].start

    @staticmethod
    def _labelled(recipe: SegmenterRecipe, task: str, family: str, count: int) -> tuple[LabelledMarket, ...]:
        return labelled_task(
            task, family, count, DAYS, timescales=recipe.timescales, layout=recipe.layout, teacher=recipe.teacher,
            progress=False,
        )

    def _real(self, recipe: SegmenterRecipe) -> Parts:
        assert self.folder is not None
        found = [read_bars(self.folder / name) for name in FILES]
        named = zip(found, FILES, strict=True)
        markets = [recipe.layout.market(bars, name=file_stem(Path(name))) for bars, name in named]
        look = max(scale.minimum for scale in recipe.timescales)
        splits = split_markets(markets, recipe.layout.window, "time", look_ahead=look, embargo=96)
        names = ("train", "validation", "test")
        return Parts(*(labelled_parts(markets, splits.part(name), recipe.timescales) for name in names))
