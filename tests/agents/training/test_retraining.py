"""A store that grows, drift planted, an alarm, a proposal, a promotion and a roll-back: each in the journal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import agents.training.walk_forward as walking
from agents.command_line import main
from agents.live.deciders import Decider
from agents.live.desk import live_environment, named_decider
from agents.live.drift_monitor import MODELS_EVENT, DriftMonitor, MonitorPlan
from agents.live.operated import operated
from agents.live.trading_loop import TradingLoop
from agents.run_folders.versions.drift_file import ModelReference
from agents.run_folders.versions.models_folder import ModelsFolder
from agents.run_folders.versions.version import DRIFT, MODEL, RECORD, TABLE, require_whole
from agents.training import retraining
from agents.training.drift_alarm import EVENT, standing_alarm
from agents.training.retraining import WORK, NothingNew, RetrainPlan, paired_difference, prepared, retrain
from cryptoenv.analysis.drift.features import FeaturePlan
from cryptoenv.files.folder_lock import FolderLockedError, folder_lock
from cryptoenv.files.typed_values import ConfigError
from cryptoenv.live.executor import Policies
from cryptoenv.live.feed import ReplayFeed
from cryptoenv.live.journal import Journal
from cryptoenv.live.paper_broker import PaperBroker
from cryptoenv.live.safeguards import SanityLimits, TradeLimits
from tests.agents.operated_world import DAYS, DRIFTED, World

ROOT = Path(__file__).resolve().parents[3]
LOOSE = Policies(
    SanityLimits(constant_bars=None), TradeLimits(exposure=9.0, orders_per_hour=None, daily_loss=None, drawdown=None)
)
QUICK = MonitorPlan(FeaturePlan(windows=(48,), every=12, false_alarms=5.0))
BEFORE, AFTER = 60, 60  #: bars traded before and after the drift


def in_this_process(job: Callable[..., Any], jobs: list[Any], *_: Any, **__: Any) -> Iterator[tuple[int, Any]]:
    """As `side_by_side`, without processes."""
    for number, given in enumerate(jobs):
        yield number, job(*given)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A run, added and promoted as version 0001."""
    folder = tmp_path_factory.mktemp("operated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walking, "side_by_side", in_this_process)
        patch.chdir(folder)
        made = World.made(folder)
        assert main(["models", "add", "models", "run"]) == 0
        assert main(["models", "promote", "models", "0001"]) == 0
        yield made


def traded(world: World, state: str, first: int, bars: int) -> tuple[DriftMonitor, list[tuple[str, dict[str, Any]]]]:
    """The version in use on paper, from a bar on; its monitor, and what the journal says."""
    model = operated(world.folder / "models")
    named = model.named(named_decider(model.model, None, None, None), QUICK)
    (world.folder / state).mkdir(exist_ok=True)
    feed = ReplayFeed(world.bars, "1h", first)
    env = live_environment(named, PaperBroker(), feed, world.folder / state, LOOSE, cash=10_000.0, durable=False)
    watchers = named.watchers(env)
    try:
        found = TradingLoop(env, named.decider, watchers=watchers).run(bars)
        assert found.bars == bars
        events = [(what, detail) for _, what, detail in env.executor.journal.events(1000)]
    finally:
        env.close()
    (monitor,) = watchers
    assert isinstance(monitor, DriftMonitor)
    return monitor, events


def test_from_drift_to_a_roll_back(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    models, state = ModelsFolder(world.folder / "models"), world.folder / "account"
    at = DRIFTED * 24
    monitor, events = traded(world, "account", at - BEFORE, BEFORE + AFTER)
    assert named_events(events, MODELS_EVENT) == ["added", "promoted"]
    assert ("version", {"version": "0001", "folder": str(models.folder)}) in events
    alarms = [detail for what, detail in events if what == EVENT and detail["state"] == "alarm"]
    drifted = int(world.bars.index[at].value // 10**6)
    assert alarms and min(alarm["since"] for alarm in alarms) > drifted  # none before, some soon after
    mapping = monitor.mapping()
    wrong = [name for name, status in mapping.items() if status["state"] == "alarm"]
    assert {alarm["name"] for alarm in alarms} >= set(wrong) and mapping["version"]["words"] == "version 0001 trades"
    json.dumps(mapping)

    capsys.readouterr()
    nothing = ["retrain", "models", "--no-fetch", "--every", "7d"]
    assert main(nothing) == 0 and "not old enough" in capsys.readouterr().out
    asked = ["retrain", "models", "--no-fetch", "--folds", "1", "--least-new", "30", "--on-drift", "account"]
    assert main(asked) == 0
    assert "has seen all but" in capsys.readouterr().out  # the store has not grown yet
    world.grow(DAYS)
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "training: drift: 1h " in said and "proposed:  version 0002, to replace 0001" in said
    proposed = models.versions()[1]
    assert proposed.state == "proposed" and models.current().name == "0001"  # nothing is swapped
    assert proposed.version is not None and proposed.version.why.startswith("drift: 1h ")
    record = json.loads((models.place("0002") / RECORD).read_text())
    seen = require_whole(models.place("0001")).last_bar
    assert seen is not None and pd.Timestamp(record["judged_from"]) > seen
    assert record["difference_per_day"]["low"] <= record["difference_per_day"]["high"]
    assert main(asked) == 0 and "no alarm stands" in capsys.readouterr().out  # the newest version has seen it
    assert main(["retrain", "models", "--no-fetch", "--folds", "1", "--every", "1us"]) == 0  # it would go on for ever
    assert "version 0002, which is proposed, has seen all but" in capsys.readouterr().out

    monitor, events = traded(world, "account", at + AFTER, 2)
    assert named_events(events, MODELS_EVENT)[-1] == "proposed"
    assert monitor.mapping()["version"]["words"] == "version 0001 trades, version 0002 is proposed"
    assert main(["models", "promote", "models", "0002", "--reason", "drift"]) == 0
    monitor, events = traded(world, "account", at + AFTER + 2, 1)
    assert named_events(events, MODELS_EVENT)[-1] == "promoted"
    assert monitor.mapping()["version"]["words"] == "version 0002 trades"
    assert main(["models", "rollback", "models"]) == 0
    monitor, events = traded(world, "account", at + AFTER + 3, 1)
    assert named_events(events, MODELS_EVENT) == ["added", "promoted", "proposed", "promoted", "rolled back"]
    assert standing_alarm(state, None) is not None
    assert main(["models", "compare", "models", "0001", "0002"]) == 0
    assert "0002 against 0001" in capsys.readouterr().out
    assert main(["models", "show", "models", "0001"]) == 0
    words = ModelReference.read(models.place("0001") / DRIFT).words()
    assert f"live data are compared in {words}" in capsys.readouterr().out
    assert " features, losses, equity" in words and "of which too little is known" in ModelReference().words()


def named_events(events: list[tuple[str, dict[str, Any]]], kind: str) -> list[str]:
    return [detail["happened"] for what, detail in events if what == kind]


def test_a_monitor_that_fails_leaves_trading_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference of other columns, a models folder that is gone, a journal that refuses: each a line in the log."""
    at = DRIFTED * 24 + 200

    def broken(self: DriftMonitor, watched: Any) -> None:
        raise OSError("the disk is gone")

    plain, _ = traded(world, "plain", at, 14)
    monkeypatch.setattr(DriftMonitor, "_take_equity", broken)
    monkeypatch.setattr(DriftMonitor, "_look_at_models", broken)
    monkeypatch.setattr(DriftMonitor, "_append", broken)
    traded(world, "broken", at, 14)
    books = []
    for state in ("plain", "broken"):
        journal = Journal(world.folder / state)
        books.append(journal._rows("SELECT bar_ms, equity, account FROM books ORDER BY bar_ms"))
        journal.close()
    assert books[0] == books[1] and len(books[0]) == 15
    assert plain.mapping()


def test_without_a_reference_or_with_a_damaged_one(world: World, tmp_path: Path) -> None:
    decider: Decider = named_decider(world.folder / "run", None, None, None).decider
    assert operated(world.folder / "run").reference is None and operated(None).model is None
    path = tmp_path / DRIFT
    reference = ModelReference.read(world.folder / "models" / "0001" / DRIFT)
    reference.write(path)
    assert ModelReference.read(path).equity is not None and decider.timeframes == ("1h",)
    path.write_text(path.read_text().replace('"until_ms": ', '"until_ms": "x'), "utf-8")
    with pytest.raises(ConfigError, match=DRIFT):
        ModelReference.read(path)


def test_two_retrainings_at_once_and_what_an_interrupted_one_leaves(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.grow(DAYS)
    models = ModelsFolder(world.folder / "models")
    (models.folder / WORK).mkdir(exist_ok=True)
    with folder_lock(models.folder / WORK, "another"), pytest.raises(FolderLockedError, match="a retraining of"):
        retrain(models, progress=False)
    before, pointer = models.names(), models.pointer()

    def dies(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    plan, walks = RetrainPlan(folds=1), []
    with monkeypatch.context() as patch:
        patch.setattr(retraining, "learn", dies)
        with pytest.raises(KeyboardInterrupt):
            retrain(models, plan, progress=False)
    assert models.names() == before and models.pointer() == pointer
    (left,) = [path for path in (models.folder / WORK).iterdir() if path.is_dir()]
    kept = {path: path.stat().st_mtime_ns for path in left.rglob("trained.json")}
    assert kept
    with monkeypatch.context() as patch:
        patch.setattr(walking, "side_by_side", lambda *a, **k: walks.append(a) or in_this_process(*a, **k))
        version = retrain(models, plan, why="again", progress=False)
    assert not walks and not left.exists()  # what was trained was not trained again
    assert require_whole(models.place(version.name)).why == "again" and models.pointer() == pointer
    assert (models.place(version.name) / MODEL / "recipe.yaml").is_file()
    with pytest.raises(NothingNew, match="has seen all but"):
        prepared(models, RetrainPlan(least_new_days=1000.0))


@pytest.mark.slow
def test_a_retraining_that_is_killed_has_proposed_nothing_and_the_next_one_goes_on(world: World) -> None:
    """Killed while it walks forward, and while it trains what it would propose."""
    world.grow(DAYS)
    models = ModelsFolder(world.folder / "models")
    before, pointer = models.names(), models.pointer()
    asked = ["retrain", "models", "--no-fetch", "--folds", "1"]
    code = "import sys; from agents.command_line import main; sys.exit(main(sys.argv[1:]))"
    for begun in (f"*/{TABLE}", "*/run"):
        child = subprocess.Popen(
            [sys.executable, "-c", code, *asked], cwd=world.folder, start_new_session=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        until = time.monotonic() + 200.0
        while not any((models.folder / WORK).glob(begun)) and child.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
        assert child.poll() is None  # it was at work
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        assert models.names() == before and models.pointer() == pointer
    assert main(asked) == 0
    (added,) = set(models.names()) - set(before)
    assert require_whole(models.place(added)).source == "retrain" and models.pointer() == pointer


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["retrain", "models", "--every", "soon"], "is no length of time"),
        (["retrain", "models", "--loop"], "needs a reason"),
        (["retrain", "models", "--on-drift", "run"], "holds no journal"),
        (["retrain", "run"], "uses no version yet"),
        (["retrain", "models", "--no-fetch", "--bars", "nothing.csv"], "nothing.csv"),
        (["trade", "models2", "--paper", "--replay", "x.csv"], "models2"),
    ],
)
def test_what_is_wrong_is_one_line(
    world: World, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    capsys.readouterr()
    assert main(arguments) == 2
    said = capsys.readouterr().err.strip()
    assert words in said and len(said.splitlines()) == 1, said


def test_a_paired_difference_is_known_better_than_its_parts() -> None:
    rng = np.random.default_rng(0)
    shared = 0.02 * rng.standard_normal(600)
    found = paired_difference(shared + 0.0005 + 0.001 * rng.standard_normal(600), shared, 24.0)
    assert found is not None and 0.0 < found["low"] < 24.0 * 0.0005 < found["high"]
    assert paired_difference(shared[:10], shared[:10], 24.0) is None
