"""What the events and the journals of jobs need of the object store, as sorted pages."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import psycopg
from psycopg.rows import DictRow

from backend.infra.object_store import ObjectStore
from backend.infra.stored_bytes import STORING
from workers.importing.residue import DEAD_STATES, unreferenced
from workers.importing.storing import manifest_path

BLOBS, MANIFESTS, BATCHES = "blobs", "manifests", "batches"

_PAGE = 5000
# A running import enters files before they appear; those of a finished one must be there.
_OF_JOURNALS = (
    "INSERT INTO needed SELECT 'blobs', file.value ->> 0, max((file.value ->> 1)::bigint), "
    "bool_or(job.state = 'done') FROM loggia.jobs AS job, jsonb_each(job.journal -> 'files') "
    "AS file WHERE job.kind = ANY(%(kinds)s) AND job.state <> ALL(%(dead)s) GROUP BY 2 "
    "UNION ALL SELECT 'manifests', journal ->> 'manifest', NULL, bool_or(state = 'done') "
    "FROM loggia.jobs WHERE kind = ANY(%(kinds)s) AND state <> ALL(%(dead)s) "
    "AND journal ->> 'manifest' IS NOT NULL GROUP BY 2"
)
# What an event is about stands in its state, the text of a JSON object.
_OF_VERSIONS = (
    "INSERT INTO needed SELECT DISTINCT 'manifests', manifest, NULL::bigint, true, true "
    "FROM (SELECT DISTINCT ON (originator_id, version) originator_id, "
    "topic, facts ->> 'manifest_sha256' AS manifest FROM (SELECT originator_id, "
    "originator_version, topic, convert_from(state, 'UTF8')::jsonb AS facts "
    "FROM loggia.loggia_events WHERE topic IN ('ModelFilesStored', 'ModelImportFailed', "
    "'ModelImportCancelled')) AS told, LATERAL (SELECT facts ->> 'version' AS version) AS about "
    "ORDER BY originator_id, version, originator_version DESC) AS latest "
    "WHERE topic = 'ModelFilesStored' AND NOT EXISTS (SELECT 1 FROM loggia.loggia_events AS gone "
    "WHERE gone.originator_id = latest.originator_id AND gone.topic = 'ModelDeleted') "
    "AND NOT EXISTS (SELECT 1 FROM needed WHERE kind = 'manifests' AND name = manifest)"
)
_OF_BATCHES = (
    "INSERT INTO needed SELECT DISTINCT 'batches', "
    "convert_from(state, 'UTF8')::jsonb ->> 'manifest_sha256', NULL::bigint, true "
    "FROM loggia.loggia_events WHERE topic = 'ImportBatchRequested'"
)


@dataclass(frozen=True, slots=True)
class Needed:
    """An object that is referred to, by digest; `certain` when it must be there by now."""

    name: str
    size: int | None
    certain: bool


class References:
    """What is referred to at this moment, gathered in a table of the connection's own."""

    def __init__(self, connection: psycopg.Connection[DictRow], store: ObjectStore) -> None:
        self._connection = connection
        # Told: named by an event alone. There are none unless rows of jobs were lost.
        connection.execute(
            'CREATE TEMPORARY TABLE needed (kind text, name text COLLATE "C", size bigint, '
            "certain boolean, told boolean NOT NULL DEFAULT false, PRIMARY KEY (kind, name))"
        )
        connection.execute(_OF_JOURNALS, {"kinds": STORING, "dead": DEAD_STATES})
        connection.execute(_OF_BATCHES)
        self._of_versions_without_journal(store)

    def free(
        self, connection: psycopg.Connection[DictRow], kind: str, names: Collection[str]
    ) -> set[str]:
        """Those of these names that nothing refers to any more: a second look."""
        left = set(names) - self._told(kind, names)
        if kind == BATCHES:
            return left - _batches_wanted(connection, left)
        blobs, manifests = (left, set()) if kind == BLOBS else (set(), left)
        return set().union(*unreferenced(connection, blobs, manifests))

    def of(self, kind: str) -> Iterator[Needed]:
        """Everything of a kind that is needed, by name."""
        return self._pages(kind)

    def _pages(self, kind: str, *, told: bool = False) -> Iterator[Needed]:
        after = ""
        while True:
            rows = self._connection.execute(
                "SELECT name, size, certain FROM needed WHERE kind = %s AND name > %s "
                "AND (told OR NOT %s) ORDER BY name LIMIT %s",
                (kind, after, told, _PAGE),
            ).fetchall()
            for row in rows:
                yield Needed(row["name"], row["size"], row["certain"])
            if len(rows) < _PAGE:
                return
            after = rows[-1]["name"]

    def _of_versions_without_journal(self, store: ObjectStore) -> None:
        """Where the row of a version's job is lost, its manifest says which files it has."""
        self._connection.execute(_OF_VERSIONS)
        for manifest in self._pages(MANIFESTS, told=True):
            try:
                with store.open(manifest_path(manifest.name)) as source:
                    files = json.load(source)["files"]
            except FileNotFoundError:
                continue  # found missing later
            with self._connection.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO needed VALUES (%s, %s, %s, true, true) "
                    "ON CONFLICT (kind, name) DO UPDATE SET certain = true, told = true",
                    [
                        (BLOBS, file["sha256"], file["size"])
                        for file in files
                        if "location" not in file
                    ],
                )

    def _told(self, kind: str, names: Collection[str]) -> set[str]:
        rows = self._connection.execute(
            "SELECT name FROM needed WHERE kind = %s AND told AND name = ANY(%s)",
            (kind, list(names)),
        ).fetchall()
        return {row["name"] for row in rows}


def _batches_wanted(connection: psycopg.Connection[DictRow], digests: Collection[str]) -> set[str]:
    """Those of these digests that are of a list from which a batch was chosen."""
    rows = connection.execute(
        "SELECT wanted FROM loggia.loggia_events, "
        "LATERAL (SELECT convert_from(state, 'UTF8')::jsonb ->> 'manifest_sha256' AS wanted) "
        "AS facts WHERE topic = 'ImportBatchRequested' AND wanted = ANY(%s)",
        (list(digests),),
    ).fetchall()
    return {row["wanted"] for row in rows}
