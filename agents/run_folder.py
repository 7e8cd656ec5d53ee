"""A run folder: all that is needed to use a trained agent again, and to see how it came about."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from agents.agent import Agent
from pretrain import Extractor
from pretrain.typed_yaml import write_yaml

if TYPE_CHECKING:
    from agents.agent_recipe import AgentRecipe

EXTRACTOR, AGENT, CLONE = "extractor", "agent", "clone"
CONFIG, METRICS, PICTURE = "config.json", "metrics.json", "picture.png"
RECIPE, SEEDS, CHECKPOINTS = "recipe.yaml", "seeds.json", "checkpoints"
LEARNED_UNTIL = "learned_until"  #: key of `config.json`: open time of the last bar that learning or selection saw


@dataclass(frozen=True)
class Run:
    """A trained agent and the folder it lives in.

    The folder holds `config.json`, `metrics.json`, `extractor/`, `agent/` and `clone/` (safetensors and JSON),
    `tensorboard/` and, from the demo, `picture.png`.

    Attributes:
        folder: the run folder.
        agent: the result.
        clone: what it started from (the same agent where there was nothing after cloning).
    """

    folder: Path
    agent: Agent
    clone: Agent

    def save(self, config: dict[str, Any], metrics: dict[str, Any]) -> None:
        """Write artifact, agents, configuration and metrics."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.agent.extractor.save(self.folder / EXTRACTOR)
        self.agent.save(self.folder / AGENT, config=config, metrics=metrics)
        self.clone.save(self.folder / CLONE, config=config)
        write_json(self.folder / CONFIG, config)
        write_json(self.folder / METRICS, metrics)

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Read a run folder.

        Raises:
            FileNotFoundError: the folder is not a run folder.
            ValueError: artifact and agent do not belong together, or a checksum fails.
        """
        root = Path(folder)
        if not (root / CONFIG).is_file():
            raise FileNotFoundError(f"{root} is not a run folder: it has no {CONFIG}")
        extractor = Extractor.load(root / EXTRACTOR)
        return cls(root, Agent.load(root / AGENT, extractor), Agent.load(root / CLONE, extractor))


def learned_until(run: Run) -> pd.Timestamp | None:
    """Open time (UTC) of the last bar that a run learned from or chose by; None for synthetic markets."""
    found = json.loads((run.folder / CONFIG).read_text(encoding="utf-8")).get(LEARNED_UNTIL)
    return None if found is None else pd.Timestamp(found)


def load_runs(folder: str | Path) -> list[Run]:
    """The run in a folder, or those of its seeds (`seed-0`, `seed-1`, ...).

    Raises:
        FileNotFoundError: neither.
    """
    root = Path(folder)
    seeds = sorted(root.glob("seed-*"), key=lambda path: int(path.name.removeprefix("seed-")))
    return [Run.load(path) for path in seeds] or [Run.load(root)]


def refuse_earlier_run(folder: Path) -> None:
    """Check that a new run may be written into `folder`.

    Raises:
        FileExistsError: it holds a run, finished or not.
    """
    held = [name for name in (RECIPE, CONFIG, CHECKPOINTS) if (folder / name).exists()]
    if held or any(folder.glob("seed-*")):
        raise FileExistsError(f"{folder} holds an earlier run: go on with --resume {folder}, or choose another --out")


def write_recipe(recipe: AgentRecipe, seeds: int, folder: Path) -> None:
    """Write what a run is made from, before it is made: `recipe.yaml`, which `read_recipe` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    write_agent_recipe(recipe, folder / RECIPE)
    write_json(folder / SEEDS, {"seeds": seeds})


def write_agent_recipe(recipe: AgentRecipe, path: Path) -> None:
    """Write a recipe, all its values included, as `AgentRecipe.read` reads it."""
    learning = recipe.training.learning
    training = asdict(recipe.training)
    for name in ("settings", "learning", "cloning", "dagger"):
        training.pop(name)
    values: dict[str, Any] = {
        "algorithm": recipe.algorithm, "market": recipe.market, "extractor": recipe.extractor, "seed": recipe.seed,
        "training": training, "dagger": asdict(recipe.training.dagger),
    }  # fmt: skip
    if recipe.training.cloning is not None:
        values["cloning"] = asdict(recipe.training.cloning)
    if learning is not None:
        values["learning"] = asdict(learning)
    write_yaml(values, path)


def read_recipe(folder: Path) -> tuple[AgentRecipe, int]:
    """The recipe of a run, and its number of seeds.

    Raises:
        FileNotFoundError: the folder has none.
    """
    from agents.agent_recipe import AgentRecipe

    if not (folder / RECIPE).is_file():
        raise FileNotFoundError(f"{folder} holds no run to resume: it has no {RECIPE}")
    seeds = json.loads((folder / SEEDS).read_text(encoding="utf-8"))["seeds"]
    return AgentRecipe.read(folder / RECIPE), int(seeds)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write `values` as indented JSON with sorted keys."""
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
