"""States of environments: taken at any moment, kept as bytes, put back into any env of the same markets."""

from __future__ import annotations

import copy
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryptoenv.env.episode import CLOCK_WIDTH, MARKET
from cryptoenv.env.lanes import RowStates
from cryptoenv.env.row_checks import check_rows
from cryptoenv.env.spec import EnvironmentSpec
from cryptoenv.files.package_version import PACKAGE_VERSION
from cryptoenv.files.typed_values import whole
from cryptoenv.market.market import Market
from cryptoenv.trading.account import ACCOUNT_WIDTH

SAID = "said"  #: beside the arrays: names of markets and version, as the bytes of a JSON


class StateError(ValueError):
    """A state that does not belong here: of other markets, another version, or none at all; it says which."""


@dataclass(frozen=True, eq=False)
class EnvState:
    """Where N environments stand: accounts, clocks, seeds and episode numbers; no market and no argument of the env.

    It pickles, and `to_bytes` is the same without pickle. Rows can be taken from it: `state[[3, 3, 3]]` is row 3 three
    times, for a vector env of three rows that try three actions from one moment.

    Attributes:
        accounts: (N, ACCOUNT_WIDTH) float64. clocks: (N, CLOCK_WIDTH) int64, in which markets go by the numbers that
            infos call them. targets: (N,) float64, what was last asked of a vector env's rows.
        markets: N names of the rows' markets, 16 hex digits: of what a synthetic one is drawn from, of the content of
            one's own.
        version: of the package that took it.
    """

    FORMS: ClassVar[dict[str, tuple[type, tuple[int | None, ...]]]] = {
        "accounts": (np.float64, (ACCOUNT_WIDTH,)),
        "clocks": (np.int64, (CLOCK_WIDTH,)),
        "targets": (np.float64, ()),
    }  #: dtypes and shapes after the rows; None: any number

    accounts: NDArray[np.float64]
    clocks: NDArray[np.int64]
    targets: NDArray[np.float64]
    markets: tuple[str, ...]
    version: str

    def __post_init__(self) -> None:
        rows = len(self.markets)
        for name, (dtype, shape) in self.FORMS.items():
            array, wanted = getattr(self, name), (rows, *shape)
            fits = isinstance(array, np.ndarray) and array.dtype == dtype and array.ndim == len(wanted)
            if not fits or any(size not in (own, None) for own, size in zip(array.shape, wanted, strict=True)):
                found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
                told = f"{np.dtype(dtype)} {wanted}".replace("None", "A")
                raise StateError(f"{name} of the state must be {told} for its {rows} markets, got {found}")

    def __len__(self) -> int:
        return len(self.markets)

    def __getitem__(self, rows: int | slice | ArrayLike) -> Self:
        """The state of some rows, in the order asked for: a number, a slice, (R,) numbers or an (N,) bool mask."""
        chosen = np.atleast_1d(np.arange(len(self))[rows])  # type: ignore[index]
        arrays = {name: getattr(self, name)[chosen] for name in self.FORMS}
        return type(self)(**arrays, markets=tuple(self.markets[i] for i in chosen.tolist()), version=self.version)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All of it as arrays by name, for who keeps arrays: (N, ...) each, and what is text as uint8."""
        said = {"kind": type(self).__name__, "markets": self.markets, "version": self.version}
        text = np.frombuffer(json.dumps(said).encode(), dtype=np.uint8)
        return {SAID: text, **{name: getattr(self, name) for name in self.FORMS}}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The inverse of `to_arrays`, of arrays (N, ...); nothing of them is run.

        Raises:
            StateError: one is missing, or has another shape or dtype, or they are of another kind of env.
        """
        try:
            said = json.loads(arrays[SAID].tobytes())
            kind, version = str(said["kind"]), str(said["version"])
            markets = tuple(str(name) for name in said["markets"])
            own = {name: arrays[name] for name in cls.FORMS if kind == cls.__name__}
        except Exception as error:  # json has errors of its own for damaged bytes, and what is read may be anything
            raise StateError(f"these arrays are no state of an env, or damaged: {error!r}") from error
        if kind != cls.__name__:
            raise StateError(f"the state is a {kind}, and what is asked for is a {cls.__name__}")
        return cls(**own, markets=markets, version=version)

    def to_bytes(self) -> bytes:
        """All of it, in NumPy's file format; the same state gives the same bytes."""
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **self.to_arrays())
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The inverse of `to_bytes`; nothing of `content` is run.

        Raises:
            StateError: no state, a damaged one, or one of another kind of env.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                arrays = dict(file)
        except Exception as error:  # zipfile and numpy each have errors of their own for damaged bytes
            raise StateError(f"these {len(content):,} bytes are no state of an env, or damaged: {error}") from error
        return cls.from_arrays(arrays)


def market_names(setup: EnvironmentSpec, numbers: Iterable[int]) -> tuple[str, ...]:
    """What tells the markets of these numbers from all others, 16 hex digits each."""
    names: dict[int, str] = {}
    for number in numbers:
        if number not in names:
            source = setup.visits.source(number)
            names[number] = (
                source.hash if isinstance(source, Market) else hashlib.sha256(repr(source).encode()).hexdigest()
            )[:16]
    return tuple(names[number] for number in numbers)


def taken_state(setup: EnvironmentSpec, rows: RowStates) -> EnvState:
    """The state of N environments, copied."""
    clocks = rows.clocks.copy()
    clocks[:, MARKET] = setup.visits.numbers(rows.clocks[:, MARKET])
    names = market_names(setup, clocks[:, MARKET].tolist())
    return EnvState(rows.accounts.copy(), clocks, rows.targets.copy(), names, PACKAGE_VERSION)


def checked_state(state: Any, setup: EnvironmentSpec, count: int) -> tuple[RowStates, list[Market]]:
    """The rows of a state for an env of `count` rows, and their markets; nothing is changed.

    Raises:
        StateError: no state, another number of rows, another version's, of other markets, or of what no episode on them
            can have. TypeError: not an `EnvState`.
    """
    if type(state) is not EnvState:
        raise TypeError(f"a state is what get_state() gives or EnvState.from_bytes(...), got {type(state).__name__}")
    check_belongs(state, count, setup.visits.count, lambda numbers: market_names(setup, numbers))
    numbers, clocks = state.clocks[:, MARKET], state.clocks.copy()
    if setup.stream is not None:
        clocks[:, MARKET] = np.arange(count)  # each row has a place of its own
    rows = RowStates(state.accounts.copy(), clocks, state.targets.copy())
    try:
        return rows, check_rows(rows, numbers, setup)
    except ValueError as error:
        raise StateError(str(error)) from error


def check_belongs(
    state: EnvState, count: int, markets: int, names_of: Callable[[Iterable[int]], tuple[str, ...]]
) -> None:
    """Check that a state is of `count` rows, this version, and the markets of an env that has so many `markets`.

    `names_of` gives what tells the env's markets from all others, by their numbers.

    Raises:
        StateError: it is not; what differs is named.
    """
    if len(state) != count:
        raise StateError(f"the state has {len(state)} rows and the env {count}: take rows of it, state[[0] * {count}]")
    if state.version != PACKAGE_VERSION:
        raise StateError(
            f"the state was taken by version {state.version} and this is {PACKAGE_VERSION}: versions may trade "
            "differently, so that it would not go on as it would have"
        )
    numbers = state.clocks[:, MARKET]
    outside = (numbers < 0) | (numbers >= markets)
    if outside.any():
        row = int(np.argmax(outside))
        raise StateError(
            f"row {row} of the state: the market is {numbers[row]}, which must be from 0 to {markets - 1}, the markets "
            "of this env"
        )
    for row, (own, its) in enumerate(zip(names_of(numbers.tolist()), state.markets, strict=True)):
        if own != its:
            raise StateError(
                f"row {row} of the state is on market {numbers[row]}, {its}, and market {numbers[row]} of this env is "
                f"{own}: make the env with the markets that the state was taken on"
            )


def copies(env: Any, count: int) -> tuple[Any, ...]:
    """`count` envs that stand where `env` stands and share its markets; what one does changes no other.

    Raises:
        ValueError: fewer than one.
    """
    return tuple(copy.deepcopy(env) for _ in range(whole("n", count)))
