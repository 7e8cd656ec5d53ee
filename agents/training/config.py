"""What decides a training besides its markets: sizes, cloning, correction, learning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agents.cloning.behaviour_cloning import CloningConfig
from agents.cloning.config_ranges import require_numbers
from agents.cloning.dagger import DaggerConfig
from agents.settings import TradingChoice, TradingSettings
from cryptoenv.files.typed_values import later_field, require
from pretrain import Extractor
from pretrain.fitting.transfer import DEVICES

LEARNING_DEVICES = ("cpu", "cuda", "auto")


@dataclass(frozen=True)
class AgentTrainingConfig:
    """Everything that shapes the training of an agent on a given extractor.

    Attributes:
        settings: what is looked at and traded; None takes timeframes, windows and positions from the extractor, and the
            rest from `trading`.
        cloning: of the clone; None is what suits the labels (`agents.cloning.cloning_of`).
        dagger: of rounds in which the clone trades and is corrected; none by default.
        learning: of what follows it: the algorithm's own configuration, or None for its defaults.
        train_markets: synthetic markets to learn on ("train" seeds).
        validation_markets: synthetic markets to select on ("validation" seeds).
        days: tradable days of each.
        patience: evaluations without a gain after which learning stops.
        checkpoint_every: env steps between checkpoints; None is a tenth of the algorithm's steps.
        accelerator: where markets are embedded: "cpu", "gpu", or "auto" for a GPU where there is one.
        device: where the agent learns: "cpu", "cuda", or "auto" for a GPU where there is one. Embeddings, rollouts'
            features and updates are there; the env and its replay stay in memory.
        trading: instrument, actions, reward, costs, limits, sizing and rules, where `settings` is None.

    Raises:
        ConfigError: a value of another type, or a number outside its range.
    """

    settings: TradingSettings | None = None
    cloning: CloningConfig | None = None
    dagger: DaggerConfig = field(default_factory=DaggerConfig)
    learning: Any = None
    train_markets: int = 256
    validation_markets: int = 24
    days: int = 60
    patience: int = 5
    checkpoint_every: int | None = None
    trading: TradingChoice = field(default_factory=TradingChoice)
    accelerator: str = later_field("cpu")
    device: str = later_field("cpu")

    def __post_init__(self) -> None:
        require_numbers(self)
        require(self.accelerator in DEVICES, "accelerator", self.accelerator, f"one of {tuple(DEVICES)}")
        require(self.device in LEARNING_DEVICES, "device", self.device, f"one of {LEARNING_DEVICES}")

    def settings_for(self, extractor: Extractor) -> TradingSettings:
        """The settings, or `trading` with the extractor's own timeframes and windows."""
        if self.settings is not None:
            return self.settings
        layout = extractor.config
        return self.trading.settings(layout.timeframes, layout.window, layout.positions)


TrainingConfig = AgentTrainingConfig  # the name of version 0.1
