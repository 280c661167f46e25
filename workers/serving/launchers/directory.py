"""Every launcher there is, found by the name of a server."""

from __future__ import annotations

from backend.domain.errors import Invalid
from backend.domain.server import LOCAL
from workers.serving.launchers.launcher import Launcher
from workers.serving.launchers.local import LocalProcesses
from workers.serving.launchers.remote import RemoteServers


class Directory:
    """This machine, and the servers that are registered, as `Launchers`."""

    def __init__(self, local: LocalProcesses, remote: RemoteServers) -> None:
        self._local = local
        self._remote = remote

    def named(self, server: str) -> Launcher:
        """The one that serves a configuration's `hardware.server`. Raises `Invalid`."""
        if server == LOCAL:
            return self._local
        if self._remote.called(server):
            return self._remote
        raise Invalid(
            f"hardware.server: there is no server and no pool '{server[:80]}'.",
            remedy=f"Choose '{LOCAL}', or register the server.",
            field="hardware.server",
        )

    def at(self, server: str) -> Launcher | None:
        """The one that looks after replicas whose row names this server; None: given up."""
        if server == self._local.server:
            return self._local
        return self._remote if self._remote.server(server) is not None else None

    def public_name(self, server: str) -> str:
        """This machine is called local, a registered server by its name."""
        return LOCAL if server == self._local.server else server
