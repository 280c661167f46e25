"""The files of a model version, from its manifest in the object store."""

from __future__ import annotations

import msgspec

from backend.infra.object_store import ObjectStore


class ModelFile(msgspec.Struct, rename="camel", frozen=True):
    """A stored file; its digest also names it in the object store."""

    path: str
    size_bytes: int
    sha256: str


class ManifestEntry(msgspec.Struct, frozen=True):
    """A file as the manifest has it; `location` is where it lies if it was not copied."""

    path: str
    size: int
    sha256: str
    location: str | None = None


class _Manifest(msgspec.Struct):
    files: list[ManifestEntry]


def files(object_store: ObjectStore, manifest_sha256: str) -> list[ModelFile]:
    """Every file, by path."""
    return [
        ModelFile(entry.path, entry.size, entry.sha256)
        for entry in entries(object_store, manifest_sha256)
    ]


def entries(object_store: ObjectStore, manifest_sha256: str) -> list[ManifestEntry]:
    """The manifest as it stands, by path."""
    with object_store.open(f"manifests/{manifest_sha256}.json") as source:
        return msgspec.json.decode(source.read(), type=_Manifest).files
