"""`cryptoenv retrain`: train the version in use anew, on a schedule or on an alarm, and propose the result."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agents.run_folders.new_outputs import told_when_interrupted

if TYPE_CHECKING:
    import pandas as pd

    from agents.run_folders.versions.models_folder import ModelsFolder
    from agents.training.retraining import RetrainPlan


def retrain(
    folder: Annotated[Path, typer.Argument(help="Folder of versions, one of them in use.")],
    every: Annotated[
        str | None, typer.Option(help="Only where the newest version is this old: 7d, 12h.", metavar="TIME")
    ] = None,
    on_drift: Annotated[
        Path | None, typer.Option(help="Only where the journal of this --state of `trade` tells of drift.")
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Stay, and look again and again; else look once.")] = False,
    look: Annotated[float, typer.Option(help="With --loop: seconds from one look to the next.", min=0.01)] = 60.0,
    bars: Annotated[
        list[Path] | None, typer.Option(help="Bars in place of the recipe's: a file, market or store's series.")
    ] = None,
    fetch: Annotated[bool, typer.Option("--fetch/--no-fetch", help="First download new bars into the store.")] = True,
    folds: Annotated[int, typer.Option(help="Judged parts of what the version in use never saw.", min=1)] = 2,
    seeds: Annotated[int, typer.Option(help="Trainings of each fold.", min=1)] = 1,
    least_new: Annotated[float, typer.Option(help="Days of new bars below which nothing is trained.", min=0.1)] = 2.0,
    workers: Annotated[int | None, typer.Option(help="Processes side by side; one per core.", min=1)] = None,
) -> None:
    """Fetch new bars, train by the recipe of the version in use, walk forward, and propose a new version.

    Nothing is swapped: `cryptoenv models promote` does that. With --every and --on-drift either is reason enough.
    """
    from agents.run_folders.versions.models_folder import ModelsFolder
    from agents.training.retraining import RetrainPlan

    if loop and every is None and on_drift is None:
        raise ValueError("--loop needs a reason to train: --every TIME, --on-drift STATE, or both")
    period = None if every is None else _period(every)
    by_hand = every is None and on_drift is None
    plan = RetrainPlan(folds, seeds, least_new_days=least_new, bars=tuple(map(str, bars or ())), again=by_hand)
    models = ModelsFolder.there(folder)
    models.current()
    with told_when_interrupted(lambda: f"nothing was proposed; what is trained is kept in {folder}/retraining"):
        while True:
            try:
                _look(models, plan, period, on_drift, fetch, workers)
            except (ValueError, OSError, RuntimeError) as error:
                if not loop:
                    raise
                print(f"cryptoenv: note: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
            if not loop:
                return
            time.sleep(look)


def _look(
    models: ModelsFolder, plan: RetrainPlan, period: pd.Timedelta | None, state: Path | None, fetch: bool,
    workers: int | None,
) -> None:  # fmt: skip
    from agents.commands.models import record_words
    from agents.run_folders.run_folder import read_json
    from agents.run_folders.versions.version import AGENT_KIND, RECORD, read_version
    from agents.training.new_bars import fetch_new
    from agents.training.retraining import NothingNew, retrain, sources_in_use
    from agents.training.retraining_models import bars_in_use, retrain_model

    why = _reason(models, period, state)
    if why is None:
        print("nothing to do: " + " and ".join(
            ([] if period is None else ["the newest version is not old enough"])
            + ([] if state is None else ["no alarm stands that the newest version has not seen"])
        ), flush=True)  # fmt: skip
        return
    agent = read_version(models.current()).kind == AGENT_KIND
    sources = sources_in_use(models, plan) if agent else bars_in_use(models, plan)
    print(f"training: {why}", flush=True)
    for line in fetch_new(sources) if fetch else ():
        print(line, flush=True)
    try:
        version = retrain(models, plan, why=why, workers=workers) if agent else retrain_model(models, plan, why=why)
    except NothingNew as error:
        print(f"nothing was trained: {error}", flush=True)
        return
    record = read_json(models.place(version.name) / RECORD)
    print(f"proposed:  version {version.name}, to replace {version.parent}: "
          f"{record_words(record)}")  # fmt: skip
    print(f"look at it with `cryptoenv models show {models.folder} {version.name}`, use it with "
          f"`cryptoenv models promote {models.folder} {version.name}`", flush=True)  # fmt: skip


def _reason(models: ModelsFolder, period: pd.Timedelta | None, state: Path | None) -> str | None:
    """Why to train now; None where there is no reason."""
    import pandas as pd

    if period is None and state is None:
        return "by hand"
    versions = [one.version for one in models.versions() if one.version is not None]
    newest = versions[-1]
    if period is not None and pd.Timestamp.now("UTC") - pd.Timestamp(newest.made_at) >= period:
        return f"on schedule: version {newest.name} is older than {period}"
    if state is not None:
        from agents.training.drift_alarm import standing_alarm

        alarm = standing_alarm(state, newest.last_bar)
        return None if alarm is None else f"drift: {alarm}"[:1000]
    return None


def _period(text: str) -> pd.Timedelta:
    import pandas as pd

    try:
        found = pd.Timedelta(text)
    except ValueError:
        found = pd.Timedelta(0)
    if not found > pd.Timedelta(0):
        raise ValueError(f"--every {text!r} is no length of time: write it as 7d, 12h or 30m")
    return found
