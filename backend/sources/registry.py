"""Container images as their registry describes them: nothing of an image is run or unpacked.

Documents: OCI image specification 1.1 and Docker image manifest version 2, schema 2. Each document
is compared with its digest before it is believed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from backend.sources.errors import FetchRefused
from backend.sources.guarded import GuardedClient
from backend.sources.image_reference import ImageReference, parse_reference
from backend.sources.plain import plain
from backend.sources.registry_client import Credentials, RegistryClient

DEFAULT_PLATFORM = "linux/amd64"

_MANIFEST_BYTES = 4 << 20
_CONFIG_BYTES = 8 << 20
_MOST_LAYERS = 1000
_MOST_PLATFORMS = 200
_MOST_ENTRIES = 200

_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_IMAGES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_CONFIGS = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)
_ACCEPT = ", ".join((*_INDEXES, *_IMAGES))


@dataclass(frozen=True)
class Image:
    """What is known of an image. `digest` is what the reference names, `manifest_digest` the
    platform's own part of it; `size_bytes` is what a server downloads."""

    reference: str
    digest: str
    manifest_digest: str
    platform: str
    platforms: list[str]
    size_bytes: int
    ports: list[int]
    environment_names: list[str]
    labels: dict[str, str]
    entrypoint: list[str]
    command: list[str]
    user: str


def inspect_image(
    reference: str,
    credentials: Credentials | None,
    client: GuardedClient,
    *,
    platform: str = DEFAULT_PLATFORM,
) -> Image:
    """The image, preferably for `platform`. Raises `FetchRefused` and `FetchFailed`."""
    parsed = parse_reference(reference)
    repository = _Repository(parsed, RegistryClient.for_image(parsed, credentials, client))
    document, digest = repository.manifest(parsed.wanted)
    platforms: list[str] = []
    manifest_digest = digest
    if document.kind == "index":
        chosen, platforms = _for_platform(document, platform, parsed)
        document, manifest_digest = repository.manifest(chosen.digest)
        if document.kind == "index":
            raise _unusable(parsed, "leads from one list of platforms to another")
    config = repository.config(document)
    own = f"{config.os}/{config.architecture}" + (f"/{config.variant}" if config.variant else "")
    run = config.config or _Run()
    return Image(
        reference=str(parsed),
        digest=digest,
        manifest_digest=manifest_digest,
        platform=own,
        platforms=platforms or [own],
        size_bytes=document.config.size + sum(layer.size for layer in document.layers),
        ports=_ports(run.exposed),
        environment_names=_texts([each.partition("=")[0] for each in run.env or []]),
        labels={
            plain(name): plain(value)
            for name, value in list((run.labels or {}).items())[:_MOST_ENTRIES]
        },
        entrypoint=_texts(run.entrypoint or []),
        command=_texts(run.command or []),
        user=plain(run.user or ""),
    )


class _Descriptor(msgspec.Struct, rename="camel", frozen=True):
    digest: str
    size: int
    media_type: str = ""
    platform: _Platform | None = None
    annotations: dict[str, str] | None = None


class _Platform(msgspec.Struct, frozen=True):
    os: str = ""
    architecture: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


_NOTHING = _Descriptor("", 0)


class _Manifest(msgspec.Struct, rename="camel"):
    """A list of platforms or one image; which of them is said by `kind`."""

    schema_version: int = 0
    media_type: str = ""
    manifests: list[_Descriptor] | None = None
    layers: list[_Descriptor] = []
    config: _Descriptor = _NOTHING
    kind: str = ""


class _Run(msgspec.Struct):
    exposed: dict[str, object] | None = msgspec.field(default=None, name="ExposedPorts")
    env: list[str] | None = msgspec.field(default=None, name="Env")
    labels: dict[str, str] | None = msgspec.field(default=None, name="Labels")
    entrypoint: list[str] | None = msgspec.field(default=None, name="Entrypoint")
    command: list[str] | None = msgspec.field(default=None, name="Cmd")
    user: str | None = msgspec.field(default=None, name="User")


class _Config(msgspec.Struct):
    os: str = "unknown"
    architecture: str = "unknown"
    variant: str = ""
    config: _Run | None = None


Parsed = TypeVar("Parsed")


class _Repository:
    """The documents of one image."""

    def __init__(self, reference: ImageReference, registry: RegistryClient) -> None:
        self._reference = reference
        self._registry = registry

    def manifest(self, wanted: str) -> tuple[_Manifest, str]:
        """The manifest with this digest or tag, and its digest."""
        reference = self._reference
        answer = self._registry.get(
            f"/{reference.name}/manifests/{wanted}", limit_bytes=_MANIFEST_BYTES, accept=_ACCEPT
        )
        algorithm = wanted.partition(":")[0] if ":" in wanted else "sha256"
        digest = _digest(answer.body, algorithm)
        promised = wanted if ":" in wanted else answer.headers.get("docker-content-digest", digest)
        if promised.startswith("sha512:"):
            digest = _digest(answer.body, "sha512")
        if promised != digest:
            raise _wrong_digest(reference, promised, digest)
        manifest = self._decoded(answer.body, _Manifest, "manifest")
        media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
        manifest.kind = self._kind(manifest, media_type)
        return manifest, digest

    def config(self, manifest: _Manifest) -> _Config:
        """The image's own configuration."""
        reference, config = self._reference, manifest.config
        if config.media_type and config.media_type not in _CONFIGS:
            raise _unusable(reference, f"is no container image but '{plain(config.media_type)}'")
        if len(manifest.layers) > _MOST_LAYERS or any(each.size < 0 for each in manifest.layers):
            raise _unusable(reference, "has too many layers, or layers of no size")
        if not 0 <= config.size <= _CONFIG_BYTES:
            raise _unusable(reference, "has a configuration that is too large")
        algorithm = config.digest.partition(":")[0]
        if algorithm not in {"sha256", "sha512"} or "/" in config.digest:
            raise _unusable(reference, "names its configuration by something else than a digest")
        answer = self._registry.get(
            f"/{reference.name}/blobs/{config.digest}", limit_bytes=_CONFIG_BYTES
        )
        digest = _digest(answer.body, algorithm)
        if digest != config.digest:
            raise _wrong_digest(reference, config.digest, digest)
        return self._decoded(answer.body, _Config, "configuration")

    def _kind(self, manifest: _Manifest, media_type: str) -> str:
        reference = self._reference
        stated = manifest.media_type or media_type
        if manifest.schema_version == 1 or "manifest.v1" in stated.replace("image.manifest.v1", ""):
            raise FetchRefused(
                "schema_1",
                f"{reference} is stored in Docker's first image format, which names no "
                "configuration and cannot be verified.",
                "Build and push the image again with a current tool.",
            )
        if manifest.media_type and media_type and manifest.media_type != media_type:
            raise _unusable(reference, "calls itself something else than its registry does")
        if manifest.manifests is not None and (manifest.layers or manifest.config.digest):
            raise _unusable(reference, "claims to be an image and a list of images at once")
        if stated in _INDEXES and manifest.manifests is not None:
            return "index"
        if stated in _IMAGES and manifest.config.digest:
            return "image"
        raise _unusable(reference, f"is no container image but '{plain(stated) or 'unknown'}'")

    def _decoded(self, body: bytes, kind: type[Parsed], what: str) -> Parsed:
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise _unusable(self._reference, f"has a {what} that is damaged ({error})") from None


def _for_platform(
    index: _Manifest, wanted: str, reference: ImageReference
) -> tuple[_Descriptor, list[str]]:
    """The part for the wanted platform, else for the first Linux; and every platform."""
    offered = [
        each
        for each in (index.manifests or [])[:_MOST_PLATFORMS]
        if each.platform is not None and each.platform.os not in {"", "unknown"}
    ]
    names = [plain(str(each.platform)) for each in offered]
    exact = [e for e, name in zip(offered, names, strict=True) if name == wanted]
    near = [e for e, name in zip(offered, names, strict=True) if name.startswith(wanted + "/")]
    linux = [e for e in offered if e.platform is not None and e.platform.os == "linux"]
    chosen = next(iter([*exact, *near, *linux, *offered]), None)
    if chosen is None or ":" not in chosen.digest or "/" in chosen.digest:
        raise _unusable(reference, "is a list without a usable image")
    return chosen, list(dict.fromkeys(names))


def _ports(exposed: Mapping[str, object] | None) -> list[int]:
    ports = {
        int(number)
        for number, _, protocol in (each.partition("/") for each in exposed or {})
        if number.isascii() and number.isdigit() and protocol in {"", "tcp"} and len(number) < 6
    }
    return sorted(port for port in ports if 0 < port < 65536)[:_MOST_ENTRIES]


def _digest(body: bytes, algorithm: str) -> str:
    made = hashlib.sha512(body) if algorithm == "sha512" else hashlib.sha256(body)
    return f"{made.name}:{made.hexdigest()}"


def _texts(values: list[str]) -> list[str]:
    return [plain(value) for value in values[:_MOST_ENTRIES]]


def _wrong_digest(reference: ImageReference, promised: str, found: str) -> FetchRefused:
    return FetchRefused(
        "wrong_digest",
        f"What {reference.host} delivers for {reference.name} has the digest {found[:80]}, not "
        f"{plain(promised)[:80]} as promised.",
        "Do not use this image; ask whoever runs the registry, or something between it and this "
        "server alters content.",
    )


def _unusable(reference: ImageReference, what: str) -> FetchRefused:
    return FetchRefused(
        "image_unusable",
        f"{reference} {what[:400]}.",
        "Give the reference of a container image that a current tool has built and pushed.",
    )
