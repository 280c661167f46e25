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

from backend.domain.configuration import DeployConfiguration, Scaling
from backend.domain.errors import DomainError
from workers.serving.engine import Diagnosis, Engine
from workers.serving.launchers.gpus import GpuShare
from workers.serving.preparation import Needs, Prepared

STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Place:
    """Where a replica is going to be: the row's name for the server, and what the gateway calls.

    `memory_gib` of the machine and the `devices` are promised to it alone, as long as it lives.
    """

    server: str
    endpoint: str
    memory_gib: float = 0.0
    devices: tuple[GpuShare, ...] = ()

    def device_names(self) -> list[str]:
        """The GPUs that were promised to it, for people."""
        return [f"{share.index}: {share.name}" for share in self.devices]


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
    is the cause where the launcher knows it; else the engine reads it from the log. `crashed` is
    False where the replica went with its server: that says nothing about the revision. A launcher
    that watches health itself says `healthy`; one whose replicas get their address late says
    `endpoint` as soon as it may be used, and nothing serves before. `inside` are the addresses of
    the processes behind the endpoint, where there can be several.
    """

    known: bool
    running: bool
    exit_code: int | None = None
    why: Diagnosis | None = None
    crashed: bool = True
    healthy: bool | None = None
    endpoint: str | None = None
    inside: tuple[str, ...] | None = None


class Unreachable(Exception):
    """What a launcher steers does not answer now; a later look may find it again."""


class StillPreparing(Exception):
    """What the replica is made of is being fetched; ask again."""


class NoPlace(DomainError):
    """Nothing is free there; `detail` says how much is missing.

    `forever`: no other replica's end would help.
    """

    def __init__(self, detail: str, *, remedy: str, forever: bool = False) -> None:
        super().__init__(detail, remedy=remedy)
        self.forever = forever


class PlaceLost(Exception):
    """The place is not there at the moment; the replica is to get another one."""


class ReplicaLog(Protocol):
    """A replica's output; reading never fails, at worst it says nothing."""

    def tail(self, lines: int = ...) -> list[str]:
        """The last lines that say something."""
        ...

    @property
    def offset(self) -> int:
        """How far it has been read, in bytes."""
        ...

    def go_on(self, offset: int) -> None:
        """What lies before the offset is not new."""
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

    def bounds(self, scaling: Scaling) -> tuple[int, int]:
        """The fewest and the most replicas that are kept there.

        They are the configuration's, unless a replica is a whole workload with as many processes
        as an autoscaler of the launcher's own wants.
        """
        ...

    def place(self, wanted: Wanted, cursor: Cursor[DictRow]) -> Place:
        """Where the replica can be. Raises `NoPlace`.

        The cursor's transaction holds the lock of all placements and writes the replica's row, so
        that no two replicas are promised the same room.
        """
        ...

    def start(self, order: Order) -> str:
        """Brings the replica into being, unless it is; returns the engine's version.

        Raises `StillPreparing` where it has to be asked again, `DomainError` for what will never
        start, `PlaceLost`, and `OSError`.
        """
        ...

    def devices(self, order: Order) -> list[str]:
        """The GPUs of the replica by name, an index before it where known; empty: nobody knows."""
        ...

    def find(self, replica_id: UUID, *, search: bool = False) -> Sighting:
        """Whether it runs. `search` also looks for one whose start was never written down."""
        ...

    def stop(self, replica_id: UUID, *, seconds: float = STOP_SECONDS) -> None:
        """Ends it with everything that belongs to it; returns when all of it is gone."""
        ...

    def speaks(self, engine: Engine) -> Engine:
        """The engine as it is asked there, whether it answers and how busy it is."""
        ...

    def leaving(self, server: str) -> str | None:
        """Why replicas on the server are to move elsewhere, in a sentence; None: they stay."""
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
