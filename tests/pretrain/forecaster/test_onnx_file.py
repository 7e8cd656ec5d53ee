"""The ONNX file says what torch says, for one window, for three and for a thousand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cryptoenv.market.market import Market
from pretrain.data.windows import WindowSource
from pretrain.forecaster.artifact import Forecaster
from pretrain.forecaster.onnx_file import Exported, export_onnx
from tests.pretrain.forecaster.conftest import PUBLISHED, VARIANTS, tiny_forecaster

PLAIN: dict[str, dict[str, Any]] = {name: {"network": name, "steps": 0} for name in ("lstm", "convolution", "flat")}
OTHERS: dict[str, dict[str, Any]] = VARIANTS | PUBLISHED | PLAIN
onnxruntime = pytest.importorskip("onnxruntime")


def assert_says_what_torch_says(forecaster: Forecaster, market: Market, path: Path) -> None:
    """A file that is at `path`, at windows of `market`, by batches of 1, 3 and 1,000."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    told = json.loads(session.get_modelmeta().custom_metadata_map["cryptoenv"])
    assert told["timeframes"] == list(forecaster.config.timeframes)
    assert told["model_hash"] == forecaster.hash
    config = forecaster.config
    first = market.first_decision(config.layout_window)
    source, step = WindowSource([market], config.layout_window), 3_600_000
    rng = np.random.default_rng(0)
    for count in (1, 3, 1000):
        rows = rng.integers(first, len(market), count)
        windows = source.gather(np.zeros(count, np.int64), rows)
        closes = torch.from_numpy(market.start_ms + (rows + 1) * step)
        with torch.inference_mode():
            wanted = Exported(forecaster.model)(closes, windows)
        given = dict(zip(("closes_ms", *config.timeframes), (closes, *windows), strict=True))
        found = session.run(None, {name: tensor.numpy() for name, tensor in given.items()})
        for a, b in zip(wanted, found, strict=True):
            np.testing.assert_allclose(a.numpy(), b, rtol=0.0, atol=1e-5)


def test_it_says_what_torch_says(forecaster: Forecaster, markets: tuple[Market, ...], tmp_path: Path) -> None:
    assert_says_what_torch_says(forecaster, markets[2], export_onnx(forecaster, tmp_path / "model.onnx"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in OTHERS if name != "tokens"])
def test_every_network_says_what_torch_says(name: str, markets: tuple[Market, ...], tmp_path: Path) -> None:
    other = tiny_forecaster(markets, **OTHERS[name])
    assert_says_what_torch_says(other, markets[2], export_onnx(other, tmp_path / "model.onnx"))
