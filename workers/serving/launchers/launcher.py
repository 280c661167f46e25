"""What the worker knows about a place where replicas run, whichever it is.

The engine says what is to be served and how to ask it whether it answers; the launcher brings a
replica into being, finds it again, and ends it. A launcher keeps what it needs for that outside
of its own memory, so that the next worker continues where this one was killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from psycopg import Cursor
from psycopg.rows import DictRow

from backend.domain.configuration import DeployConfiguration
from backend.domain.errors import DomainError
from workers.serving.engine import Diagnosis
from workers.serving.preparation import Needs, Prepared

STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Place:
    """Where a replica is going to be: the row's name for the server, and what the gateway calls."""

    server: str
    endpoint: str


@dataclass(frozen=True)
class Wanted:
    """One replica that a revision wants."""

    replica_id: UUID
    deployment_id: UUID
    model_id: UUID
    revision: int
    slot: int
    configuration: DeployConfiguration


@dataclass(frozen=True)
class Order:
    """One replica that is to run, at the place that was chosen for it."""

    wanted: Wanted
    place: Place
    prepared: Prepared


@dataclass(frozen=True)
class Sighting:
    """What is known of a replica; the exit code only where there is a process of our own.

    `known` is False where it has never been started, or has been stopped and cleared away. `why`
    is the cause where the launcher knows it; else the engine reads it from the log.
    """

    known: bool
    running: bool
    exit_code: int | None = None
    why: Diagnosis | None = None


class NoPlace(DomainError):
    """Nothing is free there, now or ever; `detail` says how much is missing."""


class ReplicaLog(Protocol):
    """A replica's output; reading never fails, at worst it says nothing."""

    def tail(self, lines: int = ...) -> list[str]:
        """The last lines that say something."""
        ...

    def skip(self) -> None:
        """What is there now is not new."""
        ...

    def new_lines(self) -> Sequence[str]:
        """What was written since the last call."""
        ...

    def bound(self) -> None:
        """Keeps it small."""
        ...


class Launcher(Protocol):
    """A place, or several of a kind, where replicas run. Every method may be repeated."""

    @property
    def needs(self) -> Needs:
        """What must be made ready on this machine before `start`."""
        ...

    @property
    def ends_with_platform(self) -> bool:
        """Whether its replicas end when the platform is stopped, or go on without it."""
        ...

    def place(self, wanted: Wanted, cursor: Cursor[DictRow]) -> Place:
        """Where the replica can be. Raises `NoPlace`.

        The cursor's transaction holds the lock of all placements and writes the replica's row, so
        that no two replicas are promised the same room.
        """
        ...

    def start(self, order: Order) -> str:
        """Brings the replica into being, unless it is; returns the engine's version.

        Raises `DomainError` for what will never start, and `OSError`.
        """
        ...

    def find(self, replica_id: UUID, *, search: bool = False) -> Sighting:
        """Whether it runs. `search` also looks for one whose start was never written down."""
        ...

    def stop(self, replica_id: UUID, *, seconds: float = STOP_SECONDS) -> None:
        """Ends it with everything that belongs to it; returns when all of it is gone."""
        ...

    def log(self, replica_id: UUID) -> ReplicaLog:
        """Its output; it stays after the replica has gone."""
        ...


class Launchers(Protocol):
    """Every launcher, found by what a configuration or a replica's row says."""

    def named(self, server: str) -> Launcher:
        """The one that serves a configuration's `hardware.server`. Raises `Invalid`."""
        ...

    def at(self, server: str) -> Launcher | None:
        """The one that looks after replicas whose row names this server; None: given up."""
        ...

    def public_name(self, server: str) -> str:
        """What events and people call the server of a row."""
        ...
