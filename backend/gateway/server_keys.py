"""The keys that registered servers want from whoever calls them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import aiohttp
from psycopg.rows import DictRow

from backend.application.feed import StoredEvent
from backend.domain.server import normal_address
from backend.infra.connections import Seal, SecretUnreadable
from backend.infra.logging import get_logger
from backend.infra.postgres import connect
from backend.infra.settings import Settings

EVENT_TYPES = ("ServerRegistered", "ServerChanged", "ServerRemoved")
# Addresses of servers, and the secrets that they want; those that want none are among them.
Secrets = Sequence[tuple[str, str | None]]
_log = get_logger(__name__)


class ServerKeys:
    """Read anew whenever an event tells of a server; requests only look."""

    def __init__(self, read: Callable[[], Secrets] = lambda: ()) -> None:
        self._read = read
        # What addresses begin with, and what is sent there as Authorization.
        self._keys: list[tuple[str, str | None]] = []

    @classmethod
    def from_settings(cls, settings: Settings) -> ServerKeys:
        """Those in the database that the settings name."""
        seal = Seal(settings.secret_key)
        return cls(lambda: _stored(settings.dsn, seal))

    def follow(self, events: Sequence[StoredEvent]) -> None:
        """Reads the keys again if one of the events is about a server. Blocks; may raise."""
        if any(event.public.type in EVENT_TYPES for event in events):
            self._keys = _in_order(self._read())

    async def send(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Adds the key of the server that is called, as a middleware of the client."""
        if self._keys:
            url = str(request.url)
            for address, authorization in self._keys:
                if url.startswith(address):
                    if authorization is not None:
                        request.headers["Authorization"] = authorization
                    break
        return await handler(request)


def _in_order(secrets: Secrets) -> list[tuple[str, str | None]]:
    """The longest address first, so that a server below another one's address gets its own key."""
    if not any(secret for _, secret in secrets):
        return []
    keys = [(f"{normal_address(at)}/", f"Bearer {key}" if key else None) for at, key in secrets]
    return sorted(keys, key=lambda key: (len(key[0]), key[1] is not None), reverse=True)


def _stored(dsn: str, seal: Seal) -> Secrets:
    with connect(dsn) as connection:
        rows = connection.execute(
            "SELECT server_id, name, address, sealed_credentials FROM loggia.servers"
        ).fetchall()
    return [(row["address"], _secret(row, seal)) for row in rows]


def _secret(row: DictRow, seal: Seal) -> str | None:
    if row["sealed_credentials"] is None:
        return None
    try:
        return seal.open(row["server_id"], bytes(row["sealed_credentials"]))
    except SecretUnreadable:
        _log.warning("a server's key was sealed with another key", server=row["name"])
        return None
