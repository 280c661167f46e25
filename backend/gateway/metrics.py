"""What the gateway measures. Labels are model names from events, never a client's text."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


@dataclass(frozen=True)
class ModelMetrics:
    """One model's instruments, looked up once."""

    name: str
    metrics: Metrics

    @cached_property
    def in_flight(self) -> Gauge:
        return self.metrics.in_flight.labels(self.name)

    @cached_property
    def first_byte(self) -> Histogram:
        return self.metrics.first_byte.labels(self.name)

    @cached_property
    def succeeded(self) -> Counter:
        return self.metrics.requests.labels(self.name, "200")

    @cached_property
    def prompt_tokens(self) -> Counter:
        return self.metrics.tokens.labels(self.name, "prompt")

    @cached_property
    def completion_tokens(self) -> Counter:
        return self.metrics.tokens.labels(self.name, "completion")


class Metrics:
    """The gateway's instruments; with several processes, any of them reports for all."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "loggia_gateway_requests",
            "Requests answered, by model and HTTP status.",
            ["model", "status"],
            registry=self._registry,
        )
        self.first_byte = Histogram(
            "loggia_gateway_first_byte_seconds",
            "Seconds from the request to the engine's first byte.",
            ["model"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "loggia_gateway_in_flight",
            "Requests that an engine is working on, or that wait for one.",
            ["model"],
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self.waiting = Gauge(
            "loggia_gateway_waiting",
            "Requests that wait for a replica of a deployed model.",
            ["model"],
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self.tokens = Counter(
            "loggia_gateway_tokens",
            "Tokens, as the engine reports them; of a stream without a report, its chunks.",
            ["model", "kind"],
            registry=self._registry,
        )
        self.engine_errors = Counter(
            "loggia_gateway_engine_errors",
            "Requests that an engine failed, by model and kind of failure.",
            ["model", "kind"],
            registry=self._registry,
        )
        self.position = Gauge(
            "loggia_gateway_position",
            "Position of the last event that the routes reflect.",
            multiprocess_mode="livemin",
            registry=self._registry,
        )
        self._models: dict[str, ModelMetrics] = {}

    def of(self, model: str) -> ModelMetrics:
        """The instruments of this model."""
        found = self._models.get(model)
        if found is None:
            found = self._models[model] = ModelMetrics(model, self)
        return found

    def exposition(self) -> bytes:
        """All values in the Prometheus text format."""
        registry = self._registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
