"""A folder of versions: adding, proposing, promoting, rolling back; one writer at a time, readers at any."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from agents.run_folders.versions.pointer import NAME, POINTER, Pointer, PointerError
from agents.run_folders.versions.version import (
    MODEL,
    Version,
    VersionError,
    copy_model,
    copy_recipe,
    described,
    kind_of_model,
    read_version,
    require_loads,
    require_whole,
    write_version,
)
from cryptoenv.files.durable_files import clear_left_overs, make_folder, write_folder
from cryptoenv.files.folder_lock import FolderLockedError, folder_lock

WAIT = 20.0  #: seconds that a writer waits for another one
DAMAGED_POINTER = f"{POINTER}.damaged"
State = Literal["current", "proposed", "former", "damaged"]


@dataclass(frozen=True)
class Listed:
    """A version as it stands: its state, and what is said of it, or what is wrong with it."""

    name: str
    state: State
    version: Version | None
    words: str = ""


@dataclass(frozen=True)
class Happened:
    """Something that happened in a models folder: when (ISO 8601, UTC), what, and more about it."""

    at: str
    what: str
    detail: dict[str, str]

    @property
    def key(self) -> str:
        """What tells it from all others."""
        return f"{self.at} {self.what} {self.detail.get('version', '')}"


class ModelsFolder:
    """Versions `0001`, `0002`, ... of a model, and `current.json`.

    A version never changes. "proposed" is one that was never used, "former" one that was.

    Args:
        folder: of the versions; it need not exist before something is added.
        clock: of the times that are written down.
    """

    def __init__(self, folder: str | Path, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.folder, self._clock = Path(folder), clock

    @classmethod
    def there(cls, folder: str | Path) -> ModelsFolder:
        """A folder that exists.

        Raises:
            FileNotFoundError: it does not.
        """
        if not Path(folder).is_dir():
            raise FileNotFoundError(f"{folder} is no folder of versions: `cryptoenv models add` makes one")
        return cls(folder)

    def now(self) -> str:
        """ISO 8601, UTC."""
        return self._clock().isoformat(timespec="microseconds")

    def place(self, name: str) -> Path:
        """The folder of a version.

        Raises:
            VersionError: no name of a version.
        """
        if not NAME.fullmatch(name):
            raise VersionError(f"{name!r:.60} is no version: they are called 0001, 0002, ...; here {self._words()}")
        return self.folder / name

    def names(self) -> tuple[str, ...]:
        """Of all versions, good or not, the oldest first."""
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        return tuple(sorted(path.name for path in found if NAME.fullmatch(path.name) and path.is_dir()))

    def pointer(self) -> Pointer:
        """Which version is used.

        Raises:
            PointerError: it cannot be read.
        """
        return Pointer.read(self.folder)

    def current(self) -> Path:
        """The folder of the version that is used.

        Raises:
            PointerError: none is, or the pointer cannot be read. VersionError: it is not there.
        """
        name = self.pointer().current
        if name is None:
            raise PointerError(
                f"{self.folder} uses no version yet; there are {self._words()}: `cryptoenv models promote` chooses one"
            )
        read_version(self.place(name))
        return self.place(name)

    def versions(self) -> list[Listed]:
        """All versions with their states; damaged descriptions are told, files are not looked at.

        Raises:
            PointerError: the pointer cannot be read.
        """
        pointer = self.pointer()
        used = {move.version for move in pointer.moves}
        found = []
        for name in self.names():
            state: State = "current" if name == pointer.current else "former" if name in used else "proposed"
            try:
                found.append(Listed(name, state, read_version(self.place(name))))
            except VersionError as error:
                found.append(Listed(name, "damaged", None, str(error)))
        return found

    def happened(self) -> list[Happened]:
        """All proposals, promotions and roll-backs, the oldest first; of damaged versions none.

        Raises:
            PointerError: the pointer cannot be read.
        """
        found = []
        for listed in self.versions():
            if (version := listed.version) is not None:
                detail = {"version": version.name, "against": version.parent, "why": version.why}
                found.append(Happened(version.made_at, "proposed" if version.parent else "added", detail))
        for move in self.pointer().moves:
            detail = {"version": move.version, "before": move.before, "reason": move.reason}
            found.append(Happened(move.at, "promoted" if move.what == "promote" else "rolled back", detail))
        return sorted(found, key=lambda one: one.at)

    def add(
        self, source: Path, *, why: str = "added by hand", parent: str = "", told: dict[str, Any] | None = None,
        fill: Callable[[Path], object] = lambda place: None, named: str | None = None,
    ) -> Version:  # fmt: skip
        """Copy a model into a new version, which is there whole or not at all; nothing uses it yet.

        Args:
            source: an agent's run, or an artifact or its run.
            why: it is added. parent: the version that it is to replace.
            told: further data, over what its files say.
            fill: puts further files beside the model, into the folder it gets.
            named: what is written down as the source; `source` where None.

        Raises:
            VersionError, ArtifactError: no finished model. ValueError: it cannot be loaded.
            FolderLockedError: another process has written the folder for too long.
        """
        kind = kind_of_model(source)
        require_loads(source, kind)
        data, metrics = described(source, kind)
        make_folder(self.folder)
        with self.held():
            clear_left_overs(self.folder)
            name = f"{int(max(self.names(), key=int, default='0')) + 1:04d}"
            version = {
                "name": name, "kind": kind, "made_at": self.now(), "source": named or str(source), "parent": parent,
                "why": why, "data": data | (told or {}), "metrics": metrics,
            }  # fmt: skip

            def filled(place: Path) -> None:
                copy_model(source, kind, place / MODEL)
                copy_recipe(source, kind, place)
                fill(place)

            write_folder(self.folder / name, lambda place: write_version(place, version, filled), replace=False)
        return read_version(self.folder / name)

    def promote(self, name: str, *, reason: str = "", expect: str | None = None, anew: bool = False) -> Pointer:
        """Use a version from now on, after every check of it.

        Args:
            name: of the version.
            reason: for who reads it later.
            expect: the version that is used now; another one is refused. None allows any.
            anew: begin a new history where the pointer cannot be read; the damaged file is kept beside it.

        Raises:
            VersionError: it is not there, or is damaged. PointerError: it is used already, another one than expected
                is, or the pointer cannot be read. FolderLockedError: see `add`.
        """
        place = self.place(name)
        if name not in self.names():
            raise VersionError(f"version {name} is not there; there are {self._words()}")
        with self.held():
            pointer = self._pointer(anew)
            if expect is not None and (pointer.current or "") != expect:
                raise PointerError(f"version {pointer.current} is used, not {expect or 'none'}: nothing was changed")
            if pointer.current == name:
                raise PointerError(f"version {name} is used already")
            require_whole(place)
            moved = pointer.promoted(name, self.now(), reason)
            moved.write(self.folder)
        return moved

    def roll_back(self, *, reason: str = "") -> Pointer:
        """Use the version before again, after every check of it.

        Raises:
            PointerError: there is none, or the pointer cannot be read. VersionError: it is damaged.
            FolderLockedError: see `add`.
        """
        if not self.folder.is_dir():
            raise PointerError(f"{self.folder} is not there")
        with self.held():
            moved = self.pointer().rolled_back(self.now(), reason)
            assert moved.current is not None
            require_whole(self.place(moved.current))
            moved.write(self.folder)
        return moved

    def _pointer(self, anew: bool) -> Pointer:
        try:
            return self.pointer()
        except PointerError:
            if not anew:
                raise
            (self.folder / POINTER).rename(self.folder / f"{DAMAGED_POINTER}-{time.time_ns()}")
            return Pointer()

    @contextmanager
    def held(self, wait: float = WAIT) -> Iterator[None]:
        """Be the only writer, after waiting for another one.

        Raises:
            FolderLockedError: the other one takes longer than `wait` seconds.
        """
        until = time.monotonic() + wait
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(folder_lock(self.folder, f"the models folder {self.folder}"))
                    break
                except FolderLockedError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.05)
            yield

    def _words(self) -> str:
        return ", ".join(self.names()) or "no versions"


def is_models_folder(place: Path) -> bool:
    """Whether a folder holds versions: a pointer, or a version's folder."""
    if (place / POINTER).is_file():
        return True
    return place.is_dir() and any(NAME.fullmatch(p.name) and (p / "version.json").is_file() for p in place.iterdir())
