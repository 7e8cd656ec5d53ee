"""The same training with several seeds, in processes of one thread each, or over Ray."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from agents.run_folders.run_folder import METRICS, RECIPE, Run, writing_run
from agents.training.recipe import AgentRecipe, write_recipe
from cryptoenv.progress import tqdm, write_line
from pretrain.fitting.side_by_side import side_by_side
from synthetic.installation import install_hint


def train_one(
    recipe: AgentRecipe, out: Path, resume: bool, force: bool, mlflow: str | None = None, progress: bool = False
) -> Path:
    """Train what a recipe says; returns the run folder."""
    from agents.training.pipeline import train

    return train(
        recipe.algorithm, market=recipe.market, extractor=recipe.extractor, out=out, seed=recipe.seed,
        config=recipe.training, inputs=recipe.inputs, segments=recipe.segments, mlflow=mlflow, resume=resume,
        force=force, progress=progress,
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

    A run that fails is told at once, on stderr; the others go on, and the first failure is raised when they are done.

    Args:
        recipe: of all of them; it is written into `out` once it is known to name markets and an extractor.
        seeds: whose number decides the processes, at most as many as there are cores.
        out: folder of the run folders.
        resume: go on with interrupted ones.
        force: resume although something changed.
        mlflow: name of an MLflow experiment, or None.
        ray: over Ray, on the cluster that `RAY_ADDRESS` names or on this machine.

    Raises:
        ImportError: Ray is asked for and not installed. FileExistsError: `out` holds a run, and `resume` is False.
        FolderLockedError: another process writes there. What a training raises.
    """
    folders = {seed: out / f"seed-{seed}" for seed in seeds}
    with writing_run(out, resume=resume):
        recipe.require_inputs()
        in_a_row = list(seeds) == list(range(min(seeds), min(seeds) + len(seeds)))  # what a recipe can say
        if in_a_row and not (out / RECIPE).exists():
            write_recipe(recipe.changed(seed=min(seeds)), len(seeds), out)
        todo = {s: f for s, f in folders.items() if not (resume and (f / METRICS).is_file())}
        jobs = [(recipe.changed(seed=seed), folder, resume, force, mlflow) for seed, folder in todo.items()]
        failures = []
        with tqdm(total=len(folders), desc="seeds", unit="run", initial=len(folders) - len(jobs)) as bar:
            for number, ended in _over_ray(jobs) if ray else _in_processes(jobs):
                bar.update()
                if isinstance(ended, BaseException):
                    failures.append(ended)
                    write_line(f"{jobs[number][1].name} failed: {ended}")
        if failures:
            go_on = f"go on with: cryptoenv train --resume {shlex.quote(str(out))}"
            kept = f"; what the others learned is kept, {go_on}" if len(failures) < len(folders) else ""
            write_line(f"{len(failures)} of {len(folders)} runs failed{kept}")
            raise failures[0]
    return [Run.load(folder) for folder in folders.values()]


def _in_processes(jobs: list[Any]) -> Iterator[tuple[int, Any]]:
    for ended in side_by_side(train_one, jobs, min(len(jobs), os.cpu_count() or 1)):
        if ended is not None:
            yield ended


def _over_ray(jobs: list[Any]) -> Iterator[tuple[int, Any]]:
    return over_ray(train_one, jobs)


def over_ray(job: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
    """Call `job` once per tuple of arguments over Ray, each on one core.

    Yields:
        The number of a call and what it returned, or the exception that it raised, as soon as it has ended.

    Raises:
        ImportError: Ray is not installed.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ImportError(f"training over Ray needs ray: {install_hint('distributed')}") from error
    own = not ray.is_initialized()
    if own:
        ray.init(log_to_driver=False, include_dashboard=False)
    waiting: dict[Any, int] = {}
    try:
        remote = ray.remote(num_cpus=1, max_retries=0)(job)
        waiting = {remote.remote(*given): number for number, given in enumerate(jobs)}
        while waiting:
            (done,), _ = ray.wait(list(waiting))  # sleeps until one has ended
            yield waiting.pop(done), _of_ray(ray, done)
    finally:
        for unfinished in waiting:
            ray.cancel(unfinished, force=True)
        if own:
            ray.shutdown()


def _of_ray(ray: Any, done: Any) -> Any:
    """What a call over Ray returned or raised."""
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        return error.cause if isinstance(error.cause, Exception) else error
    except ray.exceptions.RayError as error:
        return RuntimeError(f"its process ended without a word ({type(error).__name__}): killed, or out of memory")
