"""Figures of actions on the protocol's markets: the same function when they are taken and when they are replayed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.algorithms.threads import one_thread
from agents.evaluation import baselines
from agents.evaluation.protocol.contenders import Contender, Entry
from agents.evaluation.protocol.result_file import Actions, ResultError, digest
from agents.evaluation.protocol.rules import FAMILY, Budget, Protocol
from agents.evaluation.rollout import Decide, Rollout, Seen, Sight, decided_by, roll_seen, whole_markets
from agents.evaluation.scoring import score
from agents.evaluation.tables import net_figures
from agents.markets.expert_market import ExpertMarket, synthetic_markets
from agents.policies.agent import finite_or_none
from agents.settings import CONTINUOUS, TradingSettings
from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.files.package_version import PACKAGE_VERSION
from pretrain import MarketLayout

DIGITS = 6  #: of prices in the markets' hash: other processors may differ in the last bits of a logarithm


@dataclass(frozen=True)
class Arena:
    """The markets that all are judged on, and what the causal optimum earns there.

    Attributes:
        labelled: N markets. optimum: (N,) expected and realised net log-returns of the filter oracle, by name.
    """

    labelled: tuple[ExpertMarket, ...]
    optimum: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, task: str, protocol: Protocol, *, layout: MarketLayout | None = None, progress: bool = True) -> Arena:
        """The protocol's markets of a task, with the features of `layout`.

        Raises:
            ValueError: an unknown task.
        """
        settings = TradingSettings()
        labelled = synthetic_markets(
            task, FAMILY, protocol.markets, protocol.days, settings, layout=layout, progress=progress
        )
        with one_thread():
            oracle = decided_by(baselines.oracle(labelled, settings))
            best = roll_seen(oracle, labelled, whole_markets(labelled), settings)
        return cls(labelled, _earned(best, labelled))

    @property
    def hash(self) -> str:
        """sha256 (hex) of all closes, to six digits, and of where trading begins."""
        found = hashlib.sha256()
        for one in self.labelled:
            closes = one.market.prices[one.first :, CLOSE]
            found.update(" ".join(f"{close:.{DIGITS - 1}e}" for close in closes.tolist()).encode())
        return found.hexdigest()


def _earned(rollout: Rollout, labelled: Sequence[ExpertMarket]) -> dict[str, NDArray[np.float64]]:
    return {"score": rollout.expected(labelled), "realised_score": rollout.realised}


def take(contender: Contender, arena: Arena) -> tuple[Actions, Rollout]:
    """Let a contender trade, and keep what it did."""
    decide, kept = contender.decide(arena.labelled), []

    def keeping(seen: Seen) -> NDArray[Any]:
        chosen = decide(seen)
        kept.append(np.array(chosen, dtype=np.float32 if contender.sight.continuous else np.int8).reshape(len(chosen)))
        return kept[-1][:, None] if contender.sight.continuous else chosen

    rows = whole_markets(arena.labelled)
    with one_thread():
        rollout = roll_seen(keeping, arena.labelled, rows, contender.settings, contender.sight)
    return Actions(contender.seed, np.array(kept)), rollout


def replay(actions: Actions, arena: Arena, settings: TradingSettings, *, continuous: bool) -> Rollout:
    """What the same actions come to.

    Raises:
        ResultError: not one for every decision on every market, or one that the env refuses.
    """
    rows = whole_markets(arena.labelled)
    if actions.taken.shape != (rows.steps, len(rows.market)) or (actions.taken.dtype == np.float32) != continuous:
        raise ResultError(
            f"seed {actions.seed} has {actions.taken.dtype.name} actions {actions.taken.shape}; these markets have "
            f"{rows.steps} decisions each on {len(rows.market)} of them"
        )
    steps = iter(actions.taken[:, :, None] if continuous else actions.taken.astype(np.int64))
    again: Decide = lambda seen: next(steps)  # noqa: E731
    try:
        return roll_seen(again, arena.labelled, rows, settings, Sight(continuous=continuous))
    except ValueError as error:
        raise ResultError(f"an action of seed {actions.seed} is refused: {error}") from error


def figures(rollouts: Sequence[Rollout], arena: Arena, settings: TradingSettings) -> dict[str, Any]:
    """All that a result says, from what each seed's agent did; intervals are over seeds and markets."""
    earned = [_earned(rollout, arena.labelled) for rollout in rollouts]
    found: dict[str, Any] = {}
    for name, best in arena.optimum.items():
        runs = np.array([one[name] for one in earned])
        found[name] = asdict(score(runs, best)) if best.sum() > 0.0 else None
        found[f"{name}_by_market"] = runs.tolist()
        found[f"optimum_{name}_by_market"] = best.tolist()
    plain = [net_figures(rollout, settings) for rollout in rollouts]
    found["net"] = {name: float(np.mean([one[name] for one in plain])) for name in plain[0]}
    found["seeds"] = [
        {"score": float(one["score"].sum() / arena.optimum["score"].sum()), **own}
        for one, own in zip(earned, plain, strict=True)
    ]
    return found


def run_bench(
    entry: Entry,
    task: str,
    protocol: Protocol,
    budget: Budget,
    *,
    notes: str = "",
    told: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Judge an entry, and make the values of its file.

    Args:
        entry: who trades.
        task: of the protocol's markets.
        protocol: how many, and how long.
        budget: what training took, as its makers say.
        notes: theirs.
        told: gets a line per seed.

    Raises:
        ValueError: it trades otherwise than the protocol says.
    """
    first = entry.contenders[0]
    for one in entry.contenders:
        protocol.require_trading(one.settings)
    arena = Arena.of(task, protocol, layout=first.layout)
    taken, rollouts = [], []
    for one in entry.contenders:
        actions, rollout = take(one, arena)
        taken.append(actions)
        rollouts.append(rollout)
        share = rollout.expected(arena.labelled).sum() / arena.optimum["score"].sum()
        told(f"seed {one.seed}: {share:.3f} of the optimum")
    trading = CONTINUOUS if first.sight.continuous else list(first.settings.positions)
    values: dict[str, Any] = {
        "protocol": protocol.name,
        "task": task,
        "agent": {"name": entry.name, "kind": entry.kind, "trained": entry.trained, "notes": notes},
        "version": PACKAGE_VERSION,
        "markets": {"family": FAMILY, "count": protocol.markets, "days": protocol.days, "hash": arena.hash},
        "trading": {"actions": trading},
        "budget": {**asdict(budget), "class": budget.name},
        "runs": [actions.as_dict() for actions in taken],
        "figures": figures(rollouts, arena, first.settings),
    }
    values = finite_or_none(values)
    return values | {"digest": digest(values)}
