"""Configurations refuse what is not allowed, by name."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from pretrain import ConfigError, ExtractorConfig, PretrainingConfig

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"window": (32, 16)}, "window"),
        ({"window": (32, 16, 0)}, "window"),
        ({"patches": (5, 8, 8)}, "patches"),
        ({"patches": (4.0, 8, 8)}, "patches"),
        ({"timeframes": ()}, "timeframes"),
        ({"feature_names": (("a",), ("b",))}, "feature_names"),
        ({"feature_names": (("a",), ("b",), ())}, "feature_names"),
        ({"width": 0}, "width"),
        ({"width": "32"}, "width"),
        ({"heads": 5}, "heads"),
        ({"layers": 0}, "layers"),
        ({"dropout": 1.0}, "dropout"),
        ({"positions": (0.0,)}, "positions"),
        ({"positions": (1.0, 0.0, -1.0)}, "positions"),
        ({"horizons": (16, 4)}, "horizons"),
        ({"horizons": ()}, "horizons"),
        ({"quantiles": (0.5, 1.0)}, "quantiles"),
        ({"regimes": -1}, "regimes"),
    ],
)
def test_an_architecture_out_of_range_is_refused(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=f"^{named}="):
        ExtractorConfig(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 0},
        {"batch": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"weight_decay": -1.0},
        {"warm_up": 1.0},
        {"patience": 0},
        {"regime_weight": float("inf")},
        {"max_seconds": 0.0},
    ],
)
def test_a_training_out_of_range_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"^{next(iter(changes))}="):
        PretrainingConfig(**changes)  # type: ignore[arg-type]


def test_an_architecture_survives_json() -> None:
    config = ExtractorConfig(feature_names=(("a", "b"), ("a", "b"), ("c",)), regimes=11)
    assert ExtractorConfig.from_json(json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize("values", [[], {"depth": 3}, {"width": 32}])
def test_other_json_is_refused(values: object) -> None:
    with pytest.raises(ConfigError):
        ExtractorConfig.from_json(values)


def test_tokens_are_patches_and_a_summary() -> None:
    assert ExtractorConfig(window=(32, 16, 8), patches=(4, 8, 8)).tokens == 8 + 2 + 1 + 1


def test_the_package_imports_no_torch() -> None:
    code = "import sys, pretrain; print([m for m in ('torch', 'lightning') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
