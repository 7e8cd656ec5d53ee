"""Where a trained model comes from: what it learned from, by which recipe, with which libraries, and how well."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import lightning.pytorch as lightning
import numpy as np
import torch

import cryptoenv
from cryptoenv.files.typed_values import ConfigError, require_types
from cryptoenv.market.market import Market
from pretrain.fitting.artifact_folder import CONFIG, ArtifactError, exact_keys


class Rows(Protocol):
    """Rows `start <= t < end` of a market, that something is learned from."""

    @property
    def market(self) -> Market:
        """The market."""

    @property
    def start(self) -> int:
        """First row."""

    @property
    def end(self) -> int:
        """First row after them."""


@dataclass(frozen=True)
class LearnedFrom:
    """What one training learned from: the teacher's name, how many markets, the opens (ISO 8601, UTC) of the first and
    the last bar of its rows, and the sha256 (hex) over markets, labels and rows."""

    teacher: str
    markets: int
    first: str
    last: str
    hash: str

    @classmethod
    def of(cls, teacher: str, markets: Sequence[Rows], digest: str) -> Self:
        """What these rows of markets are."""
        first = min(item.market.bars.index[item.start] for item in markets)
        last = max(item.market.bars.index[item.end - 1] for item in markets)
        return cls(teacher, len(markets), first.isoformat(), last.isoformat(), digest)


@dataclass(frozen=True)
class Provenance:
    """Where a trained model comes from.

    `label_kind`: the teacher's name, after fine-tuning "first, then second"; `training_data`: sha256 (hex) over the
    markets, labels and rows last learned from; `recipe`: digest of the `Recipe` that made it, or ""; `versions`: of the
    libraries that trained it; `metrics`: losses and accuracies on validation rows, steps, CPU seconds; `data`: what
    each training learned from, the last one last (empty where it is not known).
    """

    label_kind: str
    training_data: str
    recipe: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    data: tuple[LearnedFrom, ...] = ()


def provenance_in(values: dict[str, Any]) -> Provenance:
    """The provenance among the values of an artifact's configuration.

    Raises:
        ArtifactError: a value of another type.
    """
    names = ("label_kind", "training_data", "recipe", "versions", "metrics")
    given = {name: values[name] for name in names} | {"data": _learned_from(values.get("data", []))}
    try:
        require_types(Provenance, given, CONFIG)
    except ConfigError as error:
        raise ArtifactError(str(error)) from error
    return Provenance(**given)


def _learned_from(content: object) -> tuple[LearnedFrom, ...]:
    if not isinstance(content, list):
        raise ArtifactError(f"{CONFIG}: data must be a list, got {type(content).__name__}")
    found = []
    for number, item in enumerate(content):
        where = f"{CONFIG}: data[{number}]"
        told = exact_keys(item, ("teacher", "markets", "first", "last", "hash"), where)
        try:
            require_types(LearnedFrom, told, where)
        except ConfigError as error:
            raise ArtifactError(str(error)) from error
        found.append(LearnedFrom(**told))
    return tuple(found)


def versions() -> dict[str, str]:
    """Of Python and of the libraries that train."""
    found = {"python": platform.python_version(), "numpy": np.__version__, "cryptoenv": cryptoenv.__version__}
    return found | {"torch": str(torch.__version__), "lightning": lightning.__version__}
