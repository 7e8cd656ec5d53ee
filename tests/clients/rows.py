"""Plain single environments as the reference for what a vectorised client was shown."""

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray


class Rows:
    """Single environments, row `i` reset with `seed + i`, begun anew at once when an episode ends (SAME_STEP)."""

    def __init__(self, num_envs: int, seed: int, **arguments: Any) -> None:
        self.envs = [gym.make("CryptoTrade-v0", **arguments) for _ in range(num_envs)]
        self.observations = [env.reset(seed=seed + i)[0] for i, env in enumerate(self.envs)]

    def masks(self) -> NDArray[np.bool_]:
        """(N, A) bool: actions allowed now."""
        return np.stack([env.get_wrapper_attr("action_masks")() for env in self.envs])

    def step(self, actions: NDArray[Any]) -> list[tuple[dict[str, Any], float, bool, bool, dict[str, Any]]]:
        """What each environment's `step` returned; `observations` then shows the next episode where one ended."""
        results = [env.step(action) for env, action in zip(self.envs, actions, strict=True)]
        for i, (observation, _, terminated, truncated, _) in enumerate(results):
            self.observations[i] = self.envs[i].reset()[0] if terminated or truncated else observation
        return results


def same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    """Whether two observations are equal, bit for bit once cast to the dtype of `right`."""
    return left.keys() == right.keys() and all(
        np.array_equal(np.asarray(left[name]).astype(np.asarray(right[name]).dtype), right[name]) for name in right
    )


def row(observation: dict[str, NDArray[Any]], i: int) -> dict[str, NDArray[Any]]:
    """Row `i` of a batched observation."""
    return {name: values[i] for name, values in observation.items()}
