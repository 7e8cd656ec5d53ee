"""Recipes of forecasters: everything that decides one, in one YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cryptoenv.files.typed_values import Range, later_field, require, require_ranges, require_types
from pretrain.fitting.config import PretrainingConfig
from pretrain.fitting.market_inputs import MarketInputs
from pretrain.fitting.market_layout import MarketLayout
from pretrain.fitting.recipe import MarketRecipe
from pretrain.forecaster.config import EXTERNAL, ForecasterConfig
from synthetic import TASKS

MODEL_NAME = "forecaster"
OWN = "own"
_COUNTS = {
    "markets": Range(1, 1_000_000), "validation_markets": Range(1, 1_000_000), "days": Range(1, 36_500),
    "seed": Range(0, 2**63 - 1),
}  # fmt: skip


@dataclass(frozen=True)
class ForecasterRecipe(MarketRecipe):
    """What to pretrain a forecaster on, and how.

    Attributes:
        model: "forecaster".
        task: synthetic task whose "extractor" seeds are learnt from, where no bars are given.
        markets: how many of them.
        validation_markets: of the "validation" seeds, to choose weights by and to calibrate on.
        days: tradable days of each market.
        seed: of weights, batches and dropout.
        calibrate: whether bands are put right on validation rows.
        forecaster: "own", which is trained here, or "external": the model of others that `external` names, which
            `cryptoenv evaluate RECIPE` judges on the rows of this architecture's horizons.
        external: one of EXTERNAL.
        weights: folder of its weights, where they are not in its package.
        frozen: with weights of a GPT-2 to start from: attention and feed-forward layers stay as they are, and norms,
            places, embeddings and heads are trained (Zhou et al. 2023).
        architecture: of the forecaster.
        training: its optimiser and budget.
        inputs: features, and for bars of one's own reference and exogenous columns.

    Raises:
        ConfigError: a count that is not positive, or an unknown task or model.
    """

    SECTIONS: ClassVar[Mapping[str, type[Any]]] = {"architecture": ForecasterConfig, "training": PretrainingConfig}

    model: str = MODEL_NAME
    task: str = "standard"
    markets: int = 64
    validation_markets: int = 16
    days: int = 60
    seed: int = 0
    calibrate: bool = True
    frozen: bool = False
    forecaster: str = later_field(OWN)
    external: str = later_field("")
    weights: str = later_field("")
    architecture: ForecasterConfig = field(default_factory=ForecasterConfig)
    training: PretrainingConfig = field(default_factory=PretrainingConfig)
    inputs: MarketInputs = field(default_factory=MarketInputs)

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))
        require_ranges(self, _COUNTS)
        require(self.task in TASKS, "task", self.task, f"one of {tuple(TASKS)}")
        require(self.model == MODEL_NAME, "model", self.model, f"{MODEL_NAME!r}")
        gpt = self.architecture.network == "gpt"
        require(gpt or not self.frozen, "frozen", self.frozen, "false but for the network 'gpt'")
        require(self.forecaster in (OWN, "external"), "forecaster", self.forecaster, f"{OWN!r} or 'external'")
        if self.forecaster == OWN:
            require(not self.external, "external", self.external, "nothing but with forecaster='external'")
            require(not self.weights, "weights", self.weights, "nothing but with forecaster='external'")
        else:
            require(self.external in EXTERNAL, "external", self.external, f"one of {EXTERNAL}")
        self.require_timeframes()

    def require_own(self) -> None:
        """Refuse a model of others, which nothing here trains.

        Raises:
            ConfigError: it is one.
        """
        do = "`cryptoenv evaluate RECIPE --bars FILE`, which judges it: others have trained it"
        require(self.forecaster == OWN, "forecaster", self.forecaster, do)

    @property
    def layout(self) -> MarketLayout:
        """What its model sees of a market.

        Raises:
            ConfigError: features that cannot be used with its timeframes.
        """
        return self.inputs.new_layout(self.architecture.timeframes, self.architecture.layout_window)
