"""Tuning with Optuna: a study in a journal file that several processes share, that resumes, and that prunes.

`optimise` runs any objective; `tune_extractor` is the one of pretraining. A study goes on until it has as many finished
trials as asked for, whoever ran them and whenever. A trial whose process was killed is told failed, and run again in
number.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cryptoenv.analysis.trial_ledger import Trial, ledger_beside, record_trials
from cryptoenv.files.durable_files import make_folder, write_file
from cryptoenv.files.typed_values import ConfigError
from pretrain.fitting.drawing import new_pyplot, save_figure
from pretrain.fitting.side_by_side import side_by_side
from synthetic.installation import install_hint

if TYPE_CHECKING:
    import optuna
    import pandas as pd

JOURNAL, BEST_RECIPE, HISTORY, IMPORTANCE, TABLE = (
    "study.journal", "best_recipe.yaml", "history.png", "importance.png", "trials.csv"
)  # fmt: skip
STUDY = "tuning"
OWNER = "owner"  #: attribute of a trial: the host and process that runs it
OBJECTIVE = "objective"  #: attribute of a study: what is minimised in it
MOST_FAILURES = 3  #: trials in a row that may fail
Objective = Callable[["optuna.Trial"], float]


@dataclass(frozen=True)
class Study:
    """A study to be run.

    Attributes:
        folder: of the journal, tables and pictures.
        trials: finished ones (pruned ones among them) that the study shall have.
        workers: processes side by side.
        seed: of the sampler; with one worker, the same seed gives the same trials.
        warm_up: measurements of a trial before it can be pruned.
        mlflow: also log to this MLflow experiment: the study, and each trial inside it.

    Raises:
        ConfigError: a count that is not positive.
    """

    folder: Path
    trials: int
    workers: int = 1
    seed: int = 0
    warm_up: int = 3
    mlflow: str | None = None

    def __post_init__(self) -> None:
        for name in ("trials", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)!r} is not allowed: a whole number >= 1")


def import_optuna() -> Any:
    """Optuna, quiet.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise ImportError(f"tuning needs optuna: {install_hint('tuning')}") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def open_study(study: Study, worker: int = 0) -> optuna.Study:
    """The study in its journal, made where it does not exist; each worker samples with a seed of its own."""
    optuna = import_optuna()
    from optuna.storages.journal import JournalFileBackend

    make_folder(study.folder)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(study.folder / JOURNAL)))
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=study.warm_up)
    found = optuna.create_study(
        storage=storage, pruner=pruner, study_name=STUDY, direction="minimize", load_if_exists=True
    )
    # by the trials there are: a study that goes on does not draw again what it drew at first
    drawn = (study.seed, worker, len(found.get_trials(deepcopy=False)))
    seed = int(np.random.SeedSequence(drawn).generate_state(1)[0])
    found.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=8)
    return found


def require_objective(stored: optuna.Study, study: Study, objective: Objective) -> None:
    """Note what a study minimises, or check that it is the same as before.

    Raises:
        ConfigError: the study's trials are of another recipe or budget.
    """
    if not is_dataclass(objective):
        return  # a plain function says nothing of what it does
    mine = hashlib.sha256(repr(objective).encode()).hexdigest()
    if stored.user_attrs.setdefault(OBJECTIVE, mine) != mine:
        raise ConfigError(f"{study.folder} holds a study of another recipe or budget: choose another --out")
    stored.set_user_attr(OBJECTIVE, mine)


def finished(stored: optuna.Study) -> int:
    """Trials that were completed or pruned."""
    states = import_optuna().trial.TrialState
    return sum(trial.state in (states.COMPLETE, states.PRUNED) for trial in stored.get_trials(deepcopy=False))


def fail_orphans(stored: optuna.Study) -> int:
    """Tell trials failed whose process on this machine is no more; returns how many."""
    states = import_optuna().trial.TrialState
    host, count = socket.gethostname(), 0
    for trial in stored.get_trials(deepcopy=False):
        owner = trial.user_attrs.get(OWNER)
        if trial.state == states.RUNNING and owner and owner[0] == host and not _lives(int(owner[1]), owner[2]):
            stored.tell(trial.number, state=states.FAIL)
            count += 1
    return count


def _lives(pid: int, began: str) -> bool:
    return _birth(pid) == began


def _birth(pid: int) -> str:
    """When a process began, as the system tells it (a number is used again some day); empty where there is none."""
    path = Path(f"/proc/{pid}/stat")
    if path.parent.parent.joinpath("self").exists():
        try:
            return path.read_text(encoding="utf-8").rpartition(")")[2].split()[19]
        except OSError:
            return ""
    try:
        os.kill(pid, 0)
    except OSError:
        return ""
    return "unknown"


def work(study: Study, objective: Objective, worker: int = 0, told: Callable[[int], None] | None = None) -> None:
    """Run trials of a study until it has enough; `told` hears the number of finished ones after each.

    Raises:
        RuntimeError: trial after trial fails; the last reason is named.
    """
    found = open_study(study, worker)
    owner = [socket.gethostname(), str(os.getpid()), _birth(os.getpid())]
    failures: list[RuntimeError] = []

    def owned(trial: optuna.Trial) -> float:
        trial.set_user_attr(OWNER, owner)
        try:
            value = objective(trial)
        except RuntimeError as error:
            failures.append(error)
            raise
        failures.clear()
        return value

    while finished(found) < study.trials:
        fail_orphans(found)
        found.optimize(owned, n_trials=1, catch=(RuntimeError,))
        count_trials(study, objective, found)
        if len(failures) == MOST_FAILURES:
            raise RuntimeError(f"{MOST_FAILURES} trials in a row failed, the last: {failures[-1]}") from failures[-1]
        if told is not None:
            told(finished(found))


def count_trials(study: Study, objective: Objective, stored: optuna.Study) -> None:
    """Write the trials that ended into the ledger beside the study, where the objective says what they are judged on.

    Pruned trials count: they were looked at, and not chosen.
    """
    data = getattr(objective, "data", None)
    if data is None:
        return
    states = import_optuna().trial.TrialState
    of = hashlib.sha256(repr(objective).encode()).hexdigest()[:16]
    ended = [t for t in stored.get_trials(deepcopy=False) if t.state in (states.COMPLETE, states.PRUNED)]
    told = [Trial("tune", data, f"{of} {json.dumps(trial.params, sort_keys=True)}") for trial in ended]
    record_trials(ledger_beside(study.folder), told)


def optimise(study: Study, objective: Objective, *, progress: bool = True) -> optuna.Study:
    """Run a study with its workers; goes on where an earlier call or another process left it.

    Args:
        study: what to run.
        objective: to be minimised; with several workers it must be picklable. A RuntimeError fails a trial.
        progress: show a progress bar over trials.

    Raises:
        ImportError: Optuna is not installed. ConfigError: the folder holds another study. RuntimeError: trial after
            trial fails.
    """
    from cryptoenv.progress import tqdm, write_line

    found = open_study(study)
    require_objective(found, study, objective)
    fail_orphans(found)
    bar = tqdm(total=study.trials, initial=finished(found), desc="tuning", unit="trial", disable=not progress)

    def shown(count: int) -> None:
        bar.update(min(count, study.trials) - bar.n)

    if study.workers == 1:
        work(study, objective, told=shown)
    else:
        jobs = [(study, objective, number) for number in range(study.workers)]
        for ended in side_by_side(work, jobs, study.workers, every=1.0):
            shown(finished(found))
            if ended is not None and isinstance(ended[1], Exception):
                write_line(f"worker {ended[0]} ended early: {ended[1]}")
        if finished(found) < study.trials:
            fail_orphans(found)
            work(study, objective, told=shown)
    bar.close()
    return found


def keep_study(study: Study, stored: optuna.Study, tuned: Mapping[str, Any]) -> pd.DataFrame:
    """Write table and pictures of a study, and log it where that is asked for; its best recipe is there already.

    Args:
        study: where, and what to log to.
        stored: its trials.
        tuned: the recipe that was varied, as plain values.

    Returns:
        All trials, best first: number, state, value, parameters.
    """
    table = stored.trials_dataframe(attrs=("number", "state", "value", "params")).sort_values("value")
    write_file(study.folder / TABLE, table.to_csv(index=False))
    draw_study(stored, study.folder)
    if study.mlflow is not None:
        from pretrain.fitting.mlflow_tracking import LoggedTrial, log_study

        complete = import_optuna().trial.TrialState.COMPLETE
        trials = [
            LoggedTrial(
                trial.number, trial.params, trial.intermediate_values,
                trial.value if trial.state == complete else None, trial.state.is_finished(),
            )
            for trial in stored.get_trials()
        ]  # fmt: skip
        log_study(study.mlflow, study.folder, tuned, trials)
    return table


def draw_study(stored: optuna.Study, folder: Path) -> None:
    """`history.png`: the value of every trial and the best so far; `importance.png`: what the value depends on."""
    optuna = import_optuna()
    pyplot = new_pyplot()
    done = [t for t in stored.get_trials() if t.state == optuna.trial.TrialState.COMPLETE and t.value is not None]
    try:
        figure, axis = pyplot.subplots(figsize=(6.5, 3.6), layout="constrained")
    except ModuleNotFoundError as error:
        warnings.warn(f"no pictures without {error.name}: {install_hint('report')}", stacklevel=3)
        return
    values = [float(trial.value) for trial in done if trial.value is not None]
    axis.plot([t.number for t in done], values, "o", color="#1f4e9c", markersize=4, label="completed trials")
    best = [min(values[: i + 1]) for i in range(len(values))]
    axis.step([t.number for t in done], best, where="post", color="#e07b00", label="best so far")
    axis.set_xlabel("trial")
    axis.set_ylabel("objective")
    axis.legend(frameon=False)
    save_figure(pyplot, figure, folder / HISTORY)
    if len(done) < 2:
        return
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    shares = optuna.importance.get_param_importances(stored, evaluator=evaluator)
    figure, axis = pyplot.subplots(figsize=(6.5, 0.9 + 0.35 * len(shares)), layout="constrained")
    axis.barh(list(shares), list(shares.values()), color="#1f4e9c")
    axis.invert_yaxis()
    axis.set_xlabel("share of the objective's variation (PED-ANOVA, Watanabe et al. 2023)")
    axis.spines[["top", "right"]].set_visible(False)
    save_figure(pyplot, figure, folder / IMPORTANCE)
