"""Container images on a Docker engine of this machine.

A container carries labels that say whose it is and how its health is asked for; nothing else about
it is remembered. Docker is never told to start it again: that is the reconciler's decision.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

import docker
import docker.errors
import httpx
import msgspec
import requests
from psycopg import Cursor
from psycopg.rows import DictRow

from backend.domain.configuration import Scaling
from backend.domain.errors import Invalid, NotAllowed
from backend.infra.settings import Settings
from workers.serving.containers import (
    MODELS,
    Container,
    Containerised,
    ContainerOrder,
    Health,
    Images,
)
from workers.serving.engine import Diagnosis, Engine
from workers.serving.engines.container import ContainerImage
from workers.serving.launchers.docker_limits import gpus_of, memory_limit
from workers.serving.launchers.docker_log import Absent, ContainerLog, explained
from workers.serving.launchers.fetched_log import FetchedLog
from workers.serving.launchers.gpus import Gpus
from workers.serving.launchers.launcher import (
    STOP_SECONDS,
    Order,
    Place,
    Sighting,
    StillPreparing,
    Wanted,
)
from workers.serving.launchers.local import memory_gib
from workers.serving.launchers.room import DOCKER_PREFIX, Machine, room_here
from workers.serving.preparation import Needs

JSON = dict[str, Any]

_LABEL = "dev.loggia"
_API_SECONDS = 30
_STARTING_CHECK_SECONDS = 1.0
_MOST_PROCESSES = 4096
_LOG_BYTES = "16m"


@dataclass
class _Watch:
    """What was seen of a container's health."""

    health: Health
    due: float
    failures: int = 0
    healthy: bool = False


class Docker:
    """Runs, finds and removes containers, as a `Launcher`."""

    engines = (ContainerImage.name,)
    needs = Needs(environment=False, files=False)
    ends_with_platform = True

    def __init__(
        self,
        settings: Settings,
        path: Path,
        secret: Callable[[str], str],
        account: Callable[[str], tuple[str, str]],
        *,
        gpus: Gpus | None = None,
    ) -> None:
        """`secret` opens a connection for a container's environment, `account` one of a registry
        as user and password; both raise `DomainError`. The socket means this machine."""
        self._machine = f"{socket.gethostname()}:{settings.data}"
        self.server = f"{DOCKER_PREFIX}{self._machine}"
        self.gpus = gpus or Gpus()
        self._secret = secret
        self._account = account
        self._folders = settings.data / "engines"
        self._installation = hashlib.sha256(b"installation\0" + settings.secret_key).hexdigest()[
            :16
        ]
        self._socket = path
        self._http = httpx.Client(trust_env=False)
        self._pulls = ThreadPoolExecutor(max_workers=2, thread_name_prefix="pull")
        self._pulling: dict[str, Future[None]] = {}
        self._watches: dict[UUID, _Watch] = {}
        self._logs: dict[UUID, FetchedLog] = {}
        self._lock = threading.Lock()

    @cached_property
    def _client(self) -> Any:
        """Made at the first call, because it asks for Docker's version, which may be stopped.

        No fixed one is spoken by old and by new engines alike.
        """
        return docker.APIClient(base_url=f"unix://{self._socket}", timeout=_API_SECONDS)

    def bounds(self, scaling: Scaling) -> tuple[int, int]:
        """Those of the configuration: a replica is one container."""
        return scaling.min_replicas, scaling.max_replicas

    def place(self, wanted: Wanted, cursor: Cursor[DictRow]) -> Place:
        """Memory or GPUs of this machine that nobody was promised. Raises `NoPlace`.

        Docker chooses a port of the loopback interface, and says later which.
        """
        machine = Machine(memory_gib(), tuple(self.gpus.all()))
        room = room_here(self._machine, machine, wanted, cursor)
        return Place(self.server, "", room.memory_gib, room.shares)

    def start(self, order: Order) -> str:
        """Makes and starts the container, unless it is there.

        Raises `StillPreparing` while its image is fetched, `DomainError` for what will never
        start, and `Unreachable`.
        """
        container = self._container(order)
        name = _name(order.wanted.replica_id)
        with explained():
            if not self._has(container.image):
                self._pull(container)
            try:
                self._create(name, container, order)
            except docker.errors.APIError as error:
                if error.status_code != requests.codes.conflict:
                    raise
                self._check_ours(name)
            self._client.start(name)
        return container.version

    def devices(self, order: Order) -> list[str]:
        """Those that it was promised."""
        return order.place.device_names()

    def find(self, replica_id: UUID, *, search: bool = False) -> Sighting:  # noqa: ARG002
        """What Docker says of the container, and its own health check. Raises `Unreachable`."""
        try:
            with explained():
                found = self._client.inspect_container(_name(replica_id))
        except Absent:
            return Sighting(known=False, running=False)
        state = found["State"]
        if state["Status"] == "created":
            return Sighting(known=False, running=False)
        if not state["Running"]:
            self.log(replica_id).refresh()
            return _ended(state)
        watch = self._watched(replica_id, found)
        endpoint = _endpoint(found, found["Config"]["Labels"][f"{_LABEL}.port"])
        return Sighting(
            known=True,
            running=True,
            healthy=self._is_healthy(watch, _endpoint(found, watch.health.port)),
            endpoint=endpoint,
        )

    def stop(self, replica_id: UUID, *, seconds: float = STOP_SECONDS) -> None:
        """Asks the container to end, removes it, and returns when it is gone."""
        self.log(replica_id).refresh()
        name = _name(replica_id)
        try:
            with explained():
                self._check_ours(name)
                self._client.stop(name, timeout=round(seconds))
                self._client.remove_container(name, v=True, force=True)
        except (Absent, NotAllowed):
            pass
        self._watches.pop(replica_id, None)
        self._logs.pop(replica_id, None)

    def speaks(self, engine: Engine) -> Engine:
        """As it is."""
        return engine

    def leaving(self, server: str) -> str | None:  # noqa: ARG002
        """Nobody drains it here."""
        return None

    def log(self, replica_id: UUID) -> FetchedLog:
        """The container's output."""
        log = self._logs.get(replica_id)
        if log is None:
            path = self._folders / str(replica_id) / "log"
            log = self._logs[replica_id] = ContainerLog(
                path, lambda: self._client, _name(replica_id)
            )
        return log

    def replicas(self) -> set[UUID]:
        """Every replica of this installation that has a container. Raises `Unreachable`."""
        with explained():
            found = self._client.containers(
                all=True, filters={"label": f"{_LABEL}.installation={self._installation}"}
            )
        return {UUID(each["Labels"][f"{_LABEL}.replica"]) for each in found}

    def close(self) -> None:
        """Ends the connections."""
        self._pulls.shutdown(wait=False, cancel_futures=True)
        if "_client" in vars(self):
            self._client.close()
        self._http.close()

    def _container(self, order: Order) -> Container:
        engine = order.prepared.engine
        if engine.name != ContainerImage.name or not isinstance(engine, Containerised):
            raise Invalid(
                f"engine: '{engine.name}' is not run by Docker here.",
                remedy="Choose the engine container, or another server.",
                field="engine",
            )
        launch = order.prepared.launch(
            replica_id=order.wanted.replica_id,
            port=0,
            configuration=order.wanted.configuration,
            directory=MODELS,
            adapter_directory=None,
        )
        return engine.container(
            ContainerOrder(launch, order.prepared.subject, Images(vllm={}), self._secret)
        )

    def _has(self, image: str) -> bool:
        try:
            self._client.inspect_image(image)
        except docker.errors.ImageNotFound:
            return False
        return True

    def _pull(self, container: Container) -> None:
        """Raises `StillPreparing`, until it returns or raises what hindered it."""
        image = container.image
        account = self._account(container.connection) if container.connection else None
        with self._lock:
            pulling = self._pulling.get(image)
            if pulling is None:
                pulling = self._pulling[image] = self._pulls.submit(self._fetch, image, account)
        if not pulling.done():
            raise StillPreparing(f"Fetching the image {image}.")
        with self._lock:
            self._pulling.pop(image, None)
        pulling.result()

    def _fetch(self, image: str, account: tuple[str, str] | None) -> None:
        login = {"username": account[0], "password": account[1]} if account else None
        with explained():
            for line in self._client.pull(image, stream=True, decode=True, auth_config=login):
                if "error" in line:
                    raise NotAllowed(
                        f"Docker cannot get the image {image}: {line['error']}",
                        remedy="Correct the image's name or the connection with the registry's "
                        "account, and import it again.",
                    )

    def _create(self, name: str, container: Container, order: Order) -> None:
        ports = sorted({container.port, container.health.port})
        host: JSON = self._client.create_host_config(
            port_bindings=dict.fromkeys(ports, ("127.0.0.1", None)),
            mem_limit=memory_limit(container, order.wanted.configuration.hardware),
            nano_cpus=round(container.cpu * 1e9) if container.cpu else None,
            security_opt=["no-new-privileges:true"],
            pids_limit=_MOST_PROCESSES,
            device_requests=gpus_of(order.place),
            log_config=docker.types.LogConfig(
                type="json-file", config={"max-size": _LOG_BYTES, "max-file": "2"}
            ),
        )
        self._client.create_container(
            container.image,
            name=name,
            entrypoint=list(container.command) or None,
            command=list(container.arguments) or None,
            environment={**container.environment, **container.secrets},
            ports=ports,
            labels=self._labels(container, order.wanted),
            host_config=host,
        )

    def _labels(self, container: Container, wanted: Wanted) -> dict[str, str]:
        return {
            f"{_LABEL}.installation": self._installation,
            f"{_LABEL}.deployment": str(wanted.deployment_id),
            f"{_LABEL}.model": str(wanted.model_id),
            f"{_LABEL}.revision": str(wanted.revision),
            f"{_LABEL}.replica": str(wanted.replica_id),
            f"{_LABEL}.port": str(container.port),
            f"{_LABEL}.health": msgspec.json.encode(container.health).decode(),
        }

    def _check_ours(self, name: str) -> None:
        """Raises `NotAllowed` for a container of somebody else's."""
        labels = self._client.inspect_container(name)["Config"]["Labels"] or {}
        if labels.get(f"{_LABEL}.installation") != self._installation:
            raise NotAllowed(
                f"Docker has a container '{name}' that is not of this Loggia.",
                remedy="Remove it, then redeploy.",
            )

    def _watched(self, replica_id: UUID, found: JSON) -> _Watch:
        watch = self._watches.get(replica_id)
        if watch is None:
            said = found["Config"]["Labels"][f"{_LABEL}.health"]
            health = msgspec.json.decode(said, type=Health)
            # Whoever takes over a container that serves must not take it for one that begins.
            due = time.monotonic() + max(0.0, health.initial_delay - _age(found["State"]))
            watch = self._watches[replica_id] = _Watch(health, due)
        return watch

    def _is_healthy(self, watch: _Watch, endpoint: str | None) -> bool:
        """As of the last check; a healthy one may fail a few before it counts."""
        health, now = watch.health, time.monotonic()
        if endpoint is None or now < watch.due:
            return watch.healthy
        try:
            answer = self._http.get(f"{endpoint}{health.path}", timeout=health.timeout)
            good = answer.is_success
        except httpx.HTTPError:
            good = False
        watch.failures = 0 if good else watch.failures + 1
        watch.healthy = good or (watch.healthy and watch.failures < health.failures)
        pause = health.period if watch.healthy else min(health.period, _STARTING_CHECK_SECONDS)
        watch.due = now + pause
        return watch.healthy


def _name(replica_id: UUID) -> str:
    return f"loggia-{replica_id.hex[:20]}"


def _endpoint(found: JSON, port: int | str) -> str | None:
    """Where a port of the container is reached from this machine."""
    bound = (found["NetworkSettings"]["Ports"] or {}).get(f"{port}/tcp")
    return f"http://127.0.0.1:{bound[0]['HostPort']}" if bound else None


def _age(state: JSON) -> float:
    """For how many seconds the container has been running; 0 where the clock was put back."""
    started = datetime.fromisoformat(state["StartedAt"])
    return max(0.0, (datetime.now(UTC) - started).total_seconds())


def _ended(state: JSON) -> Sighting:
    code = state.get("ExitCode")
    why = None
    if state.get("OOMKilled"):
        why = Diagnosis(
            "The container was ended because it needed more memory than it has.",
            "Give the deployment more memory, then redeploy.",
        )
    elif state.get("Error"):
        why = Diagnosis(
            f"Docker could not run the container: {state['Error']}",
            "Correct the image or its configuration file, and import it again.",
        )
    return Sighting(known=True, running=False, exit_code=code, why=why)


def connect(
    settings: Settings,
    path: Path,
    secret: Callable[[str], str],
    account: Callable[[str], tuple[str, str]],
) -> Docker:
    """The Docker engine at the socket. Raises `Invalid` where there is none."""
    if not path.is_socket():
        raise Invalid(
            f"LOGGIA_DOCKER_SOCKET: there is no socket {path}.",
            remedy="Start Docker, or correct the path.",
        )
    return Docker(settings, path, secret, account)
