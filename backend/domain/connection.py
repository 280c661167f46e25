"""The Connection aggregate: another system and the name of the credentials for it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit
from uuid import UUID, uuid5

from backend.domain.addresses import check_address
from backend.domain.errors import Invalid, NotFound
from backend.domain.events import Aggregate, event_header
from backend.domain.values import name_key

KINDS = ("huggingface", "registry", "s3", "http")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NAMESPACE = UUID("6f1a9a53-3f0c-4d0b-9a53-1f5f0f5d6c2e")
_MAX_ENDPOINT = 500


class Connection(Aggregate):
    """A connection by name. The secret is sealed outside the events and never shown again."""

    TOPIC = "Connection"

    class Created(Aggregate.Created):
        TOPIC = "ConnectionSaved"
        connection_id: UUID
        name: str
        kind: str
        endpoint: str

    class Saved(Aggregate.Event):
        TOPIC = "ConnectionSavedAgain"
        connection_id: UUID
        name: str
        kind: str
        endpoint: str

        def apply(self, aggregate: Connection) -> None:
            aggregate.name = self.name
            aggregate.kind = self.kind
            aggregate.endpoint = self.endpoint
            aggregate.removed = False

    class Removed(Aggregate.Event):
        TOPIC = "ConnectionRemoved"
        connection_id: UUID
        name: str

        def apply(self, aggregate: Connection) -> None:
            aggregate.removed = True

    def __init__(self, *, name: str, kind: str, endpoint: str) -> None:
        self.name = name
        self.kind = kind
        self.endpoint = endpoint
        self.removed = False

    @staticmethod
    def create_id(name: str) -> UUID:
        """The connection of this name: there is one, whatever the case of its letters."""
        return uuid5(_NAMESPACE, name_key(name))

    @classmethod
    def begin(cls, *, name: str, kind: str, endpoint: str) -> Connection:
        """A connection under a name that was never used before. Raises `Invalid`."""
        connection_id = cls.create_id(name)
        return cls._create(
            cls.Created,
            id=connection_id,
            connection_id=connection_id,
            **_facts(name, kind, endpoint),
            **event_header(),
        )

    def save(self, *, name: str, kind: str, endpoint: str) -> None:
        """Replaces the connection, the secret included. Raises `Invalid`."""
        self.record(self.Saved, connection_id=self.id, **_facts(name, kind, endpoint))

    def remove(self) -> None:
        """Forgets the credentials. Raises `NotFound` where they are gone."""
        if self.removed:
            raise NotFound(
                f"There is no connection '{self.name}'.", remedy="Reload the list of connections."
            )
        self.record(self.Removed, connection_id=self.id, name=self.name)


def _facts(name: str, kind: str, endpoint: str) -> dict[str, str]:
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"'{name[:80]}' cannot be the name of a connection.",
            remedy="Use 1 to 64 letters, digits, dots, hyphens and underscores.",
            field="name",
        )
    if kind not in KINDS:
        raise Invalid(
            f"'{kind[:80]}' is not a kind of connection.",
            remedy=f"Choose one of {', '.join(KINDS)}.",
            field="kind",
        )
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
        usable = usable and not (parts.username or parts.password)
    except ValueError:
        usable = False
    if not usable or len(endpoint) > _MAX_ENDPOINT:
        raise Invalid(
            f"'{endpoint[:120]}' is not the address of a server.",
            remedy="Give an address that begins with https:// or http://, without credentials in "
            "it; they belong into the secret.",
            field="endpoint",
        )
    check_address(endpoint, field="endpoint")
    return {"name": name, "kind": kind, "endpoint": endpoint.rstrip("/")}
