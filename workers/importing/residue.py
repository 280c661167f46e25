"""Takes away what an import leaves that did not come to a model.

A blob may belong to several models. Whoever removes one holds a lock while looking who refers to
it; whoever is about to publish a manifest holds the same lock, shared, while looking that every
blob is still there. References are the journals of jobs: a job's journal names its files for as
long as the job, or the model that came from it, is alive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from backend.infra.jobs import Claim, Jobs, fence
from backend.infra.object_store import ObjectStore
from backend.infra.postgres import Pool, lock_number
from backend.infra.uploads import Uploads, folder
from workers.importing.storing import blob_path, manifest_path

_LOCK = "blobs"
# Kinds of jobs: an import, and the removal of a deleted model's files.
IMPORT = "import"
CLEANUP = "import-cleanup"


class Residue:
    """Removes blobs, manifests and uploads that nobody needs. Every step may be repeated."""

    def __init__(self, pool: Pool, store: ObjectStore, jobs: Jobs, uploads: Uploads) -> None:
        self._pool = pool
        self._store = store
        self._jobs = jobs
        self._uploads = uploads

    @contextmanager
    def nothing_removed(self) -> Iterator[None]:
        """While the block runs, nobody removes a blob."""
        with self._pool.connection() as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", (lock_number(_LOCK),))
            yield

    def discard_files(self, claim: Claim, journal: dict[str, Any]) -> None:
        """Gives up the files of a job that failed, and removes those that nobody else has.

        Raises `LeaseLost`.
        """
        digests = {digest for digest, _ in journal.get("files", {}).values()}
        digests |= set(journal.get("discarded", []))
        manifests = {journal["manifest"]} if journal.get("manifest") else set()
        manifests |= set(journal.get("discarded_manifests", []))
        # First no longer refer to them, durably; then look who still does.
        self._jobs.write_journal(
            claim,
            {"discarded": sorted(digests), "discarded_manifests": sorted(manifests)},
        )
        self._remove_unreferenced(digests, manifests)

    def discard_model(self, claim: Claim, model_id: UUID, version: str | None = None) -> None:
        """Removes the files of a deleted model, or of one version that was cancelled.

        Raises `LeaseLost`.
        """
        digests: set[str] = set(claim.journal.get("discarded", []))
        manifests: set[str] = set(claim.journal.get("discarded_manifests", []))
        with self._pool.connection() as connection, connection.transaction():
            cursor = connection.cursor()
            fence(claim)(cursor)
            # A job that still runs has been asked to stop and gives up its files by itself.
            rows = cursor.execute(
                "UPDATE loggia.jobs AS job SET journal = '{}' FROM loggia.jobs AS old "
                "WHERE job.id = old.id AND job.kind = %s AND job.model_id = %s "
                "AND (%s::text IS NULL OR job.payload ->> 'version' = %s) "
                "AND job.state NOT IN ('queued', 'running') RETURNING old.journal",
                (IMPORT, model_id, version, version),
            ).fetchall()
            for row in rows:
                digests |= {digest for digest, _ in row["journal"].get("files", {}).values()}
                if row["journal"].get("manifest"):
                    manifests.add(row["journal"]["manifest"])
            cursor.execute(
                "UPDATE loggia.jobs SET journal = %s WHERE id = %s",
                (
                    Jsonb(
                        {
                            "discarded": sorted(digests),
                            "discarded_manifests": sorted(manifests),
                        }
                    ),
                    claim.job_id,
                ),
            )
        self._remove_unreferenced(digests, manifests)

    def discard_uploads_of(self, model_id: UUID) -> None:
        """Removes every upload of a model."""
        for upload_id in self._uploads.of_model(model_id):
            self.discard_upload(upload_id)

    def discard_upload(self, upload_id: UUID) -> None:
        """Removes an upload: its bytes first, so that what remains after a crash is still known."""
        self._store.delete_tree(folder(upload_id))
        self._uploads.delete(upload_id)

    def _remove_unreferenced(self, digests: set[str], manifests: set[str]) -> None:
        if not digests and not manifests:
            return
        with self._pool.connection() as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock_number(_LOCK),))

            def referenced(sql: Any, values: Iterable[str]) -> set[str]:
                return {row["found"] for row in connection.execute(sql, (IMPORT, list(values)))}

            kept = referenced(
                "SELECT DISTINCT file.value ->> 0 AS found FROM loggia.jobs AS job, "
                "jsonb_each(job.journal -> 'files') AS file "
                "WHERE job.kind = %s AND file.value ->> 0 = ANY(%s)",
                digests,
            )
            kept_manifests = referenced(
                "SELECT DISTINCT journal ->> 'manifest' AS found FROM loggia.jobs "
                "WHERE kind = %s AND journal ->> 'manifest' = ANY(%s)",
                manifests,
            )
            for digest in sorted(digests - kept):
                self._store.delete(blob_path(digest))
            for digest in sorted(manifests - kept_manifests):
                self._store.delete(manifest_path(digest))


def is_latest(pool: Pool, claim: Claim) -> bool:
    """Whether no later import of the same version has been asked for."""
    with pool.connection() as connection:
        row = connection.execute(
            "SELECT EXISTS (SELECT 1 FROM loggia.jobs AS other JOIN loggia.jobs AS mine "
            "ON other.model_id = mine.model_id AND other.kind = mine.kind "
            "AND other.payload ->> 'version' = mine.payload ->> 'version' "
            "WHERE mine.id = %s AND other.id <> mine.id "
            "AND (other.payload ->> 'position')::bigint > (mine.payload ->> 'position')::bigint"
            ") AS superseded",
            (claim.job_id,),
        ).fetchone()
    return not (row and row["superseded"])
