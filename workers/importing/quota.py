"""How much the models' files may take together, and how much they take."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from backend.infra.object_store import ObjectStore
from backend.infra.postgres import Pool
from workers.importing.refusals import ImportRefused
from workers.importing.residue import IMPORT
from workers.importing.storing import StoredFile, blob_path

# So much may come between two looks at what all imports together have stored.
_LOOK_BYTES = 1 << 30


class Spending:
    """What one import stores, counted against the limit as others leave it."""

    def __init__(
        self, limit: int | None, used: Callable[[], int], stored: Callable[[StoredFile], bool]
    ) -> None:
        self._limit = limit
        self._used = used
        self._stored = stored
        self._known: int | None = None
        self._spent = 0

    def add(self, files: Iterable[StoredFile]) -> None:
        """Counts files that are about to be stored. Raises `ImportRefused`."""
        if self._limit is None:
            return
        more = sum({f.sha256: f.size for f in files if not self._stored(f)}.values())
        if self._known is None or self._spent + more > _LOOK_BYTES:
            self._known, self._spent = self._used(), 0
        self._spent += more
        self._refuse_above(self._known + self._spent)

    def _refuse_above(self, total: int) -> None:
        if self._limit is not None and total > self._limit:
            raise ImportRefused(
                "quota",
                f"With this model the models' files would take {total} bytes; "
                f"{self._limit} are allowed.",
                "Delete models that nobody needs, or ask the operator to raise "
                "LOGGIA_OBJECT_STORE_QUOTA_BYTES; then retry the import.",
            )


class Quota:
    """The limit for all models; None: there is none."""

    def __init__(self, pool: Pool, store: ObjectStore, limit_bytes: int | None) -> None:
        self._pool = pool
        self._store = store
        self._limit = limit_bytes

    def begin(self) -> Spending:
        """What one import may still store."""
        return Spending(
            self._limit,
            self.used_bytes,
            lambda file: self._store.exists(blob_path(file.sha256)),
        )

    def used_bytes(self) -> int:
        """The size of every stored content, each counted once."""
        with self._pool.connection() as connection:
            row = connection.execute(
                "SELECT COALESCE(sum(size), 0)::bigint AS used FROM ("
                "SELECT DISTINCT file.value ->> 0 AS digest, (file.value ->> 1)::bigint AS size "
                "FROM loggia.jobs AS job, jsonb_each(job.journal -> 'files') AS file "
                "WHERE job.kind = %s) AS stored",
                (IMPORT,),
            ).fetchone()
        return int(row["used"]) if row else 0
