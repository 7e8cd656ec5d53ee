"""Memory and time of a training step with and without gradient checkpointing.

Activations are what autograd keeps for the backward pass; the time is CPU time of a whole step (forward and backward).
Both are of a Transformer of 8 blocks on random windows; the gradients are compared first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from cryptoenv.files.durable_files import make_folder, write_file
from pretrain.data.scaler import RobustScaler
from pretrain.extractor.config import ExtractorConfig
from pretrain.extractor.model import ExtractorModel
from pretrain.networks.encoders import PatchTransformer

REPEATS = 7


def deep_model(layers: int = 8, width: int = 64) -> ExtractorModel:
    """A Transformer whose blocks hold nearly all of the activations."""
    names = (tuple(f"f{i}" for i in range(30)), tuple(f"g{i}" for i in range(20)))
    config = ExtractorConfig(
        ("15m", "4h"), (128, 32), (4, 4), names, width, layers, 4, 2 * width, dropout=0.1, horizons=(4,)
    )  # fmt: skip
    zeros, ones = (tuple(np.full(len(n), value, np.float32) for n in names) for value in (0.0, 1.0))
    torch.manual_seed(0)
    return ExtractorModel(config, RobustScaler(config.timeframes, names, zeros, ones))


def step(model: ExtractorModel, windows: tuple[torch.Tensor, ...], on: bool) -> tuple[float, list[torch.Tensor]]:
    """CPU seconds of one step, and its gradients."""
    _checkpointed(model, on)
    model.zero_grad()
    torch.manual_seed(1)
    began = time.process_time()
    model.action_logits(model(windows)).square().mean().backward()  # type: ignore[no-untyped-call]
    return time.process_time() - began, [p.grad for p in model.parameters() if p.grad is not None]


def kept_bytes(model: ExtractorModel, windows: tuple[torch.Tensor, ...], on: bool) -> int:
    """What autograd keeps of a forward pass for the backward pass, each piece of memory once."""
    _checkpointed(model, on)
    kept: list[torch.Tensor] = []  # held on to, so that no address is used twice

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.action_logits(model(windows)).square().mean()
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
    return sum(storages.values())


def _checkpointed(model: ExtractorModel, on: bool) -> None:
    assert isinstance(model.encoder, PatchTransformer)
    model.encoder.checkpoint_gradients = on


def main() -> None:
    """Print the figures, and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/gradient_checkpointing"))
    parser.add_argument("--batch", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = deep_model()
    rng = torch.Generator().manual_seed(2)
    windows = tuple(
        torch.randn(options.batch, bars, len(names), generator=rng)
        for bars, names in zip(model.config.window, model.config.feature_names, strict=True)
    )
    runs: dict[bool, list[tuple[float, list[torch.Tensor]]]] = {False: [], True: []}
    for _ in range(REPEATS):  # in turn, so that what else the machine does meets both
        for on in runs:
            runs[on].append(step(model, windows, on))
    assert all(torch.equal(a, b) for a, b in zip(runs[False][0][1], runs[True][0][1], strict=True))
    figures = {
        ("on" if on else "off"): {
            "activations_mib": round(kept_bytes(model, windows, on) / 2**20, 1),
            "cpu_seconds": round(statistics.median(seconds for seconds, _ in found), 3),
        }
        for on, found in runs.items()
    }
    make_folder(options.out)
    write_file(options.out / "results.json", json.dumps(figures, indent=1))
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
