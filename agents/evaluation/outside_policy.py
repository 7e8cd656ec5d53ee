"""Policies that were made elsewhere, as what a rollout asks for: observations of many rows in, actions out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from agents.evaluation.rollout import Decide, Seen, Sight
from agents.settings import TradingSettings
from cryptoenv.env.episode import ACCOUNT_OBSERVATION
from cryptoenv.market.market import Market

WINDOW, INDEX, FLAT = OBSERVATIONS = ("window", "index", "flat")
CONTINUOUS = "continuous"
ACCOUNT_SHAPE, INDEX_SHAPE = (ACCOUNT_OBSERVATION,), (2,)
KINDS = "a callable (observation) -> actions, a model of Stable-Baselines3, a torch module, an agents.Agent or a Run"


@dataclass(frozen=True)
class View:
    """What a policy observes and answers.

    Attributes:
        observation: "window", "index" or "flat".
        settings: timeframes, windows and positions.
        continuous: answers are exposures (N, 1) instead of numbers of positions (N,).
    """

    observation: str
    settings: TradingSettings
    continuous: bool

    @classmethod
    def of(cls, policy: Any, observation: str | None, actions: Any, settings: TradingSettings) -> View:
        """What is asked for; where nothing is, what a model's own spaces say."""
        space = getattr(policy, "observation_space", None)
        if observation is None:
            observation = WINDOW
            if isinstance(space, spaces.Dict):
                observation = INDEX if INDEX in space.spaces else WINDOW
            elif isinstance(space, spaces.Space):
                observation = FLAT
        boxed = actions is None and isinstance(getattr(policy, "action_space", None), spaces.Box)
        return cls(observation, settings, boxed or actions == CONTINUOUS)

    @property
    def sight(self) -> Sight:
        """What the env is to show and take."""
        return Sight(INDEX if self.observation == INDEX else WINDOW, self.continuous)

    def shapes(self, market: Market) -> dict[str, tuple[int, ...]]:
        """Shapes of one row's arrays, by name; that of a flat observation has the name "observation"."""
        if self.observation == INDEX:
            return {"account": ACCOUNT_SHAPE, INDEX: INDEX_SHAPE}
        sizes = zip(self.settings.timeframes, self.settings.window, market.features, strict=True)
        found = {name: (window, features.shape[1]) for name, window, features in sizes} | {"account": ACCOUNT_SHAPE}
        if self.observation == FLAT:
            return {"observation": (sum(int(np.prod(shape)) for shape in found.values()),)}
        return dict(sorted(found.items()))

    def check(self, policy: Any, market: Market) -> None:
        """Compare the spaces of a model, where it has some, with what it would see and what its answers would mean.

        Raises:
            TypeError: no policy of a known kind. ValueError: spaces that differ, with both.
        """
        if not callable(policy) and not hasattr(policy, "predict"):
            raise TypeError(f"a policy of type {type(policy).__name__} is of no known kind; allowed: {KINDS}")
        space = getattr(policy, "observation_space", None)
        if isinstance(space, spaces.Space):
            inner = space.spaces if isinstance(space, spaces.Dict) else {"observation": space}
            theirs, ours = {name: box.shape for name, box in sorted(inner.items())}, self.shapes(market)
            if theirs != ours:
                raise ValueError(
                    f"the policy was trained on observations {theirs}, and would see {ours}: pass observation= (one of "
                    f"{OBSERVATIONS}), or settings= with its timeframes and windows"
                )
        answers, count = getattr(policy, "action_space", None), len(self.settings.positions)
        if not isinstance(answers, spaces.Space):
            return
        if self.continuous != isinstance(answers, spaces.Box):
            raise ValueError(f"the policy's actions are {answers}, which is not what actions= says")
        if not self.continuous and not (isinstance(answers, spaces.Discrete) and int(answers.n) == count):
            raise ValueError(
                f"the policy's actions are {answers}, and there are {count} positions {self.settings.positions}: pass "
                "actions= with the target exposures it was trained with"
            )

    def decider(self, policy: Any, batched: bool) -> Decide:
        """The policy's decisions on observations of N rows."""
        if hasattr(policy, "predict") and isinstance(getattr(policy, "observation_space", None), spaces.Space):
            answer: Callable[[Any], Any] = Predicting(policy)
        elif isinstance(policy, torch.nn.Module):
            answer = TorchDecisions(policy, self.continuous)
        else:
            answer = policy if batched else lambda seen: one_by_one(policy, seen)
        shown = _flat if self.observation == FLAT else dict
        return lambda seen: self._checked(answer(shown(seen)), len(seen["account"]))

    def _checked(self, actions: Any, rows: int) -> NDArray[Any]:
        """The actions, (N,) whole numbers or (N, 1) exposures.

        Raises:
            ValueError: another shape, or fractions where positions have numbers.
        """
        found = np.asarray(actions.detach().cpu() if isinstance(actions, torch.Tensor) else actions)
        wanted = f"({rows}, 1) exposures" if self.continuous else f"({rows},) whole numbers"
        if found.shape not in {(rows,), (rows, 1)} or found.dtype.kind not in ("fiu" if self.continuous else "iu"):
            raise ValueError(
                f"the policy answered {found.dtype} {found.shape} for {rows} rows; wanted are {wanted}. A callable "
                "gets all rows at once: pass batched=False for one that takes a single observation"
            )
        return found.reshape(rows, 1) if self.continuous else found.reshape(rows)


class Predicting:
    """Deterministic predictions of a Stable-Baselines3 model; the memory of a recurrent one goes on step by step."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._state: Any = None
        self._start: NDArray[np.bool_] | None = None

    def __call__(self, seen: Any) -> Any:
        """Actions for N rows."""
        rows = len(next(iter(seen.values())) if isinstance(seen, dict) else seen)
        start = np.full(rows, self._start is None)
        self._start = start
        actions, self._state = self._model.predict(seen, state=self._state, episode_start=start, deterministic=True)
        return actions


class TorchDecisions:
    """What a torch module prefers, in evaluation mode and without gradients; its own mode is put back."""

    def __init__(self, module: torch.nn.Module, continuous: bool) -> None:
        self._module, self._continuous = module, continuous
        self._device = next((weight.device for weight in module.parameters()), torch.device("cpu"))

    def __call__(self, seen: Any) -> Any:
        """Actions for N rows."""
        tensors = (
            {name: torch.from_numpy(values).to(self._device) for name, values in seen.items()}
            if isinstance(seen, dict) else torch.from_numpy(seen).to(self._device)
        )  # fmt: skip
        training = self._module.training
        self._module.eval()
        try:
            with torch.no_grad():
                answer = self._module(tensors)
        finally:
            self._module.train(training)
        if self._continuous or answer.ndim == 1:
            return answer
        return answer.argmax(dim=1)


def one_by_one(policy: Callable[[Any], Any], seen: Any) -> NDArray[Any]:
    """Actions, (N,) or (N, 1), of a callable that takes the observation of one row."""
    if not isinstance(seen, dict):
        return np.array([policy(row) for row in seen])
    rows = len(seen["account"])
    return np.array([policy({name: values[n] for name, values in seen.items()}) for n in range(rows)])


def _flat(seen: Seen) -> NDArray[np.float32]:
    """(N, D) float32, each row as `gymnasium.spaces.flatten` has it: names in order."""
    return np.concatenate([seen[name].reshape(len(seen[name]), -1) for name in sorted(seen)], axis=1)
