"""The keys that registered servers want from whoever calls them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import aiohttp

from backend.application.feed import StoredEvent
from backend.infra.connections import Seal, SecretUnreadable
from backend.infra.logging import get_logger
from backend.infra.postgres import connect
from backend.infra.settings import Settings

EVENT_TYPES = ("ServerRegistered", "ServerChanged", "ServerRemoved")
# Addresses of servers, and what is sent to them as Authorization.
Keys = Sequence[tuple[str, str]]
_log = get_logger(__name__)


class ServerKeys:
    """Read anew whenever an event tells of a server; requests only look."""

    def __init__(self, read: Callable[[], Keys] = lambda: ()) -> None:
        self._read = read
        self._keys: Keys = ()

    @classmethod
    def from_settings(cls, settings: Settings) -> ServerKeys:
        """Those in the database that the settings name."""
        seal = Seal(settings.secret_key)
        return cls(lambda: _stored(settings.dsn, seal))

    def follow(self, events: Sequence[StoredEvent]) -> None:
        """Reads the keys again if one of the events is about a server. Blocks; may raise."""
        if any(event.public.type in EVENT_TYPES for event in events):
            self._keys = self._read()

    async def send(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Adds the key of the server that is called, as a middleware of the client."""
        if self._keys:
            url = str(request.url)
            for address, authorization in self._keys:
                if url.startswith(address):
                    request.headers["Authorization"] = authorization
                    break
        return await handler(request)


def _stored(dsn: str, seal: Seal) -> Keys:
    with connect(dsn) as connection:
        rows = connection.execute(
            "SELECT server_id, name, address, sealed_credentials FROM loggia.servers "
            "WHERE sealed_credentials IS NOT NULL"
        ).fetchall()
    keys = []
    for row in rows:
        try:
            secret = seal.open(row["server_id"], bytes(row["sealed_credentials"]))
        except SecretUnreadable:
            _log.warning("a server's key was sealed with another key", server=row["name"])
            continue
        keys.append((f"{row['address']}/", f"Bearer {secret}"))
    return keys
