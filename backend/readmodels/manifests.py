"""The files of a model version, from its manifest in the object store."""

from __future__ import annotations

import msgspec

from backend.infra.object_store import ObjectStore


class ModelFile(msgspec.Struct, rename="camel", frozen=True):
    """A stored file; its digest also names it in the object store."""

    path: str
    size_bytes: int
    sha256: str


class _Entry(msgspec.Struct):
    path: str
    size: int
    sha256: str


class _Manifest(msgspec.Struct):
    files: list[_Entry]


def files(object_store: ObjectStore, manifest_sha256: str) -> list[ModelFile]:
    """Every file, by path."""
    with object_store.open(f"manifests/{manifest_sha256}.json") as source:
        manifest = msgspec.json.decode(source.read(), type=_Manifest)
    return [ModelFile(entry.path, entry.size, entry.sha256) for entry in manifest.files]
