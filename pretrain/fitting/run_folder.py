"""The folder of a training: held by one process, and made from one thing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path

from cryptoenv.files.durable_files import make_folder, write_file
from cryptoenv.files.folder_lock import folder_lock
from cryptoenv.files.typed_values import ConfigError
from pretrain.fitting.artifact_folder import ARTIFACT as ARTIFACT
from pretrain.fitting.artifact_folder import artifact_in as artifact_in  # where it was before
from pretrain.fitting.fitting import CHECKPOINTS, FitOptions, refuse_earlier_run

RECIPE, PICTURES, INPUTS = "recipe.yaml", "pictures", "inputs.json"


@contextmanager
def held(options: FitOptions) -> Iterator[None]:
    """Holds the run folder, so that recipe, checkpoints and artifact are of one run; refuses one that has another's."""
    if options.out is None:
        yield
        return
    make_folder(options.out)
    with folder_lock(options.out, f"the run in {options.out}"):
        refuse_earlier_run(options)
        if (options.out / ARTIFACT).exists() and not (options.out / CHECKPOINTS).is_dir():
            raise FileExistsError(f"{options.out} holds an artifact without its checkpoints: choose another folder")
        yield


def write_once(path: Path, text: str, options: FitOptions) -> None:
    """Write what a run is made from; a run that goes on must be made from what it was.

    Raises:
        ConfigError: it is not; the first line that differs is named.
    """
    if options.resume and path.exists():
        before = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for was, now in zip_longest(before, text.splitlines(), fillvalue="nothing"):
            if was != now:
                raise ConfigError(
                    f"the run to resume is of something else: {path} says {was.strip()[:200]!r}, not "
                    f"{now.strip()[:200]!r}; resume it as it was, or choose another folder"
                )
    write_file(path, text)
