"""What a run was trained on and what came of it, in the words of tables and of a command's last line."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import cryptoenv
from agents.markets.own_markets import MarketSource
from agents.run_folders.run_folder import CONFIG, INPUTS, METRICS, Run, read_json
from pretrain.fitting.market_inputs import MarketInputs
from synthetic import TASKS
from synthetic.installation import DISTRIBUTION

CLONE_NAME = "BC clone"
KEPT_CLONE = "the clone's weights were kept: learning found none that do better on validation markets"
KEPT_START = "the weights it started with were kept: learning found none that do better on validation markets"
STAYS_FLAT = "it stays flat: on validation markets it takes no position"
_SPELLED = {
    "maskable_ppo": "maskable PPO", "recurrent_ppo": "recurrent PPO", "qrdqn": "QR-DQN", "fitted_q": "fitted Q",
}  # fmt: skip


def agent_name(algorithm: str, *, is_clone: bool = False) -> str:
    """An agent's name in tables: "BC -> PPO"; one whose weights are still the clone's says so."""
    if algorithm == "bc":
        return CLONE_NAME
    return f"BC -> {_SPELLED.get(algorithm, algorithm.upper())}" + (" (= clone)" if is_clone else "")


def clone_was_kept(metrics: Mapping[str, Any]) -> bool:
    """Whether reinforcement learning gained nothing, so that the clone's weights stayed."""
    return metrics.get("kept_step") == 0


def kept_clone(run: Run) -> bool:
    """`clone_was_kept` of a run's figures; an agent that answers with exposures begins with weights of its own."""
    return not run.agent.answers_exposures and clone_was_kept(read_json(run.folder / METRICS))


def own_market(run: Run) -> str | Path | list[Path] | None:
    """What a run was trained on: a task's name, one or several paths of its own markets, or None (an import).

    Raises:
        FileNotFoundError: markets that are no longer there, or bars that were never in a file.
    """
    config = read_json(run.folder / CONFIG)
    named = config.get("market", config.get("bars"))
    if named is None or (isinstance(named, str) and named in TASKS):
        return named
    paths = [Path(str(one)) for one in (named if isinstance(named, list) else [named])]
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(
                f"{run.folder} was trained on bars ({path}), which are not there: say what to judge on, with "
                "--bars FILE or --task NAME"
            )
    return paths if len(paths) > 1 else paths[0]


def own_inputs(run: Run, market: MarketSource | None = None) -> MarketInputs:
    """What a run was trained with beside its bars: reference market, exogenous columns, split fractions.

    Funding rates are of one perpetual and its time: they count where `market` is what the run was trained on.

    Raises:
        ValueError: its `config.json` is damaged.
    """
    config = read_json(run.folder / CONFIG)
    found = MarketInputs.read(config.get(INPUTS) or {}, str(run.folder / CONFIG))
    trained_on = config.get("market", config.get("bars"))
    return found if market is not None and _places(market) == _places(trained_on) else replace(found, funding=())


def _places(markets: Any) -> list[Path | None]:
    """Where markets are on disk; None for those that are not."""
    listed = markets if isinstance(markets, Sequence) and not isinstance(markets, str) else [markets]
    return [Path(one).resolve() if isinstance(one, str | Path) else None for one in listed]


def trained_in_words(algorithm: str, margin: float, metrics: Mapping[str, Any], *, own_start: bool = False) -> str:
    """What came out of a training, in plain words; `own_start`: it began with other weights than the clone's."""
    hysteresis = f"hysteresis: it leaves a position for a lead of more than {margin:g}" if margin else "no hysteresis"
    if algorithm == "bc":
        return f"{CLONE_NAME}; {hysteresis}"
    name = agent_name(algorithm)
    if metrics.get("exposure") == 0.0:
        hysteresis = f"{STAYS_FLAT}; {hysteresis}"
    if clone_was_kept(metrics):
        return f"{name}; {KEPT_START if own_start else KEPT_CLONE}; {hysteresis}"
    told = [f"weights of env step {metrics['kept_step']:,} kept"] if "kept_step" in metrics else []
    if "changed_actions" in metrics:
        told.append(f"another position than the clone's in {100.0 * metrics['changed_actions']:.1f}% of the states")
    return "; ".join([name, *told, hysteresis])


def origin_of(bars: Sequence[str | Path]) -> dict[str, Any]:
    """Where figures come from: every file of bars with its sha256 (hex), and the versions of what reckons.

    A saved market or a series of a store is a folder and has a hash of its own.
    """
    files = []
    for path in map(Path, bars):
        digest = None
        if path.is_file():
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        files.append({"path": str(path), "sha256": digest})
    return {"files": files, "versions": versions_now()}


def versions_now() -> dict[str, str]:
    """Versions of Python, this distribution and the libraries that its figures rest on, where installed."""
    found = {"python": platform.python_version(), DISTRIBUTION: cryptoenv.__version__}
    for name in ("gymnasium", "numpy", "numba", "pandas", "TA-Lib", "torch", "stable-baselines3"):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
