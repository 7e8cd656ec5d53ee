"""What `cryptoenv trade` is pointed at: a model's folder, or a models folder whose pointer it follows at its start."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from agents.live.deciders import AgentDecider, Decider
from agents.live.desk import Named
from agents.live.drift_monitor import DriftMonitor, MonitorPlan
from agents.run_folders.versions.drift_file import ModelReference
from agents.run_folders.versions.models_folder import ModelsFolder, is_models_folder
from agents.run_folders.versions.version import DRIFT, MODEL, require_whole
from cryptoenv.features import FeatureSpec
from cryptoenv.live.environment import CryptoLiveEnv

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Operated:
    """A model that is traded.

    Attributes:
        model: its folder; None where signals are traded.
        reference: what live data are compared with; None where nothing is kept.
        version: the models folder and the version, where there is one.
    """

    model: Path | None = None
    reference: ModelReference | None = None
    version: tuple[ModelsFolder, str] | None = None

    def named(self, named: Named, plan: MonitorPlan | None = None) -> Named:
        """With a monitor of drift; under the name of the models folder, so that the account goes on when another
        version is promoted."""
        name = named.name if self.version is None else self.version[0].folder.absolute().name
        return replace(named, name=name, watchers=lambda env: self._watchers(named.decider, env, plan))

    def _watchers(self, decider: Decider, env: CryptoLiveEnv, plan: MonitorPlan | None) -> list[DriftMonitor]:
        """The monitor, where there is something to compare with; what is missing for it is said in the log."""
        if self.version is not None:
            models, version = self.version
            env.executor.journal.note("version", version=version, folder=str(models.folder))
            log.info("version %s of %s trades", version, models.folder)
        if self.reference is None and self.version is None:
            return []
        try:
            return [_monitor(self, decider, env, plan)]
        except ValueError as error:
            log.warning("drift is not watched: %s", str(error))
            return []


def operated(what: Path | None) -> Operated:
    """What a folder names: the version in use of a models folder, checked byte by byte, or the model in it.

    Raises:
        PointerError: no version is in use. VersionError: it is damaged. ConfigError: a damaged `drift.json`.
    """
    if what is None or not is_models_folder(what):
        reference = None
        if what is not None and (what / DRIFT).is_file():
            reference = ModelReference.read(what / DRIFT)
        return Operated(what, reference)
    models = ModelsFolder(what)
    place = models.current()
    require_whole(place, load_it=False)  # the decider loads it
    reference = ModelReference.read(place / DRIFT) if (place / DRIFT).is_file() else None
    return Operated(place / MODEL, reference, (models, place.name))


def _monitor(what: Operated, decider: Decider, env: CryptoLiveEnv, plan: MonitorPlan | None) -> DriftMonitor:
    features = FeatureSpec.none() if decider.layout is None else decider.layout.features
    return DriftMonitor(
        what.reference or ModelReference(), decider.timeframes, features, env.feed.history, env.executor.journal,
        plan=plan, version=what.version, chance=decider.chance_of_rise if isinstance(decider, AgentDecider) else None,
    )  # fmt: skip
