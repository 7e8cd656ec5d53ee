"""A run folder: all that is needed to use a trained agent again, and to see how it came about."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.agent import Agent
from pretrain import Extractor

EXTRACTOR, AGENT, CLONE = "extractor", "agent", "clone"
CONFIG, METRICS, PICTURE = "config.json", "metrics.json", "picture.png"


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
        self.agent.save(self.folder / AGENT)
        self.clone.save(self.folder / CLONE)
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


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write `values` as indented JSON with sorted keys."""
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
