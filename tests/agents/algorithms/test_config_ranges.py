"""Configurations hold numbers that can be meant, however they are built: in Python as from a recipe."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from itertools import product
from typing import Any

import pytest

from agents.algorithms.off_policy import OffPolicyConfig
from agents.algorithms.registry import ALGORITHMS, new_config
from agents.cloning.behaviour_cloning import CloningConfig
from agents.cloning.dagger import DaggerConfig
from agents.training.config import AgentTrainingConfig
from agents.training.recipe import AgentRecipe
from cryptoenv.files.typed_values import ConfigError

CONFIGS = (CloningConfig(), DaggerConfig(), AgentTrainingConfig(), AgentRecipe(), *map(new_config, ALGORITHMS))
UNMEANT = (True, math.nan, math.inf, -1, "1", None, 10**40)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_numbers_that_cannot_be_meant_are_refused_by_name(config: Any) -> None:
    values = {item.name: getattr(config, item.name) for item in fields(config)}
    numbers = [name for name, value in values.items() if isinstance(value, int | float) and not isinstance(value, bool)]
    assert numbers
    for name, value in product(numbers, UNMEANT):
        with pytest.raises(ConfigError, match=rf"^{name}=.* is not allowed"):
            replace(config, **{name: value})


@pytest.mark.parametrize(
    ("algorithm", "name", "value"),
    [
        ("dqn", "exploration", (0.1, 1.5)), ("dqn", "exploration", (0.1,)), ("dqn", "margin_weight", -0.1),
        ("sac", "from_clone", 1), ("tqc", "num_envs", 2.0), ("ppo", "clip", 0.0), ("fitted_q", "gamma", 1.01),
    ],
)  # fmt: skip
def test_neighbours_of_numbers(algorithm: str, name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        replace(new_config(algorithm), **{name: value})


def test_off_policy_algorithms_share_one_configuration_and_keep_their_defaults() -> None:
    dqn, sac, tqc = (new_config(name) for name in ("dqn", "sac", "tqc"))
    assert all(isinstance(config, OffPolicyConfig) for config in (dqn, sac, tqc))
    assert [c.steps for c in (dqn, sac, tqc)] == [300_000, 300_000, 200_000]
    assert [c.gradient_steps for c in (dqn, sac, tqc)] == [4, 3, 2]
    assert [c.averaging for c in (dqn, sac, tqc)] == [0.01, 0.005, 0.005]
    assert not hasattr(tqc, "demonstration_share")
