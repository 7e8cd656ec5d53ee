"""From a clone to a better agent: runs any algorithm with evaluation, selection, early stopping and checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger, configure

from agents.algorithms.sb3_vec_env import Sb3VecEnv
from agents.markets.embedded import EmbeddedMarkets
from agents.policies.agent import Agent
from agents.training.checkpoint import Checkpoints
from agents.training.selection import Improved, Schedule, Selection, require_finite
from cryptoenv.progress import tqdm
from cryptoenv.trading.config import Costs


def improve(
    algorithm: BaseAlgorithm,
    clone: Agent,
    kind: tuple[str, str],
    validation: EmbeddedMarkets,
    schedule: Schedule,
    *,
    checkpoints: Checkpoints | None = None,
    log_folder: Path | None = None,
    writer: KVWriter | None = None,
    progress: bool = True,
) -> Improved:
    """Have `algorithm` learn, and keep the policy that does best on validation markets.

    Args:
        algorithm: Stable-Baselines3's or one of ours, ready to learn. `policy_to_judge`, where it has one, is what is
            evaluated in place of `policy` (averaged weights).
        clone: what the result is compared with, and takes extractor and settings from.
        kind: the result's `algorithm` and `head`.
        validation: markets to select on.
        schedule: how long, and when to look.
        checkpoints: where to resume from and to save to, or None.
        log_folder: TensorBoard log, or None.
        writer: gets what is logged, too (MLflow), or None.
        progress: show a progress bar.

    Raises:
        NotFinite: the weights are no longer finite.
    """
    # without a log no `configure`: it would leave an empty folder behind, in the place for temporary files
    logger = configure(str(log_folder), ["tensorboard"]) if log_folder else Logger(None, [])
    if writer is not None:
        logger.output_formats.append(writer)
    algorithm.set_logger(logger)
    selection = Selection(clone, kind, validation, schedule)
    callbacks: list[BaseCallback] = [selection]
    if schedule.curriculum > 0.0:
        callbacks.append(CostCurriculum(clone.settings.costs, schedule))
    bar = Progress(schedule.steps, selection, show=progress)
    callbacks.append(bar)
    done = 0
    selection.init_callback(algorithm)  # also where there is nothing left to learn
    if checkpoints is not None:
        done = checkpoints.restore(algorithm, selection)
        callbacks.append(SaveCheckpoints(checkpoints, selection, schedule.checkpoint_every))
    try:
        if done < schedule.steps:
            algorithm.learn(schedule.steps - done, callback=callbacks, reset_num_timesteps=done == 0)
    finally:
        bar.close()
        if algorithm.env is not None:
            algorithm.env.close()
    return selection.result()


class CostCurriculum(BaseCallback):
    """Costs rise linearly from nothing to the full ones over the first part of training.

    From scratch, random switching costs swamp any edge, and a policy learns to stay flat before it has seen one.
    """

    def __init__(self, costs: Costs, schedule: Schedule) -> None:
        super().__init__()
        self._costs = costs
        self._rising = schedule.curriculum * schedule.steps

    def _on_rollout_start(self) -> None:
        share = min(1.0, self.num_timesteps / self._rising)
        full = self._costs
        now = replace(full, fee=share * full.fee, half_spread=share * full.half_spread, impact=share * full.impact)
        cast(Sb3VecEnv, self.training_env).set_costs(now)

    def _on_step(self) -> bool:
        return True


class SaveCheckpoints(BaseCallback):
    """Saves every so many env steps; weights that are not finite never."""

    def __init__(self, checkpoints: Checkpoints, selection: Selection, every: int) -> None:
        super().__init__()
        self._checkpoints = checkpoints
        self._selection = selection
        self._every = every

    def _on_rollout_start(self) -> None:
        if self._every and self.num_timesteps >= self._checkpoints.saved_step + self._every:
            require_finite(self.model)
            self._checkpoints.save(self.model, self._selection)

    def _on_step(self) -> bool:
        return True


class Progress(BaseCallback):
    """A progress bar in env steps with the latest validation result."""

    def __init__(self, total: int, selection: Selection, *, show: bool) -> None:
        super().__init__()
        self._selection = selection
        self._bar = tqdm(total=total, unit="step", unit_scale=True, disable=not show)

    def _on_training_start(self) -> None:
        self._bar.set_description(type(self.model).__name__)
        self._bar.update(self.num_timesteps)

    def _on_step(self) -> bool:
        self._bar.update(self.num_timesteps - self._bar.n)
        return True

    def _on_rollout_start(self) -> None:
        if self._selection.scores:
            last, best = self._selection.scores[-1][1], self._selection.best_score
            self._bar.set_postfix(validation=f"{last:+.4f}", best=f"{best:+.4f}")

    def close(self) -> None:
        """Leave the line to what is printed next."""
        self._bar.close()
