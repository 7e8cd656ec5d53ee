"""The native vector env as a Stable-Baselines3 `VecEnv`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from agents.markets.embedded import EmbeddedMarkets
from agents.markets.expert_market import markets_of
from agents.seeds import spread_seed
from agents.settings import TradingSettings, vector_env
from cryptoenv.env.saved_state import EnvState
from cryptoenv.env.vector import CryptoTradeVectorEnv
from cryptoenv.trading.config import Costs

REWARD_IN_PERCENT = 100.0  #: log-returns of a bar are of order 0.001; values and losses want order 1


class Sb3VecEnv(VecEnv):
    """Wraps a `CryptoTradeVectorEnv` in SAME_STEP mode.

    Stable-Baselines3 expects the first observation of the next episode when one ends, the last one of the old episode
    in `info["terminal_observation"]`, and `info["TimeLimit.truncated"]` where the episode was cut and not ended, so
    that the value of the last state is bootstrapped. `info["episode"]` has the return (`r`) and length (`l`).

    Args:
        envs: the vector env.
        reward_scale: factor on rewards (100: log-return in percent).
        purpose: with one, row `i` does not draw as a single env reset with `seed + i`, but from a seed that is far from
            those of other seeds and purposes (`agents.seeds`).

    Raises:
        ValueError: another autoreset mode, or `copy=False`: Stable-Baselines3 keeps the last observation across a step.
    """

    def __init__(self, envs: CryptoTradeVectorEnv, reward_scale: float = 1.0, purpose: str = "") -> None:
        mode = envs.metadata.get("autoreset_mode")
        if mode != AutoresetMode.SAME_STEP:
            raise ValueError(f"Stable-Baselines3 needs a vector env with AutoresetMode.SAME_STEP, this one has {mode}")
        if not envs.copies:
            raise ValueError(
                "Stable-Baselines3 keeps the last observation across a step, and a vector env made with copy=False "
                "overwrites it: make it with copy=True"
            )
        self._envs = envs
        self._scale, self._purpose = reward_scale, purpose
        self._actions: NDArray[Any] | None = None
        self._returns = np.zeros(envs.num_envs)
        self._lengths = np.zeros(envs.num_envs, dtype=np.int64)
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Have the next reset seed the rows; returns their seeds."""
        return super().seed(spread_seed(seed, self._purpose) if self._purpose and seed is not None else seed)

    def reset(self) -> VecEnvObs:
        """Reset all rows, with what `seed` and `set_options` were called with.

        Raises:
            ValueError: rows that were given different option keys.
        """
        observation, info = self._envs.reset(seed=self._seeds[0], options=self._reset_columns())
        self.reset_infos = [{"bar": int(bar)} for bar in info["bar"]]
        self._returns[:] = 0.0
        self._lengths[:] = 0
        self._reset_seeds()
        self._reset_options()
        return observation

    def _reset_columns(self) -> dict[str, Any]:
        """The rows' options as one dict of (N,) arrays."""
        first = self._options[0]
        for i, options in enumerate(self._options):
            if options.keys() != first.keys():
                raise ValueError(
                    f"row {i} has the options {list(options)}, row 0 has {list(first)}: give all rows the same keys"
                )
        return {key: np.array([options[key] for options in self._options]) for key in first}

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

    def set_costs(self, costs: Costs) -> None:
        """Charge other costs from the next step on."""
        self._envs.set_costs(costs)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """The state of all rows, as arrays (N, ...)."""
        return self._envs.get_state().to_arrays() | {"returns": self._returns.copy(), "lengths": self._lengths.copy()}

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        """Go on from where `state_dict` found the rows: arrays (N, ...).

        Raises:
            StateError: of other markets, another version or number of rows, or damaged.
        """
        self._envs.set_state(EnvState.from_arrays(state))
        self._returns[:], self._lengths[:] = state["returns"], state["lengths"]

    def close(self) -> None:
        """Close the vector env."""
        self._envs.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The vector env's attribute, once per row asked for; `action_masks` needs discrete actions.

        Raises:
            AttributeError: there is none (`has_attr` is False).
        """
        if attr_name == "action_masks":
            self._envs.action_masks()
        return [getattr(self._envs, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Refused, as no row of a native vector env has attributes of its own; `set_costs` changes the costs of all.

        Raises:
            AttributeError: always.
        """
        raise AttributeError(
            f"{attr_name!r} cannot be set: the rows of a native vector env share everything. Change costs with "
            "set_costs(), anything else by making a new vector env"
        )

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """`action_masks`, which sb3-contrib's MaskablePPO asks for: an (A,) bool mask per row asked for.

        Raises:
            AttributeError: another method, as rows are not objects; continuous actions have no mask.
        """
        if method_name != "action_masks":
            raise AttributeError(f"the rows of a native vector env are not objects with a method {method_name!r}")
        masks = self._envs.action_masks()
        return [masks[i] for i in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        """False for every row asked for: rows are not wrapped one by one."""
        return [False for _ in self._get_indices(indices)]


def training_env(
    train: EmbeddedMarkets, settings: TradingSettings, *, num_envs: int, episode_bars: int, continuous: bool = False
) -> Sb3VecEnv:
    """What agents learn in: "index" observations of the training markets, rewards in percent.

    Args:
        train: the markets, in the order of their embeddings.
        settings: what is traded, and at which cost.
        num_envs: rows stepped at once.
        episode_bars: steps of an episode; at most what the shortest market has.
        continuous: exposures instead of the settings' positions.
    """
    envs = vector_env(
        markets_of(train.labelled), settings, num_envs=num_envs,
        episode_bars=min(episode_bars, *(t.steps for t in train.labelled)), autoreset_mode=AutoresetMode.SAME_STEP,
        continuous=continuous,
    )  # fmt: skip
    return Sb3VecEnv(envs, reward_scale=REWARD_IN_PERCENT, purpose="episodes")
