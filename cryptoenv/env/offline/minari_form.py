"""Episodes as a dataset of Minari, in a folder of the user's: `FOLDER/data`, as under `MINARI_DATASETS_PATH`.

Minari's own door (`create_dataset_from_buffers`) writes under that path alone and takes all episodes at once. Behind it
is a storage that does neither: it is used here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec

from cryptoenv.env.offline.episode import Episode
from cryptoenv.env.offline.layout import FLAT, DataLayout
from synthetic.installation import install_hint

DATA, METADATA_FILE, OWN = "data", "metadata.json", "cryptoenv"
NAME = re.compile(r"[-_\w]*\w-v\d+", re.ASCII)
BATCH = 32  #: episodes between two writings of Minari's totals


def require_minari(name: str | None = None) -> None:
    """Check, before any work, that Minari is there and that a dataset may have this name.

    Raises:
        ModuleNotFoundError: it is not installed; how to is said. ValueError: a name without version.
    """
    try:
        import minari  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"Minari's datasets need it: {install_hint('offline')}") from error
    if name is not None and not NAME.fullmatch(name):
        better = re.sub("[^-_a-zA-Z0-9]", "-", name) or "oracle"
        raise ValueError(
            f"Minari's datasets have names of letters, digits, - and _ that end in a version: {name!r} does not; call "
            f"the folder {better}-v0, for example"
        )


def is_minari(folder: Path) -> bool:
    """Whether a folder is that of a dataset of Minari."""
    return (folder / DATA / METADATA_FILE).is_file()


def write_minari(
    folder: Path, layout: DataLayout, episodes: Iterable[Episode], *, said: Callable[[], dict[str, Any]], name: str
) -> None:
    """Write episodes into a folder, a few at a time; `said` is asked once they are written, and before.

    Args:
        folder: of the dataset; `data` in it is made.
        layout: of what the episodes show.
        episodes: N of them.
        said: what the dataset says of itself, with the arguments of its environment.
        name: Minari's id of the dataset.
    """
    require_minari(name)
    import minari
    from minari.dataset.minari_storage import MinariStorage

    first = said()
    made = first["environment"]
    spec = EnvSpec(made["id"], **_entry_points(made["id"]), kwargs=dict(made["arguments"]))
    storage = MinariStorage.new(
        (folder / DATA).absolute(), layout.observation_space, layout.action_space, env_spec=spec, jpeg_encoding=False
    )
    storage.update_metadata({
        "dataset_id": name, "minari_version": minari.__version__, "algorithm_name": " + ".join(first["policies"]),
        "description": first["description"], "requirements": [f"cryptoenv-rl=={first['version']}"],
    })  # fmt: skip
    waiting: list[Episode] = []
    count = 0
    for episode in episodes:
        waiting.append(episode)
        if len(waiting) == BATCH:
            count = _add(storage, waiting, layout, count)
            waiting = []
    _add(storage, waiting, layout, count)
    storage.update_metadata({OWN: json.loads(json.dumps(said()))})


def _entry_points(env: str) -> dict[str, Any]:
    import gymnasium as gym

    found = gym.spec(env)
    return {"entry_point": found.entry_point, "vector_entry_point": found.vector_entry_point,
            "order_enforce": found.order_enforce, "disable_env_checker": found.disable_env_checker}  # fmt: skip


def _add(storage: Any, episodes: list[Episode], layout: DataLayout, before: int) -> int:
    """Add episodes, with what they are; returns how many there are now."""
    from minari.data_collector.episode_buffer import EpisodeBuffer

    if not episodes:
        return before
    storage.update_episodes([_buffer(episode, layout, EpisodeBuffer) for episode in episodes])
    told = [{"policy": one.policy, "market": one.market, "start": one.start} for one in episodes]
    storage.update_episode_metadata(told, range(before, before + len(episodes)))
    return before + len(episodes)


def _buffer(episode: Episode, layout: DataLayout, kind: Any) -> Any:
    seen: Any = episode.observations[FLAT] if layout.observation == "flat" else episode.observations
    return kind(
        options=episode.reset_options, observations=seen, actions=episode.actions, rewards=episode.rewards,
        terminations=episode.terminated, truncations=episode.truncated,
    )  # fmt: skip


def read_minari(folder: Path) -> tuple[dict[str, Any], Callable[[DataLayout], Iterator[Episode]]]:
    """What a dataset says of itself, and how its episodes are read.

    Raises:
        ModuleNotFoundError: Minari is not installed. ValueError: a dataset that others made.
    """
    require_minari()
    from minari.dataset.minari_storage import MinariStorage

    storage = MinariStorage.read((folder / DATA).absolute())
    about = storage.metadata.get(OWN)
    if not isinstance(about, dict):
        raise ValueError(f"{folder} is a dataset of Minari that `cryptoenv export-dataset` did not write")
    return about, lambda layout: _episodes(storage, layout)


def _episodes(storage: Any, layout: DataLayout) -> Iterator[Episode]:
    numbers = range(storage.total_episodes)
    for one, told in zip(storage.get_episodes(numbers), storage.get_episode_metadata(numbers), strict=True):
        seen = one["observations"]
        actions = np.asarray(one["actions"])
        yield Episode(
            {FLAT: seen} if layout.observation == "flat" else {part.name: seen[part.name] for part in layout.parts},
            actions.astype(np.int64 if layout.targets else np.float32), np.asarray(one["rewards"], np.float64),
            np.asarray(one["terminations"], np.bool_), np.asarray(one["truncations"], np.bool_),
            str(told["policy"]), int(told["market"]), int(told["start"]),
        )  # fmt: skip
