"""The native vector env as a Stable-Baselines3 `VecEnv`."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from cryptoenv.vector_env import CryptoTradeVectorEnv


class Sb3VecEnv(VecEnv):
    """Wraps a `CryptoTradeVectorEnv` in SAME_STEP mode.

    Stable-Baselines3 expects the first observation of the next episode when one ends, the last one of the old episode
    in `info["terminal_observation"]`, and `info["TimeLimit.truncated"]` where the episode was cut and not ended, so
    that the value of the last state is bootstrapped. `info["episode"]` has the return (`r`) and length (`l`).

    Args:
        envs: the vector env.
        reward_scale: factor on rewards (100: log-return in percent).

    Raises:
        ValueError: another autoreset mode.
    """

    def __init__(self, envs: CryptoTradeVectorEnv, reward_scale: float = 1.0) -> None:
        mode = envs.metadata.get("autoreset_mode")
        if mode != AutoresetMode.SAME_STEP:
            raise ValueError(f"Stable-Baselines3 needs a vector env with AutoresetMode.SAME_STEP, this one has {mode}")
        self._envs = envs
        self._scale = reward_scale
        self._actions: NDArray[np.int64] | None = None
        self._returns = np.zeros(envs.num_envs)
        self._lengths = np.zeros(envs.num_envs, dtype=np.int64)
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> VecEnvObs:
        """Reset all rows, seeded with what `seed` was called with."""
        seed = self._seeds[0]
        observation, info = self._envs.reset(seed=seed)
        self.reset_infos = [{"bar": int(bar)} for bar in info["bar"]]
        self._returns[:] = 0.0
        self._lengths[:] = 0
        self._reset_seeds()
        self._reset_options()
        return observation

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions (N,) for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Step all rows: observations, rewards (N,) float32, dones (N,) bool, infos."""
        assert self._actions is not None, "step_wait follows step_async"
        observation, rewards, terminated, truncated, info = self._envs.step(self._actions)
        dones = terminated | truncated
        self._returns += rewards
        self._lengths += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(dones):
            infos[i]["terminal_observation"] = info["final_obs"][i]
            infos[i]["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
            infos[i]["episode"] = {"r": self._scale * float(self._returns[i]), "l": int(self._lengths[i])}
        self._returns[dones] = 0.0
        self._lengths[dones] = 0
        return observation, (self._scale * rewards).astype(np.float32), dones, infos

    def close(self) -> None:
        """Close the vector env."""
        self._envs.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The vector env's attribute, once per row asked for."""
        return [getattr(self._envs, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Not supported: rows share everything.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(f"the rows of a native vector env share {attr_name!r}; make a new vector env instead")

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Not supported: rows are not objects.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(f"the rows of a native vector env are not objects with a method {method_name!r}")

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        """False for every row asked for: rows are not wrapped one by one."""
        return [False for _ in self._get_indices(indices)]
