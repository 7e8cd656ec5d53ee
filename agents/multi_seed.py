"""The same training with several seeds, in processes of one thread each, or over Ray."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from agents.agent_recipe import AgentRecipe
from agents.run_folder import Run
from cryptoenv.progress import tqdm


def train_one(
    recipe: AgentRecipe, out: Path, resume: bool, force: bool, mlflow: str | None = None, progress: bool = False
) -> Path:
    """Train what a recipe says; returns the run folder."""
    from agents.training import train

    return train(
        recipe.algorithm, market=recipe.market, extractor=recipe.extractor, out=out, seed=recipe.seed,
        config=recipe.training, mlflow=mlflow, resume=resume, force=force, progress=progress,
    ).folder  # fmt: skip


def train_seeds(
    recipe: AgentRecipe,
    seeds: Sequence[int],
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    mlflow: str | None = None,
    ray: bool = False,
) -> list[Run]:
    """One run per seed, in `out/seed-<n>`; a seed that is done already (with `resume`) is not trained again.

    Args:
        recipe: of all of them.
        seeds: whose number decides the processes, at most as many as there are cores.
        out: folder of the run folders.
        resume: go on with interrupted ones.
        force: resume although something changed.
        mlflow: name of an MLflow experiment, or None.
        ray: over Ray, on the cluster that `RAY_ADDRESS` names or on this machine.

    Raises:
        ImportError: Ray is asked for and not installed. What a training raises.
    """
    folders = {seed: out / f"seed-{seed}" for seed in seeds}
    todo = {s: f for s, f in folders.items() if not (resume and (f / "metrics.json").is_file())}
    jobs = [(recipe.changed(seed=seed), folder, resume, force, mlflow) for seed, folder in todo.items()]
    bar = tqdm(total=len(folders), desc="seeds", unit="run", initial=len(folders) - len(jobs))
    for _ in _over_ray(jobs) if ray else _in_processes(jobs):
        bar.update()
    bar.close()
    return [Run.load(folder) for folder in folders.values()]


def _in_processes(jobs: list[Any]) -> Any:
    if not jobs:
        return
    workers = min(len(jobs), os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        for done in [pool.submit(train_one, *job) for job in jobs]:
            yield done.result()


def _over_ray(jobs: list[Any]) -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ImportError('training over Ray needs ray: pip install "cryptoenv[distributed]"') from error
    own = not ray.is_initialized()
    if own:
        ray.init(log_to_driver=False, include_dashboard=False)
    try:
        remote = ray.remote(num_cpus=1)(train_one)
        waiting = [remote.remote(*job) for job in jobs]
        while waiting:
            (done,), waiting = ray.wait(waiting)
            yield ray.get(done)
    finally:
        if own:
            ray.shutdown()
