"""Bounds of one request. Times are in seconds, sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024**2


@dataclass(frozen=True)
class Limits:
    """Generous ones for people and engines that are slow, finite ones for those that hang."""

    body_bytes: int = 16 * MIB
    # Bodies of all requests that one process is answering; each is there twice for a moment.
    held_bytes: int = 512 * MIB
    body_seconds: float = 30.0
    connect_seconds: float = 5.0
    # A whole answer, where it is not streamed: the engine sends nothing before the end.
    first_byte_seconds: float = 600.0
    # Between two pieces of a stream, and for a client to take one.
    silence_seconds: float = 120.0
    # Running requests at the end of the process.
    drain_seconds: float = 10.0
    # For a replica of a deployed model, where none runs; and so many requests of a model.
    wait_seconds: float = 120.0
    waiting_requests: int = 256
