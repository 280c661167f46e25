"""The launchers that settings add to the others: a Kubernetes cluster, a Docker engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from backend.application.engine_facts import EngineFacts, EngineFactsTable
from backend.domain.errors import DomainError, Invalid, NotAllowed
from backend.domain.server import DOCKER, KUBERNETES
from backend.infra.connections import ConnectionStore, SecretUnreadable
from backend.infra.logging import get_logger
from backend.infra.settings import Settings
from backend.sources.errors import FetchRefused
from backend.sources.trying import pair
from workers.serving.launchers.launcher import Launcher, Launchers, Unreachable

if TYPE_CHECKING:
    from workers.serving.launchers.docker import Docker
    from workers.serving.launchers.kubernetes import Kubernetes

# Connections of this kind hold a secret for whatever their owner likes, containers included.
_FREE_KIND = "http"
_ACCOUNT_KIND = "registry"
_Made = TypeVar("_Made")
_log = get_logger(__name__)


class Configured:
    """`Launchers` that know those of the settings, and ask the others for the rest."""

    def __init__(self, others: Launchers, settings: Settings, connections: ConnectionStore) -> None:
        self._others = others
        self._connections = connections
        self._settings = settings
        self._prefixes = {name: f"{name}:" for name in (KUBERNETES, DOCKER)}
        self._broken: dict[str, DomainError] = {}
        self._cluster = self._made(KUBERNETES, self._connect_cluster)
        self._docker = self._made(DOCKER, self._connect_docker)

    def named(self, server: str) -> Launcher:
        """The one that serves a configuration's `hardware.server`. Raises `Invalid`."""
        if server in self._broken:
            raise self._broken[server]
        found = self._own().get(server)
        return found if found is not None else self._others.named(server)

    def at(self, server: str) -> Launcher | None:
        """The one that looks after replicas whose row names this server; None: given up.

        Raises `Unreachable` where the settings name it and it cannot be used now.
        """
        name = server.partition(":")[0]
        if name in self._broken:
            raise Unreachable(str(self._broken[name]))
        found = self._own().get(name)
        if found is not None and server.startswith(self._prefixes[name]):
            return found if found.server == server else None
        return self._others.at(server)

    def public_name(self, server: str) -> str:
        """A cluster and a Docker engine are called by their kind."""
        name = server.partition(":")[0]
        return name if name in self._own() else self._others.public_name(server)

    def tell(self, table: EngineFactsTable) -> None:
        """Publishes which engines can be served there, or no longer."""
        own = self._own()
        for name in self._prefixes:
            engines = own[name].engines if name in own else ()
            table.keep_only(name, engines)
            for engine in engines:
                for accelerator in ("cpu", "gpu"):
                    table.publish(EngineFacts(name, engine, accelerator, "", {}, {}))

    def tidy(self, live: Callable[[str], set[UUID]]) -> None:
        """Removes, in the background, what belongs to no replica that `live` tells of."""
        for launcher in self._own().values():
            threading.Thread(target=_tidy, args=(launcher, live), name="tidy", daemon=True).start()

    def close(self) -> None:
        """Ends the connections."""
        for launcher in self._own().values():
            launcher.close()

    def _connect_cluster(self) -> Kubernetes | None:
        namespace = self._settings.kubernetes_namespace
        if namespace is None:
            return None
        # The clients take half a second to import, which nobody else shall wait for.
        from workers.serving.launchers import kubernetes

        return kubernetes.connect(self._settings, namespace, self._secret)

    def _connect_docker(self) -> Docker | None:
        path = self._settings.docker_socket
        if path is None:
            return None
        from workers.serving.launchers import docker

        return docker.connect(self._settings, path, self._secret, self._account)

    def _own(self) -> dict[str, Kubernetes | Docker]:
        own = {KUBERNETES: self._cluster, DOCKER: self._docker}
        return {name: launcher for name, launcher in own.items() if launcher is not None}

    def _made(self, name: str, make: Callable[[], _Made | None]) -> _Made | None:
        broken: DomainError
        try:
            return make()
        except DomainError as error:
            broken = error
        except Exception as error:  # what others run must not wait for it
            broken = NotAllowed(
                f"{name} cannot be used: {error}",
                remedy="Correct its settings, and start the deploy worker anew.",
            )
        _log.error("a launcher cannot be used", launcher=name, error=str(broken))
        self._broken[name] = broken
        return None

    def _secret(self, name: str) -> str:
        return self._opened(name, _FREE_KIND)

    def _account(self, name: str) -> tuple[str, str]:
        try:
            return pair(self._opened(name, _ACCOUNT_KIND), "user name and password")
        except FetchRefused as error:
            raise NotAllowed(error.reason, remedy=error.remedy) from error

    def _opened(self, name: str, kind: str) -> str:
        """The secret of a connection. Raises `Invalid` and `NotAllowed`."""
        try:
            found = self._connections.get(name)
        except SecretUnreadable:
            raise NotAllowed(
                f"The secret of the connection '{name}' was sealed with another server key.",
                remedy="Save the connection again, then redeploy.",
            ) from None
        if found is None or found.kind != kind or found.secret is None:
            raise Invalid(
                f"there is no connection '{name[:80]}' of the kind {kind} with a secret.",
                remedy="Save one of that kind, and give its name; then redeploy.",
            )
        return found.secret


def _tidy(launcher: Kubernetes | Docker, live: Callable[[str], set[UUID]]) -> None:
    try:
        # Read before the rows: whoever starts a replica has written its row first.
        seen = launcher.replicas()
        for replica_id in seen - live(launcher.server):
            launcher.stop(replica_id)
    except Exception as error:  # the next time is soon enough, whatever it was
        _log.warning("tidying up is left for later", server=launcher.server, error=str(error))
