"""What is served, from its folder: an artifact, a run, or the version in use of several."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from agents.live.deciders import AgentDecider, EmbeddingReader
from agents.live.serving.answers import Answering
from agents.policies.segmented_extractor import SEGMENTER
from agents.policies.segmented_predictor import predictor_of
from agents.run_folders.run_folder import AGENT, EXTRACTOR, Run
from agents.run_folders.versions.models_folder import ModelsFolder, is_models_folder
from agents.run_folders.versions.version import MODEL, require_whole
from cryptoenv.features import FeatureFunction
from cryptoenv.files.durable_files import read_regular
from pretrain import ArtifactError, load
from pretrain.extractor.artifact import SHIPPED
from pretrain.fitting.run_folder import artifact_in

CHECKSUMS = "checksums.json"
LARGEST_CHECKSUMS = 1_000_000


def resolved(place: str | Path) -> Path:
    """The folder that is served: of a folder of versions, the one that its pointer says is used.

    Raises:
        PointerError: none is. VersionError: it is not there. OSError: it cannot be read.
    """
    if str(place) == "default":
        return SHIPPED / "default"
    folder = Path(place)
    if folder.is_dir() and is_models_folder(folder):
        return ModelsFolder(folder).current() / MODEL
    return folder


def version_of(folder: Path) -> str:
    """The version of what a folder holds: 12 signs of the sha256 over its checksums.

    Raises:
        OSError: it holds no artifact and no run.
    """
    digest = hashlib.sha256()
    parts = [folder / name for name in (AGENT, EXTRACTOR, SEGMENTER)] if _holds_run(folder) else [artifact_in(folder)]
    for part in parts:
        if part.is_dir():
            digest.update(read_regular(part / CHECKSUMS, LARGEST_CHECKSUMS))
    return digest.hexdigest()[:12]


def _holds_run(folder: Path) -> bool:
    return (folder / AGENT).is_dir()


def loaded(
    place: str | Path, *, device: str = "cpu", functions: Sequence[FeatureFunction] = ()
) -> Answering:
    """What a folder holds, after every check, ready to answer.

    Args:
        place: folder of an artifact, of the run that made it, of an agent's run, or of versions of one of these;
            "default" is the extractor that ships.
        device: where it predicts.
        functions: code of the user's own features.

    Raises:
        ArtifactError: nothing there that can be served, or it was changed. OSError, ValueError: it cannot be read.
    """
    folder = resolved(place)
    try:
        version = version_of(folder)
    except OSError as error:
        raise ArtifactError(f"{place} holds no artifact and no run that could be served: {error}") from error
    if folder.name == MODEL and is_models_folder(folder.parent.parent):
        require_whole(folder.parent, load_it=False)
    if not _holds_run(folder):
        return Answering(folder, version, load(folder, device=device, functions=functions))
    agent = Run.load(folder).agent
    model = predictor_of(agent).to(device)
    return Answering(folder, version, model, agent, EmbeddingReader(agent.extractor), AgentDecider(agent))
