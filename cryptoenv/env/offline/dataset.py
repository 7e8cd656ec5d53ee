"""A dataset of recorded episodes: what it says of itself, and its two forms on disk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import gymnasium as gym

from cryptoenv.env.offline.episode import Episode
from cryptoenv.env.offline.layout import DataLayout
from cryptoenv.env.offline.minari_form import is_minari, read_minari, write_minari
from cryptoenv.env.offline.parquet_form import ABOUT_FILE, read_parquet, write_parquet
from cryptoenv.env.offline.transitions import Transitions

FORMS = ("minari", "parquet")
FORMAT = "cryptoenv-episodes-1"


@dataclass(frozen=True, eq=False)
class OfflineData:
    """Recorded episodes.

    Attributes:
        about: what the dataset says of itself: "task", "split", "markets", "days", "seed", "policies", "costs",
            "environment" (the arguments of `CryptoTrade-v0`), "returns" (mean by policy), ...
        layout: of observations and actions. episodes: in order.

    Example:
        >>> import tempfile
        >>> from cryptoenv.env.offline import OfflineData
        >>> from agents.evaluation.recording import record_episodes
        >>> with tempfile.TemporaryDirectory() as place:
        ...     about = record_episodes(["random"], "easy", f"{place}/chance", form="parquet", episodes=2,
        ...                             episode_bars=20, markets=1, days=2, observation="index", progress=False)
        ...     data = OfflineData.load(f"{place}/chance")
        >>> len(data.episodes), len(data.transitions()), data.about["policies"]
        (2, 40, ['random'])
    """

    about: dict[str, Any]
    layout: DataLayout
    episodes: tuple[Episode, ...]

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `cryptoenv export-dataset` wrote, in either form; all of it into memory.

        Raises:
            FileNotFoundError: no dataset there. ValueError: not one of ours, of another version, or damaged.
        """
        place = Path(folder)
        if is_minari(place):
            about, read = read_minari(place)
        elif (place / ABOUT_FILE).is_file():
            about, read = read_parquet(place)
        else:
            raise FileNotFoundError(f"{place} holds no dataset: neither data/metadata.json (Minari) nor {ABOUT_FILE}")
        if about.get("format") != FORMAT:
            raise ValueError(f"{place} holds episodes of format {about.get('format')!r}; this version reads {FORMAT!r}")
        layout = DataLayout.from_dict(about["layout"], str(place))
        return cls(about, layout, tuple(read(layout)))

    def transitions(self) -> Transitions:
        """All steps in a row, ready to learn from."""
        return Transitions.of(self.episodes)

    def make_env(self, **changes: Any) -> gym.Env[Any, Any]:
        """The environment that the episodes are from, or with other arguments; `Episode.reset_options` begin one again.

        A flat dataset's environment shows windows: put `FlattenObservation` around it.
        """
        made = self.about["environment"]
        env: gym.Env[Any, Any] = gym.make(made["id"], **made["arguments"] | changes)
        return env


def write_dataset(folder: Path, about: dict[str, Any], layout: DataLayout, episodes: Iterable[Episode], *,
                  form: str, name: str) -> dict[str, Any]:  # fmt: skip
    """Fill an empty folder with a dataset; episodes are taken one by one, none is kept in memory.

    Args:
        folder: empty; `name` is what it will be called in the end.
        about: what is to be said of it; numbers and returns of episodes are added.
        layout: of what the episodes show.
        episodes: N of them.
        form: "minari" or "parquet".
        name: of the dataset; Minari asks that it end in a version, such as "-v0".

    Returns:
        What the dataset says of itself.
    """
    said = {"format": FORMAT, **about, "layout": layout.as_dict()}
    tally = _Tally(episodes)
    write = write_minari if form == "minari" else write_parquet
    write(folder, layout, tally, said=lambda: said | tally.summary, name=name)
    return said | tally.summary


class _Tally:
    """Episodes that are counted as they pass."""

    def __init__(self, episodes: Iterable[Episode]) -> None:
        self._episodes = episodes
        self._returns: dict[str, list[float]] = {}
        self._steps = 0

    def __iter__(self) -> Any:
        for episode in self._episodes:
            self._returns.setdefault(episode.policy, []).append(float(episode.rewards.sum()))
            self._steps += len(episode)
            yield episode

    @property
    def summary(self) -> dict[str, Any]:
        means = {policy: sum(found) / len(found) for policy, found in self._returns.items()}
        counts = {policy: len(found) for policy, found in self._returns.items()}
        return {"steps": self._steps, "episodes": counts, "returns": means}

