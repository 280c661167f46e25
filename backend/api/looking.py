"""Looks at other systems on behalf of a person: what lies at an address, a path, a hub."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from urllib.parse import urlsplit

from backend.domain.errors import Invalid
from backend.infra.connections import ConnectionStore, SecretUnreadable, StoredConnection
from backend.infra.settings import Settings
from backend.sources.errors import FetchRefused
from backend.sources.guarded import GuardedClient
from backend.sources.hub import Hub, HubRepository
from backend.sources.image_reference import parse_reference
from backend.sources.path import PathModel, inspect_path
from backend.sources.preview import Preview, authorization, preview, s3_access
from backend.sources.registry import Image, inspect_image
from backend.sources.registry_client import Credentials
from backend.sources.s3_prefix import S3Prefix
from backend.sources.trying import pair

_KEPT_PREVIEWS = 16


class Looking:
    """All calls block, and raise `FetchRefused` and `FetchFailed` besides what they name."""

    def __init__(self, settings: Settings, connections: ConnectionStore) -> None:
        self._settings = settings
        self._connections = connections
        self._previews: OrderedDict[tuple[str, str | None, str], Preview] = OrderedDict()
        self._lock = Lock()

    def preview(self, address: str, connection: str | None) -> Preview:
        """The models that an address offers now. Raises `Invalid` for a bad connection."""
        named = self.named(connection, "huggingface", "s3", "http")
        with self._client() as client:
            found = preview(address, client, named, public_hub=self._settings.huggingface_endpoint)
        with self._lock:
            self._previews[address, connection, found.manifest_sha256] = found
            while len(self._previews) > _KEPT_PREVIEWS:
                self._previews.popitem(last=False)
        return found

    def seen(self, address: str, connection: str | None, manifest_sha256: str) -> Preview | None:
        """What a person was shown under this digest; None where the address offers another list
        by now."""
        with self._lock:
            kept = self._previews.get((address, connection, manifest_sha256))
        if kept is not None:
            return kept
        found = self.preview(address, connection)
        return found if found.manifest_sha256 == manifest_sha256 else None

    def path(self, path: str) -> PathModel:
        """What lies at a path of the server."""
        return inspect_path(path, self._settings.roots)

    def address(self, address: str) -> None:
        """Refuses an address whose form alone forbids it; nothing is opened."""
        if urlsplit(address.strip()).scheme != "s3":
            with self._client() as client:
                client.rules.parsed(address)

    def reference(self, reference: str) -> None:
        """Refuses what is no reference of an image; no registry is asked."""
        parse_reference(reference)

    def repository(self, name: str, revision: str, connection: str | None) -> HubRepository:
        """A repository of a hub. Raises `Invalid` for a bad connection."""
        named = self.named(connection, "huggingface")
        endpoint = named.endpoint if named else self._settings.huggingface_endpoint
        token = named.secret if named else None
        with self._client() as client, Hub(endpoint, token, client, name=connection or "") as hub:
            return hub.inspect(name, revision)

    def image(self, reference: str, connection: str | None) -> Image:
        """A container image. Raises `Invalid` for a bad connection."""
        named = self.named(connection, "registry")
        account = None
        if named is not None:
            user, password = pair(named.secret or "", "user name and password")
            account = Credentials(named.endpoint, user, password)
        with self._client() as client:
            return inspect_image(reference, account, client)

    def text(self, address: str, connection: str | None, *, limit_bytes: int) -> str:
        """A small text file at an address, of an object store or of the web. Raises `Invalid` for
        a bad connection."""
        address = address.strip()
        named = self.named(connection, "http", "s3")
        with self._client() as client:
            opened, headers = address, authorization(named, address)
            if urlsplit(address).scheme == "s3":
                opened = S3Prefix(address, s3_access(named), client).signed(address)
            found = client.document(opened, limit_bytes=limit_bytes, headers=headers)
        try:
            return found.body.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise FetchRefused(
                "not_text", f"{address[:200]} is not a text in UTF-8.", "Save the file as UTF-8."
            ) from None

    def named(self, name: str | None, *kinds: str) -> StoredConnection | None:
        """The connection with its secret; None where none is named. Raises `Invalid`."""
        if not name:
            return None
        try:
            found = self._connections.get(name)
        except SecretUnreadable:
            raise Invalid(
                f"The secret of the connection '{name}' was sealed with another server key.",
                remedy="Save the connection again.",
                field="connection",
            ) from None
        if found is None:
            raise Invalid(
                f"There is no connection '{name[:80]}'.",
                remedy="Choose one of the saved connections.",
                field="connection",
            )
        if found.kind not in kinds:
            raise Invalid(
                f"The connection '{name}' is of the kind '{found.kind}'.",
                remedy=f"Choose one of the kind {' or '.join(kinds)}.",
                field="connection",
            )
        return found

    def _client(self) -> GuardedClient:
        return GuardedClient.from_settings(self._settings)
