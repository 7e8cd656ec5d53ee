"""A run folder: all that is needed to use a trained agent again, and to see how it came about."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from agents.policies.agent import Agent, finite_or_none
from agents.policies.segmented_extractor import SEGMENTER, load_extractor
from cryptoenv.files.bounded_json import parse_json
from cryptoenv.files.durable_files import make_folder, read_regular, write_file
from cryptoenv.files.folder_lock import LOCK_FILE, folder_lock
from cryptoenv.files.generations import generations, step_of

if TYPE_CHECKING:
    pass

EXTRACTOR, AGENT, CLONE = "extractor", "agent", "clone"
CONFIG, METRICS, PICTURE = "config.json", "metrics.json", "picture.png"
RECIPE, SEEDS, CHECKPOINTS = "recipe.yaml", "seeds.json", "checkpoints"
LOG, PRETRAINING = "tensorboard", "pretraining"
PLAN = "plan.json"  #: of a walk-forward
#: What a training of agents, finished or not, or a demo puts into its folder.
OF_A_RUN = (RECIPE, SEEDS, CONFIG, METRICS, PICTURE, EXTRACTOR, AGENT, CLONE, CHECKPOINTS, LOG, PRETRAINING)
_OF_OTHERS = ("artifact", "study.journal")  #: what a pretraining and a study leave
_SEED = re.compile(r"seed-(\d+)")
#: Keys of `config.json`: open time of the last bar that learning saw, and of the last that selection saw.
TRAINED_UNTIL, LEARNED_UNTIL = "trained_until", "learned_until"
INPUTS = "inputs"  #: key of `config.json`: the reference market and exogenous columns it was trained with


@dataclass(frozen=True)
class Run:
    """A trained agent and the folder it lives in.

    The folder holds `config.json`, `metrics.json`, `extractor/`, `agent/` and `clone/` (safetensors and JSON),
    `tensorboard/`, `segmenter/` where the agent reads its states, and, from the demo, `picture.png`.

    Attributes:
        folder: the run folder.
        agent: the result.
        clone: what it started from (the same agent where there was nothing after cloning).
    """

    folder: Path
    agent: Agent
    clone: Agent

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, agent={self.agent!r}, clone={self.clone!r})"

    def save(self, config: dict[str, Any], metrics: dict[str, Any]) -> None:
        """Write artifact, agents, configuration and, last, metrics; each whole or not at all."""
        make_folder(self.folder)
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
        extractor = load_extractor(root / EXTRACTOR, root / SEGMENTER if (root / SEGMENTER).is_dir() else None)
        agent = Agent.load(root / AGENT, extractor)
        return cls(root, agent, Agent.load(root / CLONE, extractor, actions=agent.actions))


def learned_until(run: Run, *, selection: bool = True) -> pd.Timestamp | None:
    """Open time (UTC) of the last bar that a run learned from or, with `selection`, chose by; None of synthetic ones.

    A run of an earlier version does not tell the two apart: for it, it is the last bar that it chose by.

    Raises:
        ValueError: its `config.json` is damaged.
    """
    config = read_json(run.folder / CONFIG)
    key = LEARNED_UNTIL if selection or TRAINED_UNTIL not in config else TRAINED_UNTIL
    found = config.get(key)
    if found is None:
        return None
    try:
        return pd.Timestamp(found)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{run.folder / CONFIG}: {key}={found!r} is no time") from error


def load_runs(folder: str | Path) -> list[Run]:
    """The run in a folder, or those of its seeds (`seed-0`, `seed-1`, ...).

    Raises:
        FileNotFoundError: neither. ArtifactError: their agents have other actions, or another order of them.
    """
    root = Path(folder)
    runs = [Run.load(path) for path in seed_folders(root)] or [Run.load(root)]
    for run in runs:
        run.agent.require_actions(runs[0].agent.actions)
    return runs


def seed_folders(folder: Path) -> list[Path]:
    """The folders `seed-<n>` in a folder of several runs, by number."""
    found = {int(match[1]): path for path in folder.glob("seed-*") if (match := _SEED.fullmatch(path.name))}
    return [found[number] for number in sorted(found)]


def refuse_earlier_run(folder: Path) -> None:
    """Check that a new run may be written into `folder`.

    Raises:
        FileExistsError: it holds a run, finished or not.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise FileExistsError(f"{folder} is no folder: choose another --out")
    if any(os.path.lexists(folder / name) for name in (*OF_A_RUN, *_OF_OTHERS)) or seed_folders(folder):
        resume = f"go on with --resume {folder}, or " if (folder / RECIPE).is_file() else ""
        raise FileExistsError(f"{folder} holds an earlier run: {resume}choose another --out")


@contextmanager
def writing_run(folder: Path, *, resume: bool = False) -> Iterator[None]:
    """Be the only one who writes a run, in a folder that is made where there is none.

    A run that fails while nothing in it is worth going on from leaves nothing, so that the same folder takes the
    corrected one; one that is interrupted keeps its recipe, with which it goes on.

    Raises:
        FileExistsError: the folder holds a run, and `resume` is False. FolderLockedError: another process writes it.
    """
    if not resume:
        refuse_earlier_run(folder)
    made = not folder.exists()
    make_folder(folder)
    try:
        with folder_lock(folder, f"the run {folder}"):
            if not resume:
                refuse_earlier_run(folder)
            try:
                yield
            except BaseException as error:
                going_on = (folder / RECIPE).is_file() and not isinstance(error, Exception)
                if not (resume or going_on or _begun(folder)):
                    _take_back(folder)
                raise
    except BaseException:
        if made and os.listdir(folder) == [LOCK_FILE]:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _begun(folder: Path) -> bool:
    """Whether there is something to go on from."""
    return bool(seed_folders(folder)) or bool(generations(folder / CHECKPOINTS))


def _take_back(folder: Path) -> None:
    for name in OF_A_RUN:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def kept_of_run(folder: Path) -> str:
    """What an interrupted training has left in its folder, and how to go on, in words."""
    if not (folder / RECIPE).is_file():
        return "nothing was kept: give the same command again"
    go_on = f"cryptoenv train --resume {shlex.quote(str(folder))}"
    runs = seed_folders(folder)
    if runs:
        return f"kept in {folder}: {', '.join(f'{run.name} {_progress_of(run)}' for run in runs)}; go on with: {go_on}"
    return f"kept in {folder}: the run {_progress_of(folder)}; go on with: {go_on}"


def _progress_of(run: Path) -> str:
    if (run / METRICS).is_file():
        return "(finished)"
    found = generations(run / CHECKPOINTS)
    return f"(as of {step_of(found[-1]):,} env steps)" if found else "(its recipe; no checkpoint yet)"


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write `values` as indented JSON with sorted keys, the whole file or none of it; what is not finite is null."""
    write_file(path, json.dumps(finite_or_none(values), indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a run.

    Raises:
        FileNotFoundError: no such file. ValueError: no JSON, or no object.
    """
    if not os.path.lexists(path):
        raise FileNotFoundError(f"{path} is missing: the run is not whole")
    found = parse_json(read_regular(path), str(path))
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no JSON object, but {type(found).__name__}")
    return found
