"""What an address offers: the importable models, before anything of them is fetched."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx2

from backend.domain.addresses import check_address
from backend.sources import html_index, manifests
from backend.sources.addresses import AddressRules
from backend.sources.errors import FetchRefused
from backend.sources.guarded import Document, GuardedClient
from backend.sources.hub import PUBLIC_HUB, Hub, ListedModel
from backend.sources.plain import plain
from backend.sources.rows import PreviewRow, checked, usable_name
from backend.sources.s3_api import S3Access
from backend.sources.s3_prefix import S3Prefix

MANIFEST_BYTES = 16 << 20

__all__ = ["Credentials", "Preview", "PreviewRow", "preview"]


class Credentials(Protocol):
    """A connection with its secret: a token for huggingface and http, 'key:secret' for s3."""

    @property
    def kind(self) -> str:
        """huggingface, s3 or http."""

    @property
    def endpoint(self) -> str:
        """Where it leads."""

    @property
    def secret(self) -> str | None:
        """Never shown, never kept elsewhere."""


@dataclass(frozen=True, slots=True)
class Preview:
    """`manifest` is what was read, byte by byte; where nothing but a listing was read, the rows
    in the form of a manifest. It is kept with a batch import, under its digest."""

    format: str
    title: str
    rows: list[PreviewRow]
    manifest: bytes

    @property
    def manifest_sha256(self) -> str:
        """The manifest's digest."""
        return hashlib.sha256(self.manifest).hexdigest()


def preview(
    address: str,
    client: GuardedClient,
    connection: Credentials | None = None,
    *,
    public_hub: str = PUBLIC_HUB,
) -> Preview:
    """The models that an address offers; `public_hub` is the one that needs no connection.

    The address enters the history with what is imported from it. Raises `Invalid` where it carries
    a secret, `FetchRefused` and `FetchFailed`.
    """
    address = address.strip()
    check_address(address, field="address")
    if urlsplit(address).scheme == "s3":
        return _listed("s3", address, S3Prefix(address, s3_access(connection), client).rows())
    hub = connection.endpoint if connection and connection.kind == "huggingface" else public_hub
    inside = _inside(address, hub)
    if inside is not None:
        token = connection.secret if connection and connection.kind == "huggingface" else None
        with Hub(hub, token, client) as spoken:
            return _of_hub(address, inside, spoken)
    page = client.document(
        address, limit_bytes=MANIFEST_BYTES, headers=authorization(connection, address)
    )
    return _of_document(page, client.rules)


def authorization(connection: Credentials | None, address: str) -> dict[str, str]:
    """The header that shows the connection's token, to the host that it is meant for only."""
    if connection is None or connection.kind != "http" or not connection.secret:
        return {}
    if _inside(address, connection.endpoint) is None:
        raise FetchRefused(
            "connection_elsewhere",
            f"The connection is for {connection.endpoint}; {address[:200]} lies elsewhere.",
            "Choose the connection for this address, or none.",
        )
    return {"authorization": f"Bearer {connection.secret}"}


def s3_access(connection: Credentials | None) -> S3Access:
    """The keys of an S3 connection; without one, what is public can be read."""
    if connection is None or connection.kind != "s3":
        return S3Access()
    key, _, secret = (connection.secret or "").partition(":")
    return S3Access(connection.endpoint or None, key or None, secret or None)


def _inside(address: str, endpoint: str) -> str | None:
    """The address's path below an endpoint, or None where it lies elsewhere."""
    try:
        url, root = httpx2.URL(address), httpx2.URL(endpoint)
    except httpx2.InvalidURL:
        return None
    if (url.scheme, url.host, url.port) != (root.scheme, root.host, root.port):
        return None
    base = root.path.rstrip("/") + "/"
    return url.path.removeprefix(base).strip("/") if url.path.startswith(base) else None


def _of_hub(address: str, inside: str, hub: Hub) -> Preview:
    parts = inside.split("/")
    if parts[0] == "collections" and len(parts) == 3:
        title, models = hub.collection("/".join(parts[1:]))
    elif len(parts) == 2 and parts[0] not in {"datasets", "spaces", "organizations"}:
        title, models = inside, [ListedModel(inside, "")]
    elif len(parts) in {1, 3} and parts[0]:
        title, models = parts[0], hub.organisation(parts[0])
    else:
        raise FetchRefused(
            "hub_address",
            f"{address[:200]} is no organisation, collection or model of the hub.",
            "Give an address such as https://huggingface.co/ORGANISATION.",
        )
    rows = [
        PreviewRow(
            usable_name(model.name),
            model.name,
            source="huggingface",
            description=model.description,
            problem=model.problem,
        )
        for model in models
    ]
    return _listed("huggingface", title, rows)


def _listed(form: str, title: str, rows: Sequence[PreviewRow]) -> Preview:
    models: list[dict[str, Any]] = [
        {name: value for name, value in asdict(row).items() if value not in (None, "", ())}
        for row in rows
    ]
    text = json.dumps({"title": title, "models": models}, ensure_ascii=False, sort_keys=True)
    return Preview(form, title, _some(checked(rows)), text.encode())


def _of_document(page: Document, rules: AddressRules) -> Preview:
    base = httpx2.URL(page.address)

    def resolve(text: str) -> str:
        if text.startswith("s3://"):
            return text
        try:
            return str(rules.parsed(str(base.join(text))))
        except httpx2.InvalidURL:
            raise FetchRefused(
                "address_malformed", f"'{text[:200]}' is not an address.", "Correct it."
            ) from None

    form = _form(page)
    if form == "html":
        title, rows = base.host, html_index.rows(page, rules)
    elif form == "json":
        title, rows = manifests.from_json(page.body, resolve)
    elif form == "yaml":
        title, rows = manifests.from_yaml(page.body, resolve)
    elif form == "csv":
        title, rows = manifests.from_csv(page.body, resolve)
    else:
        title, rows = manifests.from_lines(page.body, resolve)
    return Preview(form, plain(title or base.path), _some(checked(rows)), page.body)


def _form(page: Document) -> str:
    """What the document is: by its first characters, then by its name, then by its label."""
    start = page.body[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"<"):
        return "html"
    if start.startswith((b"{", b"[")):
        return "json"
    kind = page.headers.get("content-type", "").split(";")[0].strip().lower()
    name = urlsplit(page.address).path.lower()
    if name.endswith((".yaml", ".yml")) or kind.endswith("yaml"):
        return "yaml"
    if name.endswith((".csv", ".tsv")) or kind == "text/csv":
        return "csv"
    first = start.split(b"\n", 1)[0]
    if re.match(rb"(?i)[^,;\t]*[,;\t].*\b(address|url)\b|(address|url)[,;\t]", first):
        return "csv"
    if re.match(rb"(?:---|models:|title:|- )", start):
        return "yaml"
    return "list"


def _some(rows: list[PreviewRow]) -> list[PreviewRow]:
    if not rows:
        raise FetchRefused(
            "nothing_listed",
            "Nothing that could be imported is listed at this address.",
            "Give the address of a manifest, a directory of models, an S3 prefix or an "
            "organisation of a hub; docs/importing.md describes them.",
        )
    return rows
