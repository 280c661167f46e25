"""How much the models' files may take together, and how much they take."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from backend.infra.object_store import ObjectStore
from backend.infra.postgres import Pool
from backend.infra.stored_bytes import stored_bytes
from workers.importing.refusals import ImportRefused
from workers.importing.storing import StoredFile, blob_path

# So much may come between two looks at what all imports together have stored; near the limit, less.
_LOOK_BYTES = 1 << 30
_LOOK_SHARE = 8


class Spending:
    """What one import stores, counted against the limit as others leave it."""

    def __init__(
        self,
        limit: int | None,
        used: Callable[[], int],
        stored: Callable[[StoredFile], bool],
        *,
        journaled: bool,
    ) -> None:
        self._limit = limit
        self._used = used
        self._stored = stored
        self._journaled = journaled
        self._known: int | None = None
        self._spent = 0

    def add(self, files: Iterable[StoredFile]) -> None:
        """Counts files that are complete and do not appear yet. Raises `ImportRefused`.

        Those of an import are in its journal by then: of two imports that come to the limit at
        once, the later one sees both.
        """
        if self._limit is None:
            return
        self._spent += sum({f.sha256: f.size for f in files if not self._stored(f)}.values())
        if self._known is None:
            self._known = self._used()
            self._spent = 0 if self._journaled else self._spent
        most = min(_LOOK_BYTES, (self._limit - self._known) // _LOOK_SHARE)
        if self._journaled and self._spent > most:
            self._known, self._spent = self._used(), 0
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

    def begin(self, *, journaled: bool) -> Spending:
        """What one import may still store; `journaled` where a journal names its files."""
        return Spending(
            self._limit,
            lambda: stored_bytes(self._pool),
            lambda file: self._store.exists(blob_path(file.sha256)),
            journaled=journaled,
        )
