"""The connection that an import names, or why it cannot be used."""

from __future__ import annotations

from backend.infra.connections import ConnectionStore, SecretUnreadable, StoredConnection
from backend.sources.registry_client import Credentials
from backend.sources.trying import pair
from workers.importing.refusals import ImportRefused


def named_connection(
    connections: ConnectionStore, name: str | None, *kinds: str
) -> StoredConnection | None:
    """The connection with its secret, of one of these kinds; None where none is named.

    Raises `ImportRefused`.
    """
    if name is None:
        return None
    try:
        found = connections.get(name)
    except SecretUnreadable:
        raise ImportRefused(
            "connection_unreadable",
            f"The secret of the connection '{name}' was sealed with another server key.",
            "Save the connection again, then retry the import.",
            step="fetch",
        ) from None
    if found is None:
        raise ImportRefused(
            "connection_missing",
            f"There is no connection '{name}' any more.",
            "Save a connection under this name, then retry the import.",
            step="fetch",
        )
    if found.kind not in kinds:
        raise ImportRefused(
            "connection_kind",
            f"The connection '{name}' is of the kind '{found.kind}'; this source needs "
            f"{' or '.join(kinds)}.",
            "Import again and choose a connection of that kind.",
            step="fetch",
        )
    return found


def registry_account(connections: ConnectionStore, name: str | None) -> Credentials | None:
    """The account that an image is inspected with. Raises `ImportRefused` and `FetchRefused`."""
    connection = named_connection(connections, name, "registry")
    if connection is None:
        return None
    user, password = pair(connection.secret or "", "user name and password")
    return Credentials(connection.endpoint, user, password)
