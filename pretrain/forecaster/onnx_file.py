"""A forecaster as an ONNX file: unscaled windows in, calibrated forecasts out, of any number of windows at a time."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cryptoenv.files.durable_files import make_file
from pretrain.forecaster.artifact import Forecaster
from pretrain.forecaster.model import ForecasterModel
from synthetic.installation import install_hint

CLOSES, OUTPUTS = "closes_ms", ("mean", "quantiles", "direction")
SAID = "said_"
OPSET = 18


class Exported(nn.Module):
    """What the file computes: calibrated mean (B, H), quantiles (B, H, Q), probabilities (B, H, 3) of down, flat, up.

    Returns are in units of sigma * sqrt(horizon), sigma the standard deviation of the last 96 log-returns.
    """

    def __init__(self, model: ForecasterModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, closes_ms: Tensor, windows: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Of windows (B, W_k, F_k) and when their last base bars closed (B,) int64."""
        said = self.model.last(list(windows), closes_ms)
        return *self.model.calibrated(said), torch.softmax(said.direction, dim=-1)


def export_onnx(forecaster: Forecaster, path: Path) -> Path:
    """Writes a forecaster's heads as an ONNX file, whole or not at all.

    Inputs are "closes_ms" and a window per timeframe, by its name; the metadata holds timeframes, windows, features,
    horizons, quantiles and the model's hash, as JSON under "cryptoenv".

    Raises:
        ImportError: onnx or onnxscript is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError(f"an ONNX file needs {error.name}: {install_hint('onnx')}") from error
    config = forecaster.config
    wanted = zip(config.layout_window, config.feature_names, strict=True)
    windows = tuple(torch.zeros(3, bars, len(names)) for bars, names in wanted)
    closes = torch.full((3,), 1_700_000_100_000)
    batch = torch.export.Dim("batch", min=1, max=2**24)
    shapes = ({0: batch}, tuple({0: batch} for _ in windows))
    with _quiet():
        program = torch.onnx.export(
            Exported(forecaster.model).eval(), (closes, windows), dynamo=True, dynamic_shapes=shapes,
            input_names=[CLOSES, *config.timeframes], output_names=[SAID + name for name in OUTPUTS],
            opset_version=OPSET, verbose=False,
        )  # fmt: skip
    assert program is not None
    proto = program.model_proto
    # A network may have values of its own that are called "mean": they make way for what is said.
    _rename(proto.graph, {name: f"inner_{name}" for name in OUTPUTS} | {SAID + name: name for name in OUTPUTS})
    told = {
        "timeframes": list(config.timeframes), "window": list(config.layout_window),
        "features": [list(names) for names in config.feature_names], "horizons": list(config.horizons),
        "quantiles": list(config.quantiles), "unit": "sigma * sqrt(horizon)", "model_hash": forecaster.hash,
    }  # fmt: skip
    onnx.helper.set_model_props(proto, {"cryptoenv": json.dumps(told)})
    make_file(path, lambda place: place.write_bytes(proto.SerializeToString()))
    return path


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    """Other names for values of an ONNX graph and of those within it."""
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename(inner, names)
    for value in (*graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)


@contextlib.contextmanager
def _quiet():  # type: ignore[no-untyped-def]
    """Without the exporter's notes on packages that are not there and on torch's own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
