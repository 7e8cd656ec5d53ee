"""The models that are served, each exchanged for its next version while it answers; a corrupt one changes nothing."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from agents.live.serving.answers import Answering, NotFiniteError
from agents.live.serving.batching import Batching, MicroBatcher
from agents.live.serving.bodies import BodyError
from agents.live.serving.loading import loaded, resolved, version_of
from agents.web.metrics import SECONDS, Metrics
from cryptoenv.features import FeatureFunction
from pretrain import ArtifactError

TRIES = 3  #: of a version that cannot be loaded: it may be half there
log = logging.getLogger(__name__)
_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass
class Slot:
    """A model under its name.

    Attributes:
        name: as clients call it.
        place: where it is looked for.
        answering: the version that answers now. batcher: its queue.
        failed: the version there that could not be loaded, and how often that was tried.
    """

    name: str
    place: str | Path
    answering: Answering
    batcher: MicroBatcher
    failed: tuple[str, int] = ("", 0)


class ServingFigures:
    """What is counted of models, beside what all services count.

    Args:
        metrics: of the service.
    """

    def __init__(self, metrics: Metrics) -> None:
        registry, name = metrics.registry, metrics.name
        self.together = Histogram(
            f"{name}_batch_size", "Requests that were read together.", ("model",),
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256), registry=registry,
        )  # fmt: skip
        self.seconds = Histogram(
            f"{name}_model_seconds", "Time of one reading of the model.", ("model",), buckets=SECONDS,
            registry=registry,
        )  # fmt: skip
        self.swaps = Counter(f"{name}_swaps", "Versions that were exchanged.", ("model", "result"), registry=registry)
        self.version = Gauge(
            f"{name}_model_version", "1 for the version that answers.", ("model", "version"), registry=registry
        )


class Shelf:
    """Models by name; the first is the one that is meant where none is named.

    Args:
        places: folders of artifacts and runs, or "default"; named after the last part of the path.
        batching: how requests are put together.
        figures: where readings are counted.
        coming: how many requests are at work in the server.
        device: where models predict.
        functions: code of the user's own features.

    Raises:
        ArtifactError: one that cannot be served. ValueError: none, or two of one name.
    """

    def __init__(
        self,
        places: Sequence[str | Path],
        *,
        batching: Batching | None = None,
        figures: ServingFigures | None = None,
        coming: Callable[[], int] = lambda: 0,
        device: str = "cpu",
        functions: Sequence[FeatureFunction] = (),
    ) -> None:
        if not places:
            raise ValueError("name at least one artifact to serve")
        self._batching = Batching() if batching is None else batching
        self._figures, self._coming = figures, coming
        self._device, self._functions = device, tuple(functions)
        self._lock = threading.Lock()
        self._slots: dict[str, Slot] = {}
        for place in places:
            name = name_of(place)
            if name in self._slots:
                raise ValueError(f"two artifacts are called {name!r}: serve them from folders of other names")
            answering = self._loaded(place)
            self._slots[name] = Slot(name, place, answering, self._batcher(name, answering))
            self._show(name, None, answering.version)

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def names(self) -> list[str]:
        """Of the models, in their order."""
        return list(self._slots)

    def slot(self, name: str | None) -> Slot:
        """The model of a name, or the first.

        Raises:
            BodyError: no such model.
        """
        if name is None:
            return next(iter(self._slots.values()))
        if name not in self._slots:
            raise BodyError(f"model: no such model is served; there are {self.names}")
        return self._slots[name]

    def told(self) -> list[dict[str, Any]]:
        """What /models says."""
        return [{"name": slot.name, **slot.answering.told} for slot in self._slots.values()]

    def look(self) -> list[str]:
        """Exchange every model whose folder holds another version; the names of those that were.

        One that cannot be loaded is told in the log and in the figures, and what answered before goes on. It is tried
        three times, in case it was still being written, then left until the folder holds yet another.
        """
        with self._lock:
            return [name for name, slot in self._slots.items() if self._exchanged(slot)]

    def _exchanged(self, slot: Slot) -> bool:
        try:
            version = version_of(resolved(slot.place))
        except Exception as error:
            version = f"unreadable: {error}"
        if version == slot.answering.version or slot.failed == (version, TRIES):
            return False
        try:
            fresh = self._loaded(slot.place)
        except Exception as error:
            tries = slot.failed[1] + 1 if slot.failed[0] == version else 1
            slot.failed = (version, tries)
            log.error("%s keeps its version %s: what is there now cannot be served: %s",
                      slot.name, slot.answering.version, error)  # fmt: skip
            if self._figures is not None:
                self._figures.swaps.labels(slot.name, "refused").inc()
            return False
        old, before = slot.batcher, slot.answering.version
        slot.answering, slot.batcher = fresh, self._batcher(slot.name, fresh)
        slot.failed = ("", 0)
        old.close()
        self._show(slot.name, before, fresh.version)
        log.info("%s is version %s now, it was %s", slot.name, fresh.version, before)
        if self._figures is not None:
            self._figures.swaps.labels(slot.name, "done").inc()
        return True

    def close(self) -> None:
        """Answer what waits, and end."""
        for slot in self._slots.values():
            slot.batcher.close()

    def join(self, seconds: float) -> None:
        """Wait until nothing reads a model any more."""
        for slot in self._slots.values():
            slot.batcher.join(seconds)

    def _loaded(self, place: str | Path) -> Answering:
        answering = loaded(place, device=self._device, functions=self._functions)
        try:
            answering.warm()
        except NotFiniteError as error:
            raise ArtifactError(f"{place} holds a model that says no numbers: {error}") from error
        except Exception as error:  # features of one's own may want other bars than a random walk
            log.warning("%s could not be tried on a random walk: %s", place, error)
        return answering

    def _batcher(self, name: str, answering: Answering) -> MicroBatcher:
        def told(count: int, seconds: float) -> None:
            if self._figures is not None:
                self._figures.together.labels(name).observe(count)
                self._figures.seconds.labels(name).observe(seconds)

        return MicroBatcher(answering.read, self._batching, self._coming, told)

    def _show(self, name: str, before: str | None, now: str) -> None:
        if self._figures is not None:
            if before is not None and before != now:
                self._figures.version.remove(name, before)
            self._figures.version.labels(name, now).set(1)


def name_of(place: str | Path) -> str:
    """What clients call a model: the last part of its folder's path; of a run's artifact, the run's."""
    path = Path(place).resolve() if str(place) != "default" else Path("default")
    last = path.parent.name if path.name == "artifact" and path.parent.name else path.name
    return _PLAIN.sub("-", last).strip("-") or "model"


class Watcher:
    """Looks for new versions every so often, and when told to.

    Args:
        shelf: of models.
        seconds: between two looks; None: only when told to.
    """

    def __init__(self, shelf: Shelf, seconds: float | None) -> None:
        self._shelf, self._seconds = shelf, seconds
        self._wake, self._ended = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="versions", daemon=True)
        self._thread.start()

    def look_now(self, *_: object) -> None:
        """Look now; fit for a signal's handler."""
        self._wake.set()

    def close(self) -> None:
        """End."""
        self._ended = True
        self._wake.set()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while not self._ended:
            self._wake.wait(self._seconds)
            self._wake.clear()
            if self._ended:
                return
            try:
                self._shelf.look()
            except Exception:
                log.exception("the look for new versions failed")
