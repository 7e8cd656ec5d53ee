"""Whether a result's figures are those of its actions, on the protocol's markets, by its rules."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from agents.algorithms.threads import one_thread
from agents.evaluation.protocol.judged import Arena, figures, replay
from agents.evaluation.protocol.result_file import Actions, ResultError
from agents.evaluation.protocol.rules import FAMILY, STANDARD_V1, Budget, Protocol
from agents.policies.agent import finite_or_none
from agents.settings import CONTINUOUS, TradingSettings
from cryptoenv.files.package_version import PACKAGE_VERSION
from synthetic import TASKS

TOLERANCE = 1e-9  #: of a figure, relative: what other processors may differ by


def size_of(values: dict[str, Any]) -> Protocol:
    """The protocol that a result was made by, at its size.

    Raises:
        ResultError: another protocol, version, or seed family.
    """
    if values["protocol"] != STANDARD_V1.name:
        raise ResultError(f"its protocol is {values['protocol']!r}; this version verifies {STANDARD_V1.name!r}")
    if values["version"] != PACKAGE_VERSION:
        raise ResultError(f"version {values['version']} made it, and this is {PACKAGE_VERSION}: verify with that one")
    markets = values["markets"]
    if markets.get("family") != FAMILY:
        raise ResultError(f"its markets are of the family {markets.get('family')!r}: the protocol's are of {FAMILY!r}")
    counts = [markets.get(name) for name in ("count", "days")]
    if not all(isinstance(count, int) and 1 <= count <= 100_000 for count in counts):
        raise ResultError(f"its markets are {counts[0]} of {counts[1]} days, which are no numbers of them")
    return STANDARD_V1.sized(*counts)


def is_official(values: dict[str, Any]) -> bool:
    """Whether a result has the protocol's size and enough seeds to stand on a leaderboard."""
    enough = len(values["runs"]) >= STANDARD_V1.seeds if values["agent"]["trained"] else len(values["runs"]) == 1
    return size_of(values) == STANDARD_V1 and enough


def verify(values: dict[str, Any], *, progress: bool = True) -> list[str]:
    """Replay a result's actions and compare every figure; what could not be compared is said, too.

    Returns:
        Remarks: of a result that is right but stands on no leaderboard, or says what nobody can check.

    Raises:
        ResultError: what is wrong.
    """
    protocol = size_of(values)
    runs = [Actions.from_dict(run) for run in values["runs"]]
    seeds = [run.seed for run in runs]
    if not runs or seeds != list(range(len(runs))):
        raise ResultError(f"its seeds are {seeds}: they must be 0, 1, 2, ..., none left out and none twice")
    _refuse_copies(runs)
    settings, continuous = _trading(values["trading"])
    arena = Arena.of(_task(values), protocol, progress=progress)
    if arena.hash != values["markets"].get("hash"):
        raise ResultError("its markets are not the protocol's: their closes have another hash")
    with one_thread():
        replayed = [replay(run, arena, settings, continuous=continuous) for run in runs]
    found = finite_or_none(figures(replayed, arena, settings))
    for path, told, true in _different(values["figures"], found):
        raise ResultError(f"its {path} is {told}; its actions come to {true}")
    budget = values["budget"]
    if Budget(budget.get("bars"), budget.get("cpu_seconds")).name != budget.get("class"):
        raise ResultError(f"its budget {budget} is not of the class {budget.get('class')!r}")
    remarks = ["the budget and the name are what its makers say"]
    if not is_official(values):
        remarks.append(f"on no leaderboard: {_why_not(values, protocol)}")
    return remarks


def _task(values: dict[str, Any]) -> str:
    if values["task"] not in TASKS:
        raise ResultError(f"its task is {values['task']!r}; the protocol's are {', '.join(TASKS)}")
    return str(values["task"])


def _why_not(values: dict[str, Any], protocol: Protocol) -> str:
    if protocol != STANDARD_V1:
        return f"{protocol.markets} markets of {protocol.days} days, not {STANDARD_V1.markets} of {STANDARD_V1.days}"
    return f"{len(values['runs'])} seeds of what is trained, not {STANDARD_V1.seeds}"


def _refuse_copies(runs: list[Actions]) -> None:
    """Two seeds that did the same at every decision are one."""
    for i, one in enumerate(runs):
        for other in runs[:i]:
            if one.taken.shape == other.taken.shape and np.array_equal(one.taken, other.taken):
                raise ResultError(f"seeds {other.seed} and {one.seed} did the same at every decision: they are one run")


def _trading(trading: dict[str, Any]) -> tuple[TradingSettings, bool]:
    """The settings that actions are replayed with, and whether these are exposures."""
    actions = trading.get("actions")
    if actions == CONTINUOUS:
        return TradingSettings(), True
    try:
        return replace(TradingSettings(), positions=tuple(float(target) for target in actions or ())), False
    except (TypeError, ValueError) as error:
        raise ResultError(f"its actions are {actions!r}: {error}") from error


def _different(told: Any, true: Any, path: str = "figures") -> Iterator[tuple[str, Any, Any]]:
    """Path, what is said and what is true, wherever they differ."""
    if isinstance(true, dict):
        names = true.keys() if isinstance(told, dict) else ()
        if not isinstance(told, dict) or told.keys() != true.keys():
            yield path, sorted(told) if isinstance(told, dict) else told, f"figures named {sorted(true)}"
        for name in names & told.keys() if isinstance(told, dict) else ():
            yield from _different(told[name], true[name], f"{path}.{name}")
    elif isinstance(true, list):
        if not isinstance(told, list) or len(told) != len(true):
            yield path, f"{len(told)} values" if isinstance(told, list) else told, f"{len(true)} values"
            return
        for place, (one, other) in enumerate(zip(told, true, strict=True)):
            yield from _different(one, other, f"{path}.{place}")
    elif isinstance(true, float):
        number = isinstance(told, int | float) and not isinstance(told, bool)
        if not number or not math.isclose(told, true, rel_tol=TOLERANCE, abs_tol=1e-12):
            yield path, told, true
    elif told != true:
        yield path, told, true
