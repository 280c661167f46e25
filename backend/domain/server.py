"""The Server aggregate: an engine that runs already, and that deployments may use.

What its machine has is said by people, for no protocol tells; that it answers is observed.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid5

from backend.domain.addresses import check_address
from backend.domain.errors import Invalid, NotAllowed, NotFound
from backend.domain.events import Aggregate, event_header
from backend.domain.values import name_key

ENGINES = ("vllm", "triton")
# What deployments call the machine of the deploy worker, and its Docker engine.
LOCAL, DOCKER = "local", "docker"
KUBERNETES = "kubernetes"
# Places that nobody registers: the platform has them by its settings.
BUILT_IN = frozenset({LOCAL, DOCKER, KUBERNETES})
# Those that share the deploy worker's machine.
ON_MACHINE = frozenset({LOCAL, DOCKER})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NAMESPACE = UUID("3b0a7e0c-9a1d-4d52-8c0e-7d1f4f0c2b61")
_MAX_ADDRESS = 500
_MAX_REASON = 500
_TRITON_GRPC_PORT = 8001
_DEFAULT_PORTS = {"http": 80, "https": 443}
_GRPC_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")

JSON = dict[str, Any]


@dataclass(frozen=True)
class Capacity:
    """What the server takes and has; memory in GiB, None where nobody has said."""

    deployments: int = 1
    memory_gib: float | None = None
    gpu_count: int = 0
    gpu_name: str = ""
    gpu_memory_gib: float | None = None

    def check(self) -> None:
        """Raises `Invalid` for the first value that cannot be."""
        _within("deployments", self.deployments, 1, 1000)
        _within("memory_gib", self.memory_gib, 0.1, 65_536)
        _within("gpu_count", self.gpu_count, 0, 1024)
        _within("gpu_memory_gib", self.gpu_memory_gib, 0.1, 65_536)
        if len(self.gpu_name) > 100 or not self.gpu_name.isprintable():
            raise Invalid(
                "The name of the GPUs is too long, or cannot be shown.",
                remedy="Use up to 100 visible characters.",
                field="capacity.gpu_name",
            )


@dataclass(frozen=True)
class Description:
    """What is registered: where the server is, what runs there, and what it has.

    `pool` is what several servers that replace each other have in common; empty: its own name.
    """

    name: str
    address: str
    engine: str
    engine_version: str
    pool: str = ""
    grpc_address: str = ""
    capacity: Capacity = Capacity()
    has_credentials: bool = False

    def facts(self) -> JSON:
        """The description as it stands in an event. Raises `Invalid`."""
        _check_name(self.name, "name", "a server")
        _check_name(self.pool or self.name, "pool", "a pool")
        if self.engine not in ENGINES:
            raise Invalid(
                f"'{self.engine[:80]}' is not an engine that can be registered.",
                remedy=f"Choose one of {', '.join(ENGINES)}.",
                field="engine",
            )
        self.capacity.check()
        return {
            "name": self.name,
            "pool": self.pool or self.name,
            "address": checked_address(self.address),
            "grpc_address": self.complete_grpc_address(),
            "engine": self.engine,
            "engine_version": self.engine_version[:100],
            "capacity": asdict(self.capacity),
            "has_credentials": self.has_credentials,
        }

    def complete_grpc_address(self) -> str:
        """The one that was given, or that follows from the address. Raises `Invalid`."""
        given = _checked_grpc_address(self.grpc_address, self.engine)
        return given or _default_grpc_address(self.address, self.engine)

    def following(self, address: str, grpc_address: str) -> Description:
        """Another description of a server that had these addresses.

        Where the second only followed from the first, it does not stay behind when that changes.
        """
        followed = grpc_address == _default_grpc_address(address, self.engine)
        if followed and self.grpc_address == grpc_address:
            return replace(self, grpc_address="")
        return self


class ServerEvent(Aggregate.Event):
    """An event about a server."""

    server_id: UUID
    name: str


class Server(Aggregate):
    """A server by name. Its credentials are sealed outside the events and never shown again."""

    TOPIC = "Server"

    class Created(Aggregate.Created):
        TOPIC = "ServerRegistered"
        server_id: UUID
        name: str
        pool: str
        address: str
        grpc_address: str
        engine: str
        engine_version: str
        capacity: JSON
        has_credentials: bool

    class RegisteredAgain(ServerEvent):
        TOPIC = "ServerRegisteredAgain"
        pool: str
        address: str
        grpc_address: str
        engine: str
        engine_version: str
        capacity: JSON
        has_credentials: bool

        def apply(self, aggregate: Server) -> None:
            aggregate.describe(self)
            aggregate.removed = aggregate.draining = aggregate.lost = False

    class Changed(ServerEvent):
        TOPIC = "ServerChanged"
        pool: str
        address: str
        grpc_address: str
        engine: str
        engine_version: str
        capacity: JSON
        has_credentials: bool

        def apply(self, aggregate: Server) -> None:
            aggregate.describe(self)

    class DrainRequested(ServerEvent):
        TOPIC = "ServerDrainRequested"
        reason: str

        def apply(self, aggregate: Server) -> None:
            aggregate.draining = True

    class DrainEnded(ServerEvent):
        TOPIC = "ServerDrainEnded"

        def apply(self, aggregate: Server) -> None:
            aggregate.draining = False

    class Removed(ServerEvent):
        TOPIC = "ServerRemoved"

        def apply(self, aggregate: Server) -> None:
            aggregate.removed = True

    class Lost(ServerEvent):
        TOPIC = "ServerLost"
        reason: str
        silent_seconds: float

        def apply(self, aggregate: Server) -> None:
            aggregate.lost = True

    class Recovered(ServerEvent):
        TOPIC = "ServerRecovered"
        lost_seconds: float
        engine_version: str

        def apply(self, aggregate: Server) -> None:
            aggregate.lost = False
            aggregate.engine_version = self.engine_version

    def __init__(
        self,
        *,
        name: str,
        pool: str,
        address: str,
        grpc_address: str,
        engine: str,
        engine_version: str,
        capacity: JSON,
        has_credentials: bool,
    ) -> None:
        self.name = name
        self.pool = pool
        self.address = address
        self.grpc_address = grpc_address
        self.engine = engine
        self.engine_version = engine_version
        self.capacity = capacity
        self.has_credentials = has_credentials
        self.draining = False
        self.lost = False
        self.removed = False

    @staticmethod
    def create_id(name: str) -> UUID:
        """The server of this name: there is one, whatever the case of its letters."""
        return uuid5(_NAMESPACE, name_key(name))

    @classmethod
    def register(cls, description: Description) -> Server:
        """A server under a name that was never used before. Raises `Invalid`."""
        server_id = cls.create_id(description.name)
        return cls._create(
            cls.Created,
            id=server_id,
            server_id=server_id,
            **description.facts(),
            **event_header(),
        )

    def register_again(self, description: Description) -> None:
        """The same name for another server, after the first was removed. Raises `NotAllowed`."""
        if not self.removed:
            raise NotAllowed(
                f"There is a server '{self.name}' already.",
                remedy="Choose another name, or change that server.",
            )
        self.record(self.RegisteredAgain, server_id=self.id, **description.facts())

    def change(self, description: Description) -> None:
        """Describes it anew; a deployment that runs there keeps the engine. Raises `NotFound`."""
        self._require()
        facts = description.following(self.address, self.grpc_address).facts()
        if facts["engine"] != self.engine:
            raise NotAllowed(
                f"'{self.name}' is registered with {self.engine}.",
                remedy=f"Register the server with {facts['engine']} under another name.",
            )
        self.record(self.Changed, server_id=self.id, **facts)

    def drain(self, *, reason: str) -> None:
        """Takes no new replicas; those there are move elsewhere. Raises `NotFound`, `Invalid`."""
        self._require()
        if len(reason) > _MAX_REASON:
            raise Invalid(
                "The reason is too long.",
                remedy=f"Use up to {_MAX_REASON} characters.",
                field="reason",
            )
        if not self.draining:
            self.record(self.DrainRequested, server_id=self.id, name=self.name, reason=reason)

    def end_drain(self) -> None:
        """Takes replicas again. Raises `NotFound`."""
        self._require()
        if self.draining:
            self.record(self.DrainEnded, server_id=self.id, name=self.name)

    def remove(self) -> None:
        """Forgets the server. Raises `NotFound`; that nothing runs there is the caller's to see."""
        self._require()
        self.record(self.Removed, server_id=self.id, name=self.name)

    def record_lost(self, *, reason: str, silent_seconds: float) -> None:
        """It does not answer any more."""
        if not self.lost and not self.removed:
            self.record(
                self.Lost,
                server_id=self.id,
                name=self.name,
                reason=reason,
                silent_seconds=silent_seconds,
            )

    def record_recovered(self, *, lost_seconds: float, engine_version: str) -> None:
        """It answers again."""
        if self.lost and not self.removed:
            self.record(
                self.Recovered,
                server_id=self.id,
                name=self.name,
                lost_seconds=lost_seconds,
                engine_version=engine_version,
            )

    def describe(self, event: Any) -> None:
        """Takes over what an event says of the server."""
        for name in (
            "name", "pool", "address", "grpc_address", "engine", "engine_version", "capacity",
            "has_credentials",
        ):  # fmt: skip
            setattr(self, name, getattr(event, name))

    def _require(self) -> None:
        if self.removed:
            raise missing(self.name)


def missing(name: str) -> NotFound:
    """Nothing is registered under this name."""
    return NotFound(f"There is no server '{name[:80]}'.", remedy="Reload the list of servers.")


def still_used(name: str, replicas: int, *, wanted: str) -> NotAllowed:
    """What is wanted of it, as a verb, must wait: it would end what runs there."""
    many = f"{replicas} replicas run" if replicas > 1 else "a replica runs"
    return NotAllowed(
        f"'{name}' cannot {wanted} while {many} on it.",
        remedy="Drain the server, or redeploy elsewhere what it serves; wait until nothing runs "
        "there, then try again.",
    )


def checked_address(address: str) -> str:
    """The address in its one form. Raises `Invalid`."""
    try:
        parts = urlsplit(address)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
        usable = usable and not (parts.username or parts.password or parts.query or parts.fragment)
        usable = usable and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or len(address) > _MAX_ADDRESS or not address.isprintable():
        raise Invalid(
            f"'{address[:120]}' is not the address of a server.",
            remedy="Give an address such as http://gpu-7:8000, without credentials and parameters.",
            field="address",
        )
    check_address(address, field="address")
    return normal_address(address.rstrip("/").removesuffix("/v1"))


def normal_address(address: str) -> str:
    """An address as clients write it: scheme and host in small letters, no port that goes without
    saying, no last slash. Addresses that were registered long ago are not always so.
    """
    parts = urlsplit(address)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    if parts.port not in (None, _DEFAULT_PORTS.get(parts.scheme)):
        host = f"{host}:{parts.port}"
    return urlunsplit((parts.scheme, host, parts.path, "", "")).rstrip("/")


def _checked_grpc_address(address: str, engine: str) -> str:
    if not address:
        return ""
    if engine != "triton":
        raise Invalid(
            "Only Triton is asked by gRPC.", remedy="Leave it empty.", field="grpc_address"
        )
    port = address.rpartition(":")[2]
    if not _GRPC_ADDRESS.fullmatch(address) or not 0 < int(port) < 65_536:
        raise Invalid(
            f"'{address[:120]}' is not a gRPC address.",
            remedy="Give host and port, such as gpu-7:8001.",
            field="grpc_address",
        )
    return address


def _default_grpc_address(address: str, engine: str) -> str:
    """Triton listens there where nobody says otherwise; only Triton has such an address."""
    if engine != "triton":
        return ""
    host = urlsplit(address).hostname or ""
    return f"[{host}]:{_TRITON_GRPC_PORT}" if ":" in host else f"{host}:{_TRITON_GRPC_PORT}"


def _check_name(name: str, field: str, what: str) -> None:
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"'{name[:80]}' cannot be the name of {what}.",
            remedy="Use 1 to 64 letters, digits, dots, hyphens and underscores.",
            field=field,
        )
    if name_key(name) in BUILT_IN:
        raise Invalid(
            f"'{name_key(name)}' is a place of the platform itself.",
            remedy="Choose another name.",
            field=field,
        )


def _within(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise Invalid(
            f"{value} is out of range.",
            remedy=f"Choose a value from {low} to {high}.",
            field=f"capacity.{name}",
        )
