"""What the API counts, in Prometheus' form."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """The process's own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._requests = Histogram(
            "loggia_api_request_seconds",
            "Time to answer, by operation and status.",
            ("operation", "method", "status"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.live_clients = Gauge(
            "loggia_api_live_clients", "Open event streams.", registry=self.registry
        )
        self.live_disconnected = Counter(
            "loggia_api_live_clients_dropped",
            "Event streams closed because their reader was too slow.",
            registry=self.registry,
        )
        self.uploaded_bytes = Counter(
            "loggia_api_uploaded_bytes", "Bytes stored from uploads.", registry=self.registry
        )

    def answered(self, operation: str, method: str, status: int, seconds: float) -> None:
        """Counts an answer. Commands and queries are told apart by the method."""
        self._requests.labels(operation, method, str(status)).observe(seconds)

    def text(self) -> bytes:
        """Every figure, in the exposition format."""
        return generate_latest(self.registry)
