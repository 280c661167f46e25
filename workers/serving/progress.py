"""What people see while a deployment is under way. Every step that begins comes to an end."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from backend.infra.telemetry import Telemetry, TelemetryPublisher

_LINES_AT_ONCE = 20


class Progress:
    """Readings about one model's deployment."""

    def __init__(self, publisher: TelemetryPublisher, model_id: UUID) -> None:
        self._publisher = publisher
        self._model_id = model_id

    def environment(self, percent: int, message: str) -> None:
        """The engine's environment is being made."""
        self._publish("environment", percent, 100, "percent", message)

    def files(self, done: int, total: int) -> None:
        """The model's files are being brought to this server."""
        self._publish("files", done, total, "bytes")

    def optimizing(self, done: int, total: int, message: str) -> None:
        """The model's files are being converted."""
        self._publish("optimize", done, total, "steps", message)

    def starting(self, seconds: float, limit_seconds: float, message: str) -> None:
        """The engine is loading; it has until the limit."""
        limit = max(1, round(limit_seconds))
        self._publish("start", min(round(seconds), limit - 1), limit, "seconds", message)

    def ready(self, ready: int, wanted: int) -> None:
        """So many of the wanted replicas answer."""
        self._publish("ready", ready, wanted, "steps")

    def draining(self, seconds: float, limit_seconds: float, requests: int) -> None:
        """The engine finishes its requests; it has until the limit."""
        limit = max(1, round(limit_seconds))
        self._publish(
            "drain", min(round(seconds), limit - 1), limit, "seconds", f"{requests} requests left"
        )

    def drained(self) -> None:
        """The engine has ended."""
        self._publish("drain", 1, 1, "steps")

    def ended(self, outcome: str) -> None:
        """The whole of it is over; `outcome` is deployed, failed, stopped or superseded."""
        self._publish("outcome", 1, 1, "steps", outcome)

    def log(self, replica_id: UUID, lines: Sequence[str]) -> None:
        """New lines of an engine's log; of a flood the newest."""
        for line in lines[-_LINES_AT_ONCE:]:
            self._publisher.publish(
                Telemetry(
                    model_id=self._model_id,
                    kind="log",
                    step=str(replica_id),
                    unit="steps",
                    message=line,
                )
            )

    def _publish(self, step: str, done: int, total: int, unit: str, message: str = "") -> None:
        self._publisher.publish(
            Telemetry(
                model_id=self._model_id,
                kind="deploy",
                step=step,
                done=done,
                total=total,
                unit=unit,
                message=message,
            )
        )
