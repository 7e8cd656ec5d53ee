"""What brings the oracle's clone nearer to what bars allow: each means alone, at equal CPU time.

    python -m benchmarks.clone_ceiling --seeds 0 --contenders actions "actions, values"    some of them
    python -m benchmarks.clone_ceiling --artifact NAME FOLDER [FOLDER ...]                  trained already, a seed each
    python -m benchmarks.clone_ceiling --together NAME FOLDER FOLDER ...                    the mean of them decides
    python -m benchmarks.clone_ceiling --seeds                                              what is kept, scored anew

All but one learn in stretches from markets of "standard" that are read once (`teacher: oracle`, `values: alone`) and
differ in one thing. "seen often": 64 markets, again and again. "Transformer": windows of 192 markets, as `default`
learns. Extractors and what they earned are kept in a folder, so
that a later call adds to it; a mean of three decides where three seeds are there. "read from the beginning": the memory
of the same extractor runs over the whole market, not over one window and a block.

Hysteresis is chosen on 24 "validation" markets of 60 days, figures are of 48 "test" markets; differences are paired,
over seeds and markets.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agents.algorithms.threads import use_one_thread
from agents.evaluation import baselines
from agents.evaluation.extractor_trader import ExtractorTrader
from agents.evaluation.rollout import roll, whole_markets
from agents.evaluation.scoring import difference, score
from agents.markets.expert_market import ExpertMarket, synthetic_markets
from agents.settings import TradingSettings
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from cryptoenv.market.market import Market
from pretrain import Extractor, FitOptions, Recipe
from pretrain.data.rewards import RewardsConfig
from pretrain.data.windows import WindowSource
from pretrain.extractor.recipe_runs import pretrain_extractor

TASK, DAYS = "standard", 60
VALIDATION, TEST = 24, 48  #: markets
FIRST, BEST = "actions", "actions, values, beliefs"
DECISIONS = 8_192  #: read at once
#: Which differences are taken, paired, where both have the same seeds.
PAIRS = (
    ("actions, values", FIRST), ("actions, beliefs", FIRST), ("values", FIRST),
    ("actions, values, beliefs", "actions, beliefs"), ("actions, values, beliefs", FIRST),
    ("actions, values, beliefs, seen often", "actions, values, beliefs"),
    ("actions, values, beliefs, 128 units", "actions, values, beliefs"),
    ("actions, values, beliefs, 32 lanes of 128", "actions, values, beliefs"),
    ("recipe oracle", "default as it ships"), ("recipe oracle and default", "recipe oracle"),
)  # fmt: skip


def contenders(seconds: float) -> dict[str, Recipe]:
    """The recipes that are compared."""
    bars, default = Recipe.read("bars"), Recipe.read("default")
    validate_every = max(100, int(seconds) // 4)
    layout = replace(bars.architecture, values="alone")
    training = replace(bars.training, stop_after=None, steps=10**6, max_seconds=seconds, regime_weight=1.0,
                       validate_every=validate_every, patience=10**6)  # fmt: skip
    base = replace(bars, teacher="oracle", architecture=layout, training=training)

    def of(value: float, action: float, regimes: int = 0, **further: Any) -> Recipe:
        wide = replace(layout, regimes=regimes, memory=further.pop("memory", layout.memory))
        given = {name: further.pop(name) for name in ("lanes", "stretch") if name in further}
        weights = replace(RewardsConfig(), value_weight=value, action_weight=action, **given)
        return replace(base, architecture=wide, rewards=weights, **further)

    small = replace(
        default, markets=192, architecture=replace(default.architecture, memory=64),
        training=replace(default.training, batch=384, steps=10**6, max_seconds=seconds, validate_every=100,
                         patience=10**6),
    )  # fmt: skip
    return {
        FIRST: of(0.0, 1.0),
        "values": of(1.0, 0.0),
        "actions, values": of(1.0, 1.0),
        "actions, beliefs": of(0.0, 1.0, 64),
        "actions, values, beliefs": of(1.0, 1.0, 64),
        "actions, values, beliefs, seen often": of(1.0, 1.0, 64, markets=64),
        "actions, values, beliefs, 128 units": of(1.0, 1.0, 64, memory=128),
        "actions, values, beliefs, 32 lanes of 128": of(1.0, 1.0, 64, lanes=32, stretch=128),
        "recipe oracle": replace(Recipe.read("oracle"), training=training),
        "Transformer": small,
    }


class ReadFromTheBeginning(Extractor):
    """An extractor whose memory runs over the whole of a market before it is read."""

    def embed(self, market: Market) -> NDArray[np.float32]:
        """(T, D) float32 embeddings; rows before the first decision are 0."""
        config = self.config
        first, window, patch = market.first_decision(config.window), config.window[0], config.patches[0]
        source = WindowSource([market], config.window)
        out = np.zeros((len(market), self.width), np.float32)
        with torch.inference_mode():
            states = self.model.remember(torch.from_numpy(market.features[0].copy())[None])[0]
            for begin in range(first, len(market), DECISIONS):
                rows = np.arange(begin, min(begin + DECISIONS, len(market)))
                ends = rows[:, None] + np.arange(patch - window, 1, patch)
                higher = source.gather(np.zeros_like(rows), rows, first_timeframe=1)
                out[rows] = self.model.read_states(states[torch.from_numpy(ends)], higher).numpy()
        return out

    def values(self, market: Market) -> NDArray[np.float32]:
        """As `Extractor.values`."""
        with torch.inference_mode():
            return self.model.values(torch.from_numpy(self.embed(market))).numpy()

    def action_logits(self, market: Market) -> NDArray[np.float32]:
        """As `Extractor.action_logits`."""
        with torch.inference_mode():
            return self.model.action_logits(torch.from_numpy(self.embed(market))).numpy()


@lru_cache(maxsize=2)
def judging(settings: TradingSettings) -> tuple[tuple[ExpertMarket, ...], ...]:
    """Markets that hysteresis is tuned on, and those that are judged on."""
    families = (("validation", VALIDATION), ("test", TEST))
    return tuple(
        tuple(synthetic_markets(TASK, family, count, DAYS, settings, progress=False)) for family, count in families
    )


def earned(extractors: Sequence[Extractor]) -> dict[str, Any]:
    """What one extractor, or the mean of several, earns on each test market, and what the optimum does."""
    first, *beside = extractors
    layout = first.config
    window = Recipe.read("default").architecture.window  # the same span for all: no other waits longer
    settings = TradingSettings(timeframes=layout.timeframes, window=window, positions=layout.positions)
    validation, test = judging(settings)
    rows = whole_markets(test)
    best = roll(baselines.oracle(test, settings), test, rows, settings).expected(test)
    trader = ExtractorTrader(first, settings, beside=tuple(beside)).tuned(validation)
    mine = roll(trader.on(test), test, rows, settings).expected(test)
    return {"earned": mine.tolist(), "optimum": best.tolist(), "margin": trader.margin} | first.provenance.metrics


def kept(place: Path, extractors: Sequence[Extractor]) -> dict[str, Any]:
    """What `earned` gives, from a file where it stands already."""
    if place.is_file():
        found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        return found
    found = earned(extractors)
    write_result(place, found)
    return found


def trained(recipe: Recipe, folder: Path, seed: int) -> Path:
    """The artifact of a contender's seed, made where it is not there."""
    artifact = folder / "artifact"
    if not artifact.is_dir():
        options = FitOptions(folder, resume=(folder / "checkpoints").is_dir(), progress=False)
        pretrain_extractor(replace(recipe, seed=seed), options)
    return artifact


def longer(extractor: Extractor) -> ReadFromTheBeginning:
    """The same extractor, read from the beginning."""
    return ReadFromTheBeginning(extractor.model, extractor.scaler, extractor.provenance, extractor.features)


def rows_of(
    name: str, artifacts: Sequence[Path], keep: Path, *, whole: bool = False
) -> dict[str, list[dict[str, Any]]]:
    """Rows of one contender: by itself, its mean of three and, if `whole`, read from the beginning."""
    stem = name.replace(", ", "_").replace(" ", "_")
    loaded = [Extractor.load(str(one)) for one in artifacts]
    names = [artifact.parent.name if artifact.name == "artifact" else artifact.name for artifact in artifacts]
    found = {name: [kept(keep / f"{stem}-{one}.json", [model]) for one, model in zip(names, loaded, strict=True)]}
    if whole:
        found[f"{name}, read from the beginning"] = [
            kept(keep / f"{stem}-{one}-whole.json", [longer(model)]) for one, model in zip(names, loaded, strict=True)
        ]
    if len(loaded) >= 3:
        found[f"{name}, mean of three"] = [kept(keep / f"{stem}-{'-'.join(names[:3])}.json", loaded[:3])]
    return found


def summary(rows: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Scores with intervals, and paired differences."""
    found: dict[str, Any] = {}
    for name, runs in rows.items():
        best, mine = np.array(runs[0]["optimum"]), np.array([run["earned"] for run in runs])
        told = [{key: value for key, value in run.items() if key not in ("earned", "optimum")} for run in runs]
        found[name] = {"score": asdict(score(mine, best)), "per_seed": [score(one, best).value for one in mine],
                       "runs": told}  # fmt: skip
        print(f"{name:64s} {found[name]['score']} {found[name]['per_seed']}", flush=True)
    whole = tuple((name, name.removesuffix(", read from the beginning")) for name in rows if name.endswith("beginning"))
    for one, other in (*PAIRS, *whole):
        if one in rows and other in rows:
            first, second = (np.array([run["earned"] for run in rows[name]]) for name in (one, other))
            apart = asdict(difference(first, second, np.array(rows[one][0]["optimum"])))
            found[f"{one} minus {other}"] = apart
            print(f"{one} minus {other}: {apart}", flush=True)
    return found


def main() -> None:
    """Train what is asked for, score what is there, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=100.0, help="CPU seconds of each training")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--contenders", nargs="+", metavar="NAME")
    parser.add_argument("--artifact", nargs="+", action="append", default=[], metavar="NAME FOLDER")
    parser.add_argument("--together", nargs="+", action="append", default=[], metavar="NAME FOLDER")
    parser.add_argument("--keep", type=Path, default=Path("runs/benchmarks/clone_ceiling"))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/clone_ceiling.json"))
    arguments = parser.parse_args()
    known = contenders(arguments.seconds)
    if unknown := [name for name in arguments.contenders or () if name not in known]:
        parser.error(f"--contenders {unknown[0]!r} is none of {', '.join(map(repr, known))}")
    use_one_thread()
    found: dict[str, list[dict[str, Any]]] = {}
    for name, recipe in known.items():
        home = arguments.keep / f"{arguments.seconds:g}" / name.replace(", ", "_").replace(" ", "_")
        for seed in arguments.seeds if name in (arguments.contenders or known) else ():
            trained(recipe, home / f"seed{seed}", seed)
        if there := sorted(home.glob("seed*/artifact")):
            whole = name == BEST
            found |= rows_of(name, there, arguments.keep / f"{arguments.seconds:g}" / "earned", whole=whole)
    for name, *folders in arguments.artifact:
        found |= rows_of(name, [Path(folder) for folder in folders], arguments.keep / "earned", whole=True)
    for name, *folders in arguments.together:
        place = arguments.keep / "earned" / f"{name.replace(', ', '_').replace(' ', '_')}.json"
        found[name] = [kept(place, [Extractor.load(folder) for folder in folders])]
    result = header() | {"seconds": arguments.seconds, "days": DAYS, "test_markets": TEST, "rows": summary(found)}
    write_result(arguments.out, result)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
