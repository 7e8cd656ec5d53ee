"""What pretraining gives and costs: scores of the extractor's own decisions, encoders at equal CPU time, speeds.

    python -m benchmarks.pretraining --quick      1 seed, 60 CPU seconds of training, 16 test markets
    python -m benchmarks.pretraining              3 seeds, 300 CPU seconds of training, 48 test markets

Every extractor is trained on the filter oracle's actions on "extractor" seeds, its weights and hysteresis are chosen on
"validation" seeds, and it is scored through the env on "test" seeds, which nothing else reads. Intervals are over seeds
and markets.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from agents import baselines
from agents.evaluation import ORACLE
from agents.extractor_policy import ExtractorTrader
from agents.rollout import roll, whole_markets
from agents.scoring import score
from agents.settings import TradingSettings
from agents.taught_market import TaughtMarket, synthetic_markets
from agents.threads import use_one_thread
from benchmarks.machine import header
from cryptoenv.market import Market
from pretrain import Extractor, ExtractorConfig, FitOptions, LabelledMarket, Recipe, TrainingConfig, fit_extractor
from pretrain.extractor_model import ExtractorModel
from pretrain.lessons import lessons
from pretrain.scaler import RobustScaler
from pretrain.windows import ShuffledBatches, WindowDataset

SIZES = {"D 32": {}, "D 48": {"width": 48, "feedforward": 96}, "D 64": {"width": 64, "feedforward": 128, "heads": 4}}
UNCONVERGED = 0.01  #: relative gain of the validation loss over the last third that counts as still improving


@dataclass(frozen=True)
class Counts:
    """How much is run: training seeds, CPU seconds of each training, markets to learn from and to test on."""

    seeds: int
    seconds: float
    markets: int
    test_markets: int


QUICK, FULL = Counts(1, 60.0, 64, 16), Counts(3, 300.0, 192, 48)


def contenders(architecture: ExtractorConfig) -> dict[str, ExtractorConfig]:
    """The recipe's Transformer, what it is compared with, and the Transformer that sees one timeframe only."""
    one: dict[str, Any] = {"timeframes": architecture.timeframes[:1], "window": architecture.window[:1]}
    found = {"transformer": architecture}
    for encoder in ("lstm", "convolution", "flat"):
        wide: dict[str, Any] = {"feedforward": 256} if encoder == "flat" else {}
        found[encoder] = replace(architecture, encoder=encoder, bar_width=0, **wide)
    return found | {"transformer, base timeframe only": replace(architecture, patches=architecture.patches[:1], **one)}


def one_timeframe(items: Sequence[LabelledMarket]) -> list[LabelledMarket]:
    """The same lessons without the windows of the higher timeframes."""
    return [replace(item, market=base_only(item.market)) for item in items]


def base_only(market: Market) -> Market:
    """The same market without its higher timeframes; what base features say of them stays."""
    return Market(
        market.timeframes[:1], market.start_ms, market.prices, market.features[:1], market.feature_names[:1],
        np.ascontiguousarray(market.align[:, :1]), market.valid_from[:1], market.funding_series, market.name,
    )  # fmt: skip


class PlainDataset(Dataset[tuple[Any, ...]]):
    """What one would write first: a sample at a time, for `DataLoader` to collate."""

    def __init__(self, items: Sequence[LabelledMarket], window: tuple[int, ...]) -> None:
        self._items, self._window = items, window
        self._rows = [(n, int(t)) for n, item in enumerate(items) for t in item.decisions(window)]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: int) -> tuple[Any, ...]:
        number, t = self._rows[i]
        market = self._items[number].market
        last = market.align[t]
        windows = [
            torch.from_numpy(features[last[k] + 1 - bars : last[k] + 1])
            for k, (features, bars) in enumerate(zip(market.features, self._window, strict=True))
        ]
        return (*windows, torch.from_numpy(self._items[number].labels[t].astype(np.int64)))


def loading(items: Sequence[LabelledMarket], config: ExtractorConfig, batch: int = 512) -> dict[str, float]:
    """Windows per second of a plain data loader and of whole-batch gathering; the latter's share of a training step."""
    plain, dataset = PlainDataset(items, config.window), WindowDataset(items, config.window, config.horizons)
    ours = ShuffledBatches(dataset, batch, 60, seed=0)
    first = next(iter(ours))
    some = next(iter(DataLoader(plain, batch, shuffle=False)))
    expected = dataset.batch(np.arange(batch))
    for k, window in enumerate(expected.windows):
        if not torch.equal(window, some[k]):
            raise AssertionError(f"the two loaders differ in {config.timeframes[k]}: nothing is timed")
    rates: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(3):
        began = time.perf_counter()
        for count, _ in enumerate(DataLoader(plain, batch, shuffle=True), start=1):
            if count == 12:
                break
        rates["plain"].append(12 * batch / (time.perf_counter() - began))
        began = time.perf_counter()
        for _ in ours:
            pass
        rates["ours"].append(len(ours) * batch / (time.perf_counter() - began))
    step = batch / training_rate(config, dataset, first)
    found = {name: median(values) for name, values in rates.items()}
    gathering = batch / found["ours"]
    return found | {"ratio": found["ours"] / found["plain"], "share_of_step": gathering / (gathering + step)}


def training_rate(config: ExtractorConfig, dataset: WindowDataset, batch: Any) -> float:
    """Windows per second of forward, backward and optimiser on one ready batch."""
    model = _fresh(config, dataset)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    rates = []
    for _ in range(4):
        began = time.perf_counter()
        for _ in range(8):
            optimizer.zero_grad()
            predicted = model.predict(model(batch.windows))
            torch.nn.functional.cross_entropy(
                predicted.action_logits.flatten(0, 1), batch.labels.flatten(), ignore_index=-1
            ).backward()
            optimizer.step()
        rates.append(8 * len(batch.labels) / (time.perf_counter() - began))
    return median(rates[1:])


def inference_rate(config: ExtractorConfig, dataset: WindowDataset, batch: Any) -> float:
    """Windows per second of embeddings, in batches."""
    model = _fresh(config, dataset).eval()
    rates = []
    with torch.inference_mode():
        for _ in range(4):
            began = time.perf_counter()
            for _ in range(16):
                model(batch.windows)
            rates.append(16 * len(batch.labels) / (time.perf_counter() - began))
    return median(rates[1:])


def _fresh(config: ExtractorConfig, dataset: WindowDataset) -> ExtractorModel:
    scaler = RobustScaler.fit(config.timeframes, config.feature_names, dataset.feature_rows())
    return ExtractorModel(config, scaler)


def sizes(items: Sequence[LabelledMarket], config: ExtractorConfig) -> dict[str, dict[str, float]]:
    """Parameters, and windows per second in training and inference, of three sizes."""
    dataset = WindowDataset(items, config.window, config.horizons)
    batch = dataset.batch(np.arange(1024))
    found = {}
    for name, changes in SIZES.items():
        sized = replace(config, **changes)  # type: ignore[arg-type]
        weights = sum(p.numel() for p in _fresh(sized, dataset).parameters())
        found[name] = {
            "parameters": float(weights),
            "training": training_rate(sized, dataset, batch),
            "inference": inference_rate(sized, dataset, batch),
        }
    return found


def trained(
    lesson_sets: tuple[Sequence[LabelledMarket], Sequence[LabelledMarket]],
    config: ExtractorConfig,
    training: TrainingConfig,
    seed: int,
) -> tuple[Extractor, dict[str, Any]]:
    """An extractor, its validation curve, and whether the curve was still falling at the end."""
    curve: list[float] = []
    options = FitOptions(progress=False, on_validation=lambda figures: curve.append(figures["validation/loss"]))
    extractor = fit_extractor(*lesson_sets, config, training, seed=seed, options=options)
    earlier = min(curve[: max(1, 2 * len(curve) // 3)])
    falling = (earlier - min(curve)) / earlier > UNCONVERGED
    return extractor, {"curve": curve, "unconverged": falling, **extractor.provenance.metrics}


def scores(recipe: Recipe, counts: Counts) -> dict[str, Any]:
    """Every contender on the task: expected score with its interval, per seed, and its learning curves."""
    layout = recipe.architecture
    settings = TradingSettings(timeframes=layout.timeframes, window=layout.window)
    test = synthetic_markets(recipe.task, "test", counts.test_markets, recipe.days, settings)
    validation = synthetic_markets(recipe.task, "validation", recipe.validation_markets, recipe.days, settings)
    train = lessons(recipe.task, "extractor", counts.markets, recipe.days, layout.timeframes, layout.window)
    training = replace(recipe.training, steps=10**6, max_seconds=counts.seconds, patience=10**6, validate_every=250)
    rows = whole_markets(test)
    optimum = roll(baselines.oracle(test, settings), test, rows, settings).expected(test)
    found: dict[str, Any] = {}
    earned: dict[str, Any] = {}
    for name, config in contenders(layout).items():
        narrow = len(config.timeframes) < len(layout.timeframes)
        sets = tuple(one_timeframe(s) if narrow else s for s in (train, [t.labelled for t in validation]))
        runs, curves = [], []
        for seed in range(counts.seeds):
            extractor, curve = trained(sets, config, training, seed)  # type: ignore[arg-type]
            markets = (_narrow(validation), _narrow(test)) if narrow else (validation, test)
            trader = ExtractorTrader(extractor, settings).tuned(markets[0])
            runs.append(roll(trader.on(markets[1]), test, rows, settings).expected(test))
            curves.append(curve | {"margin": trader.margin})
        earned[name] = np.stack(runs)
        found[name] = {"score": asdict(score(earned[name], optimum)), "runs": curves}
        print(f"{recipe.task} {name:34s} {found[name]['score']}", flush=True)
    against = score(earned["transformer"] - earned["flat"], optimum)
    return {"contenders": found, "transformer minus flat": asdict(against), ORACLE: float(optimum.mean())}


def _narrow(taught: Sequence[TaughtMarket]) -> tuple[TaughtMarket, ...]:
    return tuple(replace(t, market=base_only(t.market)) for t in taught)


def main() -> None:
    """Run, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--tasks", nargs="+", default=["standard", "easy"])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/pretraining.json"))
    arguments = parser.parse_args()
    use_one_thread()
    counts, recipe = QUICK if arguments.quick else FULL, Recipe.read(arguments.recipe)
    layout = recipe.architecture
    some = lessons(recipe.task, "train", 6, recipe.days, layout.timeframes, layout.window)
    config = layout.for_market(some[0].market)
    result: dict[str, Any] = {**header(), "counts": asdict(counts), "recipe": asdict(recipe)}
    result["loading"], result["sizes"] = loading(some, config), sizes(some, config)
    print(json.dumps({name: result[name] for name in ("loading", "sizes")}, indent=1), flush=True)
    result["tasks"] = {task: scores(recipe.changed(task=task), counts) for task in arguments.tasks}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
