"""Figures of a service as Prometheus reads them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  #: borders of durations


class Metrics:
    """A registry of its own, so that several services live in one process, with the figures that all of them have.

    Args:
        name: what all names of figures begin with.

    Attributes:
        registry: where a service adds figures of its own.
        requests: count by route and status. seconds: duration by route. inside: requests at work now.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, name: str = "cryptoenv") -> None:
        self.registry = CollectorRegistry()
        self.name = name
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            f"{name}_requests", "Requests that were answered.", ("route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            f"{name}_request_seconds", "From a request's headers to the end of its answer.", ("route",),
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.inside = Gauge(f"{name}_requests_inside", "Requests that are at work.", registry=self.registry)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All figures, in the text format of Prometheus."""
        return generate_latest(self.registry)
