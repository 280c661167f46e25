"""Takes away what an import leaves that did not come to a model.

A blob may belong to several models: whoever removes one or publishes a manifest holds the lock of
`backend.infra.removals`. References are the journals of jobs: a job's journal names its files for
as long as the job, or the model that came from it, is alive.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from backend.infra.jobs import Claim, Jobs, fence
from backend.infra.object_store import ObjectStore
from backend.infra.postgres import Pool
from backend.infra.removals import nothing_removed, removing
from backend.infra.stored_bytes import STORING
from backend.infra.uploads import Uploads, folder
from workers.importing.storing import blob_path, manifest_path

# The kind of a job that removes a deleted model's files.
CLEANUP = "import-cleanup"
# What these have in their journals is not referred to: they came to nothing.
DEAD_STATES = ["failed", "cancelled", "parked"]


class Residue:
    """Removes blobs, manifests and uploads that nobody needs. Every step may be repeated."""

    def __init__(self, pool: Pool, store: ObjectStore, jobs: Jobs, uploads: Uploads) -> None:
        self._pool = pool
        self._store = store
        self._jobs = jobs
        self._uploads = uploads

    def nothing_removed(self) -> AbstractContextManager[None]:
        """While the block runs, nobody removes a blob."""
        return nothing_removed(self._pool)

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
        self.remove_unreferenced(digests, manifests)

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
                "WHERE job.id = old.id AND job.kind = ANY(%s) AND job.model_id = %s "
                "AND (%s::text IS NULL OR job.payload ->> 'version' = %s) "
                "AND job.state NOT IN ('queued', 'running') RETURNING old.journal",
                (STORING, model_id, version, version),
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
        self.remove_unreferenced(digests, manifests)

    def discard_uploads_of(self, model_id: UUID) -> None:
        """Removes every upload of a model."""
        for upload_id in self._uploads.of_model(model_id):
            self.discard_upload(upload_id)

    def discard_upload(self, upload_id: UUID) -> None:
        """Removes an upload: its bytes first, so that what remains after a crash is still known."""
        self._store.delete_tree(folder(upload_id))
        self._uploads.delete(upload_id)

    def remove_unreferenced(
        self, digests: set[str], manifests: set[str]
    ) -> tuple[set[str], set[str]]:
        """Removes those of these blobs and manifests that no journal names; returns which."""
        if not digests and not manifests:
            return set(), set()
        with removing(self._pool) as connection:
            blobs, lists = unreferenced(connection, digests, manifests)
            for digest in sorted(blobs):
                self._store.delete(blob_path(digest))
            for digest in sorted(lists):
                self._store.delete(manifest_path(digest))
        return blobs, lists


def unreferenced(
    connection: psycopg.Connection[DictRow], digests: set[str], manifests: set[str]
) -> tuple[set[str], set[str]]:
    """Those of these blobs and manifests that no journal names."""

    def named(sql: Any, values: Iterable[str]) -> set[str]:
        found = connection.execute(sql, (STORING, DEAD_STATES, list(values)))
        return {row["found"] for row in found}

    blobs = named(
        "SELECT DISTINCT file.value ->> 0 AS found FROM loggia.jobs AS job, "
        "jsonb_each(job.journal -> 'files') AS file "
        "WHERE job.kind = ANY(%s) AND job.state <> ALL(%s) AND file.value ->> 0 = ANY(%s)",
        digests,
    )
    lists = named(
        "SELECT DISTINCT journal ->> 'manifest' AS found FROM loggia.jobs "
        "WHERE kind = ANY(%s) AND state <> ALL(%s) AND journal ->> 'manifest' = ANY(%s)",
        manifests,
    )
    return digests - blobs, manifests - lists


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
