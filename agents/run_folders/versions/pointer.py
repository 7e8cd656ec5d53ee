"""The pointer: one small file, written whole, that says which version is used, and how that came about."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cryptoenv.files.bounded_json import JsonError, parse_json
from cryptoenv.files.durable_files import NotRegularError, read_regular, write_file

POINTER = "current.json"
FORMAT = 1
LARGEST = 4_000_000  #: bytes
NAME = re.compile(r"\d{4,9}")  #: of a version
What = Literal["promote", "rollback"]


class PointerError(ValueError):
    """A pointer that cannot be read, or that has nothing to point to; the message names the file and what to do."""


@dataclass(frozen=True)
class Move:
    """One change of the pointer: when (ISO 8601, UTC), what, to which version, from which ("" for none), and why."""

    at: str
    what: What
    version: str
    before: str
    reason: str


@dataclass(frozen=True)
class Pointer:
    """Which version is used.

    Attributes:
        moves: all changes, the oldest first.
    """

    moves: tuple[Move, ...] = ()

    @property
    def stack(self) -> tuple[str, ...]:
        """Versions that were promoted and not rolled back, the one that is used last."""
        found: list[str] = []
        for move in self.moves:
            if move.what == "rollback":
                found.pop()
            else:
                found.append(move.version)
        return tuple(found)

    @property
    def current(self) -> str | None:
        """The version that is used; None where none ever was."""
        return self.stack[-1] if self.stack else None

    def promoted(self, version: str, at: str, reason: str) -> Pointer:
        """With another version."""
        return Pointer((*self.moves, Move(at, "promote", version, self.current or "", reason)))

    def rolled_back(self, at: str, reason: str) -> Pointer:
        """With the version before.

        Raises:
            PointerError: there is none.
        """
        stack = self.stack
        if len(stack) < 2:
            used = f"version {stack[0]} is the first that was used" if stack else "no version is used yet"
            raise PointerError(f"nothing to roll back to: {used}; promote another one instead")
        return Pointer((*self.moves, Move(at, "rollback", stack[-2], stack[-1], reason)))

    def write(self, folder: Path) -> None:
        """Write it whole, or leave what was there."""
        told = {"format": FORMAT, "current": self.current, "moves": [asdict(move) for move in self.moves]}
        write_file(folder / POINTER, json.dumps(told, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Pointer:
        """The pointer of a folder; one that points to nothing where there is no file.

        Raises:
            PointerError: a file that is no pointer.
        """
        path = folder / POINTER
        try:
            told = parse_json(read_regular(path, LARGEST), str(path))
        except FileNotFoundError:
            return cls()
        except (JsonError, NotRegularError) as error:
            raise PointerError(f"{error}: {_HINT}") from error
        if not isinstance(told, dict) or set(told) != {"format", "current", "moves"} or told["format"] != FORMAT:
            raise PointerError(f"{path} is no pointer of format {FORMAT}: {_HINT}")
        found = cls(tuple(_move(one, path) for one in _listed(told["moves"], path)))
        depth = 0
        for move in found.moves:
            depth += 1 if move.what == "promote" else -1
            if depth < 1:
                raise PointerError(f"{path} rolls back to before its first version: {_HINT}")
        if told["current"] != found.current:
            raise PointerError(f"{path} says {told['current']!r} is used, its moves say {found.current!r}: {_HINT}")
        return found


_HINT = "put a copy back, or begin a new history with `cryptoenv models promote FOLDER VERSION --anew`"


def _listed(moves: Any, path: Path) -> list[Any]:
    if not isinstance(moves, list):
        raise PointerError(f"{path}: moves must be a list: {_HINT}")
    return moves


def _move(told: Any, path: Path) -> Move:
    words = isinstance(told, dict) and set(told) == {"at", "what", "version", "before", "reason"}
    if not words or not all(isinstance(value, str) for value in told.values()):
        raise PointerError(f"{path}: a move must have exactly the texts at, what, version, before and reason: {_HINT}")
    if told["what"] not in ("promote", "rollback") or not NAME.fullmatch(told["version"]):
        raise PointerError(f"{path}: {told['what']!r:.40} of {told['version']!r:.40} is no move: {_HINT}")
    return Move(**told)
