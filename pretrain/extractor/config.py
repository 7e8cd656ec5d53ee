"""What an extractor looks like and how it is trained: two frozen, validated configurations.

Shape legend of the package: `T` base bars, `B` windows in a batch, `K` timeframes, `W` bars in a window, `F` features,
`N` tokens, `D` model width, `P` held positions, `A` actions (= P), `H` horizons, `Q` quantiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

from cryptoenv.files.typed_values import Range, later_field, require, require_ranges
from pretrain.data.label_column import LabelColumn
from pretrain.networks.encoder_config import ENCODERS as ENCODERS  # where it was before
from pretrain.networks.encoder_config import EncoderConfig

#: Far beyond what anybody trains, and small enough that nothing is built, or looped over, for ever.
_SIZES = {"regimes": Range(0, 4_096), "positions": Range(-1_000, 1_000), "horizons": Range(1, 10_000_000)}
_LENGTHS = {"positions": 128, "horizons": 256, "quantiles": 256, "label_columns": 64}
MOST_CLASSES = 256  #: of one column of labels
VALUES = ("none", "alone")  #: heads of values: none, or one that also decides the actions


@dataclass(frozen=True)
class ExtractorConfig(EncoderConfig):
    """Architecture of an `ExtractorModel` and the market layout it reads: an encoder (`EncoderConfig`) and its heads.

    `positions` are the held exposures that action labels are conditioned on (and the targets chosen from). `horizons`
    (base bars) and `quantiles` belong to the direction and return heads; `regimes` is the number of regimes, 0 for no
    such head. `label_columns` are the columns of the user's own labels, each with a head; `label_classes[i]` names the
    classes of column i as its file does, or is empty where it holds numbers, which the head says in units of
    `label_scales[i]` = (centre, spread). `for_labels` fills them in. `values` "alone" is a head that tells what each
    position is worth and decides alone, in the place of the head of actions ("none": there is none); `value_cost` is
    what an order then costs per unit of turnover.

    Raises:
        ConfigError: a value is out of range, or lengths do not agree.
    """

    positions: tuple[float, ...] = (-1.0, 0.0, 1.0)
    horizons: tuple[int, ...] = (4, 16, 96)
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    regimes: int = 0
    label_columns: tuple[str, ...] = later_field(())
    label_classes: tuple[tuple[str, ...], ...] = later_field(())
    label_scales: tuple[tuple[float, float], ...] = later_field(())
    values: str = later_field("none")
    value_cost: float = later_field(0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ranges(self, _SIZES)
        for name, most in _LENGTHS.items():
            require(len(getattr(self, name)) <= most, name, getattr(self, name), f"at most {most} of them")
        require(len(self.positions) >= 2, "positions", self.positions, "at least two exposures")
        require(_increasing(self.positions), "positions", self.positions, "strictly increasing exposures")
        ahead = _increasing(self.horizons) and self.horizons != ()
        require(ahead, "horizons", self.horizons, "at least one whole number >= 1, strictly increasing")
        inside = len(self.quantiles) > 0 and _increasing((0.0, *self.quantiles, 1.0))
        require(inside, "quantiles", self.quantiles, "strictly increasing in (0, 1)")
        self._require_labels()
        require(self.values in VALUES, "values", self.values, f"one of {VALUES}")
        flat = self.values == "none" or 0.0 in self.positions
        require(flat, "positions", self.positions, "with 0.0 among them, which values are relative to")
        require(0.0 <= self.value_cost < 1.0, "value_cost", self.value_cost, "a fraction, 0 <= value_cost < 1")

    def _require_labels(self) -> None:
        names, count = self.label_columns, len(self.label_columns)
        require(len(set(names)) == count and all(names), "label_columns", names, "names, each once")
        for name in ("label_classes", "label_scales"):
            value = getattr(self, name)
            require(len(value) == count, name, value, f"one entry per column of labels ({count})")
        for classes in self.label_classes:
            fits = len(classes) != 1 and len(classes) <= MOST_CLASSES and len(set(classes)) == len(classes)
            require(fits, "label_classes", classes, f"2 to {MOST_CLASSES} names, each once; none for numbers")
        for scale in self.label_scales:
            require(scale[1] > 0.0, "label_scales", scale, "a centre and a spread > 0")

    def for_labels(self, columns: Sequence[LabelColumn], scales: tuple[tuple[float, float], ...]) -> Self:
        """This architecture with a head for each column of labels; as it is where there are none, or heads for them.

        Args:
            columns: what is learned.
            scales: centre and spread of each, which a head of numbers speaks in.

        Raises:
            ConfigError: it has heads for other columns or classes.
        """
        if not columns:
            return self
        given: dict[str, Any] = {
            "label_columns": tuple(column.name for column in columns),
            "label_classes": tuple(column.classes for column in columns),
        }
        for name, value in given.items():
            same = not self.label_columns or getattr(self, name) == value
            require(same, name, getattr(self, name), f"the labels have {value}")
        return self if self.label_columns else replace(self, **given, label_scales=scales)


def _increasing(values: tuple[float, ...]) -> bool:
    return all(a < b for a, b in pairwise(values))
