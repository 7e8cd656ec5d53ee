"""How fast windows reach a model, and a model reads them: loading against a plain data loader, windows per second.

    python -m benchmarks.window_speed                  the CPU, and a GPU where torch finds one
    python -m benchmarks.window_speed --device cpu     the section of the GPU on another device of torch

Before anything is timed, both loaders must give the same windows. Rates are medians, on one torch thread.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from agents.algorithms.threads import use_one_thread
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from pretrain import ExtractorConfig, LabelledMarket, PretrainingConfig, Recipe
from pretrain.data.scaler import RobustScaler
from pretrain.data.stretches import ROWS, STRETCH, ShuffledStretches, StretchDataset
from pretrain.data.teachers import labelled_samples
from pretrain.data.windows import ShuffledBatches, WindowDataset
from pretrain.extractor.model import ExtractorModel
from pretrain.extractor.task import ExtractorTask

SIZES: dict[str, dict[str, Any]] = {
    "D 32": {},
    "D 48": {"width": 48, "feedforward": 96},
    "D 64": {"width": 64, "feedforward": 128, "heads": 4},
}

DEVICE_BATCH = 8192  #: decisions of a training step on a GPU


class PlainDataset(Dataset[tuple[Any, ...]]):
    """What one would write first: a sample at a time, for `DataLoader` to collate. The same windows and targets."""

    def __init__(self, dataset: WindowDataset) -> None:
        self._from, self._window = dataset, dataset.window
        self._targets = dataset.batch(np.arange(len(dataset)), first_timeframe=len(dataset.window))

    def __len__(self) -> int:
        return len(self._from)

    def __getitem__(self, i: int) -> tuple[Any, ...]:
        market = self._from.markets[self._from.market[i]].market
        last = market.align[self._from.t[i]]
        windows = [
            torch.tensor(features[last[k] + 1 - bars : last[k] + 1])
            for k, (features, bars) in enumerate(zip(market.features, self._window, strict=True))
        ]
        return (*windows, self._targets.labels[i], self._targets.returns[i], self._targets.beliefs[i])


def loading(items: Sequence[LabelledMarket], config: ExtractorConfig, batch: int) -> dict[str, float]:
    """Decisions per second of a plain data loader and of whole-batch gathering, and what loading is of a training step.

    With a memory a step's data are stretches, each of whose bars teaches one decision: they are counted, and the share
    is of a step on stretches.
    """
    dataset = WindowDataset(items, config.window, config.horizons)
    plain = PlainDataset(dataset)
    some = next(iter(DataLoader(plain, batch, shuffle=False)))
    expected = dataset.batch(np.arange(batch))
    for one, other in zip((*expected.windows, *expected[1:]), some, strict=True):
        torch.testing.assert_close(one, other, rtol=0.0, atol=0.0, equal_nan=True)
    ours = _loader(dataset, config, batch, 40)
    decisions = batch // ROWS * STRETCH if config.memory else batch
    rates: dict[str, list[float]] = {"plain": [], "gathered": []}
    for _ in range(3):
        began = time.perf_counter()
        for count, _ in enumerate(DataLoader(plain, batch, shuffle=True), start=1):
            if count == 8:
                break
        rates["plain"].append(8 * batch / (time.perf_counter() - began))
        began = time.perf_counter()
        for _ in ours:
            pass
        rates["gathered"].append(40 * decisions / (time.perf_counter() - began))
    found = {name: median(values) for name, values in rates.items()}
    return found | {"ratio": found["gathered"] / found["plain"], **share_of_step(dataset, config, batch)}


def share_of_step(dataset: WindowDataset, config: ExtractorConfig, batch: int) -> dict[str, float]:
    """Seconds of a training step, and the share of them spent on making its batch."""
    loader = _loader(dataset, config, batch, 8)
    model, task = _fresh(config, dataset), ExtractorTask(PretrainingConfig())
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    making, whole = [], []
    batches = iter(loader)
    for _ in range(len(loader)):
        began = time.perf_counter()
        ready = next(batches)
        making.append(time.perf_counter() - began)
        optimizer.zero_grad()
        task.measure(model, ready).loss.backward()
        optimizer.step()
        whole.append(time.perf_counter() - began)
    return {"step_seconds": median(whole[1:]), "share_of_step": median(making[1:]) / median(whole[1:])}


def inference_rate(model: ExtractorModel, dataset: WindowDataset, config: ExtractorConfig) -> float:
    """Decisions per second of embeddings: windows in batches, or stretches in full where there is a memory."""
    rates = []
    with torch.inference_mode():
        for _ in range(4):
            if config.memory:
                every = np.tile(np.arange(ROWS * 16), (16, 1))
                batch = StretchDataset(dataset).batch(np.arange(16), every)
                began = time.perf_counter()
                model.over_stretches(batch.bars, batch.places, batch.decisions.windows)
                rates.append(every.size / (time.perf_counter() - began))
            else:
                windows = dataset.batch(np.arange(4096)).windows
                began = time.perf_counter()
                model(windows)
                rates.append(4096 / (time.perf_counter() - began))
    return median(rates[1:])


def _loader(dataset: WindowDataset, config: ExtractorConfig, batch: int, count: int) -> Any:
    """`count` batches as a training draws them: windows, or stretches where there is a memory."""
    if config.memory:
        return ShuffledStretches(StretchDataset(dataset), batch, count, seed=0)
    return ShuffledBatches(dataset, batch, count, seed=0)


def _fresh(config: ExtractorConfig, dataset: WindowDataset) -> ExtractorModel:
    scaler = RobustScaler.fit(config.timeframes, config.feature_names, dataset.feature_rows())
    return ExtractorModel(config, scaler)


def sizes(items: Sequence[LabelledMarket], config: ExtractorConfig, batch: int) -> dict[str, dict[str, float]]:
    """Parameters, and decisions per second in training and inference, of three sizes."""
    dataset = WindowDataset(items, config.window, config.horizons)
    found = {}
    for name, changes in SIZES.items():
        sized = replace(config, **changes)
        model = _fresh(sized, dataset)
        step = share_of_step(dataset, sized, batch)["step_seconds"]
        found[name] = {
            "parameters": float(sum(p.numel() for p in model.parameters())),
            "training": batch / step,
            "inference": inference_rate(model.eval(), dataset, sized),
        }
    return found


def matrix_rate(device: torch.device) -> float:
    """FLOP per second of square bfloat16 matrix products on `device`, the best of three sizes."""
    best = 0.0
    for size in (1024, 2048, 4096) if device.type == "cpu" else (4096, 8192, 16384):
        one, other = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
        seconds = _median_seconds(lambda a=one, b=other: a @ b, device)  # type: ignore[misc]
        best = max(best, 2.0 * size**3 / seconds)
    return best


def _median_seconds(work: Callable[[], object], device: torch.device, repeats: int = 8) -> float:
    found = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - began)
    return median(found[1:])


def on_device(items: Sequence[LabelledMarket], config: ExtractorConfig, device: torch.device) -> dict[str, float]:
    """Training steps in bfloat16 on `device`, their batch already there: tokens and FLOP per second, share of matrices.

    A token is one that attention sees, and with a memory also every base bar that the memory reads. FLOP are counted
    by torch on the CPU, where recurrent cells are matrix products too.
    """
    dataset = WindowDataset(items, config.window, config.horizons)
    ready, model, task = (
        next(iter(_loader(dataset, config, DEVICE_BATCH, 1))),
        _fresh(config, dataset),
        ExtractorTask(PretrainingConfig()),
    )
    tokens = len(ready.decisions.labels if config.memory else ready.labels) * config.tokens
    tokens += ready.bars[..., 0].numel() if config.memory else 0
    with FlopCounterMode(display=False) as counter:
        task.measure(model, ready).loss.backward()
    model, ready = model.to(device), move_data_to_device(ready, device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16):
            loss = task.measure(model, ready).loss
        loss.backward()
        optimizer.step()

    seconds, rate = _median_seconds(step, device), matrix_rate(device)
    flops = float(counter.get_total_flops())
    return {
        "step_seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "flop_per_second": flops / seconds,
        "matrix_flop_per_second": rate,
        "share_of_matrix_rate": flops / seconds / rate,
    }


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else None, help="torch device")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/window_speed.json"))
    arguments = parser.parse_args()
    use_one_thread()
    recipe = Recipe.read(arguments.recipe)
    layout, batch = recipe.architecture, recipe.training.batch
    items = labelled_samples(recipe.task, "train", 6, recipe.days, layout.timeframes, layout.window, progress=False)
    with_memory = layout.for_market(items[0].market)
    windows_only = replace(with_memory, memory=0, window=(64, *layout.window[1:]), patches=(8, *layout.patches[1:]))
    result: dict[str, Any] = header()
    for name, config in (("windows", windows_only), ("memory", with_memory)):
        result[name] = {"loading": loading(items, config, batch), "sizes": sizes(items, config, batch)}
        if arguments.device is not None:
            device = torch.device(arguments.device)
            result[name][str(device)] = on_device(items, config, device)
        print(name, json.dumps(result[name], indent=1), flush=True)
    write_result(arguments.out, result)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
