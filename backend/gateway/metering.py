"""What answering a request takes: tokens, and a share of the replica's time.

A replica works on many requests at once. Each moment of its time is divided evenly among those that
it is working on for this gateway, so that the shares of all requests together are the time in which
it worked. Several processes of the gateway do not know of each other's requests: while they use one
replica at the same moment, each of them counts that moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

# The status of an answer whose client has left before its end; nobody was told so.
CLIENT_LEFT: Final = 499


@dataclass(slots=True)
class EngineTime:
    """One replica's time, divided. Times are in seconds, of one monotonic clock."""

    _running: int = 0
    # What a request would have had, had it been there from the beginning.
    _share: float = 0.0
    _now: float = 0.0

    def begin(self, now: float) -> float:
        """A request begins; what it has to give back at its end."""
        self._pass(now)
        self._running += 1
        return self._share

    def end(self, now: float, began: float) -> float:
        """A request ends; its share in seconds."""
        self._pass(now)
        self._running -= 1
        return self._share - began

    def _pass(self, now: float) -> None:
        if self._running:
            self._share += (now - self._now) / self._running
        self._now = now


@dataclass(slots=True)
class Work:
    """What one request has taken so far; `replica_id` is empty while no replica was asked."""

    replica_id: str = ""
    revision: int = 0
    engine_seconds: float = 0.0
    accelerator_seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    # Nobody but the engine knows the tokens, and it has not told.
    estimated: bool = True
    # How the answer ended, where that is not what its head says.
    ended_with: int | None = None

    def spend(self, seconds: float, accelerators: int) -> None:
        """Adds a share of a replica's time."""
        self.engine_seconds += seconds
        self.accelerator_seconds += seconds * accelerators


@dataclass(slots=True, frozen=True)
class Answered:
    """A request that a replica was asked to answer, at its end. `at` is the time of day."""

    request_id: str
    model_id: str
    key_id: str | None
    route: str
    status: int
    seconds: float
    at: float
    work: Work = field(default_factory=Work)
