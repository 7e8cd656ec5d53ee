"""Watches a trading loop for drift: live features, losses and equity against what the model's version keeps of them.

Whatever goes wrong in here is a line in the log; trading goes on as if nobody watched.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from agents.live.watching import Watched
from agents.run_folders.versions.drift_file import ModelReference
from agents.run_folders.versions.models_folder import ModelsFolder
from agents.training.drift_alarm import EVENT
from cryptoenv.analysis.drift.calibration import CalibrationWatch
from cryptoenv.analysis.drift.equity import EquityWatch
from cryptoenv.analysis.drift.features import FeaturePlan, FeatureWatch
from cryptoenv.analysis.drift.losses import LossWatch
from cryptoenv.analysis.drift.status import Status
from cryptoenv.analysis.returns import bars_per_year
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.features import FeatureSpec, FeatureStream
from cryptoenv.files.typed_values import Range, require_ranges
from cryptoenv.live.feed import FeedBar
from cryptoenv.live.journal import Journal
from synthetic.installation import install_hint

log = logging.getLogger(__name__)
MODELS_EVENT = "models"  #: what the journal calls a change of the models folder
SEEN = "models_seen"  #: under which the journal keeps what of the models folder it has told already
MOST_SEEN = 500


@dataclass(frozen=True)
class MonitorPlan:
    """How a loop is watched.

    Attributes:
        features: windows, looks and false alarms of features.
        horizon_days: days of an equity band, after which the next one begins.
        false_alarms: false alarms of losses and of equity that are to be expected in a year, each, at most.

    Raises:
        ConfigError: a number outside its range.
    """

    features: FeaturePlan = field(default_factory=FeaturePlan)
    horizon_days: float = 30.0
    false_alarms: float = 0.5

    def __post_init__(self) -> None:
        require_ranges(self, {
            "horizon_days": Range(0.1, 3650.0), "false_alarms": Range(0.0, 1e6, above=True),
        })  # fmt: skip


class DriftMonitor:
    """A watcher of a `TradingLoop`.

    Args:
        reference: what live data are compared with.
        timeframes: that the model reads, the base first.
        features: that it reads.
        history: gives the closed bars until now, with further columns.
        journal: gets an entry at every change of a state, or None.
        plan: how it is watched.
        version: that trades, and the folder it is of; what happens there is told, too.
        chance: the chance that the model gives a rise from the newest close, over the bars of the reference of
            calibration; or None.
    """

    def __init__(
        self,
        reference: ModelReference,
        timeframes: tuple[str, ...],
        features: FeatureSpec,
        history: Callable[[], pd.DataFrame],
        journal: Journal | None = None,
        *,
        plan: MonitorPlan | None = None,
        version: tuple[ModelsFolder, str] | None = None,
        chance: Callable[[], float] | None = None,
    ) -> None:
        self._plan = plan or MonitorPlan()
        self._reference, self._timeframes, self._spec = reference, timeframes, features
        self._history, self._journal, self._version = history, journal, version
        self._others: dict[str, Status] = {}
        self._stream: FeatureStream | None = None
        self._next_ms, self._equity = 0, math.nan
        self._seen: dict[str, float] = {}
        self._watches = self._feature_watches()
        self._chance, self._said = chance, dict[int, tuple[float, float]]()
        self._calibration: CalibrationWatch | None = None
        if reference.calibration is not None and chance is not None:
            plan_of = self._plan.features
            self._calibration = CalibrationWatch(
                reference.calibration, plan_of.level(timeframes[0]), plan_of.windows, plan_of.every
            )
        per_year = bars_per_year(timeframes[0])
        self._losses: LossWatch | None = None
        self._band: EquityWatch | None = None
        if reference.losses is not None:
            try:
                self._losses = LossWatch(reference.losses, round(per_year), min(self._plan.false_alarms, 0.9))
            except ModuleNotFoundError as error:
                self._others["losses"] = Status(words=f"not watched without {error.name}: {install_hint('drift')}")
        if reference.equity is not None:
            horizon = max(round(self._plan.horizon_days * per_year / 365.0), 2)
            level = min(self._plan.false_alarms * horizon / per_year, 0.2)
            try:
                self._band = EquityWatch(reference.equity, horizon, level)
            except ValueError as error:
                self._others["equity"] = Status(words=str(error))

    def _feature_watches(self) -> dict[str, FeatureWatch]:
        """By timeframe; the expected false alarms are shared by columns that can be judged."""
        judged = {t.timeframe: sum(c.judged for c in t.columns) for t in self._reference.features}
        plan, whole = self._plan.features, max(sum(judged.values()), 1)
        return {
            table.timeframe: FeatureWatch(
                table, plan.level(table.timeframe, max(judged[table.timeframe], 1) / whole), plan.windows, plan.every
            )
            for table in self._reference.features
        }

    @property
    def statuses(self) -> Mapping[str, Status]:
        """By name: "15m rsi_14", "losses", "equity", "calibration", "version"."""
        found = {
            f"{timeframe} {name}": status
            for timeframe, watch in self._watches.items()
            for name, status in watch.statuses.items()
        }
        if self._losses is not None:
            found["losses"] = self._losses.status
        if self._band is not None:
            found["equity"] = self._band.status
        if self._calibration is not None:
            found["calibration"] = self._calibration.status
        return found | self._others

    def mapping(self) -> dict[str, dict[str, Any]]:
        """The statuses as plain values: state, statistic, threshold, since, words."""
        return {name: status.to_json() for name, status in self.statuses.items()}

    def __call__(self, watched: Watched) -> None:
        """Take in an event of the loop."""
        for step in (self._take_features, self._take_equity, self._take_chance, self._look_at_models):
            try:
                step(watched)
            except Exception as error:  # whatever it is, trading is none of its business
                log.exception("drift is not watched at this bar: %s", error)

    def _take_features(self, watched: Watched) -> None:
        if watched.what != "bar" or not self._watches:
            return
        bar = watched.bar
        if bar is None or self._stream is None or bar.open_ms != self._next_ms:
            self._begin()
            return
        self._append(bar)

    def _begin(self) -> None:
        """Take in the history; a bar that does not follow the one before begins anew there."""
        history = self._history()
        self._stream = FeatureStream(self._timeframes, self._spec)
        self._stream.extend(history)
        last = int(pd.DatetimeIndex(history.index[-1:]).as_unit("ms").asi8[0])
        self._next_ms = last + timeframe_ms(self._timeframes[0])

    def _append(self, bar: FeedBar) -> None:
        assert self._stream is not None
        self._next_ms = bar.open_ms + timeframe_ms(self._timeframes[0])
        moment = pd.Timestamp(bar.open_ms, unit="ms", tz="UTC")
        rows = self._stream.append(moment, bar.ohlcv, bar.columns)
        if bar.open_ms < self._reference.until_ms:
            return  # it was learned from
        for timeframe, watch in self._watches.items():
            for row in rows.get(timeframe, ()):
                before = dict(watch.statuses)
                for name in watch.add(row, self._next_ms):
                    self._tell(f"{timeframe} {name}", before[name], watch.statuses[name])

    def _take_equity(self, watched: Watched) -> None:
        if watched.what != "bar":
            return
        equity, before = watched.book.equity, self._equity
        self._equity = equity
        if self._band is not None:
            was = self._band.status
            self._band.add(equity, watched.close_time)
            self._tell_change("equity", was, self._band.status)
        if self._losses is not None and equity > 0.0 and before > 0.0:
            was = self._losses.status
            self._losses.add(-math.log(equity / before), watched.close_time)
            self._tell_change("losses", was, self._losses.status)

    def _take_chance(self, watched: Watched) -> None:
        """Compare what was said of this close with the close, then keep what is said of the ones to come."""
        if watched.what != "bar" or self._calibration is None or self._chance is None:
            return
        now = watched.close_time
        then = self._said.pop(now, None)
        self._said = {at: said for at, said in self._said.items() if at > now}
        if then is not None:
            was = self._calibration.status
            self._calibration.add(then[0], watched.close > then[1], now)
            self._tell_change("calibration", was, self._calibration.status)
        due = now + self._calibration.reference.ahead * timeframe_ms(self._timeframes[0])
        if watched.bar_time >= self._reference.until_ms:
            self._said[due] = self._chance(), watched.close

    def _tell_change(self, name: str, was: Status, now: Status) -> None:
        if now.became(was):
            self._tell(name, was, now)

    def _tell(self, name: str, was: Status, now: Status) -> None:
        level = logging.WARNING if now.state == "alarm" else logging.INFO
        log.log(level, "drift: %s was %s and is %s (%s)", name, was.state, now.state, now.words)
        if self._journal is not None:
            self._journal.note(EVENT, name=name, was=was.state, **now.to_json())

    def _look_at_models(self, watched: Watched) -> None:
        if self._version is None:
            return
        models, trades = self._version
        stamps = _stamps(models.folder)
        if stamps == self._seen and watched.what == "bar":
            return
        self._seen = stamps
        used = models.pointer().current
        words = f"version {trades} trades"
        if used != trades:
            words += f", version {used} is used: it trades from the next start on"
        waiting = [one.name for one in models.versions() if one.state == "proposed" and one.name > trades]
        words += "".join(f", version {name} is proposed" for name in waiting)
        self._others["version"] = self._others.get("version", Status()).then("ok", watched.close_time, words)
        if self._journal is None:
            return
        told = set(json.loads(self._journal.told(SEEN) or "[]"))
        happened = models.happened()
        for one in happened:
            if one.key not in told:
                log.info("models: %s %s", one.what, one.detail)
                self._journal.note(MODELS_EVENT, happened=one.what, when=one.at, **one.detail)
        self._journal.tell(SEEN, json.dumps([one.key for one in happened][-MOST_SEEN:]))


def _stamps(folder: Path) -> dict[str, float]:
    """When the folder and its pointer changed last."""
    return {path.name: path.stat().st_mtime_ns for path in (folder, folder / "current.json") if path.exists()}
