"""Files made from a version's own, in the object store under their content's name.

They are accounted for as an import's files are: the journal of a row among the jobs names them,
from before they appear until the model is gone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from uuid import UUID, uuid5

import msgspec
from psycopg.types.json import Jsonb

from backend.domain.configuration import DeployConfiguration
from backend.infra.object_store import ObjectStore
from backend.infra.postgres import Pool
from backend.infra.removals import nothing_removed
from backend.infra.stored_bytes import ARTEFACT
from workers.importing.storing import StoredFile, blob_path, manifest, manifest_path
from workers.serving.subject import Subject

JSON = dict[str, Any]

_CHUNK_BYTES = 8 << 20


@dataclass(frozen=True)
class Artefact:
    """Files that are stored; `facts` is what their maker found out."""

    manifest_sha256: str
    total_bytes: int
    facts: JSON = field(default_factory=dict)
    reused: bool = False


@dataclass(frozen=True)
class Arrangement:
    """Where a model's files belong for an engine, and what lies beside them.

    `folder` is the place of the files, `beside` other files with their content.
    """

    folder: str
    beside: Mapping[str, bytes]


@runtime_checkable
class Arranging(Protocol):
    """An engine that wants a model's files in another place than they were imported in."""

    def arrange(self, subject: Subject, configuration: DeployConfiguration) -> Arrangement | None:
        """Where they belong; None for a model whose files lie well."""
        ...


class Artefacts:
    """The artefacts of models' versions."""

    def __init__(self, pool: Pool, store: ObjectStore) -> None:
        self._pool = pool
        self._store = store

    def find(self, model_id: UUID, version: str, name: str) -> Artefact | None:
        """The artefact of this name, if it is whole."""
        with self._pool.connection() as connection:
            row = connection.execute(
                "SELECT journal ->> 'manifest' AS manifest, payload FROM loggia.jobs "
                "WHERE id = %s AND kind = %s AND state = 'done' AND journal ? 'manifest'",
                (_row_id(model_id, version, name), ARTEFACT),
            ).fetchone()
        if row is None:
            return None
        digest = row["manifest"]
        if not self._store.exists(manifest_path(digest)):
            return None
        files = self._files(digest)
        if not all(file.location or self._store.exists(blob_path(file.sha256)) for file in files):
            return None
        total = sum(file.size for file in files)
        return Artefact(digest, total, row["payload"].get("facts", {}), reused=True)

    def keep(self, model_id: UUID, version: str, name: str, folder: Path, facts: JSON) -> Artefact:
        """Stores the folder's files. May be repeated. Raises `OSError`."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        found = {path.relative_to(folder).as_posix(): path for path in paths}
        files = [_hashed(path, name) for name, path in found.items()]
        contents = {file.sha256: partial(_chunks, found[file.path]) for file in files}
        return self._keep(model_id, version, name, files, contents, facts)

    def arrange(
        self, model_id: UUID, version: str, source_sha256: str, arrangement: Arrangement
    ) -> str:
        """Stores an arrangement of the files of a manifest; returns its own manifest's digest."""
        files = [
            StoredFile(f"{arrangement.folder}/{file.path}", file.sha256, file.size, file.location)
            for file in self._files(source_sha256)
        ]
        contents: dict[str, Callable[[], Iterator[bytes]]] = {}
        for path, content in arrangement.beside.items():
            digest = hashlib.sha256(content).hexdigest()
            files.append(StoredFile(path, digest, len(content)))
            contents[digest] = partial(iter, [content])
        _, digest = manifest(files)
        name = f"arranged:{digest}"
        if self.find(model_id, version, name) is None:
            self._keep(model_id, version, name, files, contents, {})
        return digest

    def manifests(self, model_ids: Sequence[UUID]) -> set[str]:
        """The manifests of everything that is kept for these models."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                "SELECT DISTINCT journal ->> 'manifest' AS manifest FROM loggia.jobs "
                "WHERE kind = %s AND model_id = ANY(%s) AND journal ? 'manifest'",
                (ARTEFACT, list(model_ids)),
            )
            return {row["manifest"] for row in rows}

    def _keep(
        self,
        model_id: UUID,
        version: str,
        name: str,
        files: Sequence[StoredFile],
        contents: Mapping[str, Callable[[], Iterator[bytes]]],
        facts: JSON,
    ) -> Artefact:
        text, digest = manifest(files)
        journal = {
            "files": {f.path: [f.sha256, f.size] for f in files if f.location is None},
            "manifest": digest,
        }
        row_id = _row_id(model_id, version, name)
        payload = {"version": version, "name": name, "facts": facts}
        # Once the row is there nobody removes what it names, so that looking what is there is safe.
        with nothing_removed(self._pool), self._pool.connection() as connection:
            connection.execute(
                "INSERT INTO loggia.jobs (id, kind, model_id, payload, state, journal) "
                "VALUES (%s, %s, %s, %s, 'running', %s) ON CONFLICT (id) DO UPDATE SET "
                "payload = EXCLUDED.payload, state = 'running', journal = EXCLUDED.journal, "
                "updated_at = now()",
                (row_id, ARTEFACT, model_id, Jsonb(payload), Jsonb(journal)),
            )
        try:
            for blob, content in contents.items():
                if not self._store.exists(blob_path(blob)):
                    self._store.put(blob_path(blob), content())
            self._store.put(manifest_path(digest), [text])
        except BaseException:
            self._set_state(row_id, "failed")
            raise
        self._set_state(row_id, "done")
        return Artefact(digest, sum(file.size for file in files), facts)

    def _set_state(self, row_id: UUID, state: str) -> None:
        with self._pool.connection() as connection:
            connection.execute(
                "UPDATE loggia.jobs SET state = %s, updated_at = now() WHERE id = %s",
                (state, row_id),
            )

    def _files(self, sha256: str) -> list[StoredFile]:
        with self._store.open(manifest_path(sha256)) as source:
            return msgspec.json.decode(source.read(), type=_Manifest).files


class _Manifest(msgspec.Struct):
    files: list[StoredFile]


def _row_id(model_id: UUID, version: str, name: str) -> UUID:
    return uuid5(model_id, f"artefact:{version}:{name}")


def _hashed(path: Path, name: str) -> StoredFile:
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
    return StoredFile(name, digest.hexdigest(), path.stat().st_size)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK_BYTES):
            yield chunk
