"""The token forecaster: prices and pumps against baselines and what can be known at all; real tokens; the store.

`python -m benchmarks.tokens --data FOLDER` (the folder of `pumpfun_swaps_11tokens_2026.csv.gz`; without it the real
tokens are not measured). It works in pieces of a few minutes and keeps each beside the result: called again, it goes on
with those that are missing, and joins all that are kept; `--minutes` ends a call early. Figures are means over tokens,
with intervals over tokens.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agents.evaluation.scoring import mean
from benchmarks.support.machine import header
from benchmarks.support.pump_scores import detector_means, pump_scores, taught_rows
from benchmarks.support.results import write_result
from pretrain.fitting.fitting import FitOptions
from pretrain.tokens.baselines import BASELINES
from pretrain.tokens.hdf5_store import TokenStore
from pretrain.tokens.judging import LEVELS, STEPS, Origin, errors, said_by, spread_origins, true_returns
from pretrain.tokens.model import CHANCES
from pretrain.tokens.pumps import fitted_detectors
from pretrain.tokens.recipe import TokenRecipe
from pretrain.tokens.series import PRICE, sampled_tokens
from pretrain.tokens.swaps import read_tokens
from pretrain.tokens.training import fit_tokens, split_tokens
from pretrain.tokens.windows import first_decision
from synthetic.tokens.ceiling import known_futures
from synthetic.tokens.market import TokenSample, token_market

Floats = NDArray[np.float64]

SWAPS = "pumpfun_swaps_11tokens_2026.csv.gz"
OTHER_SEEDS = 1_000  #: and more: of tokens that no training saw, neither by id nor by seed
SHOWN = ("mae", "rmse", "mape", "log_error", "direction", "coverage_80", "coverage_95")


@dataclass(frozen=True)
class Counts:
    """How much is measured.

    Attributes:
        seeds: trainings of each kind.
        tokens: of a split by tokens; `brief_tokens`, where trained briefly; `few_tokens`: of the other splits.
        rows: of each token.
        steps: of a training; `brief_steps`: of those that are compared with each other.
        origins: presents of forecasts in all, at least one of each tested token.
        paths: of a forecast; `known_paths`: of the bound's.
        other_tokens: of another seed, on which pumps are judged.
        stored_tokens, stored_rows: of the store.
    """

    seeds: int = 3
    tokens: int = 120
    brief_tokens: int = 40
    few_tokens: int = 12
    rows: int = 8_000
    steps: int = 1_500
    brief_steps: int = 250
    origins: int = 8
    paths: int = 12
    known_paths: int = 16
    other_tokens: int = 12
    stored_tokens: int = 1_000
    stored_rows: int = 4_000


FULL = Counts()
QUICK = Counts(1, 10, 10, 5, 1_600, 20, 10, 5, 8, 8, 2, 20, 400)


def recipe_of(counts: Counts, split: str, method: str, seed: int) -> TokenRecipe:
    """What a piece trains: "conv", or briefly "conv_brief", "linear_brief", "lstm_brief"."""
    base = TokenRecipe.read("tokens_trained")
    kind, brief = method.removesuffix("_brief"), method.endswith("_brief")
    steps = counts.brief_steps if brief else counts.steps
    by_token = counts.brief_tokens if brief else counts.tokens
    return replace(
        base, num_tokens=by_token if split == "token" else counts.few_tokens, timesteps=counts.rows,
        split_strategy=split, split_fractions=base.split_fractions if split == "token" else (0.4, 0.2, 0.4), seed=seed,
        architecture=replace(
            base.architecture, embedding="linear" if kind == "linear" else "conv",
            encoder="lstm" if kind == "lstm" else "transformer",
        ),
        training=replace(base.training, steps=steps, validate_every=max(1, steps // 5)),
    )  # fmt: skip


def verify() -> None:
    """A forecast is of its past alone, and a token's bound is of its own state."""
    torch.manual_seed(0)
    recipe = recipe_of(QUICK, "token", "conv", 0)
    tokens = sampled_tokens(token_market(recipe.world, 0))
    short = replace(recipe, training=replace(recipe.training, steps=2, validate_every=2))
    made = fit_tokens(tokens, split_tokens(tokens, short), short, FitOptions(progress=False))
    token = tokens[0]
    other = replace(token, values=np.where(np.arange(len(token))[:, None] > 500, 3.0 * token.values, token.values))
    first, second = (made.forecast(one, 500, steps=20, paths=4) for one in (token, other))
    assert first.tobytes() == second.tobytes(), "a forecast depends on what comes"
    assert np.allclose(first[..., 5], first[..., 0] * token.supply), "market cap is not price times supply"


def forecast_piece(counts: Counts, split: str, method: str, seed: int) -> dict[str, Any]:
    """Errors of one trained forecaster by token; once a split and seed of the baselines and the bound, too."""
    recipe = recipe_of(counts, split, method, seed)
    sample = token_market(recipe.world, seed)
    tokens = sampled_tokens(sample)
    splits = split_tokens(tokens, recipe)
    began = time.process_time()
    made = fit_tokens(tokens, splits, recipe, FitOptions(progress=False))
    seconds = time.process_time() - began
    ahead = max(STEPS)
    origins = spread_origins(tokens, splits.test, max(1, counts.origins // len(splits.test)), ahead)
    said = {method: said_by(made, tokens, origins, STEPS, paths=counts.paths, seed=seed)}
    first = method == "conv" or split != "token"
    if first:
        said |= {name: baseline(tokens, splits.train, origins, STEPS) for name, baseline in BASELINES.items()}
        said["bound"] = _bound(sample, origins, counts, seed)
    truth = true_returns(tokens, origins, STEPS)
    now = np.array([tokens[o.token].values[o.row, PRICE] for o in origins])
    found = {name: _by_token(errors(one, truth, now), origins) for name, one in said.items()}
    pumps = None
    if split == "token":
        taught = [
            fitted_detectors(*taught_rows(tokens, splits.train, made, column)) if first else {}
            for column in range(len(CHANCES))
        ]
        rows = {span.market: (span.start, span.stop) for span in splits.test}
        pumps = pump_scores(made, taught, (sample, tokens), rows)
        other = token_market(replace(recipe.world, tokens=counts.other_tokens), OTHER_SEEDS + seed)
        strangers = sampled_tokens(other)
        whole = {n: (first_decision(made.config), len(token)) for n, token in enumerate(strangers)}
        pumps |= {
            f"{target}, other seed": scores
            for target, scores in pump_scores(made, taught, (other, strangers), whole).items()
        }
    kept = made.provenance.metrics
    return {"seconds": seconds, "validation": kept, "errors": found, "pumps": pumps}


def _bound(sample: TokenSample, origins: Sequence[Origin], counts: Counts, seed: int) -> Floats:
    """(N, S, Q) what who knows the generator's state says."""
    names = list(sample.bars)
    out = np.empty((len(origins), len(STEPS), len(LEVELS)))
    for n, origin in enumerate(origins):
        name = names[origin.token]
        futures = known_futures(sample, name, origin.row, steps=max(STEPS), paths=counts.known_paths, seed=seed)
        returns = np.log(futures[:, np.array(STEPS) - 1] / sample.bars[name]["close"].iloc[origin.row])
        out[n] = np.quantile(returns, LEVELS, axis=0).T
    return out


def _by_token(found: dict[str, Floats], origins: Sequence[Origin]) -> dict[str, list[list[float | None]]]:
    """By measure, (tokens, steps) means over each token's origins."""
    owner = np.array([o.token for o in origins])
    out: dict[str, list[list[float | None]]] = {}
    for name, values in found.items():
        rows = []
        for token in np.unique(owner):
            mine = values[owner == token]
            known = np.isfinite(mine)
            total = np.where(known, mine, 0.0).sum(axis=0)
            count = known.sum(axis=0)
            rows.append([float(t / c) if c else None for t, c in zip(total, count, strict=True)])
        out[name] = rows
    return out


def real_piece(folder: Path, seed: int) -> dict[str, Any]:
    """The eleven tokens of pump.fun in rows of 5 s: learned from some, judged on others."""
    tokens = tuple(token for token in read_tokens(folder / SWAPS) if len(token) > 30)
    base = TokenRecipe.read("tokens_trained")
    small: dict[str, Any] = {"seq_length": 16, "embed_size": 32, "dim_feedforward": 64, "pump_ahead": 6, "rise": 0.3}
    recipe = replace(
        base, split_strategy="token", split_fractions=(0.4, 0.2, 0.4), seed=seed, overlap=16,
        architecture=replace(base.architecture, **small),
        training=replace(base.training, steps=200, batch=16, learning_rate=1e-3, validate_every=20, patience=5),
    )  # fmt: skip
    splits = split_tokens(tokens, recipe)
    made = fit_tokens(tokens, splits, recipe, FitOptions(progress=False))
    steps = (1, 10, 30)
    origins = spread_origins(tokens, splits.test, 6, max(steps))
    said = {"conv": said_by(made, tokens, origins, steps, paths=64, seed=seed)}
    said |= {name: baseline(tokens, splits.train, origins, steps) for name, baseline in BASELINES.items()}
    truth = true_returns(tokens, origins, steps)
    now = np.array([tokens[o.token].values[o.row, PRICE] for o in origins])
    return {
        "tokens": len(tokens), "tested": len(splits.test), "steps": list(steps),
        "errors": {name: _by_token(errors(one, truth, now), origins) for name, one in said.items()},
    }  # fmt: skip


def store_piece(counts: Counts) -> dict[str, Any]:
    """Rows a second into and out of a store, and its size."""
    recipe = replace(TokenRecipe(), num_tokens=20, timesteps=counts.stored_rows)
    drawn = sampled_tokens(token_market(recipe.world, 0))
    tokens = [replace(drawn[n % 20], address=str(n)) for n in range(counts.stored_tokens)]
    rows = counts.stored_tokens * counts.stored_rows
    with tempfile.TemporaryDirectory() as folder:
        store = TokenStore(Path(folder) / "v1")
        began = time.perf_counter()
        store.add(tokens)
        written = time.perf_counter() - began
        began = time.perf_counter()
        again = store.read_all()
        read = time.perf_counter() - began
        assert all(a.values.tobytes() == b.values.tobytes() for a, b in zip(again, tokens, strict=True))
        size = sum(path.stat().st_size for path in store.folder.rglob("*") if path.is_file())
    return {
        "tokens": counts.stored_tokens, "rows": rows, "rows_in_a_second": rows / written,
        "rows_out_a_second": rows / read, "bytes": size, "bytes_a_row": size / rows, "bytes_a_row_plain": 56,
    }  # fmt: skip


def pieces(counts: Counts, data: Path | None) -> dict[str, Callable[[], dict[str, Any]]]:
    """What is to be measured, by name, in the order in which it is."""
    found: dict[str, Callable[[], dict[str, Any]]] = {"store": lambda: store_piece(counts)}
    brief = [("token", f"{kind}_brief") for kind in ("conv", "linear", "lstm")]
    trained = [("token", "conv"), *brief, ("time", "conv_brief"), ("mixed", "conv_brief")]
    for split, method in trained:
        for seed in range(counts.seeds):
            found[f"forecast-{split}-{method}-{seed}"] = _bind(counts, split, method, seed)
    if data is not None:
        found |= {f"real-{seed}": _bind_real(data, seed) for seed in range(counts.seeds)}
    return found


def _bind(counts: Counts, split: str, method: str, seed: int) -> Callable[[], dict[str, Any]]:
    return lambda: forecast_piece(counts, split, method, seed)


def _bind_real(data: Path, seed: int) -> Callable[[], dict[str, Any]]:
    return lambda: real_piece(data, seed)


def joined(done: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Tables over all pieces: forecasts by split, method, measure and step; pumps by detector; real tokens; store."""
    out: dict[str, Any] = {"store": done.get("store")}
    tables: dict[str, dict[str, list[dict[str, Any]]]] = {}
    pumps: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name, piece in done.items():
        if name.startswith("forecast-"):
            split = name.split("-")[1]
            for method, one in piece["errors"].items():
                tables.setdefault(split, {}).setdefault(method, []).append(one)
            for target, scores in (piece["pumps"] or {}).items():
                if (method := name.split("-")[2]) != "conv":
                    scores = {f"forecaster, {method}": scores["forecaster"]}
                for detector, one in scores.items():
                    pumps.setdefault(target, {}).setdefault(detector, []).append(one)
        if name.startswith("real-"):
            for method, one in piece["errors"].items():
                tables.setdefault("real", {}).setdefault(method, []).append(one)
    out["forecasts"] = {
        split: {method: _measures(parts, (1, 10, 30) if split == "real" else STEPS) for method, parts in by.items()}
        for split, by in tables.items()
    }
    out["pumps"] = {
        target: {detector: detector_means(parts) for detector, parts in by.items()} for target, by in pumps.items()
    }
    return out


def _measures(parts: list[dict[str, Any]], steps: Sequence[int]) -> dict[str, dict[str, Any]]:
    """By measure and step, the mean over the tokens of all seeds and its interval."""
    out: dict[str, dict[str, Any]] = {}
    for measure in SHOWN:
        for s, step in enumerate(steps):
            values = [row[s] for part in parts for row in part[measure] if row[s] is not None]
            if values:
                found = mean(np.array(values))
                figures = (found.value, found.low, found.high)
                root = [float(np.sqrt(x)) for x in figures] if measure == "rmse" else list(figures)
                out.setdefault(measure, {})[str(step)] = [*root, len(values)]
    return out


def _plain(value: Any) -> Any:
    """JSON knows no NaN."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def show(result: dict[str, Any]) -> None:
    """The tables, in a terminal's width."""
    for split, by in result["forecasts"].items():
        print(f"\n{split}: |log error| at {list(next(iter(by.values()))['log_error'])}, then coverage of 80 % bands")
        for method, measures in by.items():
            shown = "  ".join(f"{row[0]:.3f}" for row in measures["log_error"].values())
            covered = "  ".join(f"{row[0]:.2f}" for row in measures["coverage_80"].values())
            print(f"  {method:12s} {shown}   {covered}")
    for target, by in result["pumps"].items():
        print(f"\n{target}: average precision (share of rows {next(iter(by.values()))['share']:.3f})")
        for detector, row in by.items():
            told = "".join(f", {name} {row[name]:.2f}" for name in ("recall", "lead") if row.get(name) is not None)
            print(f"  {detector:20s} {row['average_precision']:.3f}{told}")
    if result["store"]:
        print("\nstore:", json.dumps(result["store"]))


def main() -> None:
    """Verify, measure what is missing, join, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path, help=f"folder of {SWAPS}")
    parser.add_argument("--minutes", type=float, help="begin no piece later than this")
    parser.add_argument("--only", help="pieces whose name holds this")
    parser.add_argument("--reverse", action="store_true", help="the last piece first, beside another call")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/tokens.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    counts = QUICK if options.quick else FULL
    began = time.monotonic()
    kept = options.out.with_suffix("")
    verify()
    todo = list(pieces(counts, options.data).items())
    for name, measure in todo[::-1] if options.reverse else todo:
        file = kept / f"{name}.json"
        late = options.minutes is not None and time.monotonic() - began > 60.0 * options.minutes
        if not file.is_file() and not late and (options.only or "") in name:
            started = time.monotonic()
            write_result(file, _plain({**header(), "counts": asdict(counts), **measure()}))
            print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
    done = {file.stem: json.loads(file.read_text("utf-8")) for file in sorted(kept.glob("*.json"))}
    result = {**header(), "counts": asdict(counts), "pieces": sorted(done), **joined(done)}
    write_result(options.out, _plain(result))
    show(result)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
